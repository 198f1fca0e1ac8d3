"""What came back: how often, how regularly, at which hours, and after what."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.core.learning.chances import Interval, binomial_tail, holm, rate_interval, rayleigh
from engine.core.learning.facts import DAY, HOUR, Happened, Past, episodes, gaps, grouped, median, since_last

ENOUGH = 5
"""Fewer times of day say nothing of a habit."""
RARE = 3
"""Fewer faults say nothing of what they follow."""
CHANGE = HOUR
"""So soon after a change a fault may be its work."""
LEVEL = 0.05
WEEK = 7 * DAY
NIGHT = 3 * HOUR
"""Faults are counted that lie this close to the hour that they gather about, on both sides together."""
DAYS = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")
"""The days of the week from the epoch on."""


@dataclass(frozen=True, slots=True)
class Habit:
    """What faults gather about, more than chance explains: `chance` is the p-value, made good for all that were asked."""

    what: str
    """hour, weekday or change"""
    sentence: str
    chance: float


@dataclass(frozen=True, slots=True)
class Recurring:
    """A fault that was seen on a host: how often, how often in 30 days with data, and between which rates the truth lies."""

    target: str
    resource: str
    culprits: Mapping[str, int]
    runbooks: Mapping[str, int]
    count: int
    reopened: int
    exposure: float
    rate: float
    """Faults in 30 days with data."""
    interval: Interval
    median_gap: float | None
    last: float
    times: tuple[float, ...]
    down: float
    """Seconds for which it lasted, all times together."""
    habits: tuple[Habit, ...] = ()

    @property
    def name(self) -> str:
        """Return what people call it."""
        return f"{self.resource} of {self.target}"


MONTH = 30 * DAY


def recurring(past: Past, since: float, offset: Callable[[float], float] = lambda _: 0.0) -> tuple[Recurring, ...]:
    """Return a row for each host and resource with a fault since then, the most frequent first.

    Rates count episodes by time with data; intervals are exact for a fault that comes by chance alone. `offset` is what local time
    is ahead of UTC at a moment, in seconds: habits are told by people's clocks.
    """
    seen = [each for each in past.faults() if each.opened_at >= since]
    changes = changed(past)
    rows: list[Recurring] = []
    suspected: list[tuple[int, Habit]] = []
    for place, everything in grouped(seen).items():
        row = row_of(past, place, everything, since)
        moments = [moment for moment, about in changes.get(place[0], ()) if about != place[1]]
        found = (*habits(row.times, offset), *after_changes(row, moments, since, past))
        suspected += [(len(rows), habit) for habit in found]
        rows.append(row)
    kept: dict[int, list[Habit]] = {}
    for (number, habit), chance in zip(suspected, holm([each.chance for _, each in suspected]), strict=True):
        if chance < LEVEL:
            kept.setdefault(number, []).append(replace(habit, chance=chance))
    told = [replace(row, habits=tuple(kept.get(number, ()))) for number, row in enumerate(rows)]
    return tuple(sorted(told, key=lambda row: (-row.count, -row.rate, row.target, row.resource)))


def row_of(past: Past, place: tuple[str, str], everything: Sequence[Happened], since: float) -> Recurring:
    """Return what is known of one place."""
    target, resource = place
    own = episodes(everything)
    exposure = past.watched.exposure(target, since, past.now)
    times = tuple(each.opened_at for each in own)
    spaces = gaps(times)
    down = sum((past.now if each.ended_at is None else each.ended_at) - each.began_at for each in everything)
    months = exposure / MONTH
    return Recurring(
        target,
        resource,
        dict(Counter(each.culprit for each in own if each.culprit).most_common()),
        dict(Counter(each.runbook for each in own if each.runbook).most_common()),
        len(own),
        sum(each.reopened for each in everything) + len(everything) - len(own),
        exposure,
        len(own) / months if months > 0 else math.nan,
        rate_interval(len(own), months),
        median(spaces),
        max(times),
        times,
        down,
    )


def changed(past: Past) -> dict[str, list[tuple[float, str]]]:
    """Return when something was changed on each host, with the resource that it was about, in order."""
    about = {each.id: each.resource for each in past.happened}
    found: dict[str, list[tuple[float, str]]] = {}
    for each in past.ran:
        found.setdefault(each.target, []).append((each.at, about.get(each.incident, "")))
    return {target: sorted(moments) for target, moments in found.items()}


def habits(times: Sequence[float], offset: Callable[[float], float]) -> tuple[Habit, ...]:
    """Return whether faults gather about an hour of the day or a day of the week, each with its p-value."""
    if len(times) < ENOUGH:
        return ()
    local = [at + offset(at) for at in times]
    found = []
    for what, cycle in (("hour", DAY), ("weekday", WEEK)):
        mean, chance = rayleigh([at % cycle / cycle * 2 * math.pi for at in local])
        middle = mean / (2 * math.pi) * cycle
        if what == "hour":
            near = sum(circular(at, middle, DAY) <= NIGHT / 2 for at in local)
            hour, minute = divmod(round(middle / 60.0) % 1440, 60)
            sentence = f"{near} of {len(local)} within {NIGHT / HOUR:.0f} h about {hour:02}:{minute:02}"
        else:
            day = int(middle // DAY)
            near = sum(int(at % WEEK // DAY) == day for at in local)
            sentence = f"{near} of {len(local)} on a {DAYS[day]}"
        found.append(Habit(what, sentence, chance))
    return tuple(found)


def circular(at: float, middle: float, cycle: float) -> float:
    """Return how far two moments of a cycle lie apart."""
    apart = abs(at % cycle - middle)
    return min(apart, cycle - apart)


def after_changes(row: Recurring, moments: Sequence[float], since: float, past: Past) -> tuple[Habit, ...]:
    """Return whether faults follow changes of the host more often than time spent after changes explains."""
    inside = [at for at in moments if at >= since]
    if row.count < RARE or not inside:
        return ()
    covered, end = 0.0, -math.inf
    for at in inside:
        covered += min(CHANGE, past.now - at) - max(0.0, min(end, at + CHANGE) - at)
        end = at + CHANGE
    chance = min(1.0, covered / max(row.exposure, covered, 1.0))
    near = sum(0.0 < since_last(inside, at) <= CHANGE for at in row.times)
    sentence = f"{near} of {row.count} within {CHANGE / HOUR:.0f} h after a playbook ran there for something else"
    return (Habit("change", sentence, binomial_tail(near, row.count, chance)),)
