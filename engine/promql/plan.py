"""Many expressions at one instant: each part that several of them have is read and worked out once.

A plan is made when the set of expressions changes; what it says is which parts are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from engine.model.truth import Answer, Coverage, Query
from engine.promql.block import Block, Matcher, Storage, Times, is_stale, latest
from engine.promql.coverage import Extents, covered, covered_by, told
from engine.promql.errors import EvaluationError, ParseError
from engine.promql.evaluate import DEFAULT_STEP, LOOKBACK, Interpreter
from engine.promql.frame import Frame, Windows
from engine.promql.parser import parse
from engine.promql.syntax import (
    NOWHERE,
    Expression,
    Extension,
    NumberLiteral,
    RangeSelector,
    Selector,
    StringLiteral,
    Subquery,
    children,
    walk,
)
from engine.promql.track import Tail, Track
from engine.promql.tree import Selected, selectors
from engine.promql.values import Grid, Mask, Matrix, Result, Scalar, Text, Value, Vector


@dataclass(frozen=True, slots=True)
class Planned:
    """One expression, with the numbers of the selectors that it cannot do without; or why there is none."""

    query: Query
    expression: Expression | None
    needs: tuple[int, ...] = ()
    error: str = ""


class Plan:
    """What is to be evaluated together at every tick."""

    def __init__(self, queries: Iterable[Query]) -> None:
        self._selected: dict[Selected, int] = {}
        self.planned = tuple(map(self._plan, dict.fromkeys(queries)))
        nodes = [node for each in self.planned if each.expression is not None for node in walk(each.expression)]
        parts = [node for node in nodes if not isinstance(node, NumberLiteral | StringLiteral)]
        numbers: dict[Expression, int] = {}
        shared = {part for part, count in Counter(parts).items() if count > 1}
        # the trees live as long as the plan: a node's identity finds its number without comparing trees
        self._shared = {id(part): numbers.setdefault(part, len(numbers)) for part in parts if part in shared}
        ranges = (each.expression for each in self.planned if each.expression is not None)
        self._ranges = Ranges(node for expression in ranges for node in _at_the_instant(expression))

    def answers(self, storage: Storage, at: int, fresh: int, lookback: int = LOOKBACK) -> dict[Query, Answer]:
        """Return an answer for each query, as of `at`; `fresh` and `lookback` are milliseconds, too."""
        picture = Picture(storage, at, self._ranges)
        times = np.array([at], dtype=np.int64)
        frame = Frame(_Sharing(self._shared, times, picture), picture, times, lookback, at, at, 0, DEFAULT_STEP)
        selected = tuple(self._selected)
        covering: dict[int, Coverage] = {}

        def coverage(number: int) -> Coverage:
            if number not in covering:
                each = selected[number]
                tail = None if each.range is None else picture.tail(each.selector, each.reach)
                if tail is None:
                    covering[number] = covered(each, picture, at, fresh, lookback)
                else:
                    covering[number] = covered_by(each, Extents.of_tail(tail), at - each.offset, fresh)
            return covering[number]

        def one(planned: Planned) -> Answer:
            if planned.expression is None:
                return Answer(planned.query, error=planned.error)
            try:
                result = _result(planned.expression, frame)
            except EvaluationError as wrong:
                return Answer(planned.query, error=wrong.message)
            return told(planned.query, result, lambda: tuple(map(coverage, planned.needs)))

        with np.errstate(all="ignore"):
            return {planned.query: one(planned) for planned in self.planned}

    def _plan(self, query: Query) -> Planned:
        try:
            expression = parse(query.expr)
        except ParseError as wrong:
            return Planned(query, None, error=f"does not parse: {wrong}")
        needed = (replace(each, span=NOWHERE) for each in selectors(expression) if each.needed)
        numbers = (self._selected.setdefault(each, len(self._selected)) for each in needed)
        return Planned(query, expression, tuple(dict.fromkeys(numbers)))


def _result(expression: Expression, frame: Frame) -> Result:
    if isinstance(expression, RangeSelector | Subquery):
        return Matrix(())
    value = frame.evaluator.value(expression, frame)
    match value:
        case str():
            return Text(frame.end, value)
        case Grid():
            compact = value.compact()
            return Vector(frame.end, compact.series, compact.values[:, 0])
        case _:
            return Scalar(frame.end, float(value[0]))


Reading = tuple[tuple[Matcher, ...], int]
"""The matchers of a selector, and its offset."""


class Ranges:
    """What range selectors ask for at the instant itself: windows that all end there, or all at the same offset before it."""

    def __init__(self, nodes: Iterable[RangeSelector]) -> None:
        self.widest: dict[Reading, int] = {}
        for node in nodes:
            found = self.reading(node.selector)
            reach = node.range
            if found is not None and isinstance(reach, int) and reach > 0:
                self.widest[found] = max(reach, self.widest.get(found, 0))

    def reading(self, selector: Selector) -> Reading | None:
        """Return what a selector reads; None where it looks at another time, or beyond its range."""
        offset = selector.offset
        if selector.at is not None or selector.extension is not None or not isinstance(offset, int):
            return None
        return selector.matchers, offset


def _at_the_instant(expression: Expression) -> Iterator[RangeSelector]:
    """Yield the range selectors that are not below a subquery."""
    waiting = [expression]
    while waiting:
        node = waiting.pop()
        if isinstance(node, RangeSelector):
            yield node
        elif not isinstance(node, Subquery):
            waiting.extend(children(node))


@runtime_checkable
class TrackingStorage(Storage, Protocol):
    """A storage that knows from one instant to the next what windows are cut from."""

    def track(self, matchers: Sequence[Matcher], offset: int, reach: int, end: int) -> Track | Block:
        """Return a track that ends at `end` and reaches back `reach` (milliseconds) or further.

        A block with the samples of that span where those are not worth a track.
        """
        ...


class Picture:
    """A storage read once: what was selected before is answered from memory.

    Of the ranges planned for the instant `at`, the widest one of each selector is read, and the others are cut from it.
    """

    def __init__(self, storage: Storage, at: int, ranges: Ranges) -> None:
        self._storage = storage
        self._at = at
        self._ranges = ranges
        self._tracks: dict[Reading, Track | None] = {}
        self._tails: dict[tuple[Reading, int], Tail] = {}
        self._blocks: dict[tuple[tuple[Matcher, ...], int, int, bool], Block] = {}

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what the storage said when first asked for this."""
        key = (tuple(matchers), start, end, False)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = self._storage.select(matchers, start, end)
        return block

    def latest(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return the newest samples that the storage had when first asked for them."""
        key = (tuple(matchers), start, end, True)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = latest(self._storage, matchers, start, end)
        return block

    def tail(self, selector: Selector, reach: int) -> Tail | None:
        """Return a selector's window of a width, cut from the widest one that is planned; None where none is."""
        reading = self._ranges.reading(selector)
        if reading is None or reach > self._ranges.widest.get(reading, 0):
            return None
        found = self._tails.get((reading, reach))
        if found is None:
            if reading not in self._tracks:
                self._tracks[reading] = self._track(reading)
            track = self._tracks[reading]
            if track is None:
                return None
            found = self._tails[reading, reach] = track.tail(track.end - reach)
        return found

    def _track(self, reading: Reading) -> Track | None:
        matchers, offset = reading
        reach, end = self._ranges.widest[reading], self._at - offset
        if isinstance(self._storage, TrackingStorage):
            found = self._storage.track(matchers, offset, reach, end)
            if isinstance(found, Track):
                return found
            self._blocks[matchers, end - reach, end, False] = found
            return None
        return Track.of(self.select(matchers, end - reach, end), end - reach, end)


class _Sharing(Interpreter):
    """Evaluates the parts that were planned as shared once, at the instant of the plan (not within subqueries)."""

    def __init__(self, shared: Mapping[int, int], times: Times, picture: Picture) -> None:
        self._shared = shared
        self._times = times
        self._picture = picture
        self._values: dict[int, Value | EvaluationError] = {}
        self._windows: dict[int, Windows] = {}

    def value(self, node: Expression, frame: Frame) -> Value:
        """Return the value of an expression that is no range vector."""
        number = self._shared.get(id(node)) if frame.times is self._times else None
        if number is None:
            return self._fresh(node, frame)
        value = self._values.get(number)
        if value is None:
            try:
                value = self._fresh(node, frame)
            except EvaluationError as wrong:
                value = wrong
            self._values[number] = value
        if isinstance(value, EvaluationError):
            raise EvaluationError(value.message, node.span)
        return value

    def windows(self, node: Expression, frame: Frame) -> Windows:
        """Return a range vector."""
        number = self._shared.get(id(node)) if frame.times is self._times else None
        if number is None:
            return super().windows(node, frame)
        windows = self._windows.get(number)
        if windows is None:
            windows = self._windows[number] = super().windows(node, frame)
        return windows

    def tail(self, node: Expression, frame: Frame) -> Tail | None:
        """Return a range vector as windows cut from the widest one of its selector."""
        if frame.times is not self._times or not isinstance(node, RangeSelector) or not isinstance(node.range, int):
            return None
        tail = self._picture.tail(node.selector, node.range)
        if tail is not None:
            frame.bound(len(tail.track.series), 1, node.span)
        return tail

    def _fresh(self, node: Expression, frame: Frame) -> Value:
        if isinstance(node, Selector) and node.extension is not Extension.SMOOTHED and frame.times is self._times:
            return newest(node, frame)
        return super().value(node, frame)


def newest(node: Selector, frame: Frame) -> Grid:
    """Return the vector of an instant selector at one instant, from the newest samples alone."""
    moment = int(frame.moments(node.offset, node.at)[0])
    block = latest(frame.storage, node.matchers, moment - frame.lookback, moment)
    frame.bound(len(block.series), 1, node.span)
    present: Mask = ~is_stale(block.values)[:, np.newaxis]
    return Grid(block.series, block.values[:, np.newaxis], present).compact()
