"""`mendbook locks`: which hosts are held."""

from __future__ import annotations

import time

import click

from engine.cli.asking import operator
from engine.cli.exits import Failure
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, clean, note, output_option, show
from engine.cli.project import opened
from engine.cli.words import age, line, short, when

EPILOG = """\b
Examples:
  mendbook locks                                            what is held
  mendbook locks release web-1 --reason "checked by hand"   set a host free

\b
A host is locked while a remedy works on it, and after it until containment is proved or a person releases it.
"""


@click.group(cls=ListingGroup, epilog=EPILOG)
def command() -> None:
    """Show which hosts are held, by what and since when; release one."""


@command.command("list")
@output_option
def list_(output: str) -> None:
    """List the locks."""
    with opened() as app:
        show(app.record.standing(time.time()).locks, columns(), output, empty="no host is locked")


@command.command()
@click.argument("host")
@click.option("--reason", metavar="TEXT", required=True, help="Why that is safe; it goes into the record.")
def release(host: str, reason: str) -> None:
    """Set a host free, whoever holds it.

    What may still run there is not ended by this: see `mendbook runs` first.
    """
    with opened() as app:
        if not app.desk.release_lock(host, operator(), clean(reason)):
            held = ", ".join(lock.target for lock in app.record.standing(time.time()).locks)
            raise Failure(clean(f"{line(host)} is not locked; {f'locked: {held}' if held else 'no host is'}"))
        note(f"released {host}")


def columns() -> tuple[Column, ...]:
    """Return what is shown of a lock."""
    return (
        Column("HOST", lambda lock: line(lock.target), style="bold", whole=True),
        Column("HELD BY", lambda lock: line(lock.owner)),
        Column("SINCE", lambda lock: when(lock.taken_at), whole=True),
        Column("AGE", lambda lock: age(lock.taken_at), right=True, whole=True),
        Column("FOR", lambda lock: short(lock.reason)),
    )
