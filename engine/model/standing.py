"""What stands in the record when a tick begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.model.execution import Execution
from engine.model.incident import Alert, Attempt, Incident
from engine.model.runbook import Value


@dataclass(frozen=True, slots=True)
class Lock:
    """A target that one execution, or an escalated incident, holds."""

    target: str
    owner: str
    taken_at: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Automation is to keep still: everywhere (`scope` is "all"), for a runbook (`runbook:NAME`) or a host (`host:NAME`)."""

    scope: str
    by: str
    reason: str
    since: float
    until: float | None = None
    stop: bool = False
    """An emergency stop: what runs is to end, too, also what is begun by one that had not heard of it."""

    def covers(self, runbook: str, target: str, now: float) -> bool:
        """Return whether it holds this runbook back on this target now."""
        if self.until is not None and now >= self.until:
            return False
        return self.scope in ("all", f"runbook:{runbook}", f"host:{target}")

    def outlasts(self, other: Pause, now: float) -> bool:
        """Return whether it would hold longer than another of its scope; a stop outlasts whatever is none."""
        if (self.until is not None and now >= self.until) or other.stop:
            return False
        return self.stop or (other.until is not None and (self.until is None or self.until > other.until))


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts whose labels match `selector` (such as `{alertname="HostDown",instance=~"db.*"}`) start nothing until `until`.

    They are detected and recorded as ever. Who asked for it, why and since when are told with every hold.
    """

    id: str
    selector: str
    by: str
    reason: str
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks of the engine.

    `kind` is one of: run, run_plan, cancel, close, acknowledge, hand_back, approve, deny, accept_inventory. For run, `subject` is
    a runbook and `targets` are exact names; for cancel, `subject` is an execution; for the five behind it, an incident.
    Approve and deny carry in `vars` the `digest` of the proposal that was shown and its `expires_at`; run_plan carries
    `created`, `expires_at` and `runs`, each with its `target`, `resource`, `runbook` and `digest`.
    """

    id: str
    kind: str
    by: str
    reason: str
    at: float
    subject: str = ""
    targets: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    vars: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """One consistent reading of the record.

    `incidents` are the live ones and those that ended recently enough to be reopened; `attempts` those of the last 24 h;
    `executions` the active ones. `last_tick` is when the last tick was committed, None for the first ever.
    `fleet` names the targets as of the last tick.
    """

    version: int = 0
    alerts: tuple[Alert, ...] = ()
    incidents: tuple[Incident, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    executions: tuple[Execution, ...] = ()
    locks: tuple[Lock, ...] = ()
    pauses: tuple[Pause, ...] = ()
    silences: tuple[Silence, ...] = ()
    requests: tuple[Request, ...] = ()
    last_tick: float | None = None
    fleet: frozenset[str] = field(default_factory=frozenset)
