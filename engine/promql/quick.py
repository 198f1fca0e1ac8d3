"""Reductions of windows that all end now: each asks a fold, which has looked at every sample once.

Each returns a number for each series and for which of them it may be wrong by more than rounding, None where for none: where
samples are no numbers or so great that the order of adding decides what overflows, and where numbers cancel out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.promql.block import Times, Values
from engine.promql.folds import Extreme, Line, Moments, Steps, Total, fold_of, folded
from engine.promql.track import Tail
from engine.promql.values import Mask

Sure = tuple[Values, Mask | None]
"""A number for each series, and for which of them it is not sure."""
NARROW: Final = 1e-8
"""A variance that is smaller than this share of the squared distance from where it is measured has lost digits."""
ROUND: Final = 1e-12
"""One that is smaller than this share of the squared mean has lost digits in Prometheus, too: the plain way says which."""
LOST: Final = 1e6
"""Where rounding counts so many times over, in numbers that cancel out, nine digits are not left."""

TOTAL: Final = Total()
LEAST: Final = Extreme(np.fmin)
GREATEST: Final = Extreme(np.fmax)
MOMENTS: Final = Moments()
LINE: Final = Line()


def _changed(before: Values, after: Values) -> Values:
    different: Mask = (before != after) & ~(np.isnan(before) & np.isnan(after))
    return different.astype(np.float64)


def _fell(before: Values, after: Values) -> Values:
    return (after < before).astype(np.float64)


def _left(before: Values, after: Values) -> Values:
    return np.where(after < before, before, 0.0)


def _left_size(before: Values, after: Values) -> Values:
    return np.where(after < before, np.abs(before), 0.0)


CHANGES: Final = Steps(_changed)
RESETS: Final = Steps(_fell)
LEFT: Final = Steps(_left)
LEFT_SIZE: Final = Steps(_left_size)


def summed(tail: Tail) -> Sure:
    """Return the sum of each window."""
    total, lost = folded(tail, TOTAL)
    return total + lost, tail.track.wild(tail.low)


def mean(tail: Tail) -> Sure:
    """Return the mean of each window."""
    total, lost = folded(tail, TOTAL)
    counts = tail.counts()
    return total / counts + lost / counts, tail.track.wild(tail.low)


def minimum(tail: Tail) -> Sure:
    """Return the least value of each window."""
    return folded(tail, LEAST)[0], None


def maximum(tail: Tail) -> Sure:
    """Return the greatest value of each window."""
    return folded(tail, GREATEST)[0], None


def variance(tail: Tail) -> Sure:
    """Return the population variance of each window."""
    middle, squares = folded(tail, MOMENTS)
    found = squares / tail.lengths
    mean = middle + fold_of(tail, MOMENTS).level
    unsure: Mask = (found < NARROW * middle * middle) | ((found < ROUND * mean * mean) & (squares != 0))
    wild = tail.track.wild(tail.low)
    if wild is not None:
        unsure |= wild
    return found, unsure if unsure.any() else None


def deviation(tail: Tail) -> Sure:
    """Return the population standard deviation of each window."""
    found, unsure = variance(tail)
    return np.sqrt(found), unsure


def changes(tail: Tail) -> Sure:
    """Count how often the value changes within each window."""
    return folded(tail, CHANGES)[0], None


def resets(tail: Tail) -> Sure:
    """Count how often the value falls within each window."""
    return folded(tail, RESETS)[0], None


def lost_in_resets(tail: Tail) -> tuple[Values, Values]:
    """Return what a counter had reached before each fall, in all, and how much that is without regard to signs."""
    lost = folded(tail, LEFT)[0]
    return lost, folded(tail, LEFT_SIZE)[0] if tail.track.negative else lost


def count(tail: Tail) -> Sure:
    """Return how many samples each window has."""
    return tail.counts(), None


def present(tail: Tail) -> Sure:
    """Return 1 for each window."""
    return np.ones(tail.track.size), None


def first(tail: Tail) -> Sure:
    """Return the first value of each window."""
    return tail.first(), None


def last(tail: Tail) -> Sure:
    """Return the last value of each window."""
    return tail.last(), None


def time_of_first(tail: Tail) -> Sure:
    """Return when the first sample of each window is from, in seconds."""
    return tail.first_times() / 1000.0, None


def time_of_last(tail: Tail) -> Sure:
    """Return when the last sample of each window is from, in seconds."""
    return tail.last_times() / 1000.0, None


def slope(tail: Tail) -> Sure:
    """Return the slope per second of the least-squares line through each window."""
    line = _Line.through(tail, tail.first_times())
    return line.slope, _unsure(tail, ~(line.lost <= LOST))


def predicted(tail: Tail, instant: int, ahead: float) -> Sure:
    """Return where the line through each window will be so many seconds after `instant` (milliseconds)."""
    line = _Line.through(tail, np.array([instant]))
    way = line.slope * (ahead - line.middle)
    found = line.level + way
    lost = np.abs(way) * line.lost + np.abs(line.level) + np.abs(line.slope) * (abs(ahead) + np.abs(line.middle))
    return found, _unsure(tail, ~(lost <= LOST * np.abs(found)))


@dataclass(frozen=True, slots=True)
class _Line:
    """The line through each window: its slope and a point on it, in seconds since some origin.

    `lost` says how many times over rounding counts in the slope, here or in sums that are taken from that origin.
    """

    slope: Values
    middle: Values
    level: Values
    lost: Values

    @classmethod
    def through(cls, tail: Tail, origins: Times) -> _Line:
        """Return the lines, in seconds since `origins` (milliseconds)."""
        fold, count = fold_of(tail, LINE), tail.lengths
        x, y, times, values, products = fold.over(tail)
        middle, level = x + (fold.origin - origins) / 1000.0, y + fold.level
        cancel = np.maximum(np.sqrt(times * (values + count * y * y)), count * np.abs(middle * level))
        lost = cancel / np.abs(products) + count * middle * middle / times
        constant = (values == 0) & (y == 0) & (products == 0)  # squares alone may be too small for any number
        return cls(np.where(constant, 0.0, products / times), middle, level, np.where(constant, 0.0, lost))


def _unsure(tail: Tail, lost: Mask) -> Mask:
    """Return where a line is not sure: there, and where samples cannot be summed."""
    wild = tail.track.wild(tail.low)
    return lost if wild is None else lost | wild
