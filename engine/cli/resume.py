"""`mendbook resume`: let automation go on."""

from __future__ import annotations

import time

import click

from engine.cli.asking import ask, operator
from engine.cli.exits import Failure
from engine.cli.output import clean, note
from engine.cli.pause import scope_of
from engine.cli.project import opened

EPILOG = """\b
Examples:
  mendbook resume --reason "racks are back"            end the pause of everything
  mendbook resume --host web-1 --reason "disk is in"   end the pause of one host
  mendbook resume --inventory --reason "web-7 retired" the inventory shrank on purpose: go on with it as it is
"""


@click.command(epilog=EPILOG)
@click.option("--runbook", metavar="NAME", help="End the pause of this runbook.")
@click.option("--host", metavar="NAME", help="End the pause of this host.")
@click.option("--inventory", is_flag=True, help="Accept an inventory that shrank suddenly.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it goes into the record.")
def command(runbook: str | None, host: str | None, inventory: bool, reason: str) -> None:
    """Let automation go on."""
    scope = scope_of(runbook, host)
    if inventory and scope != "all":
        raise click.UsageError("--inventory stands alone")
    with opened() as app:
        if inventory:
            (result,) = ask(app, "accept_inventory", reason=reason)
            note(f"accepted the inventory as it is, with {result['accepted']} hosts")
            return
        if not app.desk.resume(scope, operator(), clean(reason)):
            pauses = [pause.scope for pause in app.record.standing(time.time()).pauses]
            held = f"; paused are {', '.join(pauses)}" if pauses else "; nothing is"
            raise Failure(clean(f"{scope} is not paused{held}"))
        note(f"resumed {scope}")
