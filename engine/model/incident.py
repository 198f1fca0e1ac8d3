"""Alerts, suspects, faults, incidents and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from engine.model.execution import PlannedStep
from engine.model.labels import Labels


class AlertState(StrEnum):
    """Alertmanager's states, and unknown: the data ended before the alert did."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that holds on some labels; times in seconds since the epoch.

    `fingerprint` depends on the runbook's name and the labels alone. `last_true` is when the condition was last seen to hold,
    `last_seen` when it was last judged at all.
    """

    fingerprint: str
    runbook: str
    name: str
    labels: Labels
    target: str | None
    state: AlertState
    value: float
    active_since: float
    last_true: float
    last_seen: float
    fired_at: float | None = None
    ended_at: float | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    condition: str = ""
    """The comparison in words and numbers, such as `memory = 3.1e+09, limit > 2e+09`."""
    reason: str = ""
    """Why it is unknown, or why it has no target."""
    held: str = ""
    """Why no incident is opened for it yet, such as the grace after a run on its host."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A node, a resource on it and the culprit that uses it; `score` in 0..1, `evidence` in words and numbers."""

    node: str
    resource: str
    culprit: str | None
    score: float
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """What localization concluded: the best suspect, its margin over the second (0..1), and who else was looked at."""

    suspect: Suspect
    margin: float
    runbooks: tuple[str, ...]
    """Variants of the runbooks whose own trigger fires on this node and whose resource is the fault's."""
    alerts: tuple[str, ...] = ()
    """Fingerprints of the alerts that are this fault or its symptoms."""
    others: tuple[Suspect, ...] = ()


class IncidentState(StrEnum):
    """The life of an incident."""

    OPEN = "open"
    REMEDIATING = "remediating"
    VERIFYING = "verifying"
    ESCALATED = "escalated"
    RESOLVED = "resolved"
    SELF_HEALED = "self_healed"

    @property
    def live(self) -> bool:
        """Return whether the fault is not over."""
        return self not in (IncidentState.RESOLVED, IncidentState.SELF_HEALED)


class Outcome(StrEnum):
    """How an attempt or an incident ended."""

    RESOLVED = "resolved"
    SELF_HEALED = "self_healed"
    INEFFECTIVE = "ineffective"
    HARMFUL = "harmful"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Verification(StrEnum):
    """What the original signal says after a remedy."""

    PASS = "pass"  # noqa: S105  a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a verification has come; it runs on time with data alone.

    `observed` is the time with data since the remedy ended, `held` for how long the signal has been true without a break, `blind`
    the time without data, all in seconds; `judged_at` is the tick that was counted last.
    """

    observed: float = 0.0
    held: float = 0.0
    blind: float = 0.0
    judged_at: float = 0.0
    true_before: bool = False
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One remedy tried for one incident; what it was aimed at is frozen for its length."""

    id: str
    incident: str
    runbook: str
    digest: str
    rung: int
    remedy: str
    culprit: str | None
    execution: str
    started_at: float
    ended_at: float | None = None
    outcome: Outcome | None = None
    target: str = ""
    unproved: bool = False
    """Its execution was not proved ended: the target stays locked."""
    hosts: frozenset[str] = frozenset()
    """Every host that its execution may have touched."""
    ran_until: float | None = None
    """When its execution ended; the attempt itself ends with its verification."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Exactly what waits for a person's approval; `digest` covers all of it but the two times.

    `number` counts the runbook's attempts on the target in 24 h, this one included. What is not approved by `expires_at`
    is proposed anew.
    """

    digest: str
    runbook: str
    runbook_digest: str
    remedy: str
    rung: int
    number: int
    target: str
    resource: str
    culprit: str | None
    steps: tuple[PlannedStep, ...]
    proposed_at: float
    expires_at: float
    why: str = ""
    """Why a person is asked."""


@dataclass(frozen=True, slots=True)
class Approved:
    """A person's word that what has this digest may start until `expires_at`, all other guards agreeing."""

    digest: str
    by: str
    reason: str
    at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Incident:
    """The life of a fault; its key is (target, resource).

    `triggered_by` is "engine", or the operator who asked; `code` is the code of the last decision, so that the record
    keeps a verdict when its code changes and not at every tick.
    """

    id: str
    target: str
    resource: str
    state: IncidentState
    opened_at: float
    culprit: str | None = None
    runbook: str | None = None
    fault: Fault | None = None
    first_active: float = 0.0
    """When the first of its alerts became active: time to detect counts from here."""
    localized_at: float | None = None
    changed_at: float = 0.0
    ended_at: float | None = None
    outcome: Outcome | None = None
    attempt: Attempt | None = None
    rung: int = 0
    progress: Progress = field(default_factory=Progress)
    code: str = ""
    reason: str = ""
    triggered_by: str = "engine"
    request: str | None = None
    acknowledged_by: str | None = None
    trigger_cleared: bool = False
    """Since it ended, its trigger was seen false once."""
    reopened: int = 0
    proposal: Proposal | None = None
    approved: Approved | None = None
    reminded_at: float = 0.0
    """When people were last told again that it waits for one of them."""

    @property
    def key(self) -> tuple[str, str]:
        """Return what makes two faults the same."""
        return (self.target, self.resource)
