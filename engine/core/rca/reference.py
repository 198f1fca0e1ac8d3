"""What is usual for a series, robustly: its level, and how far from it is nothing special.

What is compared is what lasts: the running median of three samples, in the past as now, so that a series which spikes by nature
neither counts as unusual for a spike nor hides behind its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NORMAL = 1.4826
"""The median absolute deviation of a normal distribution, times this, is its standard deviation (Hampel 1974)."""
TAIL = 0.05
TAIL_OF_NORMAL = 1.645
"""So many standard deviations from the median lie the outer 5 percent of a normal distribution on one side."""
SHARE = 0.1
"""A change of less than this share of the usual level is nothing special, however still a series was."""
EPISODE = 6.0
"""Beyond so many scales a sample of the past belongs to earlier trouble."""
RARE = 0.1
"""Earlier trouble is left out of the past where it makes at most this share of it; more of it is how the series is."""
ONE = 6
"""Nor is one stretch of so many samples how a series is, however short the past."""
LONG = 0.4
"""Trouble that still goes on at the end of the past is left out up to this share of it; where it lasted longer, it is how the series is now."""
TINY = 1e-9
WIDTH = 3
"""So many samples have to agree: one peak is none."""


CHUNK = 4096
"""So many series at a time."""
ARRAYS = ("level", "scale", "below", "samples")


@dataclass(frozen=True, slots=True)
class Reference:
    """Per series (S,): `level`, `scale` above it and `below` it in the series' own unit, and the number of `samples` they rest on."""

    level: np.ndarray
    scale: np.ndarray
    below: np.ndarray
    samples: np.ndarray

    def shift(self, values: np.ndarray) -> np.ndarray:
        """Return how far `values` (…, S) are from usual, in scales of their side."""
        away = values - self.level
        shifts: np.ndarray = away / np.where(away < 0, self.below, self.scale)
        return shifts


def reference(values: np.ndarray, floor: np.ndarray | float = 0.0) -> Reference:
    """Return what is usual for each column of `values` (T, S), NaN where there is no sample; earlier trouble is left out.

    The scale of a side is the largest of: the deviation by the median absolute deviation; how far the outer 5 percent on that side are from the median,
    so that a series which wanders by nature is not called unusual for it; a tenth of the level; `floor`.
    """
    parts = [
        _reference(
            values[:, begin : begin + CHUNK], floor[begin : begin + CHUNK] if isinstance(floor, np.ndarray) else floor
        )
        for begin in range(0, max(1, values.shape[1]), CHUNK)
    ]
    if len(parts) == 1:
        return parts[0]
    return Reference(*(np.concatenate([getattr(each, name) for each in parts]) for name in ARRAYS))


def _reference(values: np.ndarray, floor: np.ndarray | float) -> Reference:
    """Return what is usual for a few columns: what is worked out in between stays in the processor's cache."""
    columns = np.ascontiguousarray(values.T)
    first, core = _usual(columns, floor)
    away = np.abs(columns - first.level[:, None]) > EPISODE * core[:, None]
    rows = np.flatnonzero(away.any(axis=1))
    if not len(rows):
        return first
    ongoing = _at_the_end(away[rows], columns[rows])
    before, since = (away[rows] & ~ongoing).sum(axis=1), ongoing.sum(axis=1)
    samples = first.samples[rows]
    troubled = rows[(before <= np.maximum(RARE * samples, ONE)) & (since <= LONG * samples)]
    if not len(troubled):
        return first
    some = floor[troubled] if isinstance(floor, np.ndarray) else floor
    quiet, _ = _usual(np.where(away[troubled], np.nan, columns[troubled]), some)
    parts = []
    for name in ARRAYS:
        part = getattr(first, name).copy()
        part[troubled] = getattr(quiet, name)
        parts.append(part)
    return Reference(*parts)


def _at_the_end(away: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return where in each row (S, T) trouble goes on to the last sample."""
    still = np.logical_and.accumulate((away | np.isnan(columns))[:, ::-1], axis=1)[:, ::-1]
    ongoing: np.ndarray = still & away
    return ongoing


def _usual(columns: np.ndarray, floor: np.ndarray | float) -> tuple[Reference, np.ndarray]:
    """Return level and scales of each row of `columns` (S, T), whatever trouble there is in them, and the scale without tails."""
    ordered, count = _ordered(columns)
    level = _place(ordered, count, 0.5)
    low, high = _place(ordered, count, TAIL), _place(ordered, count, 1 - TAIL)
    away = np.abs(ordered - level[:, None])
    away.sort(axis=1)
    spread = NORMAL * _place(away, count, 0.5)
    least = np.maximum.reduce([spread, SHARE * np.abs(level), np.broadcast_to(floor, level.shape)]) + TINY
    above, below = np.maximum(least, (high - level) / TAIL_OF_NORMAL), np.maximum(least, (level - low) / TAIL_OF_NORMAL)
    return Reference(level, above, below, count), least


def median(columns: np.ndarray) -> np.ndarray:
    """Return the median of each row of `columns` (S, T), NaN left out; NaN for a row of nothing else."""
    return _place(*_ordered(columns), 0.5)


def _ordered(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each row of `columns` (S, T) in order, NaN last, and how many of each are there."""
    ordered = np.sort(columns, axis=1)
    rows, width = ordered.shape
    if width and np.isfinite(ordered[:, 0]).all() and np.isfinite(ordered[:, -1]).all():
        return ordered, np.full(rows, width)
    return ordered, np.isfinite(ordered).sum(axis=1)


def _place(ordered: np.ndarray, count: np.ndarray, share: float) -> np.ndarray:
    """Return the quantile `share` of the first `count` values of each sorted row, between neighbours by their distance."""
    if not ordered.shape[1]:
        return np.full(len(ordered), np.nan)
    at = share * np.maximum(count - 1, 0)
    lower = np.floor(at).astype(np.intp)
    upper = np.minimum(lower + 1, np.maximum(count - 1, 0))
    rows = np.arange(len(ordered))
    below, above = ordered[rows, lower], ordered[rows, upper]
    part = at - lower
    found: np.ndarray = below * (1 - part) + above * part
    return found


def sustained(values: np.ndarray, width: int = WIDTH) -> np.ndarray:
    """Return the running median of `width` (1 to 3) samples ending at each row (T, S): a single peak does not move it.

    Of two samples, where the third is missing, it is their mean.
    """
    width = min(width, len(values))
    if width <= 1:
        return values
    if width < WIDTH:
        before = np.full_like(values, np.nan)
        before[1:] = values[:-1]
        return _mean(values, before)
    middle = np.empty_like(values)
    middle[0], middle[1] = values[0], _mean(values[1], values[0])
    low, high = np.empty_like(values[0]), np.empty_like(values[0])
    for row in range(2, len(values)):  # row by row, so that all of it stays in the processor's cache
        first, before, last = values[row - 2], values[row - 1], values[row]
        np.minimum(first, before, out=low)
        np.maximum(first, before, out=high)
        np.minimum(high, last, out=high)
        np.maximum(low, high, out=middle[row])
    rows, columns = np.nonzero(np.isnan(middle[2:]))  # one of the three is missing, or more
    if len(rows):
        three = np.stack([values[rows + back, columns] for back in range(WIDTH)], axis=1)
        middle[rows + 2, columns] = median(three)
    return middle


def _mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the mean of two, or the one that is there."""
    mean: np.ndarray = np.where(np.isnan(other), one, np.where(np.isnan(one), other, (one + other) / 2))
    return mean
