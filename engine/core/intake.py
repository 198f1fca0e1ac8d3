"""What executions came to: taken into the record as the executor reports it."""

from __future__ import annotations

from dataclasses import replace

from engine.core import lifecycle
from engine.core.draft import Scene
from engine.model.decision import Cancel, Change
from engine.model.execution import Execution, ExecutionState, Report
from engine.model.incident import IncidentState
from engine.model.standing import Pause, Standing


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
    """Withdraw an intent that was never begun and that a pause has overtaken."""
    pause = paused(standing, execution, scene.now)
    if pause is None:
        return None
    reason = f"{pause.scope} is paused by {pause.by}: {pause.reason}"
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


def paused(standing: Standing, execution: Execution, now: float) -> Pause | None:
    """Return the pause that an execution must not begin under."""
    for pause in standing.pauses:
        if any(pause.covers(execution.runbook, target, now) for target in execution.targets):
            return pause
    return None
