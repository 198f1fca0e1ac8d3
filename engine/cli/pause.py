"""`mendbook pause`: have automation keep still."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from engine.cli.asking import operator
from engine.cli.exits import Exit, Failure
from engine.cli.output import clean, moment, note
from engine.cli.project import hosts, opened, runbooks
from engine.cli.times import SPAN_TYPE
from engine.cli.words import line, unknown

if TYPE_CHECKING:
    from engine.app import App

EPILOG = """\b
Examples:
  mendbook pause --reason "moving racks" --for 2h        everything, for two hours
  mendbook pause --host web-1 --reason "disk swap"       one host, until resumed
  mendbook pause --runbook memory-leak --reason "#4711"  one runbook

\b
What runs goes on to its end; `mendbook runs cancel` ends it. A pause survives restarts; `mendbook status` lists it.
"""


@click.command(epilog=EPILOG)
@click.option("--runbook", metavar="NAME", help="Pause this runbook alone.")
@click.option("--host", metavar="NAME", help="Pause automation on this host alone.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; everyone who looks will read it.")
@click.option("--for", "length", type=SPAN_TYPE, help="Resume by itself after this long, as in 2h.")
def command(runbook: str | None, host: str | None, reason: str, length: float | None) -> None:
    """Have automation keep still, and say why."""
    scope = scope_of(runbook, host)
    with opened() as app:
        check(app, runbook, host)
        from engine.model.standing import Pause

        now = time.time()
        until = None if length is None else now + length
        there = app.desk.pause(Pause(scope, operator(), clean(reason), now, until))
        if there is not None:
            held = f"{'stopped' if there.stop else 'paused'} by {there.by} until {moment(there.until) if there.until else 'resumed'}"
            words = f"{scope} is {held}: {there.reason}; that stands, and `mendbook resume` ends it"
            raise Failure(line(words), Exit.REFUSED)
    note(f"paused {scope} until {moment(until) if until else 'resumed'}")


def scope_of(runbook: str | None, host: str | None) -> str:
    """Return what a pause is about, as the record says it."""
    if runbook is not None and host is not None:
        raise click.UsageError("name a runbook or a host, not both")
    if runbook is not None:
        return f"runbook:{runbook}"
    return "all" if host is None else f"host:{host}"


def check(app: App, runbook: str | None, host: str | None) -> None:
    """Refuse names that are none; when the files cannot be read, pausing must work all the same."""
    if runbook is None and host is None:
        return
    from engine.config.errors import errors
    from engine.config.inventory import InventoryError

    try:
        inventory = hosts(app)
    except InventoryError as error:
        note(f"the name is taken as it is, since the files cannot be read: {error}")
        return
    if host is not None and host not in inventory.fleet.targets:
        raise unknown("host", host, list(inventory.fleet.targets))
    if runbook is not None:
        loaded = runbooks(app, inventory)
        known = {each.name for each in loaded.runbooks}
        if runbook not in known and not errors(loaded.problems):
            raise unknown("runbook", runbook, known)
