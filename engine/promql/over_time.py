"""Functions that reduce the samples in a window: `avg_over_time` and its family."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from engine.promql import quick, segments
from engine.promql.block import Values
from engine.promql.errors import EvaluationError
from engine.promql.frame import Frame, Function, Reduction
from engine.promql.quick import Sure
from engine.promql.segments import Segments, Stretches
from engine.promql.syntax import Call, Type
from engine.promql.track import Tail
from engine.promql.values import Grid

Plain = Callable[[Stretches], Values]


def _function(
    plain: Plain,
    quick: Callable[[Tail], Sure] | None = None,
    *,
    keeps_name: bool = False,
    experimental: bool = False,
) -> Function:
    reduction = Reduction(plain, quick)

    def compute(frame: Frame, node: Call) -> Grid:
        grid = frame.reduced(node.arguments[0], reduction)
        return grid if keeps_name else grid.nameless(node.span)

    return Function((Type.RANGE,), Type.VECTOR, compute, experimental=experimental)


def _count(part: Stretches) -> Values:
    return part.lengths.astype(np.float64)


def _present(part: Stretches) -> Values:
    return np.ones(part.lengths.size)


def _deviation(part: Stretches) -> Values:
    return np.sqrt(segments.running_variance(part))


def changes(part: Stretches) -> Values:
    """Count how often the value changes within each window; from NaN to NaN is no change."""
    before, after = part.values[:-1], part.values[1:]
    different = (before != after) & ~(np.isnan(before) & np.isnan(after))
    return _between(part, different)


def resets(part: Stretches) -> Values:
    """Count how often the value falls within each window."""
    return _between(part, part.values[1:] < part.values[:-1])


def _between(part: Stretches, happens: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Values:
    """Count what happens between neighbours of the same window."""
    at_sample = np.concatenate(([0.0], happens.astype(np.float64)))
    at_sample[part.begins] = 0.0
    return part.total(at_sample)


def _median_deviation(part: Stretches) -> Values:
    """Return the median of the distances from the median; NaN where a sample is NaN."""
    half = np.full(part.lengths.size, 0.5)
    distances = np.abs(part.values - part.spread(segments.quantile(part, half)))
    spread = segments.quantile(Segments(distances, part.begins, part.lengths), half)
    return np.where(part.total(np.isnan(part.values).astype(np.float64)) > 0, np.nan, spread)


def _time_of(extreme: Callable[[Segments], Values]) -> Plain:
    """Return the reduction to the time, in seconds, at which the extreme was last reached."""

    def reduction(part: Stretches) -> Values:
        reached = part.spread(extreme(part))
        hit = (part.values == reached) | np.isnan(reached)
        last = np.maximum.reduceat(np.where(hit, np.arange(part.values.size), -1), part.begins)
        seconds: Values = part.times[last] / 1000.0
        return seconds

    return reduction


def _time_of_first(part: Stretches) -> Values:
    seconds: Values = part.times[part.begins] / 1000.0
    return seconds


def _time_of_last(part: Stretches) -> Values:
    seconds: Values = part.times[part.begins + part.lengths - 1] / 1000.0
    return seconds


def _quantile(frame: Frame, node: Call) -> Grid:
    share = frame.scalar(node.arguments[0])
    reduction = Reduction(lambda part: segments.quantile(part, share[part.columns]))
    return frame.reduced(node.arguments[1], reduction).nameless(node.span)


def _smoothing(frame: Frame, node: Call) -> Grid:
    """Compute Holt's linear exponential smoothing, from at least two samples on."""
    level, trend = frame.scalar(node.arguments[1]), frame.scalar(node.arguments[2])
    windows = frame.windows(node.arguments[0])
    asked = (windows.high > windows.low).any(axis=0)
    for place, kind, short, factors in ((1, "smoothing", "sf", level), (2, "trend", "tf", trend)):
        outside = asked & ~((factors > 0) & (factors < 1))
        if outside.any():
            message = f"invalid {kind} factor. Expected: 0 < {short} < 1, got: {factors[outside][0]:f}"
            raise EvaluationError(message, node.arguments[place].span)

    def reduction(part: Stretches) -> Values:
        return _smoothed(part, level[part.columns], trend[part.columns])

    return windows.reduce(frame, reduction, at_least=2).nameless(node.span)


def _smoothed(part: Stretches, level: Values, trend: Values) -> Values:
    order = np.argsort(-part.lengths, kind="stable")
    begins, lengths = part.begins[order], part.lengths[order]
    level, trend = level[order], trend[order]
    before = np.zeros(order.size)
    now = part.values[begins]
    slope = part.values[begins + 1] - now
    still = np.searchsorted(-lengths, -np.arange(1, int(lengths[0]) + 1), side="right").tolist()
    for place, running in enumerate(still[1:], start=1):
        rows = slice(0, running)
        if place > 1:
            slope[rows] = trend[rows] * (now[rows] - before[rows]) + (1 - trend[rows]) * slope[rows]
        expected = now[rows] + slope[rows]
        before[rows] = now[rows]
        now[rows] = level[rows] * part.values[begins[rows] + place] + (1 - level[rows]) * expected
    result = np.empty(order.size)
    result[order] = now
    return result


FUNCTIONS: Mapping[str, Function] = {
    "avg_over_time": _function(segments.mean, quick.mean),
    "min_over_time": _function(segments.minimum, quick.minimum),
    "max_over_time": _function(segments.maximum, quick.maximum),
    "sum_over_time": _function(segments.summed, quick.summed),
    "count_over_time": _function(_count, quick.count),
    "stddev_over_time": _function(_deviation, quick.deviation),
    "stdvar_over_time": _function(segments.running_variance, quick.variance),
    "last_over_time": _function(Stretches.last, quick.last, keeps_name=True),
    "first_over_time": _function(Stretches.first, quick.first, keeps_name=True, experimental=True),
    "present_over_time": _function(_present, quick.present),
    "changes": _function(changes, quick.changes),
    "resets": _function(resets, quick.resets),
    "mad_over_time": _function(_median_deviation, experimental=True),
    "ts_of_min_over_time": _function(_time_of(segments.minimum), experimental=True),
    "ts_of_max_over_time": _function(_time_of(segments.maximum), experimental=True),
    "ts_of_first_over_time": _function(_time_of_first, quick.time_of_first, experimental=True),
    "ts_of_last_over_time": _function(_time_of_last, quick.time_of_last, experimental=True),
    "quantile_over_time": Function((Type.SCALAR, Type.RANGE), Type.VECTOR, _quantile),
    "double_exponential_smoothing": Function(
        (Type.RANGE, Type.SCALAR, Type.SCALAR), Type.VECTOR, _smoothing, experimental=True
    ),
}
