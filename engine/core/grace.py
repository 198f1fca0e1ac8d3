"""Grace after an action: what a run does to its hosts (a node that reboots) is no new fault.

Until a while after a run, what begins on a host that it touched is held; what is still there afterwards is a fault like
any other. The fault that the run was for is exempt: that it is still there is what verification asks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.model.runbook import Catalog
from engine.model.standing import Standing


@dataclass(frozen=True, slots=True)
class Touch:
    """A run that goes on, or that ended less than its grace ago; `key` is (target, resource) of what it was for.

    `until` is when its grace is over, None while it runs.
    """

    execution: str
    what: str
    hosts: frozenset[str]
    key: tuple[str, str]
    since: float
    until: float | None
    grace: float

    @property
    def sentence(self) -> str:
        """Return why what begins now is held; the same words from first to last."""
        return f"{self.execution} ({self.what}) touched this host: what began after it is held until {self.grace:.0f}s after its end"


def touches(standing: Standing, catalog: Catalog, now: float) -> tuple[Touch, ...]:
    """Return the runs whose side effects may show now; a check changes nothing and has none."""
    keys = {incident.id: incident.key for incident in standing.incidents}
    found = [
        Touch(
            execution.id,
            f"{execution.remedy!r} of {execution.runbook}",
            execution.targets,
            keys.get(execution.incident, (execution.target, "")),
            execution.created_at,
            None,
            length_of(execution.runbook, execution.target, catalog),
        )
        for execution in standing.executions
        if not execution.check
    ]
    for attempt in standing.attempts:
        if attempt.ran_until is None:
            continue
        length = length_of(attempt.runbook, attempt.target, catalog)
        if now < attempt.ran_until + length:
            found.append(
                Touch(
                    attempt.execution,
                    f"{attempt.remedy!r} of {attempt.runbook}",
                    attempt.hosts,
                    keys.get(attempt.incident, (attempt.target, "")),
                    attempt.started_at,
                    attempt.ran_until + length,
                    length,
                )
            )
    return tuple(found)


def length_of(runbook: str, target: str, catalog: Catalog) -> float:
    """Return the grace of a runbook in seconds; the engine's, where it has none of its own or is gone."""
    own = [each.guards.grace for each in catalog.variants(runbook) if each.applies_to(target)]
    return catalog.limits.grace if not own or own[0] is None else own[0]


def side_effect(target: str, resource: str, began: float, near: Iterable[Touch]) -> Touch | None:
    """Return the run whose side effect a trouble may be that began at `began`; the one whose grace lasts longest."""
    found = [
        touch for touch in near if target in touch.hosts and touch.key != (target, resource) and began >= touch.since
    ]
    return max(found, key=lambda touch: (touch.until is None, touch.until or 0.0), default=None)
