"""The report of a period: one value that holds everything that is told, whatever it is told in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.core.learning.advice import Advice, Offer, advice
from engine.core.learning.facts import DAY, Past
from engine.core.learning.prevention import Effect, Proof, proofs
from engine.core.learning.recurrence import Recurring, recurring
from engine.core.learning.remedies import Guarded, Measures, Runbook, Success, guards, measures, runbooks, successes


@dataclass(frozen=True, slots=True)
class Failing:
    """What does not work: a remedy, a runbook or a prevention, with what speaks against it."""

    kind: str
    name: str
    verdict: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Prevented:
    """What all preventions have done together; `spared` are faults that would have come, by those that work."""

    works: int
    none: int
    harmful: int
    early: int
    spared: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is told of a period, what does not work first; times in seconds since the epoch."""

    since: float
    until: float
    began: float | None
    """When the record began; None while it is empty."""
    measured: float | None
    """From when on it is measured for how long hosts were looked at (None: never was); before, it is assumed."""
    failing: tuple[Failing, ...]
    measures: Measures
    prevented: Prevented
    preventions: tuple[Proof, ...]
    recurring: tuple[Recurring, ...]
    remedies: tuple[Success, ...]
    runbooks: tuple[Runbook, ...]
    guards: tuple[Guarded, ...]
    advice: tuple[Advice, ...]
    daily: tuple[int, ...]
    """Faults of each day, the oldest first."""

    @property
    def days(self) -> float:
        """Return how many days are told of."""
        return (self.until - self.since) / DAY

    @property
    def empty(self) -> bool:
        """Return whether nothing happened at all."""
        return not (self.measures.faults or self.remedies or self.guards or self.preventions)


def report(
    past: Past,
    since: float,
    began: float | None,
    offers: Sequence[Offer] = (),
    offset: Callable[[float], float] = lambda _: 0.0,
) -> Report:
    """Return the report of the time since then; preventions are judged by all of the past."""
    proved, seen = proofs(past), recurring(past, since, offset)
    remedies, tried = successes(past, since), runbooks(past, since)
    return Report(
        since,
        past.now,
        began,
        past.watched.measured if past.watched.days else None,
        failing(proved, remedies, tried),
        measures(past, since),
        prevented(proved),
        proved,
        seen,
        remedies,
        tried,
        guards(past, since),
        advice(past, seen, proved, offers),
        daily(past, since),
    )


def failing(proved: Sequence[Proof], remedies: Sequence[Success], tried: Sequence[Runbook]) -> tuple[Failing, ...]:
    """Return what does not work, what does harm first."""
    found = [
        Failing("prevention", named(each), str(each.effect), each.sentence)
        for each in proved
        if each.fails and not each.part
    ]
    for each in remedies:
        if not each.works:
            ended = ", ".join(f"{count} {outcome}" for outcome, count in each.outcomes.items())
            chance = f"it heals {each.interval.low:.0%} to {each.interval.high:.0%} of the time"
            sentence = f"{each.healed} of {each.attempts} healed ({ended}); {chance}"
            found.append(Failing("remedy", f"{each.runbook}: {each.remedy}", each.verdict, sentence))
    found += [
        Failing(
            "runbook",
            each.name,
            "never healed",
            f"none of {each.incidents} incidents; at most {each.interval.high:.0%}",
        )
        for each in tried
        if each.never
    ]
    worst = ("harmful", "does harm", "never healed", "never worked", "no effect seen", "fails often")
    return tuple(sorted(found, key=lambda each: worst.index(each.verdict) if each.verdict in worst else len(worst)))


def named(each: Proof) -> str:
    """Return a prevention by its runbook and where it is in force."""
    if each.target is not None:
        return f"{each.runbook} on {each.target}"
    return f"{each.runbook} on {len(each.hosts)} hosts"


def prevented(proved: Sequence[Proof]) -> Prevented:
    """Return what all preventions have done together: each runbook once."""
    own = [each for each in proved if not each.part]
    count = {effect: sum(each.effect is effect for each in own) for effect in Effect}
    spared = sum(each.spared or 0.0 for each in own if each.effect is Effect.WORKS)
    return Prevented(count[Effect.WORKS], count[Effect.NONE], count[Effect.HARMFUL], count[Effect.EARLY], spared)


def daily(past: Past, since: float) -> tuple[int, ...]:
    """Return the faults of each day since then; a day has 24 hours and the last one ends now."""
    days = max(1, round((past.now - since) / DAY))
    counted = [0] * days
    for each in past.faults():
        back = int((past.now - each.opened_at) // DAY)
        if 0 <= back < days:
            counted[days - 1 - back] += 1
    return tuple(counted)
