"""A tick's scene, and the standing as its changes alter it one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.core.case import Case
from engine.core.decide import Prepare
from engine.core.detect import Answers
from engine.model.decision import Change
from engine.model.execution import Execution, PlannedStep, Report
from engine.model.incident import Alert, Incident
from engine.model.runbook import Catalog, Remedy, Runbook
from engine.model.standing import Lock, Standing
from engine.model.target import Fleet, Target


@dataclass(frozen=True, slots=True)
class Scene:
    """What a tick looks at besides the record; `reports` are by execution."""

    alerts: tuple[Alert, ...]
    answers: Answers
    catalog: Catalog
    fleet: Fleet
    now: float
    prepare: Prepare
    reports: Mapping[str, Report] = field(default_factory=dict)
    jump: float = 0.0
    ahead: float = 0.0
    """By how many seconds the steady clock is ahead of the wall's."""
    automatic: bool = True
    """False: only what operators asked for is begun; what runs is followed to its end."""


@dataclass(slots=True)
class Draft:
    """The standing as it will be once the changes so far are committed."""

    standing: Standing
    changes: list[Change] = field(default_factory=list)

    def add(self, change: Change | None) -> None:
        """Append a change, judged on the version it will meet."""
        if change is None:
            return
        change = replace(change, version=self.standing.version)
        self.changes.append(change)
        self.standing = apply(self.standing, change)

    def finish(self, request: str, result: str, now: float, before: int) -> None:
        """Answer a request in the last change since `before`, so that nothing is done without its answer."""
        if len(self.changes) == before:
            self.add(Change(0, now, finished_request=request, request_result=result))
            return
        self.changes[-1] = replace(self.changes[-1], finished_request=request, request_result=result)
        rest = tuple(each for each in self.standing.requests if each.id != request)
        self.standing = replace(self.standing, requests=rest)


def case_for(
    scene: Scene,
    standing: Standing,
    runbook: Runbook,
    remedy: Remedy,
    steps: tuple[PlannedStep, ...],
    incident: Incident,
    target: Target,
    *,
    alert: Alert | None = None,
    operator: str | None = None,
) -> Case:
    """Return what the guards look at for one remedy."""
    return Case(
        runbook=runbook,
        remedy=remedy,
        steps=steps,
        incident=incident,
        target=target,
        alert=alert,
        standing=standing,
        catalog=scene.catalog,
        fleet=scene.fleet,
        answers=scene.answers,
        now=scene.now,
        jump=scene.jump,
        ahead=scene.ahead,
        operator=operator,
    )


def apply(standing: Standing, change: Change) -> Standing:
    """Return the standing as it is once the change is committed; records do the same in their own terms."""
    incidents, attempts, executions = standing.incidents, standing.attempts, standing.executions
    if change.incident is not None:
        incidents = (*(each for each in incidents if each.id != change.incident.id), change.incident)
        attempt = change.incident.attempt
        if attempt is not None:
            attempts = (*(each for each in attempts if each.id != attempt.id), attempt)
    if change.execution is not None:
        executions = with_execution(executions, change.execution)
    locks = tuple(lock for lock in standing.locks if lock.target not in change.unlock)
    held = {lock.target for lock in locks}
    locks += tuple(Lock(target, change.owner, change.at, change.why) for target in sorted(change.locks - held))
    return replace(
        standing,
        version=standing.version + 1,
        alerts=change.alerts if change.alerts is not None else standing.alerts,
        last_tick=change.at if change.alerts is not None else standing.last_tick,
        incidents=incidents,
        attempts=attempts,
        executions=executions,
        locks=locks,
        requests=tuple(request for request in standing.requests if request.id != change.finished_request),
        fleet=change.fleet if change.fleet is not None else standing.fleet,
    )


def with_execution(executions: tuple[Execution, ...], execution: Execution) -> tuple[Execution, ...]:
    """Return the active executions once this one is stored."""
    rest = tuple(each for each in executions if each.id != execution.id)
    return (*rest, execution) if execution.state.active else rest
