"""What data an expression had to say what it says: the third value of answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from engine.model.labels import Labels, Sample
from engine.model.truth import Answer, Coverage, Query
from engine.promql.block import Block, Storage, Times, Values, is_stale, latest
from engine.promql.errors import EvaluationError
from engine.promql.evaluate import LOOKBACK, evaluate
from engine.promql.kept import KEPT
from engine.promql.reading import Remembering, without_stale
from engine.promql.syntax import Edge, Expression
from engine.promql.track import FAR, Tail
from engine.promql.tree import Selected, selectors
from engine.promql.values import Indexes, Mask, Matrix, Result, Scalar, Text, Vector, those

ENOUGH = 0.5
"""A range that is filled for less than this share of it is not judged by."""


def answer(expr: Expression, query: Query, storage: Storage, at: int, fresh: int, lookback: int = LOOKBACK) -> Answer:
    """Return what `expr` says at `at`, with the coverage of each selector that it cannot do without.

    A series is fresh when its newest sample is no stale marker and at most `fresh` old (all in milliseconds). An
    expression that cannot be evaluated over the data gives an answer with an error, never an exception.
    """
    remembering = Remembering(storage)
    try:
        result = evaluate(expr, remembering, at, lookback)
    except EvaluationError as wrong:
        return Answer(query, error=wrong.message)
    return told(query, result, lambda: coverage(expr, remembering, at, fresh, lookback))


def told(query: Query, result: Result, needs: Callable[[], tuple[Coverage, ...]]) -> Answer:
    """Return a result as an answer."""
    match result:
        case Vector():
            return Answer(query, result.samples(), needs())
        case Scalar(value=value):
            return Answer(query, (Sample(Labels(), value),), needs())
        case Text() | Matrix():
            kind = "a string" if isinstance(result, Text) else "a range vector"
            return Answer(query, error=f"the expression is {kind}, which says nothing about an instant")


def coverage(expr: Expression, storage: Storage, at: int, fresh: int, lookback: int = LOOKBACK) -> tuple[Coverage, ...]:
    """Return what data each selector had that `expr` cannot do without, in the order of the text."""
    needs = (covered(each, storage, at, fresh, lookback) for each in selectors(expr) if each.needed)
    return tuple(dict.fromkeys(needs))


def covered(each: Selected, storage: Storage, at: int, fresh: int, lookback: int) -> Coverage:
    """Return what data one selector had."""
    moment = (at if each.at is None or isinstance(each.at, Edge) else each.at) - each.offset
    # below a subquery, an instant selector looks back from the first step, too
    window = each.reach + (lookback if each.range is None else 0)
    # without a range there is nothing to be filled: how far back samples reach is not asked
    read = storage.select if each.reach else partial(latest, storage)
    block = read(each.matchers, moment - window, moment)
    return covered_by(each, Extents.of_block(block), moment, fresh)


@dataclass(frozen=True, slots=True)
class Extents:
    """Where the samples of each series of a selector begin and end; none is without a sample that is no stale marker."""

    series: tuple[Labels, ...]
    first: Times
    last: Times
    ended: Mask
    """Which have a stale marker for their newest sample."""

    @classmethod
    def of_block(cls, block: Block) -> Extents:
        """Return the extents of a block."""
        last = block.offsets[1:] - 1
        ended = is_stale(block.values[last])
        real = without_stale(block)
        if real is block:
            return cls(block.series, block.times[block.offsets[:-1]], block.times[last], ended)
        there = np.diff(real.offsets) > 0
        first = real.times[real.offsets[:-1][there]]
        return cls(those(block.series, there), first, block.times[last][there], ended[there])

    @classmethod
    def of_tail(cls, tail: Tail) -> Extents:
        """Return the extents of windows that all end now."""
        track = tail.track
        there = np.broadcast_to(tail.lengths > 0, (track.size,))
        first = np.where(there, tail.first_times(), FAR)
        last = np.where(there, tail.last_times(), -FAR)
        ended: Mask = np.zeros(track.size, dtype=np.bool_)
        within = track.marked_times > tail.start
        if within.any():
            rows, times = track.marked_rows[within], track.marked_times[within]
            np.maximum.at(last, rows, times)
            ended[rows[last[rows] == times]] = True
        if there.all():
            return cls(track.series, first, last, ended)
        return cls(those(track.series, there), first[there], last[there], ended[there])


def covered_by(each: Selected, extents: Extents, moment: int, fresh: int) -> Coverage:
    """Return what data one selector had whose samples reach so far."""
    reach = each.reach / 1000
    if not extents.series:
        return Coverage(each.text, frozenset(), reach=reach)
    instances = KEPT.get("instances", Instances.of, extents.series)
    silent = moment - extents.last
    alive = instances.any((silent <= fresh) & ~extents.ended)
    old = instances.named(instances.any((silent > fresh) & (silent < LOOKBACK) & ~extents.ended) & ~alive)
    ages = instances.greatest((moment - extents.first) / 1000)
    found = instances.named(alive)
    filled = ages >= reach * ENOUGH
    if filled.all():
        return Coverage(each.text, found, frozenset(), reach, float(ages.max()), old)
    short = alive & ~filled
    # the number stands in a sentence about those that fall short, where any do
    return Coverage(
        each.text, found, instances.named(short), reach, float(ages[short].max() if short.any() else ages.max()), old
    )


@dataclass(frozen=True, slots=True)
class Instances:
    """The instances that series are of: their names, those names as a set, and the number of the instance of each series."""

    names: tuple[str, ...]
    every: frozenset[str]
    numbers: Indexes

    @classmethod
    def of(cls, series: tuple[Labels, ...]) -> Instances:
        """Return the instances of these series."""
        known: dict[str, int] = {}
        numbers = [known.setdefault(labels.get("instance", ""), len(known)) for labels in series]
        return cls(tuple(known), the_same(frozenset(known)), np.array(numbers, dtype=np.int64))

    def any(self, holds: Mask) -> Mask:
        """Return for which instances it holds for any of their series."""
        if len(self.names) == len(self.numbers):
            return holds
        found = np.zeros(len(self.names), dtype=np.bool_)
        found[self.numbers[holds]] = True
        return found

    def greatest(self, values: Values) -> Values:
        """Return the greatest value that a series of each instance has."""
        if len(self.names) == len(self.numbers):
            return values
        found = np.full(len(self.names), -np.inf)
        np.maximum.at(found, self.numbers, values)
        return found

    def named(self, holds: Mask) -> frozenset[str]:
        """Return the names of those instances for which it holds."""
        if holds.all():
            return self.every
        return the_same(frozenset(self.names[number] for number in np.flatnonzero(holds).tolist()))


@lru_cache(maxsize=256)
def the_same(instances: frozenset[str]) -> frozenset[str]:
    """Return the very set that was there before, if an equal one was: what is kept about a set is then found at once."""
    return instances
