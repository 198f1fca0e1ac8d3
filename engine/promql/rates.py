"""How fast values move: counters by `rate` and `increase`, gauges by `delta`, `deriv` and `predict_linear`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.promql.block import Times, Values
from engine.promql.extended import read_extended
from engine.promql.frame import Frame, Function, Reduction
from engine.promql.quick import LOST, Sure, lost_in_resets, predicted, slope
from engine.promql.segments import Stretches, summed
from engine.promql.syntax import Call, RangeSelector, Type
from engine.promql.track import Tail
from engine.promql.values import Grid, Indexes, Mask

CLOSE_TO_THE_EDGE = 1.1
"""Samples that end within so many average intervals of the window's edge are taken to go on to that edge."""


def _function(plain: Callable[[Stretches], Values], quick: Callable[[Tail], Sure] | None = None) -> Function:
    reduction = Reduction(plain, quick)

    def compute(frame: Frame, node: Call) -> Grid:
        return frame.reduced(node.arguments[0], reduction, at_least=2).nameless(node.span)

    return Function((Type.RANGE,), Type.VECTOR, compute)


def _between_edges(
    change: Callable[[Edges], Values], plain: Callable[[Stretches], Values], *, counter: bool
) -> Function:
    """Return the function that extrapolates to the edges, unless its range is anchored or smoothed: `plain`, then."""

    def in_stretches(part: Stretches) -> Values:
        return change(Edges.of_stretches(part, counter=counter))

    def in_tail(tail: Tail) -> Sure:
        edges = Edges.of_tail(tail, counter=counter)
        return change(edges), edges.unsure()

    reduction = Reduction(in_stretches, in_tail)

    def compute(frame: Frame, node: Call) -> Grid:
        argument = node.arguments[0]
        if isinstance(argument, RangeSelector) and argument.selector.extension is not None:
            return read_extended(argument, frame, counter=counter).reduce(frame, plain).nameless(node.span)
        return frame.reduced(argument, reduction, at_least=2).nameless(node.span)

    return Function((Type.RANGE,), Type.VECTOR, compute)


@dataclass(frozen=True, slots=True)
class Edges:
    """What windows begin and end with: a value and a time (milliseconds) each, or one time for all.

    `change` is what has been gained between, falls of a `counter` made good; `starts` and `ends` are the windows' own.
    `fallen` is how much that was in falls, where it was added in another order than one sample after the other.
    """

    first: Values
    change: Values
    first_times: Times
    last_times: Times
    starts: Times
    ends: Times
    lengths: Indexes
    counter: bool
    fallen: Values | None = None

    @classmethod
    def of_stretches(cls, part: Stretches, *, counter: bool) -> Edges:
        """Return the edges of windows that stand one behind the other."""
        change = _plain_increase(part) if counter else _plain_delta(part)
        first, last = part.times[part.begins], part.times[part.begins + part.lengths - 1]
        return cls(part.first(), change, first, last, part.starts, part.ends, part.lengths, counter)

    @classmethod
    def of_tail(cls, tail: Tail, *, counter: bool) -> Edges:
        """Return the edges of windows that all end now."""
        change, fallen = tail.last() - tail.first(), None
        if counter:
            lost, fallen = lost_in_resets(tail)
            change = change + lost
        starts, ends = np.array([tail.start]), np.array([tail.track.end])
        return cls(
            tail.first(), change, tail.first_times(), tail.last_times(), starts, ends, tail.lengths, counter, fallen
        )

    def unsure(self) -> Mask | None:
        """Return where so much cancels out that the order of adding shows; None for nowhere."""
        if self.fallen is None or not self.fallen.any():
            return None
        great = np.abs(self.first) + self.fallen
        unsure: Mask = (self.fallen != 0) & ~(great <= LOST * np.abs(self.change))
        return unsure

    def seconds(self) -> Values:
        """Return how long the windows are."""
        return (self.ends - self.starts) / 1000.0

    def stretched(self) -> Values:
        """Return by how much to multiply the change between first and last sample, to extend it to the window's edges.

        An edge further away than samples usually lie apart is approached by half such an interval only, and a counter is
        not taken back to before it was zero.
        """
        sampled = (self.last_times - self.first_times) / 1000.0
        apart = sampled / (self.lengths - 1)
        to_start = (self.first_times - self.starts) / 1000.0
        to_end = (self.ends - self.last_times) / 1000.0
        to_start = np.where(to_start >= apart * CLOSE_TO_THE_EDGE, apart / 2, to_start)
        to_end = np.where(to_end >= apart * CLOSE_TO_THE_EDGE, apart / 2, to_end)
        if self.counter:
            rises = (self.change > 0) & (self.first >= 0)
            to_zero = np.where(rises, sampled * (self.first / np.where(rises, self.change, 1.0)), to_start)
            to_start = np.where(to_zero < to_start, to_zero, to_start)
        factor: Values = (sampled + to_start + to_end) / sampled
        return factor


def _plain_delta(part: Stretches) -> Values:
    return part.last() - part.first()


def _plain_increase(part: Stretches) -> Values:
    """Return what has been gained, with what a counter had reached before each fall, from which it starts again at nothing.

    One fall after the other, as Prometheus adds them: of what cancels out, the same remains.
    """
    change = _plain_delta(part)
    falls = part.values[1:] < part.values[:-1]
    falls[part.begins[1:] - 1] = False
    places = np.flatnonzero(falls)
    owners = np.searchsorted(part.begins, places, side="right") - 1
    turns = np.arange(places.size) - np.searchsorted(owners, owners)
    order = np.argsort(turns, kind="stable")
    for some in np.split(order, np.flatnonzero(np.diff(turns[order])) + 1):
        change[owners[some]] += part.values[places[some]]
    return change


def _plain_rate(part: Stretches) -> Values:
    return _plain_increase(part) / ((part.ends - part.starts) / 1000.0)


def change_between(edges: Edges) -> Values:
    """Return the change that is extrapolated to the windows' edges."""
    return edges.change * edges.stretched()


def rate_between(edges: Edges) -> Values:
    """Return the same per second."""
    # in this order: Prometheus rounds in it, too
    return edges.change * (edges.stretched() / edges.seconds())


def _last_two(part: Stretches) -> tuple[Values, Values, Values]:
    """Return the last value but one, the last value, and the seconds between them."""
    last = part.begins + part.lengths - 1
    return part.values[last - 1], part.values[last], (part.times[last] - part.times[last - 1]) / 1000.0


def _instant_delta(part: Stretches) -> Values:
    before, after, _ = _last_two(part)
    return after - before


def _instant_rate(part: Stretches) -> Values:
    before, after, seconds = _last_two(part)
    return np.where(after < before, after, after - before) / seconds


def _quick_delta(tail: Tail) -> Sure:
    return tail.last() - tail.last(1), None


def _quick_rate(tail: Tail) -> Sure:
    before, after = tail.last(1), tail.last()
    seconds = (tail.last_times() - tail.last_times(1)) / 1000.0
    return np.where(after < before, after, after - before) / seconds, None


def regression(part: Stretches, origins: Times) -> tuple[Values, Values]:
    """Return the slope per second of the least-squares line through each window, and its value at `origins` (milliseconds).

    Out of sums with compensation, taken from `origins` in the order of the samples, as Prometheus takes them: where a slope is
    lost in rounding, or a sample is infinite, it is what remains of the same numbers. A constant is a constant exactly.
    """
    seconds = (part.times - np.repeat(origins, part.lengths)) / 1000.0
    count = part.lengths.astype(np.float64)
    products, squares = seconds * part.values, seconds * seconds
    x, y, xy, xx = (summed(part.replace(each)) for each in (seconds, part.values, products, squares))
    slope = (xy - x * y / count) / (xx - x * x / count)
    level = y / count - slope * x / count
    first = part.first()
    constant = part.total((part.values != part.spread(first)).astype(np.float64)) == 0
    nothing = np.where(np.isinf(first), np.nan, 0.0)
    return np.where(constant, nothing, slope), np.where(constant, first + nothing, level)


def _slope(part: Stretches) -> Values:
    return regression(part, part.times[part.begins])[0]


def _predict(frame: Frame, node: Call) -> Grid:
    ahead = frame.scalar(node.arguments[1])

    def reduction(part: Stretches) -> Values:
        rising, now = regression(part, part.instants)
        return rising * ahead[part.columns] + now

    def quick(tail: Tail) -> Sure:
        return predicted(tail, int(frame.times[0]), float(ahead[0]))

    return frame.reduced(node.arguments[0], Reduction(reduction, quick), at_least=2).nameless(node.span)


FUNCTIONS: Mapping[str, Function] = {
    "rate": _between_edges(rate_between, _plain_rate, counter=True),
    "increase": _between_edges(change_between, _plain_increase, counter=True),
    "delta": _between_edges(change_between, _plain_delta, counter=False),
    "irate": _function(_instant_rate, _quick_rate),
    "idelta": _function(_instant_delta, _quick_delta),
    "deriv": _function(_slope, slope),
    "predict_linear": Function((Type.RANGE, Type.SCALAR), Type.VECTOR, _predict),
}
