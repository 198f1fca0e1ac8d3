"""`mendbook restore`: a backup in the record's place."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.exits import Failure
from engine.cli.output import note
from engine.cli.project import opened

EPILOG = """\b
Examples:
  mendbook restore /backup/mendbook.db     put the backup in the record's place, and keep what was there aside
  mendbook locks && mendbook runs          look at what it says, which may have been overtaken since
  mendbook resume --reason "checked"       then let automation go on
"""


@click.command(epilog=EPILOG)
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Put the backup FILE in the record's place; automation is paused until resumed."""
    with opened() as app:
        from engine.records.backup import restore

        if app.settings.database is not None:
            how = "restore it with its own means, such as `pg_restore`; it starts paused all the same"
            raise Failure(f"the record is in a database ({app.settings.record_place}): {how}")
        head, aside = restore(file, app.settings.record)
        pauses = app.record.standing(app.clock.now()).pauses  # opening it is what pauses it
    if aside is not None:
        note(f"what was there is kept as {aside}")
    note(f"restored {head.number} entries from {file}")
    for pause in pauses:
        if pause.scope == "all":
            note(f"paused: {pause.reason}")
