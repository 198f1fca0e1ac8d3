"""Reductions of ragged rows: one number from each of many stretches of samples, all at once.

Range functions reduce the samples in a window, aggregations those in a group; both come here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.promql.block import Times, Values
from engine.promql.values import Indexes

FEW_SEGMENTS = 64
"""Up to so many segments at once, stepping through samples in plain Python beats numpy's cost of a call."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Stretches of `values`, one behind the other; segment i is `values[begins[i] : begins[i] + lengths[i]]`.

    None is empty.
    """

    values: Values
    begins: Indexes
    lengths: Indexes

    def first(self) -> Values:
        """Return the first value of each."""
        return self.values[self.begins]

    def last(self) -> Values:
        """Return the last value of each."""
        last: Values = self.values[self.begins + self.lengths - 1]
        return last

    def total(self, values: Values) -> Values:
        """Return the plain sum of `values`, which stand in for the samples, over each segment."""
        totals: Values = np.add.reduceat(values, self.begins) if self.begins.size else np.zeros(0)
        return totals

    def spread(self, numbers: Values) -> Values:
        """Return each segment's number at each of its samples."""
        return np.repeat(numbers, self.lengths)

    def replace(self, values: Values) -> Segments:
        """Return the same stretches of other values."""
        return Segments(values, self.begins, self.lengths)


@dataclass(frozen=True, slots=True)
class Stretches(Segments):
    """The samples in the windows of a range vector, where a window has any.

    Window i belongs to the series in row `rows[i]` and to the instant in column `columns[i]`. Times are milliseconds;
    a window reaches from `starts[i]` (exclusive) to `ends[i]` (inclusive); `instants[i]` is when it is looked at.
    """

    times: Times
    rows: Indexes
    columns: Indexes
    starts: Times
    ends: Times
    instants: Times


def segments_of(values: Values, lengths: Indexes) -> Segments:
    """Return the segments of these lengths that `values` consists of."""
    return Segments(values, np.cumsum(lengths) - lengths, lengths)


def minimum(segments: Segments) -> Values:
    """Return the least value of each; NaN only where there is nothing else."""
    return np.fmin.reduceat(segments.values, segments.begins) if segments.begins.size else np.zeros(0)


def maximum(segments: Segments) -> Values:
    """Return the greatest value of each; NaN only where there is nothing else."""
    return np.fmax.reduceat(segments.values, segments.begins) if segments.begins.size else np.zeros(0)


def summed(segments: Segments) -> Values:
    """Return the sum of each, with Kahan's and Neumaier's compensation, in the order of the samples."""
    sums, lost = compensated(segments)
    return np.where(np.isinf(sums), sums, sums + lost)


def mean(segments: Segments) -> Values:
    """Return the mean of each, which does not overflow where the sum does."""
    sums, lost = compensated(segments)
    counts = segments.lengths.astype(np.float64)
    means = sums / counts + lost / counts
    for place in np.flatnonzero(np.isinf(sums)).tolist():
        begin = int(segments.begins[place])
        means[place] = _running_mean(segments.values[begin : begin + int(segments.lengths[place])].tolist())
    return means


def compensated(segments: Segments) -> tuple[Values, Values]:
    """Return the running sum of each and what rounding lost of it (Neumaier 1974)."""
    if segments.begins.size <= FEW_SEGMENTS:
        return _compensated_one_by_one(segments)
    # the longest first, so that those still running at any place are a prefix
    order = np.argsort(-segments.lengths, kind="stable")
    begins, lengths = segments.begins[order], segments.lengths[order]
    sums, lost = np.zeros(order.size), np.zeros(order.size)
    still = np.searchsorted(-lengths, -np.arange(1, int(lengths[0]) + 1), side="right").tolist()
    for place, running in enumerate(still):
        step = segments.values[begins[:running] + place]
        _add_to(sums[:running], lost[:running], step)
    result, residue = np.empty(order.size), np.empty(order.size)
    result[order], residue[order] = sums, lost
    return result, residue


def _add_to(sums: Values, lost: Values, step: Values) -> None:
    """Add to running sums, and to what rounding lost of them, in place."""
    after = sums + step
    greater = np.abs(sums) >= np.abs(step)
    error = np.where(greater, (sums - after) + step, (step - after) + sums)
    lost[:] = np.where(np.isinf(after), 0.0, lost + error)
    sums[:] = after


def _compensated_one_by_one(segments: Segments) -> tuple[Values, Values]:
    pairs = []
    for begin, length in zip(segments.begins.tolist(), segments.lengths.tolist(), strict=True):
        total = lost = 0.0
        for value in segments.values[begin : begin + length].tolist():
            total, lost = _add(value, total, lost)
        pairs.append((total, lost))
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _add(value: float, total: float, lost: float) -> tuple[float, float]:
    after = total + value
    if after in (np.inf, -np.inf):
        return after, 0.0
    if abs(total) >= abs(value):
        return after, lost + ((total - after) + value)
    return after, lost + ((value - after) + total)


def _running_mean(values: list[float]) -> float:
    """Return the mean without a sum that overflows, from the sample on at which it would."""
    total, lost = values[0], 0.0
    average: float | None = None
    for count, value in enumerate(values[1:], start=2):
        if average is None:
            after, residue = _add(value, total, lost)
            if after not in (np.inf, -np.inf):
                total, lost = after, residue
                continue
            average, lost = total / (count - 1), lost / (count - 1)
        share = (count - 1) / count
        average, lost = _add(value / count, share * average, share * lost)
    if average is None:
        return total / len(values) + lost / len(values)
    return average + lost


def variance(segments: Segments) -> Values:
    """Return the population variance of each, exactly 0 where all values are the same."""
    shifted = segments.values - segments.spread(segments.first())
    away = shifted - segments.spread(segments.total(shifted) / segments.lengths)
    return segments.total(away * away) / segments.lengths


def running_variance(segments: Segments) -> Values:
    """Return the population variance of each in the order of its samples, with a mean that runs (Welford 1962), compensated.

    What rounding leaves of it where the samples are large and lie close together is then what Prometheus says, too.
    """
    size = segments.begins.size
    order = np.argsort(-segments.lengths, kind="stable")
    begins, lengths = segments.begins[order], segments.lengths[order]
    mean, mean_lost, squares, squares_lost = (np.zeros(size) for _ in range(4))
    longest = int(lengths[0]) if size else 0
    still = np.searchsorted(-lengths, -np.arange(1, longest + 1), side="right").tolist()
    for place, running in enumerate(still):
        step = segments.values[begins[:running] + place]
        away = step - (mean[:running] + mean_lost[:running])
        _add_to(mean[:running], mean_lost[:running], away / (place + 1))
        _add_to(squares[:running], squares_lost[:running], away * (step - (mean[:running] + mean_lost[:running])))
    result = np.empty(size)
    result[order] = (squares + squares_lost) / lengths
    return result


def ascending(segments: Segments) -> Segments:
    """Return each segment sorted, NaN first as the language has it."""
    missing = np.isnan(segments.values)
    width = int(segments.lengths.max(initial=0))
    if (
        width and width * segments.begins.size == segments.values.size and not missing.any()
    ):  # all of one length: a plain table
        return segments.replace(np.sort(segments.values.reshape(-1, width), axis=1).reshape(-1))
    owner = np.repeat(np.arange(segments.begins.size), segments.lengths)
    order = np.lexsort((np.where(missing, 0.0, segments.values), ~missing, owner))
    return segments.replace(segments.values[order])


def quantile(segments: Segments, share: Values) -> Values:
    """Return the `share`-quantile of each, between two samples weighted by nearness.

    A share below 0 gives -Inf, above 1 +Inf, NaN gives NaN.
    """
    within = np.clip(np.nan_to_num(share), 0.0, 1.0)
    ordered = ascending(segments).values
    rank = within * (segments.lengths - 1)
    lower = np.floor(rank)
    weight = rank - lower
    low = segments.begins + lower.astype(np.int64)
    high = segments.begins + np.minimum(lower.astype(np.int64) + 1, segments.lengths - 1)
    result = ordered[low] * (1 - weight) + ordered[high] * weight
    result = np.where(share < 0, -np.inf, np.where(share > 1, np.inf, result))
    return np.where(np.isnan(share), np.nan, result)
