"""What every family of functions works with: the instants of a query, and the way to evaluate arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from engine.model.labels import Labels
from engine.promql.block import Storage, Times, Values
from engine.promql.durations import NoDurationError, milliseconds
from engine.promql.errors import EvaluationError
from engine.promql.segments import Stretches
from engine.promql.syntax import Call, Duration, Edge, Expression, Span, Type
from engine.promql.track import Tail
from engine.promql.values import Grid, Indexes, Mask, Value, empty_grid, those

LARGEST_GATHERING = 1 << 22
"""Samples that overlapping windows may copy at a time."""
LARGEST_GRID = 5_000_000
"""Series times instants that one part of an expression may have."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """From the samples in a window to a number.

    `quick` does the same for windows that all end now, out of what is known of the samples that they share; it says as well
    for which series it may be wrong by more than rounding (None: for none), and there `plain` is asked.
    """

    plain: Callable[[Stretches], Values]
    quick: Callable[[Tail], tuple[Values, Mask | None]] | None = None


@dataclass(frozen=True, slots=True)
class Windows:
    """A range vector at every instant of a query: window (row, column) holds samples `low` to `high` of the flat arrays.

    Stale markers are left out. `unnamed` is that of a vector.
    """

    series: tuple[Labels, ...]
    times: Times
    values: Values
    low: Indexes
    high: Indexes
    starts: Times
    ends: Times
    unnamed: Mask | None = None

    def reduce(self, frame: Frame, reduction: Callable[[Stretches], Values], at_least: int = 1) -> Grid:
        """Return the vector of `reduction` over every window that has `at_least` so many samples."""
        counts = self.high - self.low
        present = counts >= at_least
        if not present.any():
            return empty_grid(frame.times.size)
        rows, columns = np.nonzero(present)
        lengths = counts[rows, columns]
        values = np.zeros(counts.shape)
        for begin, end in portions(lengths):
            part = self.gather(frame, rows[begin:end], columns[begin:end], lengths[begin:end])
            values[rows[begin:end], columns[begin:end]] = reduction(part)
        return Grid(self.series, values, present, self.unnamed).compact()

    def gather(self, frame: Frame, rows: Indexes, columns: Indexes, lengths: Indexes) -> Stretches:
        """Return these windows, none of them empty, one behind the other."""
        begins = np.cumsum(lengths) - lengths
        low = self.low[rows, columns]
        whole = int(lengths.sum())
        if low.size and np.array_equal(low[1:], low[:-1] + lengths[:-1]):  # windows side by side need no copy
            samples = slice(int(low[0]), int(low[0]) + whole)
            times, values = self.times[samples], self.values[samples]
        else:
            index = np.arange(whole) + np.repeat(low - begins, lengths)
            times, values = self.times[index], self.values[index]
        starts, ends, instants = self.starts[columns], self.ends[columns], frame.times[columns]
        return Stretches(values, begins, lengths, times, rows, columns, starts, ends, instants)


def reduced(tail: Tail, frame: Frame, reduction: Reduction, at_least: int) -> Grid:
    """Return the vector of `reduction` over the windows of a tail that have `at_least` so many samples."""
    track = tail.track
    enough: Mask = np.broadcast_to(tail.lengths >= at_least, (track.size,))
    if not enough.any():
        return empty_grid(1)
    unsure: Mask | None = enough
    values = np.zeros(track.size)
    if reduction.quick is not None:
        found, unsure = reduction.quick(tail)
        values = np.array(np.broadcast_to(found, (track.size,)))
    if unsure is not None:
        rows = np.flatnonzero(enough & unsure)
        lengths = np.broadcast_to(tail.lengths, (track.size,))[rows]
        for begin, end in portions(lengths):
            part = tail.stretches(rows[begin:end], int(frame.times[0]))
            values[rows[begin:end]] = reduction.plain(part)
    series = track.series
    if not enough.all():
        series, values = those(series, enough), values[enough]
    present: Mask = np.ones((values.size, 1), dtype=np.bool_)
    return Grid(series, values[:, np.newaxis], present, frame.unmarked(values.size))


def portions(lengths: Indexes) -> list[tuple[int, int]]:
    """Cut windows of these lengths into portions that are not too large to copy."""
    filled = np.cumsum(lengths)
    cuts = [0]
    while cuts[-1] < lengths.size:
        done = int(filled[cuts[-1] - 1]) if cuts[-1] else 0
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(filled, done + LARGEST_GATHERING, side="right"))))
    return list(pairwise(cuts))


class Evaluator(Protocol):
    """The two ways in which an argument is evaluated."""

    def value(self, node: Expression, frame: Frame) -> Value:
        """Return the value of an expression that is no range vector."""
        ...

    def windows(self, node: Expression, frame: Frame) -> Windows:
        """Return a range vector."""
        ...

    def tail(self, node: Expression, frame: Frame) -> Tail | None:
        """Return a range vector as windows that share their samples with others, where that is planned."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """The instants an expression is evaluated at, and what it reads from.

    Times are milliseconds. `start`, `end` and `step` are the whole query's (an instant query has a step of 0);
    `times` are the instants, in a subquery not the query's own. `names_last`: results of calculations keep their
    metric's name until the query is done.
    """

    evaluator: Evaluator
    storage: Storage
    times: Times
    lookback: int
    start: int
    end: int
    step: int
    default_step: int
    names_last: bool = False

    def unmarked(self, rows: int) -> Mask | None:
        """Return the marks of so many series as they are stored: none is going to lose its name, so far."""
        return np.zeros(rows, dtype=np.bool_) if self.names_last else None

    def vector(self, node: Expression) -> Grid:
        """Return the value of an expression that is an instant vector."""
        value = self.evaluator.value(node, self)
        if not isinstance(value, Grid):
            raise EvaluationError("an instant vector was needed here", node.span)
        return value

    def scalar(self, node: Expression) -> Values:
        """Return the value of an expression that is a scalar: a number for each instant."""
        value = self.evaluator.value(node, self)
        if not isinstance(value, np.ndarray):
            raise EvaluationError("a scalar was needed here", node.span)
        return value

    def text(self, node: Expression) -> str:
        """Return the value of an expression that is a string."""
        value = self.evaluator.value(node, self)
        if not isinstance(value, str):
            raise EvaluationError("a string was needed here", node.span)
        return value

    def windows(self, node: Expression) -> Windows:
        """Return the value of an expression that is a range vector."""
        return self.evaluator.windows(node, self)

    def reduced(self, node: Expression, reduction: Reduction, at_least: int = 1) -> Grid:
        """Return the vector of `reduction` over every window of a range vector that has `at_least` so many samples."""
        tail = self.evaluator.tail(node, self)
        if tail is not None:
            return reduced(tail, self, reduction, at_least)
        return self.windows(node).reduce(self, reduction.plain, at_least)

    def seconds(self) -> Values:
        """Return the instants in seconds."""
        return self.times / 1000.0

    def bound(self, series: int, instants: int, span: Span) -> None:
        """Raise EvaluationError where so many series at so many instants are more than one query may ask for."""
        if series * instants > LARGEST_GRID:
            message = f"{series} series at {instants} instants are too many: take a larger step or a shorter range"
            raise EvaluationError(message, span)

    def at(self, times: Times) -> Frame:
        """Return the same query at other instants."""
        return replace(self, times=times)

    def duration(self, duration: Duration, *, positive: bool = False) -> int:
        """Return a span of time in milliseconds."""
        if isinstance(duration, int):
            return duration
        try:
            value = milliseconds(duration, self.step, self.end - self.start)
        except NoDurationError as wrong:
            raise EvaluationError(str(wrong), wrong.node.span) from None
        if positive and value <= 0:
            raise EvaluationError("a duration must be greater than 0", duration.span)
        return value

    def moments(self, offset: Duration, at: int | Edge | None) -> Times:
        """Return, for each instant, the one that is really looked at."""
        match at:
            case None:
                times = self.times
            case Edge.START:
                times = np.full_like(self.times, self.start)
            case Edge.END:
                times = np.full_like(self.times, self.end)
            case int():
                times = np.full_like(self.times, at)
        return times - self.duration(offset)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language: what it takes, what it gives, how it is computed.

    The last `optional` parameters may be left out; the last one may be repeated when `repeats`. What is our `own` no other evaluator knows.
    """

    takes: tuple[Type, ...]
    gives: Type
    compute: Callable[[Frame, Call], Value]
    optional: int = 0
    repeats: bool = False
    experimental: bool = False
    unsupported: str | None = None
    own: bool = False
