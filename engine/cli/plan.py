"""`mendbook plan`: what would be done now, and what holds it back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.exits import Exit, Failure
from engine.cli.output import FORMATS, ago, emit, note
from engine.cli.times import SPAN_TYPE

if TYPE_CHECKING:
    from engine.app import App
    from engine.controller import Look

EPILOG = """\b
Examples:
  mendbook plan                       what the next tick would do, with every guard's verdict
  mendbook plan --detailed-exitcode   2 when something would be run
  mendbook plan --out plan.json       write it to a file, for `mendbook run --plan plan.json`
  mendbook plan -o ./plan.json        the same: what has a slash or a dot in it is a file
"""


class Output(click.ParamType):  # type: ignore[type-arg]  # it says its type only from click 8.2 on
    """How results are printed, or the file that a plan goes to."""

    name = "output"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return a form, or a path."""
        text = str(value)
        if text not in FORMATS and not {"/", "."} & set(text):
            self.fail(f"'{text}' is neither {', '.join(FORMATS)} nor a path; write ./{text} for a file", param, ctx)
        return text

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return what help shows."""
        del param, ctx
        return f"[{'|'.join(FORMATS)}|FILE]"


@click.command(epilog=EPILOG)
@click.option("--wait", type=float, default=1.0, show_default=True, help="Seconds between its two collections.")
@click.option("--detailed-exitcode", is_flag=True, help="2 when something would be run, or is in the file.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write what would be run to this file.")
@click.option(
    "--max-age",
    type=SPAN_TYPE,
    help="For how long the file may be run, as in 30m, a day at most; else approval.expires.",
)
@click.option(
    "-o",
    "--output",
    type=Output(),
    default="table",
    show_default=True,
    help="How results are printed; a path is --out.",
)
def command(*, wait: float, detailed_exitcode: bool, out: Path | None, max_age: float | None, output: str) -> int:
    """Show what would be done now, and what holds it back; nothing is done or recorded.

    A file that it writes says exactly what would be run, what waits for nothing but approval included. `mendbook run --plan`
    runs that, or refuses.
    """
    from engine.cli.glance import glance
    from engine.cli.project import opened
    from engine.model.decision import Run

    if output not in FORMATS:
        if out is not None:
            raise click.UsageError("name one file, with --out or with -o")
        out, output = Path(output), "table"
    with opened() as app:
        look, _ = glance(app, wait)
        kept = keep(app, look, out, max_age) if out is not None else 0
    runs = kept or sum(isinstance(change.decision, Run) for change in look.changes)
    if output == "table":
        tell(look)
        note("Nothing was done. `mendbook watch` acts; `mendbook run` is your hand.")
    else:
        emit([change.decision for change in look.changes if change.decision is not None], output)
    return Exit.FAULTS if runs and detailed_exitcode else Exit.OK


def keep(app: App, look: Look, path: Path, max_age: float | None) -> int:
    """Write what would be run to a file; return how much that is."""
    from engine.cli.asking import operator
    from engine.cli.plans import LONGEST, write_plan
    from engine.cli.words import counted
    from engine.core.orders import orders

    found = orders(look.changes, look.standing, look.scene.catalog, look.scene.now)
    age = min(LONGEST, app.settings.limits.approval if max_age is None else max_age)
    by, environment = operator(), app.settings.environment
    try:
        write_plan(path, found, now=app.clock.now(), age=age, by=by, environment=environment)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror or error}") from error
    note(f"wrote {counted(len(found), 'run')} to {path}: `mendbook run --plan {path}` within {ago(age)}")
    return len(found)


def tell(look: Look) -> None:
    """Print what is pending, then each decision with what it rests on."""
    from engine.cli.narrate import mappings
    from engine.cli.words import line
    from engine.model.incident import AlertState

    waits = {runbook.variant: runbook.trigger.for_ for runbook in look.scene.catalog.runbooks}
    for alert in look.scene.alerts:
        if alert.state is AlertState.PENDING:
            left = waits.get(alert.runbook, 0.0) - (look.scene.now - alert.active_since)
            click.echo(line(f"pending   {alert.name} on {alert.target}: {alert.condition}; fires in {ago(left)}"))
    entries = [entry for change in look.changes for entry in change.entries if entry.kind in ("fault", "decision")]
    for entry in entries:
        click.echo(line(f"{entry.kind:<9} {entry.target}: {entry.sentence}"))
        for verdict in mappings(entry.data.get("verdicts")):
            mark = "✓" if verdict["allowed"] else "✗"
            click.echo(line(f"          {mark} {verdict['guard']}: {verdict['sentence']}"))
    held = [each for each in look.standing.incidents if each.state.live]
    for incident in held:
        click.echo(
            line(
                f"open      {incident.id} {incident.resource} of {incident.target}: {incident.state}, {incident.reason}"
            )
        )
    if not entries and not held:
        click.echo("nothing would be done")
