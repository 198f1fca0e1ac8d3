"""Proof of prevention: whether a fault became rarer because something was done about it.

Three things make a useless prevention look good, and each is met here:

1. People act after a bad week, and a bad week is followed by a better one (regression to the mean). So the run-up, the time
   just before a prevention began, is left out with its faults. Only where the fault is plainly new, so that there is no other
   time to compare with, the run-up counts, without the fault that was the last straw.
2. Something else changed for everybody at the same time. So hosts without the prevention are compared with, where there are
   any that had such faults.
3. Faults come in bursts, so that few bursts look like many faults. What comes back at once counts once, and intervals are
   widened by how much more the faults scatter than chance alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from engine.core.learning.chances import (
    Counts,
    Interval,
    against_others,
    beta_share,
    binomial_tail,
    gamma_share,
    poisson_share,
    pooled_interval,
)
from engine.core.learning.facts import DAY, Happened, Past, Tried, episodes, fits

RUN_UP = 7 * DAY
"""So long before a prevention began is left out: what made people act lies there."""
RUN_UP_SHARE = 1.0 / 3.0
"""Of a short past, not more than this share."""
NEW = 0.001
"""A fault is new where the run-up would be this improbable in what was before it."""
MAYBE = 0.05
"""A fault that never was before may be new where the run-up is this improbable; a prevention is not blamed for it."""
BACK = 365 * DAY
OTHERS = 10
"""So many faults of other hosts, at least, before these say something."""
WORTH = 0.2
"""What a good prevention leaves: one fault in five."""
POWER = 0.8
"""How probable it must be that a good prevention would have shown."""
BIN = 2.0
"""Faults that a stretch of time should have, when it is asked how they scatter."""
STRETCHES = 4
SCATTERED = 0.7
"""Faults that scatter more than this share of what chance does (by its chi-squared distribution) come in bursts."""
CERTAIN = 0.99
"""How sure a verdict is: reports are read again and again, and each time is another chance to be wrong."""
NORMAL = 2.5758
"""The deviations of a normal distribution that hold so much."""
FOREVER = 3 * 365 * DAY


class Effect(StrEnum):
    """What can be said of a prevention."""

    WORKS = "works"
    NONE = "no effect seen"
    HARMFUL = "harmful"
    EARLY = "too early"


@dataclass(frozen=True, slots=True)
class Began:
    """The moment from which a prevention was in force on a host."""

    runbook: str
    resource: str
    target: str
    at: float
    culprit: str | None = None


@dataclass(frozen=True, slots=True)
class Stratum:
    """One host before and after: counts by seconds with data."""

    began: Began
    counts: Counts
    """What is compared: faults and seconds before, without the run-up, and since."""
    whole: Counts
    """The same with the run-up, by which harm is judged: a prevention did no harm that was there before."""
    left_out: int
    """Faults of the run-up that are not counted."""
    new: bool
    """The fault was new: the run-up itself is what is compared."""
    others: Counts
    scatter: tuple[float, int] = (0.0, 0)
    """The sum of squares of how the faults scatter, and its degrees of freedom."""
    times: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of one prevention, on one host or (target None) on all that have it.

    `ratio` is the rate since divided by the rate before; `needs` is after how many more seconds with data it can be told.
    """

    runbook: str
    resource: str
    target: str | None
    hosts: tuple[str, ...]
    at: float
    before: int
    before_exposure: float
    after: int
    after_exposure: float
    left_out: int
    ratio: float | None
    interval: Interval
    compared: bool
    """Whether other hosts were compared with; then ratio and interval are against them."""
    burst: float
    """By how much more faults scatter than chance alone: 1 is chance."""
    effect: Effect
    sentence: str
    needs: float | None = None
    times: tuple[float, ...] = ()
    spared: float | None = None
    """Faults that would have come since, at the rate before, and did not."""
    part: bool = False
    """It is about one of several hosts, which another row tells of together."""

    @property
    def fails(self) -> bool:
        """Return whether it was tried long enough, and does not work."""
        return self.effect in (Effect.NONE, Effect.HARMFUL)


def proofs(past: Past) -> tuple[Proof, ...]:
    """Return what is known of each prevention that is in force: on all hosts and, where there are several, on each; what does not work first."""
    faults = past.faults()
    by: dict[str, list[Stratum]] = {}
    starts = began(past)
    for each in starts:
        by.setdefault(each.runbook, []).append(stratum(each, faults, past, starts))
    rows: list[Proof] = []
    for own in by.values():
        rows.append(proof(own))
        if len(own) > 1:
            rows += [proof([each], single=True) for each in own]
    order = (Effect.HARMFUL, Effect.NONE, Effect.EARLY, Effect.WORKS)
    return tuple(sorted(rows, key=lambda row: (order.index(row.effect), row.runbook, row.target or "")))


def began(past: Past) -> tuple[Began, ...]:
    """Return when each prevention was first verified on each host."""
    first: dict[tuple[str, str], Tried] = {}
    for each in past.tried:
        if each.runbook in past.preventing and each.outcome == "resolved":
            known = first.get((each.runbook, each.target))
            if known is None or each.started_at < known.started_at:
                first[each.runbook, each.target] = each
    return tuple(
        Began(runbook, past.preventing[runbook], target, each.ended_at or each.started_at, each.culprit)
        for (runbook, target), each in sorted(first.items())
    )


def concerns(fault: Happened, start: Began) -> bool:
    """Return whether a prevention is to keep this fault away: of the same resource of its host, or of the same culprit."""
    if fault.target != start.target:
        return False
    return fits(start.resource, fault.resource) or (fault.culprit is not None and fault.culprit == start.culprit)


def stratum(start: Began, faults: Sequence[Happened], past: Past, starts: Iterable[Began]) -> Stratum:
    """Return one host before and after."""
    own = episodes(each for each in faults if concerns(each, start))
    since = max(past.watched.since, start.at - BACK)
    early = start.at - min(RUN_UP, RUN_UP_SHARE * max(0.0, start.at - since))
    seen = past.watched.exposure
    times = [each.opened_at for each in own]

    def count(begin: float, end: float) -> int:
        return sum(begin <= at < end for at in times)

    after, after_exposure = count(start.at, math.inf), seen(start.target, start.at, past.now)
    calm = Counts(count(since, early), seen(start.target, since, early), after, after_exposure)
    late, late_exposure = count(early, start.at), seen(start.target, early, start.at)
    new = late > 1 and is_new(calm.before, calm.before_exposure, late, late_exposure)
    first = min((at for at in times if early <= at < start.at), default=early)
    rush = Counts(late, seen(start.target, first, start.at), after, after_exposure)
    unseen = calm.before == 0 and is_new(0, calm.before_exposure, late, late_exposure, MAYBE)
    whole = (
        rush
        if new or unseen
        else Counts(calm.before + late, calm.before_exposure + late_exposure, after, after_exposure)
    )
    if new:
        calm = Counts(late - 1, late_exposure, after, after_exposure)
    begin, end = (early, start.at) if new else (since, early)
    return Stratum(
        start,
        calm,
        whole,
        1 if new else late,
        new,
        of_others(start, faults, past, starts, (begin, end)),
        scattered(times, ((begin, end), (start.at, past.now))),
        tuple(times),
    )


def is_new(before: int, exposure: float, late: int, late_exposure: float, chance: float = NEW) -> bool:
    """Return whether the run-up is beyond what a bad week of the time before it is."""
    whole = exposure + late_exposure
    return whole > 0.0 and binomial_tail(late, before + late, late_exposure / whole) < chance


def of_others(
    start: Began, faults: Sequence[Happened], past: Past, starts: Iterable[Began], window: tuple[float, float]
) -> Counts:
    """Return the same faults on hosts that had them and never a prevention of the kind, in the same stretches of time."""
    spared = {each.target for each in starts if each.resource == start.resource}
    total = Counts(0, 0.0, 0, 0.0)
    groups: dict[str, list[Happened]] = {}
    for each in faults:
        if fits(start.resource, each.resource) and each.target not in spared:
            groups.setdefault(each.target, []).append(each)
    for target, everything in groups.items():
        times = [each.opened_at for each in episodes(everything)]
        total += Counts(
            sum(window[0] <= at < window[1] for at in times),
            past.watched.exposure(target, *window),
            sum(at >= start.at for at in times),
            past.watched.exposure(target, start.at, past.now),
        )
    return total


def scattered(times: Sequence[float], windows: Iterable[tuple[float, float]]) -> tuple[float, int]:
    """Return Pearson's sum of squares of faults by stretches of time, and its degrees of freedom."""
    squares, freedom = 0.0, 0
    for begin, end in windows:
        inside = [at for at in times if begin <= at < end]
        bins = int(len(inside) / BIN)
        if bins < STRETCHES or end <= begin:
            continue
        mean = len(inside) / bins
        counted = [0] * bins
        for at in inside:
            counted[min(bins - 1, int((at - begin) / (end - begin) * bins))] += 1
        squares += sum((each - mean) ** 2 / mean for each in counted)
        freedom += bins - 1
    return squares, freedom


def proof(strata: Sequence[Stratum], *, single: bool = False) -> Proof:
    """Return the verdict on a prevention from the hosts that have it."""
    counts = sum((each.counts for each in strata), Counts(0, 0.0, 0, 0.0))
    burst = burstiness(strata)
    interval = widened(pooled_interval([each.counts for each in strata], CERTAIN), expected(strata), counts, burst)
    others = beside(strata)
    compared = others.before >= OTHERS and others.after_exposure > 0.0
    ratio = None if not counts.before or not expected(strata) else counts.after / expected(strata)
    if compared and ratio is not None:
        interval = widened(
            against_others(counts, others, CERTAIN), expected(strata) * (others.ratio or 0.0), counts, burst
        )
        ratio = ratio / others.ratio if others.ratio else None
    needs = None
    if interval.high < 1.0:
        effect = Effect.WORKS
    elif interval.low > 1.0 and harms(strata, burst):
        effect = Effect.HARMFUL
    else:
        needs = still(counts.before, expected(strata), counts.after_exposure, burst)
        effect = Effect.NONE if needs is None else Effect.EARLY
    first = strata[0].began
    row = Proof(
        first.runbook,
        first.resource,
        first.target if len(strata) == 1 else None,
        tuple(each.began.target for each in strata),
        min(each.began.at for each in strata),
        counts.before,
        counts.before_exposure,
        counts.after,
        counts.after_exposure,
        sum(each.left_out for each in strata),
        ratio,
        interval,
        compared,
        burst,
        effect,
        "",
        needs,
        tuple(sorted(at for each in strata for at in each.times)),
        expected(strata) - counts.after if counts.before else None,
        single,
    )
    return told(row)


def beside(strata: Sequence[Stratum]) -> Counts:
    """Return the other hosts that are compared with: where a prevention began on several at a time, those of that time.

    One that began here and there at different times is no change for everybody at once, and needs no comparison.
    """
    ordered = sorted(strata, key=lambda each: each.began.at)
    if ordered[-1].began.at - ordered[0].began.at > RUN_UP:
        return Counts(0, 0.0, 0, 0.0)
    return ordered[len(ordered) // 2].others


def expected(strata: Sequence[Stratum]) -> float:
    """Return how many faults would have come since, at the rates before."""
    return sum(
        each.counts.before * each.counts.after_exposure / each.counts.before_exposure
        for each in strata
        if each.counts.before_exposure > 0.0
    )


def harms(strata: Sequence[Stratum], burst: float) -> bool:
    """Return whether there are more faults than before even when those of the run-up count."""
    counts = sum((each.whole for each in strata), Counts(0, 0.0, 0, 0.0))
    likely = sum(
        each.whole.before * each.whole.after_exposure / each.whole.before_exposure
        for each in strata
        if each.whole.before_exposure > 0.0
    )
    return widened(pooled_interval([each.whole for each in strata], CERTAIN), likely, counts, burst).low > 1.0


def burstiness(strata: Sequence[Stratum]) -> float:
    """Return by how much more faults scatter than chance alone, 1 at the least: 1 where too few say, or chance may do as much.

    What few say is doubtful itself: it is made as much larger as Student's distribution is wider than the normal one.
    """
    squares = sum(each.scatter[0] for each in strata)
    freedom = sum(each.scatter[1] for each in strata)
    if freedom < STRETCHES - 1 or gamma_share(freedom / 2.0, squares / 2.0) < SCATTERED:
        return 1.0
    return squares / freedom * (student(freedom) / NORMAL) ** 2


def student(freedom: int) -> float:
    """Return the deviations of Student's distribution that hold what is certain (Cornish and Fisher's expansion)."""
    cube, fifth = NORMAL**3, NORMAL**5
    return NORMAL + (cube + NORMAL) / (4 * freedom) + (5 * fifth + 16 * cube + 3 * NORMAL) / (96 * freedom**2)


def widened(interval: Interval, likely: float, counts: Counts, burst: float) -> Interval:
    """Return an interval as wide as bursts make it (quasi-Poisson: McCullagh and Nelder, Generalized Linear Models, 1989)."""
    if burst <= 1.0 or likely <= 0.0:
        return interval
    middle = (counts.after + 0.5) / (likely + 0.5)
    power = math.sqrt(burst)
    low = 0.0 if interval.low <= 0.0 else middle * min(1.0, interval.low / middle) ** power
    high = math.inf if math.isinf(interval.high) else middle * max(1.0, interval.high / middle) ** power
    return Interval(low, high)


def still(before: int, likely: float, exposure: float, burst: float) -> float | None:
    """Return after how many more seconds with data a good prevention would show; None when it would have by now, infinity when never."""
    if not before or not likely or not exposure:
        return math.inf
    if shows(before, likely, burst):
        return None
    longest = max(2.0, FOREVER / exposure)
    if not shows(before, likely * longest, burst):
        return math.inf
    low, high = 1.0, longest
    while high / low > 1.05:  # noqa: PLR2004  to a twentieth is near enough
        middle = math.sqrt(low * high)
        low, high = (low, middle) if shows(before, likely * middle, burst) else (middle, high)
    return (high - 1.0) * exposure


def shows(before: int, likely: float, burst: float) -> bool:
    """Return whether a good prevention is told from none, where `likely` faults would have come without."""
    effective, without = before / burst, likely / burst
    chance = without / (without + effective)

    def tells(after: int) -> bool:
        return 1.0 - beta_share(chance, after + 1, effective) < (1.0 - CERTAIN) / 2.0

    if not tells(0):
        return False
    low, high = 0, int(without) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if tells(middle) else (low, middle)
    return poisson_share(low, WORTH * without) >= POWER


def told(row: Proof) -> Proof:
    """Return the proof with its sentence."""
    where = "" if row.target is not None or len(row.hosts) == 1 else f" on {len(row.hosts)} hosts"
    seen = f"{row.before} in {span(row.before_exposure)} before, {row.after} in {span(row.after_exposure)} since{where}"
    between = f" (99 %: {percent(row.interval.low)} to {percent(row.interval.high)})"
    against = ", against the other hosts" if row.compared else ""
    change = "" if row.ratio is None else f": {percent(row.ratio)}{between}{against}"
    if row.effect is Effect.EARLY:
        if not row.before:
            change = "; there is nothing before to compare with"
        elif row.needs is not None and math.isfinite(row.needs):
            change = f"; it can be told in about {span(row.needs)} with data"
        else:
            change = "; too few before to ever tell"
    left = f"; {row.left_out} of the run-up left out" if row.left_out else ""
    return replace(row, sentence=f"{seen}{change}{left}")


def percent(ratio: float) -> str:
    """Return a ratio as a change in percent."""
    if math.isinf(ratio) or ratio > 100:  # noqa: PLR2004  what says nothing is not spelt out
        return "any increase"
    return f"{round((ratio - 1) * 100):+d} %"


def span(seconds: float) -> str:
    """Return a span of time in days, or in hours where it is short."""
    return f"{seconds / DAY:.0f} d" if seconds >= 2 * DAY else f"{seconds / 3600:.0f} h"
