"""`mendbook plan`: what would be done now, and what holds it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli.exits import Exit
from engine.cli.output import emit, note, output_option

if TYPE_CHECKING:
    from engine.controller import Look

EPILOG = """\b
Examples:
  mendbook plan                       what the next tick would do, with every guard's verdict
  mendbook plan --detailed-exitcode   2 when something would be run
"""


@click.command(epilog=EPILOG)
@click.option("--wait", type=float, default=1.0, show_default=True, help="Seconds between its two collections.")
@click.option("--detailed-exitcode", is_flag=True, help="2 when something would be run.")
@output_option
def command(*, wait: float, detailed_exitcode: bool, output: str) -> int:
    """Show what would be done now, and what holds it back; nothing is done or recorded."""
    from engine.cli.glance import glance
    from engine.cli.project import opened
    from engine.model.decision import Run

    with opened() as app:
        look, _ = glance(app, wait)
    runs = [change for change in look.changes if isinstance(change.decision, Run)]
    if output == "table":
        tell(look)
        note("Nothing was done. `mendbook watch` acts; `mendbook run` is your hand.")
    else:
        emit([change.decision for change in look.changes if change.decision is not None], output)
    return Exit.FAULTS if runs and detailed_exitcode else Exit.OK


def tell(look: Look) -> None:
    """Print what is pending, then each decision with what it rests on."""
    from engine.cli.narrate import mappings
    from engine.cli.output import ago, clean
    from engine.model.incident import AlertState

    waits = {runbook.variant: runbook.trigger.for_ for runbook in look.scene.catalog.runbooks}
    for alert in look.scene.alerts:
        if alert.state is AlertState.PENDING:
            left = waits.get(alert.runbook, 0.0) - (look.scene.now - alert.active_since)
            click.echo(clean(f"pending   {alert.name} on {alert.target}: {alert.condition}; fires in {ago(left)}"))
    entries = [entry for change in look.changes for entry in change.entries if entry.kind in ("fault", "decision")]
    for entry in entries:
        click.echo(clean(f"{entry.kind:<9} {entry.target}: {entry.sentence}").replace("\n", " "))
        for verdict in mappings(entry.data.get("verdicts")):
            mark = "✓" if verdict["allowed"] else "✗"
            click.echo(clean(f"          {mark} {verdict['guard']}: {verdict['sentence']}"))
    held = [each for each in look.standing.incidents if each.state.live]
    for incident in held:
        click.echo(
            clean(
                f"open      {incident.id} {incident.resource} of {incident.target}: {incident.state}, {incident.reason}"
            )
        )
    if not entries and not held:
        click.echo("nothing would be done")
