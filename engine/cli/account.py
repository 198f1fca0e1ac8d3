"""Everything that `mendbook why` says about a host: what holds, what was decided, what happened."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.app import App
    from engine.cli.evidence import Reading
    from engine.model.execution import Execution
    from engine.model.runbook import Runbook
    from engine.model.standing import Lock, Pause, Silence, Standing
    from engine.model.target import Target
    from engine.records.history import Logged
    from engine.records.past import Then
    from engine.samples.store import SampleStore


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that is said about a host."""

    host: str
    at: float
    past: bool
    """Whether it is asked of a moment that is over."""
    newest_sample: float | None
    readings: tuple[Reading, ...]
    incidents: tuple[Then, ...]
    executions: tuple[Execution, ...]
    pauses: tuple[Pause, ...]
    silences: tuple[Silence, ...]
    locks: tuple[Lock, ...]
    decision: Logged | None
    """The last of an incident, else the last of all."""
    later: Logged | None
    """One after it, of no incident."""
    entries: tuple[Logged, ...]
    earlier: int
    """So many entries were before those."""


def gather(
    app: App,
    declared: Sequence[Runbook],
    target: Target,
    store: SampleStore,
    as_of: float,
    count: int,
    *,
    past: bool,
) -> Account:
    """Collect what is known about a host."""
    from engine.cli.evidence import reading
    from engine.model.runbook import Scope
    from engine.records.past import Past

    past_of = Past(app.record)
    then = past_of.moment(target.name, as_of)
    evaluator = app.evaluator(store)
    alerts = then.alerts if past else app.history.alerts(target=target.name)
    readings = [
        reading(runbook, target, evaluator, alerts, as_of)
        for runbook in declared
        if runbook.applies_to(target.name)
        and (runbook.trigger.scope is not Scope.FLEET or runbook.localize.target == target.name)
    ]
    standing = app.record.standing(time.time())
    shown, earlier = past_of.happened(target.name, as_of + 1e-3, count)
    return Account(
        host=target.name,
        at=as_of,
        past=past,
        newest_sample=store.newest(),
        readings=tuple(sorted(readings, key=lambda each: ("true", "unknown", "false").index(each.truth))),
        incidents=then.incidents if past else tuple(stand(standing, target.name)),
        executions=then.executions,
        pauses=then.pauses if past else standing.pauses,
        silences=tuple(each for each in (then.silences if past else standing.silences) if concerns(each, target)),
        locks=() if past else tuple(lock for lock in standing.locks if lock.target == target.name),
        decision=then.decision,
        later=then.later,
        entries=shown,
        earlier=earlier,
    )


def stand(standing: Standing, host: str) -> Iterator[Then]:
    """Yield the live incidents of a host as they stand now."""
    from engine.records.past import Then

    for each in standing.incidents:
        if each.state.live and each.target == host:
            yield Then(each, str(each.state), each.changed_at or each.opened_at, each.reason or each.code)


def concerns(silence: Silence, target: Target) -> bool:
    """Return whether a silence can cover an alert about a host, by the `target` it asks for; one that cannot be read covers all."""
    from engine.core.silences import admits, matchers
    from engine.promql import ParseError

    try:
        asked = matchers(silence.selector)
    except ParseError:
        return True
    return all(admits(each, target.name) for each in asked if each.name == "target")
