"""Verdicts of guards, decisions, and what is to be committed and done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.model.execution import Execution, PlannedStep
from engine.model.incident import Alert, Incident
from engine.model.runbook import Value


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one guard says: allowed or not, a code for programs, a sentence with numbers for people.

    `until` (seconds since the epoch) is when asking again can help.
    """

    guard: str
    allowed: bool
    code: str
    sentence: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The remedy may start: this execution, all guards having allowed it."""

    execution: Execution
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now; the next tick asks again."""

    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class Escalate:
    """A human must look."""

    code: str
    reason: str
    verdicts: tuple[Verdict, ...] = ()


Decision = Run | Hold | Escalate


@dataclass(frozen=True, slots=True)
class Start:
    """Effect: launch the execution whose intent was committed."""

    execution: Execution


@dataclass(frozen=True, slots=True)
class Cancel:
    """Effect: end the execution."""

    execution: str
    reason: str


Effect = Start | Cancel


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the record: what was decided or seen to happen, in words, with the values it rests on."""

    kind: str
    """alert · fault · decision · approval · execution · verification · outcome · reminder · operator · engine"""
    sentence: str
    incident: str | None = None
    target: str | None = None
    runbook: str | None = None
    code: str = ""
    data: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What is committed at once: all of it or, when the record moved on since `version`, nothing.

    The effect begins after the commit. `alerts` replaces the stored alerts (None leaves them as they are);
    `locks` are targets taken for `owner`, `unlock` are targets released.
    """

    version: int
    at: float
    entries: tuple[Entry, ...] = ()
    alerts: tuple[Alert, ...] | None = None
    incident: Incident | None = None
    execution: Execution | None = None
    locks: frozenset[str] = frozenset()
    unlock: frozenset[str] = frozenset()
    finished_request: str | None = None
    request_result: str = ""
    decision: Decision | None = None
    effect: Effect | None = None
    fleet: frozenset[str] | None = None
    """The names of all targets, when they changed."""

    @property
    def owner(self) -> str:
        """Return who holds the locks: the incident, or an execution that belongs to none."""
        if self.incident is not None:
            return self.incident.id
        return self.execution.id if self.execution is not None else ""

    @property
    def why(self) -> str:
        """Return what the locks are for, in words."""
        if self.execution is not None:
            return f"{self.execution.id}: {self.execution.remedy}"
        return self.incident.reason if self.incident is not None else ""


@dataclass(frozen=True, slots=True)
class Preparation:
    """The steps of one remedy for one target, hosts resolved and variables rendered, or why that cannot be done."""

    steps: tuple[PlannedStep, ...] = ()
    refusal: str | None = None
