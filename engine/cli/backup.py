"""`mendbook backup`: a verified copy of the record, while an engine works on it."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.output import note
from engine.cli.project import opened

EPILOG = """\b
Examples:
  mendbook backup /backup/mendbook.db                a file that is not there yet
  mendbook backup --replace /backup/mendbook.db      every night the same: the old one goes when the new one is whole
  mendbook restore /backup/mendbook.db               the way back

\b
The copy is one moment's state; an engine that runs is not kept waiting. It is verified before it gets its name: every page, and
the chain. What is restored from it starts paused, since the hosts have moved on.
"""


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Write over a file that is there.")
def command(file: Path, replace: bool) -> None:
    """Copy the record into FILE, verified, while the engine runs."""
    with opened() as app:
        from engine.records.backup import backup

        done = backup(app.record, file, replace=replace)
    note(f"wrote {done.path} ({done.bytes / 1e6:.1f} MB, {done.head.number} entries, the chain holds); its head is")
    click.echo(str(done.head))
