"""`mendbook stop`: emergency stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from engine.cli.asking import leads, operator
from engine.cli.exits import Exit, Failure
from engine.cli.output import Column, clean, emit, note, output_option, show
from engine.cli.project import expected, forgiven, here
from engine.cli.times import SPAN_TYPE
from engine.cli.words import age, counted, line, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.app import App
    from engine.app.stopping import Stopped

EPILOG = """\b
Examples:
  mendbook stop                                    now
  mendbook stop --reason "it drains the wrong rack"
  mendbook resume --reason "the runbook is fixed"  the way back

\b
Nothing is begun any more, and every process of what runs is ended: gracefully first, then hard. It works beside an engine that
runs, beside one that hangs, and without one; it survives restarts. What a playbook has done so far stays done.
Exit code 0 when nothing is left, 1 when processes may be, or when the pause could not be stored; 124 when something still runs.
"""


@click.command(epilog=EPILOG)
@click.option("--reason", metavar="TEXT", default="emergency stop", help="Why; everyone who looks will read it.")
@click.option("--wait", "patience", type=SPAN_TYPE, default="60s", show_default=True,
              help="How long to wait until nothing is left.")  # fmt: skip
@output_option
def command(reason: str, patience: float, output: str) -> int:
    """Emergency stop: pause everything and end what runs."""
    from engine.cli.logs import configure

    start = here()
    configure()
    with expected():
        from engine.app import App
        from engine.app.stopping import Stop

        with App(forgiven(start), trouble=note) as app:
            stop = Stop(app, operator(), clean(reason))
            stop.cancel()  # first: the record may keep us waiting
            why_not = stop.pause()
            note("everything is paused until `mendbook resume`" if not why_not else f"NOT paused: {why_not}")
            stop.cancel()
            if stop.canceled:
                note(f"ending {counted(len(stop.canceled), 'execution')} …")
            stopped = (*stop.wait(patience, lambda each: note(said(each))), *stop.never_begun())
            if why_not:
                why_not = stop.pause()
            if not why_not:
                write_down(app)
            tell(stopped, output, paused=not why_not)
            if why_not:
                raise Failure(clean(f"the pause could not be stored: {why_not}; end the engine, or try again"))
            return code(stopped)


def write_down(app: App) -> None:
    """Take into the record how everything ended, where no engine does; say so of one that does not answer."""
    from engine.config.errors import ConfigError
    from engine.config.inventory import InventoryError
    from engine.records.errors import RecordError

    try:
        if leads(app):
            app.controller(app.samples, automatic=False).tick()
            return
        last = app.record.standing(time.time()).last_tick
    except (ConfigError, InventoryError, RecordError, OSError) as error:
        note(f"how it ended is written down at the next start: {error}")
        return
    late = max(5 * app.settings.interval, 30.0)
    if last is None or time.time() - last > late:
        since = f"has not ticked for {age(last)}" if last else "has not ticked yet"
        note(f"the engine ({app.leadership.holder()}) {since}; it learns of the stop when it goes on")


def said(each: Stopped) -> str:
    """Say what became of one."""
    what = f"{each.id} on {each.execution.target}" if each.execution is not None else each.id
    if each.report is None:
        return f"{what}: never begun, and is not begun any more"
    left = "nothing of it is left" if each.over else "processes of it may be left, its hosts stay locked"
    return f"{what}: {each.report.state}, {left}" if not each.report.state.active else f"{what}: still runs"


def tell(stopped: Sequence[Stopped], output: str, *, paused: bool) -> None:
    """Print what became of everything that ran."""
    if output != "table":
        rows = [
            {
                "id": each.id,
                "target": each.execution.target if each.execution is not None else None,
                "runbook": each.execution.runbook if each.execution is not None else None,
                "state": "pending" if each.report is None else each.report.state,
                "over": each.over,
                "message": "" if each.report is None else each.report.message,
            }
            for each in stopped
        ]
        emit({"paused": paused, "executions": rows}, output)
        return
    columns = (
        Column("EXECUTION", lambda each: line(each.id), whole=True),
        Column("HOST", lambda each: line(each.execution.target if each.execution else "-"), style="bold", whole=True),
        Column("STATE", lambda each: "never begun" if each.report is None else str(each.report.state), whole=True),
        Column("LEFT", lambda each: "nothing" if each.over else "PROCESSES", style="bold", whole=True),
        Column("REMEDY", lambda each: line(each.execution.remedy if each.execution else "-"), beneath=True),
        Column("MESSAGE", lambda each: short(each.report.message if each.report else "-"), beneath=True),
    )
    show(stopped, columns, output, empty="nothing ran")


def code(stopped: Sequence[Stopped]) -> Exit:
    """Return 0 when nothing is left, 124 when something still runs, 1 when something may be left."""
    if any(each.report is not None and each.report.state.active for each in stopped):
        return Exit.TIMEOUT
    return Exit.OK if all(each.over for each in stopped) else Exit.ERROR
