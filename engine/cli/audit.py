"""`mendbook audit`: collect, evaluate and report once; what a timer or cron runs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from engine.cli.exits import Exit
from engine.cli.output import Column, emit, note, output_option, show
from engine.cli.words import counted, line

if TYPE_CHECKING:
    from engine.app import App
    from engine.cli.glance import Finding
    from engine.controller import Look
    from engine.samples.store import SampleStore

EPILOG = """\b
Examples:
  mendbook audit                        what is wrong now, and what cannot be said yet
  mendbook audit --detailed-exitcode    0 nothing, 2 faults, 4 some rules could not be judged
  mendbook audit --remediate            also do what the runbooks' modes allow
  mendbook audit -o json                for programs
"""


@click.command(epilog=EPILOG)
@click.option("--wait", type=float, default=1.0, show_default=True, help="Seconds between its two collections.")
@click.option("--remediate", is_flag=True, help="Also act, as far as modes and guards allow, and wait for the outcome.")
@click.option("--timeout", type=float, default=600.0, show_default=True, help="Seconds that --remediate may take.")
@click.option("--detailed-exitcode", is_flag=True, help="2 for faults, 4 for rules that could not be judged.")
@click.option("--all", "everything", is_flag=True, help="List what is well, too.")
@output_option
def command(
    *, wait: float, remediate: bool, timeout: float, detailed_exitcode: bool, everything: bool, output: str
) -> int:
    """Collect, evaluate and report once; change nothing unless told to."""
    from engine.cli.checks import tell_refusals
    from engine.cli.glance import engine_runs, findings, glance
    from engine.cli.project import opened
    from engine.model.truth import Truth

    with opened() as app:
        beside = engine_runs(app)
        tell_refusals(app)
        look, controller = glance(app, wait)
        found = findings(look)
        report(found, look, output, everything=everything)
        silent(app, app.read_samples() if beside else app.samples)
        if remediate:
            if beside:
                note("an engine runs on this record: what is wrong is in its hands (`mendbook status`)")
            else:
                act(app, timeout)
        del controller
    true = any(each.truth is Truth.TRUE for each in found)
    unknown = any(each.truth is Truth.UNKNOWN for each in found)
    if not detailed_exitcode:
        return Exit.OK
    return Exit.FAULTS if true else Exit.UNJUDGED if unknown else Exit.OK


def report(found: list[Finding], look: Look, output: str, *, everything: bool) -> None:
    """Print what holds, then which rules could not be judged and why, then a line that sums up."""
    from engine.model.truth import Truth

    if output != "table":
        emit(found, output)
        return
    rows = [each for each in found if everything or each.truth is Truth.TRUE]
    columns = (
        Column("RUNBOOK", lambda each: each.runbook, whole=True),
        Column("HOST", lambda each: each.target),
        Column("STATE", lambda each: each.state),
        Column("VALUE", lambda each: "" if each.value is None else f"{each.value:.6g}", right=True),
        Column("WHY", lambda each: each.reason, beneath=True),
    )
    show(rows, columns, output, empty="nothing is wrong that can be judged")
    blind: dict[tuple[str, str], list[str]] = {}
    for each in found:
        if each.truth is Truth.UNKNOWN:
            blind.setdefault((each.runbook, shorten(each.reason)), []).append(each.target)
    if blind and not everything:
        click.echo(f"\n{counted(len({runbook for runbook, _ in blind}), 'rule')} could not be judged:")
        for (runbook, reason), targets in sorted(blind.items()):
            where = targets[0] if len(targets) == 1 else f"{len(targets)} hosts"
            click.echo(line(f"  {runbook} on {where}: {reason}"))
    counts = Counter(each.truth for each in found)
    note(
        f"{counted(len(look.scene.catalog.runbooks), 'runbook')}, {counted(len(look.scene.fleet), 'host')}: {counts[Truth.TRUE]} true, "
        f"{counts[Truth.FALSE]} false, {counts[Truth.UNKNOWN]} unknown"
    )


def silent(app: App, store: SampleStore) -> None:
    """Say which endpoints do not answer: what is asked of them cannot be judged."""
    from engine.cli.health import endpoints
    from engine.cli.health_check import Level

    check = endpoints(app, store)
    if check.level is not Level.OK:
        note(f"endpoints: {check.sentence}")


def shorten(reason: str, width: int = 160) -> str:
    """Return the first of several reasons, cut to a line."""
    first, _, rest = reason.partition("; ")
    more = " (and more)" if rest else ""
    return (first if len(first) <= width else first[: width - 1] + "…") + more


def act(app: App, timeout: float) -> None:
    """Tick until nothing is pending and every incident has come to an end or to a human."""
    from engine.cli.narrate import Narrator
    from engine.cli.output import console
    from engine.controller import Tick
    from engine.model.incident import AlertState, IncidentState

    narrator = Narrator(app.history, console(stderr=True), time.time())
    controller = app.controller(app.samples)
    collector = app.collector(app.samples)
    stop = threading.Event()
    end = time.monotonic() + timeout

    def seen(tick: Tick) -> None:
        narrator.poll()
        states = {each.state for each in app.record.standing(tick.now).incidents}
        busy = states & {IncidentState.REMEDIATING, IncidentState.VERIFYING}
        pending = any(alert.state is AlertState.PENDING for alert in tick.alerts)
        if (not busy and not pending) or time.monotonic() > end:
            stop.set()

    collector.start()
    try:
        controller.watch(app.settings.interval, seen, stop)
    finally:
        collector.stop()
