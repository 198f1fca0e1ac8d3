"""What guards look at, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.core.clocks import told
from engine.core.detect import Answers
from engine.core.identity import seal
from engine.model.decision import Verdict
from engine.model.execution import PlannedStep
from engine.model.incident import Alert, Attempt, Incident
from engine.model.runbook import Catalog, Remedy, Runbook
from engine.model.standing import Standing
from engine.model.target import Fleet, Target

DAY, HOUR = 86400.0, 3600.0


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a guard may look at when one remedy of one runbook is to start for one incident now."""

    runbook: Runbook
    remedy: Remedy
    steps: tuple[PlannedStep, ...]
    incident: Incident
    target: Target
    alert: Alert | None
    standing: Standing
    catalog: Catalog
    fleet: Fleet
    answers: Answers
    now: float
    jump: float = 0.0
    """By how many seconds the wall clock left the steady one since the last tick."""
    ahead: float = 0.0
    """By how many seconds the steady clock is ahead of the wall's."""
    operator: str | None = None

    @property
    def wall(self) -> float:
        """Return what the clock on the wall says, by which people declare times of day."""
        return self.now - self.ahead

    def told(self, at: float) -> str:
        """Return a moment of the steady clock in words, by the clock on the wall."""
        return told(at - self.ahead, self.wall)

    @property
    def hosts(self) -> frozenset[str]:
        """Return every host the remedy would touch."""
        return frozenset({self.target.name}.union(*(step.hosts for step in self.steps)))

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Return the attempts of this runbook in the last 24 hours, on whatever target, under whatever name it had."""
        return attempts_of(self.runbook, self.standing, self.catalog, self.now)

    @property
    def number(self) -> int:
        """Return which attempt of the runbook on the target in 24 hours this would be."""
        return 1 + sum(attempt.target == self.target.name for attempt in self.attempts)

    @property
    def digest(self) -> str:
        """Return what tells this very plan from every other one; it says nothing of when it was made."""
        return seal(
            self.steps,
            runbook=self.runbook.name,
            runbook_digest=self.runbook.digest,
            remedy=self.remedy.name,
            rung=self.incident.rung,
            number=self.number,
            target=self.target.name,
            resource=self.incident.resource,
            culprit=self.incident.culprit,
        )


Guard = Callable[[Case], Verdict]


def attempts_of(runbook: Runbook, standing: Standing, catalog: Catalog, now: float) -> tuple[Attempt, ...]:
    """Return the attempts that count for a runbook: its own of the last 24 hours, and those that it inherits.

    What a runbook that is gone has tried for the same resource counts on: a new name does not set anything free.
    """
    orphans = orphaned(runbook.localize.resource, standing, catalog)
    return tuple(
        attempt
        for attempt in standing.attempts
        if (attempt.runbook == runbook.name or attempt.id in orphans) and now - attempt.started_at < DAY
    )


def orphaned(resource: str, standing: Standing, catalog: Catalog) -> frozenset[str]:
    """Return the attempts for a resource whose runbook is there no more."""
    known = {each.name for each in catalog.runbooks}
    gone = [attempt for attempt in standing.attempts if attempt.runbook not in known]
    if not gone:
        return frozenset()
    about = {incident.id for incident in standing.incidents if incident.resource == resource}
    return frozenset(attempt.id for attempt in gone if attempt.incident in about)


def allow(guard: str, sentence: str) -> Verdict:
    """Return the verdict of a guard that has no objection."""
    return Verdict(guard, allowed=True, code="ok", sentence=sentence)


def hold(guard: str, code: str, sentence: str, until: float | None = None) -> Verdict:
    """Return the verdict of a guard that objects."""
    return Verdict(guard, allowed=False, code=code, sentence=sentence, until=until)
