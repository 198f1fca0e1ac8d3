"""Classic histograms: quantiles and fractions out of cumulative buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import copysign, inf, isnan, nan

import numpy as np

from engine.model.labels import Labels
from engine.promql.aggregation import refuse_label_name
from engine.promql.frame import Frame, Function
from engine.promql.literals import print_number
from engine.promql.syntax import Call, Span, Type
from engine.promql.values import Grid

SAME = 1e-12
"""Counts of neighbouring buckets this close, relatively, differ by rounding alone."""

Bucket = tuple[float, float]
"""An upper bound and how many observations lie at or below it."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """The rows of a vector that are one histogram's buckets, by ascending upper bound."""

    labels: Labels
    bounds: list[float]
    rows: list[int]


def _histograms(grid: Grid) -> list[Histogram]:
    """Gather the buckets of each histogram; series whose `le` is no number are no buckets."""
    found: dict[Labels, list[tuple[float, int]]] = {}
    for row, labels in enumerate(grid.series):
        bound = _bound(labels.get("le", ""))
        if bound is None:
            continue
        found.setdefault(labels.without("le"), []).append((bound, row))
    histograms = []
    for labels, buckets in found.items():
        buckets.sort()
        histograms.append(Histogram(labels, [bound for bound, _ in buckets], [row for _, row in buckets]))
    return histograms


def _bound(text: str) -> float | None:
    """Return the upper bound that `le` stands for, if any: it has no spaces about it, and no digits of other scripts."""
    try:
        return float(text) if text.isascii() and text == text.strip() else None
    except ValueError:
        return None


def _columns(grid: Grid, histogram: Histogram) -> Iterator[tuple[int, list[Bucket]]]:
    """Yield the buckets at every instant that has any; bounds written in two ways are one bucket."""
    present, values = grid.present[histogram.rows], grid.values[histogram.rows]
    for column in np.flatnonzero(present.any(axis=0)).tolist():
        buckets: list[Bucket] = []
        for bound, count, here in zip(
            histogram.bounds, values[:, column].tolist(), present[:, column].tolist(), strict=True
        ):
            if not here:
                continue
            if buckets and buckets[-1][0] == bound:
                buckets[-1] = (bound, buckets[-1][1] + count)
            else:
                buckets.append((bound, count))
        yield column, buckets


def _applied(grid: Grid, calculation: Callable[[int, list[Bucket]], float], span: Span) -> Grid:
    """Return one number for each histogram at each instant."""
    histograms = _histograms(grid)
    values = np.zeros((len(histograms), grid.values.shape[1]))
    present = np.zeros(values.shape, dtype=np.bool_)
    for row, histogram in enumerate(histograms):
        for column, buckets in _columns(grid, histogram):
            values[row, column] = calculation(column, buckets)
            present[row, column] = True
    unnamed = None if grid.unnamed is None else np.ones(len(histograms), dtype=np.bool_)
    return Grid(tuple(histogram.labels for histogram in histograms), values, present, unnamed).nameless(span)


def bucket_quantile(share: float, buckets: list[Bucket]) -> float:
    """Return the quantile, taking observations to be spread evenly within a bucket.

    NaN without a bucket for everything (`le="+Inf"`), without a second one, or without observations.
    """
    if isnan(share):
        return nan
    if share < 0 or share > 1:
        return -inf if share < 0 else inf
    if buckets[-1][0] != inf or len(buckets) < 2:  # noqa: PLR2004  (the bucket for everything, and one more)
        return nan
    counts = _rising([count for _, count in buckets])
    if counts[-1] == 0:
        return nan
    rank = share * counts[-1]
    place = next((index for index, count in enumerate(counts[:-1]) if count >= rank), len(counts) - 1)
    if place == len(counts) - 1:
        return buckets[-2][0]
    end = buckets[place][0]
    if place == 0:
        return end if end <= 0 else end * _ratio(rank, counts[0])
    start, below = buckets[place - 1][0], counts[place - 1]
    return start + (end - start) * _ratio(rank - below, counts[place] - below)


def _ratio(part: float, whole: float) -> float:
    """Return the quotient; of nothing it is no number."""
    return part / whole if whole else nan if part == 0 or isnan(part) else copysign(inf, part)


def _rising(counts: list[float]) -> list[float]:
    """Return cumulative counts that never fall: scrapes of one histogram may be a moment apart."""
    result = [counts[0]]
    for count in counts[1:]:
        close = abs(count - result[-1]) <= SAME * (abs(count) + abs(result[-1]))
        result.append(result[-1] if close or count < result[-1] else count)
    return result


def bucket_fraction(lower: float, upper: float, buckets: list[Bucket]) -> float:
    """Return which fraction of the observations lies between two values.

    Within a bucket that has no end, nothing is known about where observations lie: it counts in whole or not at all.
    """
    if buckets[-1][0] != inf:
        return nan
    whole = buckets[-1][1]
    if whole == 0 or isnan(lower) or isnan(upper):
        return nan
    if lower >= upper:
        return 0.0
    # scrapes of one histogram may be a moment apart: no bucket holds more than there is
    return (min(_rank(upper, buckets), whole) - min(_rank(lower, buckets), whole)) / whole


def _rank(value: float, buckets: list[Bucket]) -> float:
    """Return how many observations lie below `value`."""
    below = 0.0
    start = 0.0 if buckets[0][0] > 0 else -inf
    for end, count in buckets:
        if start >= value:
            return below
        if end > value:
            if start == -inf:
                return count
            if end == inf:
                return below
            return below + (count - below) * (value - start) / (end - start)
        below, start = count, end
    return below


def _quantile(frame: Frame, node: Call) -> Grid:
    shares = frame.scalar(node.arguments[0]).tolist()
    grid = frame.vector(node.arguments[1])
    return _applied(grid, _quantile_of(shares), node.span)


def _fraction(frame: Frame, node: Call) -> Grid:
    lower, upper = frame.scalar(node.arguments[0]).tolist(), frame.scalar(node.arguments[1]).tolist()
    grid = frame.vector(node.arguments[2])
    return _applied(grid, lambda column, buckets: bucket_fraction(lower[column], upper[column], buckets), node.span)


def _quantiles(frame: Frame, node: Call) -> Grid:
    """Return several quantiles, each with its share as a label."""
    grid = frame.vector(node.arguments[0])
    name = frame.text(node.arguments[1])
    refuse_label_name(name, node.arguments[1].span)
    series: list[Labels] = []
    parts = []
    for argument in node.arguments[2:]:
        shares = frame.scalar(argument).tolist()
        part = _applied(grid, _quantile_of(shares), node.span)
        series += [labels.with_({name: _share_label(shares[0])}) for labels in part.series]
        parts.append(part)
    values = np.concatenate([part.values for part in parts])
    present = np.concatenate([part.present for part in parts])
    unnamed = None if grid.unnamed is None else np.ones(len(series), dtype=np.bool_)
    return Grid(tuple(series), values, present, unnamed).relabelled(tuple(series), node.span)


def _quantile_of(shares: list[float]) -> Callable[[int, list[Bucket]], float]:
    return lambda column, buckets: bucket_quantile(shares[column], buckets)


def _share_label(share: float) -> str:
    text = print_number(share)
    return text if not share.is_integer() else f"{text}.0"


FUNCTIONS: Mapping[str, Function] = {
    "histogram_quantile": Function((Type.SCALAR, Type.VECTOR), Type.VECTOR, _quantile),
    "histogram_fraction": Function((Type.SCALAR, Type.SCALAR, Type.VECTOR), Type.VECTOR, _fraction),
    "histogram_quantiles": Function(
        (Type.VECTOR, Type.TEXT, Type.SCALAR), Type.VECTOR, _quantiles, repeats=True, experimental=True
    ),
}
