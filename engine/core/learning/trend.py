"""When something will run out: a robust trend, with an interval from how wrong it was before.

The slope is Theil's and Sen's (Sen, Journal of the American Statistical Association 63, 1968): the median of the slopes of all
pairs, which neither a spike nor a step moves. What is cleared now and then (rotated logs, caches) makes a saw-tooth: pairs are
taken within a tooth, and where teeth come regularly the next one is reckoned with.

A trend says of itself how good it is: it is made again as of moments in the past, and compared with what came (a backtest). The
interval is as wide as nine in ten of those errors, and a trend whose errors are as large as what it foretold says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NORMAL = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""
JUMP = 8.0
"""A rise of so many deviations is no noise but something that was cleared,"""
SHARE = 0.08
"""if it is this share of the whole range, too."""
TEETH = 2
"""So many clearings at least, before the next is reckoned with,"""
REGULAR = 2.0
"""and the longest time between two is at most so many times the shortest."""
LATE = 1.25
"""A clearing may be late by a quarter of its period."""
FIT, CHECK = 4, 8
"""A trend looks back over a fourth of the history, and is checked at an eighth of it ahead."""
ORIGINS = 20
"""It is made again as of so many moments in the past."""
LEAST = 36
"""Fewer samples are no history."""
COVER = 0.9
WRONG = 0.5
"""A trend whose errors are more than this share of the changes is wrong."""
STILL = 0.01
"""What changes by less than this share of what is left does not change."""


@dataclass(frozen=True, slots=True)
class Trend:
    """What is left now, how it changes a second, and how it scatters; `period` and `gain` are of what is cleared regularly.

    `due` is in how many seconds the next clearing is expected.
    """

    level: float
    slope: float
    noise: float
    period: float | None = None
    gain: float = 0.0
    due: float = math.inf

    def at(self, ahead: float) -> float:
        """Return what will be left so many seconds ahead."""
        if self.period is None or ahead < self.due:
            return self.level + self.slope * ahead
        cleared = 1 + int((ahead - self.due) // self.period)
        return self.level + self.slope * ahead + self.gain * cleared

    def runs_out(self, level: float, slope: float, late: float = 1.0) -> float:
        """Return in how many seconds nothing is left, with that level and slope; infinity for never."""
        if level <= 0.0:
            return 0.0
        if slope >= 0.0:
            return math.inf
        straight = level / -slope
        due = self.due if self.period is None else self.due + (late - 1.0) * self.period
        if self.period is None or straight <= due:
            return straight
        trough, step = level + slope * due, slope * self.period + self.gain
        if slope * self.period * late + level + slope * due + self.gain <= 0.0:  # the tooth to come is deeper
            return due + (trough + self.gain) / -slope
        if step >= -STILL * self.gain:
            return math.inf
        return due + math.ceil(trough / -step) * self.period


@dataclass(frozen=True, slots=True)
class Forecast:
    """In how many seconds nothing is left: between `low` and `high`, nine times in ten; `error` is that of the backtest.

    `error` is the sum of its errors by the sum of the changes, 0 for a trend that was always right; `trusted` says whether it
    may be told at all.
    """

    seconds: float
    low: float
    high: float
    error: float
    origins: int
    level: float
    slope: float

    @property
    def trusted(self) -> bool:
        """Return whether it was right before."""
        return self.error <= WRONG


def forecast(times: Floats, values: Floats) -> Forecast | None:
    """Return when what is left will be gone, by its history; None where there is too little of it.

    `times` (seconds) ascend, and the last is now; values that are not finite are left out.
    """
    finite = np.isfinite(values)
    times, values = times[finite], values[finite]
    if len(times) < LEAST:
        return None
    span = times[-1] - times[0]
    window, check = span / FIT, span / CHECK
    errors, moves, covered = backtest(times, values, window, check)
    if not len(errors):
        return None
    now = fitted(times, values, window)
    if now is None:
        return None
    wrong = float(errors.sum() / moves.sum()) if moves.sum() > 0.0 else 0.0
    rank = min(len(covered) - 1, math.ceil(COVER * (len(covered) + 1)) - 1)
    doubt = float(np.sort(covered)[rank]) / check
    middle = now.runs_out(now.level, now.slope)
    low = now.runs_out(now.level - now.noise, now.slope - doubt, LATE)
    high = now.runs_out(now.level + now.noise, now.slope + doubt)
    return Forecast(middle, min(low, middle), max(high, middle), wrong, len(errors), now.level, now.slope)


def backtest(times: Floats, values: Floats, window: float, check: float) -> tuple[Floats, Floats, Floats]:
    """Return how wrong a trend was as of moments in the past, how much there was to foretell, and the errors for the interval.

    A change that is smaller than what counts as none is nothing to foretell.
    """
    first, last = times[0] + window, times[-1] - check
    errors, moves, covered = [], [], []
    for origin in np.linspace(first, last, ORIGINS):
        end = int(np.searchsorted(times, origin, "right"))
        trend = fitted(times[:end], values[:end], window)
        place = int(np.searchsorted(times, times[end - 1] + check, "right")) - 1
        if trend is None or place < end:
            continue
        ahead = float(times[place] - times[end - 1])
        if ahead < check / 2:
            continue
        came, told = float(values[place]), trend.at(ahead)
        least = STILL * abs(trend.level)
        move = max(abs(told - trend.level), abs(came - trend.level))
        missed = abs(told - came)
        covered.append(max(0.0, missed - trend.noise))
        if move > least:
            errors.append(max(0.0, missed - trend.noise))
            moves.append(move)
        else:
            errors.append(0.0)
            moves.append(0.0)
    return np.array(errors), np.array(moves), np.array(covered)


def fitted(times: Floats, values: Floats, window: float) -> Trend | None:
    """Return the trend as of the last time, by what was within `window` seconds; clearings are looked for further back.

    None where there is not enough.
    """
    begin = int(np.searchsorted(times, times[-1] - window, "left"))
    cuts = clearings(times, values)
    if len(cuts) >= TEETH:  # of a saw-tooth a window may hold less than one tooth
        begin = min(begin, int(cuts[-TEETH]))
    inside, own = times[begin:], values[begin:]
    if len(inside) < LEAST // FIT:
        return None
    teeth = np.searchsorted(cuts, np.arange(begin, len(times)), "right")
    slope = sen(inside, own, teeth)
    flat = own - slope * (inside - inside[-1])
    last = flat[teeth == teeth[-1]]
    recent = last[-max(3, len(last) // 4) :]
    level = float(np.median(recent))
    middle = {int(tooth): float(np.median(flat[teeth == tooth])) for tooth in np.unique(teeth)}
    rest = flat - np.array([middle[int(tooth)] for tooth in teeth])
    noise = NORMAL * float(np.median(np.abs(rest)))
    if len(cuts) < TEETH:
        return Trend(level, slope, noise)
    spaces = np.diff(times[cuts])
    spaces = spaces if len(spaces) else np.array([times[cuts[-1]] - times[0]])
    if float(spaces.max()) > REGULAR * float(spaces.min()):
        return Trend(level, slope, noise)
    period = float(np.median(spaces))
    gain = float(np.median(values[cuts] - values[cuts - 1] - slope * (times[cuts] - times[cuts - 1])))
    due = max(0.0, float(times[cuts[-1]] + period - times[-1]))
    return Trend(level, slope, noise, period, gain, due)


def clearings(times: Floats, values: Floats) -> Ints:
    """Return the places of the first sample after something was cleared: a rise beyond all noise."""
    del times
    rises = np.diff(values)
    if not len(rises):
        return np.zeros(0, np.int64)
    usual = np.median(rises)
    scatter = NORMAL * np.median(np.abs(rises - usual))
    least = max(JUMP * scatter, SHARE * float(values.max() - values.min()), 1e-12)
    return np.flatnonzero(rises - usual > least).astype(np.int64) + 1


@lru_cache(maxsize=64)
def pairs(count: int) -> tuple[Ints, Ints]:
    """Return the places of all pairs."""
    left, right = np.triu_indices(count, 1)
    return left.astype(np.int64), right.astype(np.int64)


MOST = 72
"""Samples whose pairs are looked at: of more, every second, third, …"""


def sen(times: Floats, values: Floats, teeth: Ints) -> float:
    """Return the median slope of all pairs of samples of one tooth; 0 where there is no pair."""
    step = -(-len(times) // MOST)
    if step > 1:
        times, values, teeth = times[::-step][::-1], values[::-step][::-1], teeth[::-step][::-1]
    left, right = pairs(len(times))
    if teeth[0] != teeth[-1]:
        same = teeth[left] == teeth[right]
        left, right = left[same], right[same]
    apart = times[right] - times[left]
    slopes = (values[right] - values[left])[apart > 0] / apart[apart > 0]
    return float(np.median(slopes)) if len(slopes) else 0.0


def thinned(times: Sequence[float], values: Sequence[float]) -> tuple[Floats, Floats]:
    """Return samples as arrays."""
    return np.array(times, np.float64), np.array(values, np.float64)
