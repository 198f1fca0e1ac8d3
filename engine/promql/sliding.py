"""Reductions of windows that slide: each sample is looked at a few times, however many windows it lies in.

A window is put together from stretches of 1, 2, 4, 8 … samples, which all windows share; each stretch is two of half its length
joined. Nothing is ever taken off a sum, so nothing is left behind of what has gone by. Where a number may be wrong by more than
rounding (samples that are no numbers, or numbers that cancel out), the window is reduced by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from engine.promql import over_time, segments
from engine.promql.block import Times, Values
from engine.promql.folds import Extreme, Kind, Line, Moments, State, Steps, Total
from engine.promql.frame import Frame, Windows, portions
from engine.promql.quick import LOST, NARROW, ROUND
from engine.promql.rates import Edges, change_between, rate_between, regression
from engine.promql.segments import Stretches
from engine.promql.syntax import Call
from engine.promql.track import WILD
from engine.promql.values import Grid, Indexes, Mask, empty_grid

Sure = tuple[Values, Mask | None]
"""A number for each window, and for which of them it is not sure."""
Plain = Callable[[Stretches], Values]


@dataclass(frozen=True, slots=True)
class Cells:
    """Windows that have enough samples, one behind the other: `lengths` samples each from place `low` on."""

    frame: Frame
    windows: Windows
    rows: Indexes
    columns: Indexes
    low: Indexes
    lengths: Indexes

    @classmethod
    def of(cls, frame: Frame, windows: Windows, present: Mask) -> Cells:
        """Return the windows that are `present`."""
        if present.all():
            where: tuple[Indexes, ...] = tuple(each.reshape(-1) for each in np.indices(present.shape))
        else:
            where = np.nonzero(present)
        low = windows.low[present]
        return cls(frame, windows, where[0], where[1], low, windows.high[present] - low)

    def at(self, places: Indexes) -> Values:
        """Return the values at these places."""
        values: Values = self.windows.values[places]
        return values

    def times_at(self, places: Indexes) -> Times:
        """Return the times at these places."""
        times: Times = self.windows.times[places]
        return times

    @property
    def last(self) -> Indexes:
        """Return the place of the last sample of each."""
        return self.low + self.lengths - 1

    def folded(self, kind: Kind, samples: State) -> State:
        """Return what the samples in each window add up to; `samples` are one by one."""
        return folded(kind, samples, self.low, self.lengths)

    def counted(self, happens: Mask) -> Indexes:
        """Return how often it happens from one sample of each window to the next."""
        so_far = np.cumsum(happens)
        times: Indexes = so_far[self.last] - so_far[self.low]
        return times

    def constant(self) -> Mask:
        """Return in which windows all values are the same number."""
        before, after = _neighbours(self.windows.values)
        same: Mask = self.counted(before != after) == 0
        return same

    def wild(self) -> Mask | None:
        """Return which windows are of series with samples that cannot be summed with others; None for none."""
        values = self.windows.values
        if values.size == 0 or (values.max() < WILD and values.min() > -WILD):
            return None
        places = np.flatnonzero(~(np.abs(values) < WILD))
        owners = np.searchsorted(self.windows.low[:, 0], places, side="right") - 1
        some: Mask = np.isin(self.rows, owners)
        return some

    def level(self) -> Values:
        """Return for each sample a value that is near: what sums are taken from."""
        values = self.windows.values
        owners = np.searchsorted(self.windows.low[:, 0], np.arange(values.size), side="right") - 1
        firsts = self.windows.low[np.maximum(owners, 0), 0]
        level = values[np.minimum(firsts, values.size - 1)]
        return np.where(np.abs(level) < WILD, level, 0.0)


def folded(kind: Kind, samples: State, low: Indexes, lengths: Indexes) -> State:
    """Return what `lengths` samples from place `low` on add up to, for each window."""
    different = np.unique(lengths)
    groups = [np.flatnonzero(lengths == each) for each in different] if different.size > 1 else [np.arange(low.size)]
    places = [low[group] for group in groups]
    results = [kind.nothing(each.size) for each in places]
    done = [0] * len(groups)
    top, size, table = int(different[-1]) if different.size else 0, 1, samples
    while size <= top:
        for number, length in enumerate(different.tolist()):
            if length & size:
                part = tuple(column[places[number] + done[number]] for column in table)
                counts = np.array([done[number]]), np.array([size])
                results[number] = kind.join(results[number], part, counts) if done[number] else part
                done[number] += size
        if 2 * size <= top:
            first, second = tuple(each[:-size] for each in table), tuple(each[size:] for each in table)
            table = kind.join(first, second, (np.array([size]), np.array([size])))
        size *= 2
    if len(groups) == 1:
        return results[0]
    whole = kind.nothing(low.size)
    for group, result in zip(groups, results, strict=True):
        for column, own in zip(whole, result, strict=True):
            column[group] = own
    return whole


def _total(cells: Cells) -> tuple[Values, Values]:
    values = cells.windows.values
    total, lost = cells.folded(Total(), (values, np.zeros(values.size)))
    return total, lost


def _summed(cells: Cells) -> Sure:
    total, lost = _total(cells)
    return total + lost, cells.wild()


def _mean(cells: Cells) -> Sure:
    total, lost = _total(cells)
    return total / cells.lengths + lost / cells.lengths, cells.wild()


def _least(cells: Cells) -> Sure:
    return cells.folded(Extreme(np.fmin), (cells.windows.values,))[0], None


def _greatest(cells: Cells) -> Sure:
    return cells.folded(Extreme(np.fmax), (cells.windows.values,))[0], None


def _variance(cells: Cells) -> Sure:
    level, values = cells.level(), cells.windows.values
    middle, squares = cells.folded(Moments(), (values - level, np.zeros(values.size)))
    found = squares / cells.lengths
    mean = middle + level[cells.low]
    unsure: Mask = ((found < NARROW * middle * middle) | (found < ROUND * mean * mean)) & ~cells.constant()
    return found, _unsure(cells, unsure)


def _deviation(cells: Cells) -> Sure:
    found, unsure = _variance(cells)
    return np.sqrt(found), unsure


def _plain_deviation(part: Stretches) -> Values:
    return np.sqrt(segments.running_variance(part))


def _changes(cells: Cells) -> Sure:
    before, after = _neighbours(cells.windows.values)
    return cells.counted((before != after) & ~(np.isnan(before) & np.isnan(after))).astype(np.float64), None


def _resets(cells: Cells) -> Sure:
    before, after = _neighbours(cells.windows.values)
    return cells.counted(after < before).astype(np.float64), None


def _neighbours(values: Values) -> tuple[Values, Values]:
    """Return the value before each sample, and the sample's own."""
    return np.concatenate((values[:1], values[:-1])), values


STEPS: Final = Steps(lambda before, _: before)


def _count(cells: Cells) -> Sure:
    return cells.lengths.astype(np.float64), None


def _plain_count(part: Stretches) -> Values:
    return part.lengths.astype(np.float64)


def _present(cells: Cells) -> Sure:
    return np.ones(cells.low.size), None


def _first(cells: Cells) -> Sure:
    return cells.at(cells.low), None


def _last(cells: Cells) -> Sure:
    return cells.at(cells.last), None


def _edges(cells: Cells, *, counter: bool) -> Edges:
    values, last = cells.windows.values, cells.last
    change, fallen = cells.at(last) - cells.at(cells.low), None
    if counter:
        fallen = np.zeros(change.size)
        before, after = _neighbours(values)
        falls = after < before
        some = np.flatnonzero(cells.counted(falls))
        if some.size:
            lost = np.where(falls, before, 0.0)
            low, lengths = cells.low[some] + 1, cells.lengths[some] - 1
            change[some] += folded(STEPS, (lost,), low, lengths)[0]
            fallen[some] = folded(STEPS, (np.abs(lost),), low, lengths)[0]
    first_times, last_times = cells.times_at(cells.low), cells.times_at(last)
    starts, ends = cells.windows.starts[cells.columns], cells.windows.ends[cells.columns]
    return Edges(cells.at(cells.low), change, first_times, last_times, starts, ends, cells.lengths, counter, fallen)


def _between(change: Callable[[Edges], Values], *, counter: bool) -> Way:
    def sliding(cells: Cells, _: Call) -> Sure:
        edges = _edges(cells, counter=counter)
        unsure = edges.unsure()
        return change(edges), cells.wild() if unsure is None else _unsure(cells, unsure)

    def plain(part: Stretches) -> Values:
        return change(Edges.of_stretches(part, counter=counter))

    return Way(sliding, lambda *_: plain, at_least=2)


def _instant_delta(cells: Cells) -> Sure:
    return cells.at(cells.last) - cells.at(cells.last - 1), None


def _instant_rate(cells: Cells) -> Sure:
    before, after = cells.at(cells.last - 1), cells.at(cells.last)
    seconds = (cells.times_at(cells.last) - cells.times_at(cells.last - 1)) / 1000.0
    return np.where(after < before, after, after - before) / seconds, None


@dataclass(frozen=True, slots=True)
class Fitted:
    """The line through each window: its slope, and a point on it, in seconds since a moment of each window's own.

    `lost` says how many times over rounding counts in the slope; a `constant` has none.
    """

    slope: Values
    middle: Values
    level: Values
    lost: Values
    constant: Mask

    @classmethod
    def through(cls, cells: Cells, origins: Times) -> Fitted:
        """Return the lines, in seconds since `origins` (milliseconds)."""
        windows, level, nothing = cells.windows, cells.level(), np.zeros(cells.windows.values.size)
        origin = windows.times[windows.low[np.arange(len(windows.series)), 0].clip(max=windows.times.size - 1)]
        base = origin[np.maximum(np.searchsorted(windows.low[:, 0], np.arange(nothing.size), side="right") - 1, 0)]
        samples = (windows.times - base) / 1000.0, windows.values - level, nothing, nothing, nothing
        x, y, times, values, products = cells.folded(Line(), samples)
        middle, height = x + (base[cells.low] - origins) / 1000.0, y + level[cells.low]
        count = cells.lengths
        cancel = np.maximum(np.sqrt(times * (values + count * y * y)), count * np.abs(middle * height))
        lost = cancel / np.abs(products) + count * middle * middle / times
        constant = cells.constant()
        return cls(np.where(constant, 0.0, products / times), middle, height, np.where(constant, 0.0, lost), constant)


def _slope(cells: Cells, _: Call) -> Sure:
    line = Fitted.through(cells, cells.times_at(cells.low))
    return line.slope, _unsure(cells, ~(line.lost <= LOST))


def _predicted(cells: Cells, node: Call) -> Sure:
    ahead = cells.frame.scalar(node.arguments[1])[cells.columns]
    line = Fitted.through(cells, cells.frame.times[cells.columns])
    way = line.slope * (ahead - line.middle)
    found = np.where(line.constant, cells.at(cells.low) + 0.0 * ahead, line.level + way)
    lost = np.abs(way) * line.lost + np.abs(line.level) + np.abs(line.slope) * (np.abs(ahead) + np.abs(line.middle))
    return found, _unsure(cells, ~(lost <= LOST * np.abs(found)) & ~line.constant)


def _unsure(cells: Cells, lost: Mask) -> Mask:
    wild = cells.wild()
    return lost if wild is None else lost | wild


def _plain_slope(*_: object) -> Plain:
    return lambda part: regression(part, part.times[part.begins])[0]


def _plain_prediction(frame: Frame, node: Call) -> Plain:
    ahead = frame.scalar(node.arguments[1])

    def plain(part: Stretches) -> Values:
        rising, now = regression(part, part.instants)
        return rising * ahead[part.columns] + now

    return plain


@dataclass(frozen=True, slots=True)
class Way:
    """How a function's windows are reduced together, and, where that is not sure, each by itself."""

    sliding: Callable[[Cells, Call], Sure]
    plain: Callable[[Frame, Call], Plain]
    at_least: int = 1
    keeps_name: bool = False


def _way(sliding: Callable[[Cells], Sure], plain: Plain, *, at_least: int = 1, keeps_name: bool = False) -> Way:
    return Way(lambda cells, _: sliding(cells), lambda *_: plain, at_least, keeps_name)


def _never(part: Stretches) -> Values:
    raise AssertionError(f"{part.lengths.size} windows are not sure of what is always sure")


SLIDING: Mapping[str, Way] = MappingProxyType(
    {
        "avg_over_time": _way(_mean, segments.mean),
        "sum_over_time": _way(_summed, segments.summed),
        "min_over_time": _way(_least, _never),
        "max_over_time": _way(_greatest, _never),
        "count_over_time": _way(_count, _never),
        "present_over_time": _way(_present, _never),
        "first_over_time": _way(_first, _never, keeps_name=True),
        "last_over_time": _way(_last, _never, keeps_name=True),
        "stddev_over_time": _way(_deviation, _plain_deviation),
        "stdvar_over_time": _way(_variance, segments.running_variance),
        "changes": _way(_changes, over_time.changes),
        "resets": _way(_resets, over_time.resets),
        "rate": _between(rate_between, counter=True),
        "increase": _between(change_between, counter=True),
        "delta": _between(change_between, counter=False),
        "irate": _way(_instant_rate, _never, at_least=2),
        "idelta": _way(_instant_delta, _never, at_least=2),
        "deriv": Way(_slope, _plain_slope, at_least=2),
        "predict_linear": Way(_predicted, _plain_prediction, at_least=2),
    }
)
"""Functions over a range whose windows are reduced together; the others reduce each by itself."""


def slide(frame: Frame, windows: Windows, node: Call) -> Grid:
    """Return the vector of one of these functions over every window."""
    way = SLIDING[node.function]
    present: Mask = windows.high - windows.low >= way.at_least
    if not present.any():
        return empty_grid(frame.times.size)
    cells = Cells.of(frame, windows, present)
    found, unsure = way.sliding(cells, node)
    found = np.array(np.broadcast_to(found, (cells.low.size,)))
    if unsure is not None and unsure.any():
        plain, again = way.plain(frame, node), np.flatnonzero(unsure)
        for begin, end in portions(cells.lengths[again]):
            some = again[begin:end]
            found[some] = plain(windows.gather(frame, cells.rows[some], cells.columns[some], cells.lengths[some]))
    values = np.zeros(present.shape)
    values[present] = found
    grid = Grid(windows.series, values, present, windows.unnamed).compact()
    return grid if way.keeps_name else grid.nameless(node.span)
