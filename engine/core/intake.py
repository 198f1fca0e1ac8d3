"""What executions came to: taken into the record as the executor reports it."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfoNotFoundError

from engine.core import lifecycle
from engine.core.detect import named
from engine.core.draft import Scene
from engine.core.silences import covers
from engine.core.windows import permits
from engine.model.decision import Cancel, Change
from engine.model.execution import Execution, ExecutionState, Report
from engine.model.incident import IncidentState
from engine.model.runbook import Catalog, Window
from engine.model.standing import Standing


def take_in(scene: Scene, standing: Standing, execution: Execution) -> Change | None:
    """Take what the executor reports of one execution into the record."""
    report = scene.reports.get(execution.id)
    if report is not None and report.state is execution.state is ExecutionState.PENDING:
        return hold_back(scene, standing, execution)
    if report is None or report.state is execution.state:
        return None
    if report.state is ExecutionState.RUNNING:
        running = replace(execution, state=report.state, started_at=report.started_at or scene.now)
        return Change(version=0, at=scene.now, execution=running)
    if report.state.active:
        return None
    incident = next((each for each in standing.incidents if each.id == execution.incident), None)
    if incident is not None and incident.state is IncidentState.REMEDIATING:
        return lifecycle.finish(incident, execution, report, standing, scene.now)
    return end_alone(execution, report, scene, standing)


def hold_back(scene: Scene, standing: Standing, execution: Execution) -> Change | None:
    """Withdraw an intent that was never begun and that a pause, a silence or the end of its window has overtaken."""
    reason = overtaken(standing, execution, scene.catalog, scene.now, scene.now - scene.ahead)
    if reason is None:
        return None
    incident = next((each for each in standing.incidents if each.id == execution.incident), None)
    if incident is not None and incident.state is IncidentState.REMEDIATING:
        return lifecycle.withdraw(incident, execution, reason, standing, scene.now)
    report = Report(execution.id, ExecutionState.CANCELED, message=f"never begun: {reason}")
    return replace(end_alone(execution, report, scene, standing), effect=Cancel(execution.id, reason))


def end_alone(execution: Execution, report: Report, scene: Scene, standing: Standing) -> Change:
    """End an execution that no incident waits for; its locks go when it was proved ended."""
    ended = lifecycle.end_execution(execution, report, scene.now)
    return Change(
        version=0,
        at=scene.now,
        execution=ended,
        entries=(lifecycle.execution_entry(ended, report),),
        unlock=lifecycle.held_by(execution.id, standing) if report.contained else frozenset(),
    )


def open_now(window: Window, wall: float) -> bool:
    """Return whether a window is open; one whose time of day cannot be told is not, and must not keep the engine from ticking."""
    try:
        return permits(window, wall)
    except (ZoneInfoNotFoundError, ValueError, OverflowError, OSError):
        return False


def overtaken(standing: Standing, execution: Execution, catalog: Catalog, now: float, wall: float) -> str | None:
    """Say why an execution that was committed and never begun must not begin now; None when it may."""
    for pause in standing.pauses:
        if any(pause.covers(execution.runbook, target, now) for target in execution.targets):
            return f"{pause.scope} is paused by {pause.by}: {pause.reason}"
    if execution.triggered_by != "engine":
        return None
    window = next(
        (each.guards.window for each in catalog.variants(execution.runbook) if each.applies_to(execution.target)), None
    )
    if window is not None and not open_now(window, wall):
        return "its window has closed"
    own = [
        each for each in standing.alerts if each.target == execution.target and named(each.runbook) == execution.runbook
    ]
    for silence in standing.silences:
        if now < silence.until and any(covers(silence.selector, alert) for alert in own):
            return f"{silence.selector} is silenced by {silence.by}: {silence.reason}"
    return None
