"""Expressions at every instant of a grid: worked out for a stretch of instants at once, answered instant by instant.

What an answer says at an instant is what the expression says there asked alone: the same samples, and the same of the data
that each selector had. Stretches begin short and double while one follows the other, so that a look at a single moment costs
little and a walk through a week costs a few evaluations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, overload

import numpy as np

from engine.model.labels import METRIC_NAME, Labels, Sample
from engine.model.truth import Answer, Coverage, Query
from engine.promql.block import Block, Matcher, MatchOperator, Storage, Times, Values, is_stale
from engine.promql.coverage import ENOUGH, Instances
from engine.promql.errors import EvaluationError, ParseError
from engine.promql.evaluate import DEFAULT_STEP, LOOKBACK, Interpreter
from engine.promql.frame import Frame
from engine.promql.kept import KEPT
from engine.promql.operators import binary
from engine.promql.parser import parse
from engine.promql.plan import Plan
from engine.promql.reading import positions, without_stale
from engine.promql.sets import combine
from engine.promql.sliding import SLIDING, slide
from engine.promql.stacked import STACKED, stack
from engine.promql.syntax import (
    NOWHERE,
    Aggregation,
    Binary,
    Call,
    Expression,
    Matching,
    NumberLiteral,
    RangeSelector,
    Selector,
    StringLiteral,
    Subquery,
    walk,
)
from engine.promql.tree import Selected, selectors
from engine.promql.values import Grid, Indexes, Mask, Value, empty_grid

SHORTEST: Final = 64
LONGEST: Final = 1024
"""Instants in the first stretch, and in one of a long walk."""
CELLS: Final = 2_000_000
"""Series times instants that a stretch may have."""
KEPT_BYTES: Final = 96 << 20
"""Of what was read last, so much is kept: an expression and the account of its data read the same."""

Told = Callable[[int, int, Answer], None]
"""Is told from which instant to before which an expression had the same data, and an answer that says which."""


@dataclass(frozen=True, slots=True)
class Instants:
    """`count` instants from `start` on, `step` apart (milliseconds)."""

    start: int
    step: int
    count: int

    def times(self, first: int, beyond: int) -> Times:
        """Return the moments of the instants from number `first` to before `beyond`."""
        return self.start + self.step * np.arange(first, beyond, dtype=np.int64)

    def number(self, moment: int) -> int:
        """Return the number of the instant at a moment. Raises ValueError where there is none."""
        number, beside = divmod(moment - self.start, self.step)
        if beside or not 0 <= number < self.count:
            raise ValueError(f"{moment} is none of the instants")
        return number


class Sweep:
    """Answers over `storage` at the instants of a grid, to be asked with numbers that do not go back.

    `fresh` and `lookback` are milliseconds, and mean what they mean to `Plan.answers`.
    """

    def __init__(self, storage: Storage, instants: Instants, fresh: int, lookback: int = LOOKBACK) -> None:
        self.instants = instants
        self._storage = Recalling(storage)
        self._fresh, self._lookback = fresh, lookback
        self._courses: dict[Query, Course] = {}

    def answers(self, queries: Sequence[Query], moment: int) -> tuple[Answer, ...]:
        """Return one answer for each query, in order, as of a moment of the grid."""
        number = self.instants.number(moment)
        return tuple(self._course(query).at(number) for query in queries)

    def next_said(self, queries: Sequence[Query], number: int) -> int | None:
        """Return the first instant from `number` on at which any of the expressions has a result; None for never."""
        while number < self.instants.count:  # side by side, so that all read the same stretch of time
            edge = bound = edge_behind(number, self.instants.count)
            for query in queries:
                bound = self._course(query).next_said(number, bound)
            if bound < edge:
                return bound
            number = edge
        return None

    def account(self, query: Query, told: Told) -> None:
        """Have `told` be told, as the walk goes on, which data an expression has when."""
        self._course(query).told.append(told)

    def _course(self, query: Query) -> Course:
        course = self._courses.get(query)
        if course is None:
            course = Course(query, self._storage, self.instants, self._fresh, self._lookback)
            self._courses[query] = course
        return course


def edge_behind(number: int, count: int) -> int:
    """Return where a stretch from an instant on ends at the latest: where all others do."""
    return min((number // LONGEST + 1) * LONGEST, count)


class Recalling:
    """A storage that is asked once for what was read lately."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._blocks: OrderedDict[tuple[tuple[Matcher, ...], int, int], Block] = OrderedDict()
        self._bytes = 0
        self.rows = 0
        """The most series that a selection found since this was set to 0."""

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what the storage returns."""
        asked = (tuple(matchers), start, end)
        block = self._blocks.get(asked)
        if block is None:
            block = self._blocks[asked] = self._storage.select(matchers, start, end)
            self._bytes += size_of(block)
            while self._bytes > KEPT_BYTES and len(self._blocks) > 1:
                self._bytes -= size_of(self._blocks.popitem(last=False)[1])
        self.rows = max(self.rows, len(block.series))
        return block


def size_of(block: Block) -> int:
    """Return about how many bytes a block takes."""
    return block.times.nbytes + block.values.nbytes + block.offsets.nbytes


class Course:
    """What one expression says in the course of time."""

    def __init__(self, query: Query, storage: Recalling, instants: Instants, fresh: int, lookback: int) -> None:
        self.query = query
        self.told: list[Told] = []
        self._storage, self._instants, self._fresh, self._lookback = storage, instants, fresh, lookback
        self._error = ""
        self._expression: Expression | None = None
        self._needs: tuple[Selected, ...] = ()
        self._most, self._width = LONGEST, SHORTEST
        self._stretches: list[Stretch] = []
        """One behind the other: from where the walk is to where somebody has looked ahead."""
        self._accounted, self._beyond, self._rows = 0, 0, 0
        try:
            self._expression = parse(query.expr)
        except ParseError:
            self._most = 1  # the plan says how it is wrong
        else:
            needed = (replace(each, span=NOWHERE) for each in selectors(self._expression) if each.needed)
            self._needs = tuple(dict.fromkeys(needed))
            if not steady(self._expression):
                self._most = 1
        self._plan = Plan((query,))

    def at(self, number: int) -> Answer:
        """Return the answer at one instant."""
        if self._stretches and self._stretches[0].first <= number < self._stretches[0].beyond:
            return self._stretches[0].answer(number)  # as nearly always: there is nothing to forget
        self._forget(number)
        return self._over(number).answer(number)

    def next_said(self, number: int, bound: int) -> int:
        """Return the first instant from `number` on, before `bound`, at which there is a result; `bound` for none."""
        self._forget(number)
        while number < bound:
            stretch = self._over(number)
            found = np.flatnonzero(stretch.said[number - stretch.first :])
            if found.size:
                return min(number + int(found[0]), bound)
            number = stretch.beyond
        return bound

    def _over(self, number: int) -> Stretch:
        """Return the stretch that an instant lies in."""
        for known in self._stretches:
            if known.first <= number < known.beyond:
                return known
        follows = number == self._beyond
        self._width = min(2 * self._width, LONGEST) if follows else SHORTEST
        edge = edge_behind(number, self._instants.count)
        stretch = self._made(number, max(1, min(self._width, self._most, self._room(), edge - number)))
        self._stretches.append(stretch)
        self._beyond = stretch.beyond
        if self.told and stretch.beyond > self._accounted:
            for first, beyond, answer in stretch.accounts(max(self._accounted, stretch.first)):
                for told in self.told:
                    told(first, beyond, answer)
            self._accounted = stretch.beyond
        return stretch

    def _room(self) -> int:
        return CELLS // max(1, self._rows) if self._rows else LONGEST

    def _forget(self, number: int) -> None:
        """Drop the stretches that have gone by."""
        while self._stretches and self._stretches[0].beyond <= number:
            del self._stretches[0]

    def _made(self, number: int, width: int) -> Stretch:
        """Return a stretch from an instant on; shorter than `width` where the data do not allow an answer to all of it."""
        self._storage.rows = 0
        while width > 1:
            try:
                stretch = self._evaluated(number, number + width)
            except EvaluationError:
                width //= 2
            else:
                self._rows = self._storage.rows
                return stretch
        moment = self._instants.start + self._instants.step * number
        answer = self._plan.answers(self._storage, moment, self._fresh, self._lookback)[self.query]
        return Stretch(number, number + 1, np.array([bool(answer.samples)]), self.query, only=answer)

    def _evaluated(self, first: int, beyond: int) -> Stretch:
        assert self._expression is not None  # noqa: S101  (a stretch of several instants is of what was parsed)
        times = self._instants.times(first, beyond)
        ends = int(times[0]), int(times[-1])
        frame = Frame(Sliding(), self._storage, times, self._lookback, *ends, self._instants.step, DEFAULT_STEP)
        with np.errstate(all="ignore"):
            if isinstance(self._expression, RangeSelector | Subquery):
                raise EvaluationError("a range vector says nothing about an instant", self._expression.span)
            value = frame.evaluator.value(self._expression, frame)
        match value:
            case str():
                raise EvaluationError("a string says nothing about an instant", self._expression.span)
            case Grid():
                said: Mask = np.any(value.present, axis=0)
                rows = Rows(value.series, value.values, value.present)
            case _:
                said = np.ones(times.size, dtype=np.bool_)
                rows = Rows((Labels(),), value.reshape(1, -1), said.reshape(1, -1))
        return Stretch(first, beyond, said, self.query, rows, lambda: self._covering(times))

    def _covering(self, times: Times) -> tuple[Covering, ...]:
        return tuple(Covering.of(each, self._storage, times, self._fresh, self._lookback) for each in self._needs)


class Sliding(Interpreter):
    """Evaluates windows that slide from instant to instant together, and what stands twice in an expression once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Expression, int], tuple[Times, Value]] = {}

    def value(self, node: Expression, frame: Frame) -> Value:
        """Return the value of an expression that is no range vector, at every instant of `frame`."""
        if isinstance(node, NumberLiteral | StringLiteral):
            return super().value(node, frame)
        key = node, id(frame.times)
        known = self._known.get(key)
        if known is None:  # the times are kept with the value, so that no others come to be known by their number
            known = self._known[key] = frame.times, self._fresh(node, frame)
        return known[1]

    def _fresh(self, node: Expression, frame: Frame) -> Value:
        if isinstance(node, Aggregation) and node.operator in STACKED:
            stacked = stack(node, frame.vector(node.expression))
            if stacked is not None:
                return stacked
        if isinstance(node, Binary) and node.operator in ("and", "unless"):
            return meeting(node, frame)
        if isinstance(node, Call) and node.function in SLIDING and frame.times.size > 1:
            over = node.arguments[0]
            if not isinstance(over, RangeSelector) or over.selector.extension is None:
                return slide(frame, frame.windows(over), node)
        return super().value(node, frame)


def meeting(node: Binary, frame: Frame) -> Value:
    """Return what `and` or `unless` gives; the side that costs more is worked out only where the other leaves anything to it."""
    first, second = node.left, node.right
    if node.operator == "and" and weight(first) > weight(second):
        first, second = second, first
    known = frame.evaluator.value(first, frame)
    if not isinstance(known, Grid) or not harmless(second):
        return binary(node, frame)
    where = np.flatnonzero(np.any(known.present, axis=0))
    if not where.size:
        return empty_grid(frame.times.size)
    if 2 * where.size > frame.times.size:
        return binary(node, frame)
    found = frame.at(frame.times[where]).vector(second)
    values = np.zeros((len(found.series), frame.times.size))
    present = np.zeros(values.shape, dtype=np.bool_)
    values[:, where], present[:, where] = found.values, found.present
    other = Grid(found.series, values, present, found.unnamed)
    return combine(node, known, other) if first is node.left else combine(node, other, known)


def weight(node: Expression) -> int:
    """Return about how much it takes to work out a part of an expression: how far its windows reach."""
    reach = sum(each.range for each in walk(node) if isinstance(each, RangeSelector) and isinstance(each.range, int))
    return reach + sum(1 for _ in walk(node))


def harmless(node: Expression) -> bool:
    """Return whether a part of an expression can be worked out whatever the data: then it need not be, to know that."""
    match node:
        case NumberLiteral():
            return True
        case Selector(extension=None):
            return one_name(node)
        case Call(function=function, arguments=(RangeSelector(selector=selector), *rest)) if function in SLIDING:
            return (
                selector.extension is None
                and one_name(selector)
                and all(isinstance(one, NumberLiteral) for one in rest)
            )
        case Aggregation(operator=operator, expression=below) if operator in STACKED:
            return harmless(below)
        case Binary(operator=operator, left=left, right=right, matching=matching):
            either = isinstance(left, NumberLiteral) or isinstance(right, NumberLiteral)
            plain = operator in ("and", "unless") or matching == Matching()
            return (either or plain) and harmless(left) and harmless(right)
        case _:
            return False


def one_name(selector: Selector) -> bool:
    """Return whether all series of a selector have the same name: without it, no two of them are the same."""
    return any(each.name == METRIC_NAME and each.operator is MatchOperator.EQUAL for each in selector.matchers)


def steady(expression: Expression) -> bool:
    """Return whether what an expression says at an instant does not depend on which others it is asked at."""
    for node in walk(expression):
        match node:
            case Selector(offset=offset, at=at):
                fixed = at is None and isinstance(offset, int)
            case RangeSelector(range=reach):
                fixed = isinstance(reach, int)
            case Subquery(range=reach, step=step, offset=offset, at=at):
                fixed = at is None and all(isinstance(each, int | None) for each in (reach, step, offset))
            case _:
                fixed = True
        if not fixed:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Rows:
    """The samples of a stretch: a row for each series, a column for each instant."""

    series: tuple[Labels, ...]
    values: Values
    present: Mask

    def at(self, column: int) -> tuple[Sample, ...]:
        """Return the samples at one instant."""
        there = np.flatnonzero(self.present[:, column]).tolist()
        return tuple(
            [
                Sample(self.series[row], value)
                for row, value in zip(there, self.values[there, column].tolist(), strict=True)
            ]
        )


@dataclass(slots=True)
class Stretch:
    """What an expression says at the instants from `first` to before `beyond`; `said` is where there is a result."""

    first: int
    beyond: int
    said: Mask
    query: Query
    rows: Rows | None = None
    cover: Callable[[], tuple[Covering, ...]] = tuple
    only: Answer | None = None
    """The answer to the one instant there is, where that was asked alone."""
    _covering: tuple[Covering, ...] | None = None

    def answer(self, number: int) -> Answer:
        """Return the answer at one of its instants."""
        if self.only is not None:
            return self.only
        column = number - self.first
        samples = self.rows.at(column) if self.rows is not None and self.said[column] else ()
        return Answer(self.query, samples, Needs(self, column))

    def needs(self, column: int) -> tuple[Coverage, ...]:
        """Return what data each selector had at one of its instants."""
        return tuple(each.at(column) for each in self._covered())

    def accounts(self, number: int) -> Iterator[tuple[int, int, Answer]]:
        """Yield, from an instant on, the runs of instants in which the data were the same, with an answer that says which."""
        if self.only is not None:
            yield self.first, self.beyond, self.only
            return
        changes = np.zeros(self.beyond - self.first, dtype=np.bool_)
        for each in self._covered():
            changes |= each.changes
        changes[number - self.first] = True
        begins = [int(each) for each in np.flatnonzero(changes) if each >= number - self.first]
        for begin, end in zip(begins, [*begins[1:], self.beyond - self.first], strict=True):
            yield self.first + begin, self.first + end, Answer(self.query, (), self.needs(begin))

    def _covered(self) -> tuple[Covering, ...]:
        if self._covering is None:
            self._covering = self.cover()
        return self._covering


class Needs(Sequence[Coverage]):
    """What data each selector had at an instant, worked out when somebody looks: where there is no result, few do."""

    __slots__ = ("_column", "_stretch")

    def __init__(self, stretch: Stretch, column: int) -> None:
        self._stretch, self._column = stretch, column

    @overload
    def __getitem__(self, place: int) -> Coverage: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Coverage]: ...

    def __getitem__(self, place: int | slice) -> Coverage | Sequence[Coverage]:
        return self._stretch.needs(self._column)[place]

    def __iter__(self) -> Iterator[Coverage]:
        return iter(self._stretch.needs(self._column))

    def __len__(self) -> int:
        return len(self._stretch.needs(self._column))


@dataclass(slots=True)
class Covering:
    """What data one selector had at each instant of a stretch; a row for each instance, a column for each instant.

    `ages` are how many seconds the samples of each instance reach back. Within a run, which is counted by `runs` and begins
    where `changes` says so, all is the same but the ages, of which then none is too small.
    """

    each: Selected
    instances: Instances
    alive: Mask
    short: Mask
    old: Mask
    ages: Values
    changes: Mask
    runs: Indexes
    _known: dict[int, Coverage] = field(default_factory=dict)

    @classmethod
    def of(cls, each: Selected, storage: Storage, times: Times, fresh: int, lookback: int) -> Covering:
        """Return what data a selector had at `times`: at each of them, what `covered` says there."""
        moments = times - each.offset
        window = each.reach + (lookback if each.range is None else 0)
        block = storage.select(each.matchers, int(moments[0]) - window, int(moments[-1]))
        instances = KEPT.get("instances", Instances.of, block.series)
        series = _by_series(block, moments, window, fresh)
        alive, old = _any(instances, series[0]), _any(instances, series[1])
        ages = _greatest(instances, series[2])
        short: Mask = alive & ~(ages >= each.reach / 1000 * ENOUGH)
        changes: Mask = np.ones(times.size, dtype=np.bool_)
        changes[1:] = short[:, 1:].any(axis=0)
        for part in (alive, short, old):
            changes[1:] |= (part[:, 1:] != part[:, :-1]).any(axis=0)
        return cls(each, instances, alive, short, old, ages, changes, np.cumsum(changes))

    def at(self, column: int) -> Coverage:
        """Return what data there were at one instant."""
        run = int(self.runs[column])
        known = self._known.get(run)
        if known is None:
            known = self._known[run] = self._coverage(column)
        return known

    def _coverage(self, column: int) -> Coverage:
        short, ages = self.short[:, column], self.ages[:, column]
        reach = self.each.reach / 1000
        told = ages[short] if short.any() else ages[np.isfinite(ages)]
        if not told.size:
            return Coverage(self.each.text, frozenset(), reach=reach)
        alive, named = self.alive[:, column], self.instances.named
        old: Mask = self.old[:, column] & ~alive
        lacking = named(short) if short.any() else frozenset[str]()
        return Coverage(self.each.text, named(alive), lacking, reach, float(told.max()), named(old))


def _by_series(block: Block, moments: Times, window: int, fresh: int) -> tuple[Mask, Mask, Values]:
    """Return at each moment which series are alive, which are old, and how many seconds the samples of each reach back."""
    both = np.concatenate((moments, moments - window))
    real = without_stale(block)
    places = positions(block.times, block.offsets, both)
    reals = places if real is block else positions(real.times, real.offsets, both)
    last, low = places[:, : moments.size] - 1, reals[:, moments.size :]
    found = last >= block.offsets[:-1, np.newaxis]
    last = np.maximum(last, 0)
    there: Mask = found & (reals[:, : moments.size] > low)
    if not there.any():
        return there, there, np.full(there.shape, -np.inf)
    silent = moments - block.times[last]
    going: Mask = there & ~is_stale(block.values)[last]
    old: Mask = going & (silent > fresh) & (silent < LOOKBACK)
    first = real.times[np.minimum(low, real.times.size - 1)]
    return going & (silent <= fresh), old, np.where(there, (moments - first) / 1000, -np.inf)


def _any(instances: Instances, holds: Mask) -> Mask:
    """Return where it holds for any series of an instance."""
    if len(instances.names) == len(instances.numbers):
        return holds
    joined: Mask = np.logical_or.reduceat(holds[_order(instances)], _begins(instances), axis=0)
    return joined


def _greatest(instances: Instances, values: Values) -> Values:
    """Return the greatest value that a series of an instance has."""
    if len(instances.names) == len(instances.numbers):
        return values
    joined: Values = np.maximum.reduceat(values[_order(instances)], _begins(instances), axis=0)
    return joined


def _order(instances: Instances) -> Indexes:
    return np.argsort(instances.numbers, kind="stable")


def _begins(instances: Instances) -> Indexes:
    return np.searchsorted(np.sort(instances.numbers), np.arange(len(instances.names)))
