"""From stored samples to vectors: what a selector sees at every instant of a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.promql.block import Block, Matcher, Storage, Times, Values, is_stale
from engine.promql.frame import Frame, Windows
from engine.promql.syntax import RangeSelector, Selector, Subquery
from engine.promql.values import Grid, Indexes, Mask, empty_grid

MANY: Final = 64
"""So many moments are worth a look at which rows have the same times."""


@dataclass(frozen=True, slots=True)
class Instants:
    """An instant selector's vector, with the time (milliseconds) of each sample in it."""

    grid: Grid
    times: Times


class Remembering:
    """A storage that is asked once for what several parts of an expression read."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._blocks: dict[tuple[tuple[Matcher, ...], int, int], Block] = {}

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what the storage returns."""
        asked = (tuple(matchers), start, end)
        if asked not in self._blocks:
            self._blocks[asked] = self._storage.select(matchers, start, end)
        return self._blocks[asked]


def read_instants(node: Selector, frame: Frame) -> Instants:
    """Return the newest sample of each series in the lookback before each instant, unless the series has ended."""
    moments = frame.moments(node.offset, node.at)
    block = frame.storage.select(node.matchers, int(moments.min()) - frame.lookback, int(moments.max()))
    if not block.series:
        return Instants(empty_grid(moments.size), np.zeros((0, moments.size), np.int64))
    frame.bound(len(block.series), moments.size, node.span)
    last = positions(block.times, block.offsets, moments) - 1
    found = last >= block.offsets[:-1, np.newaxis]
    last = np.maximum(last, 0)
    times, values = block.times[last], block.values[last]
    present = found & (times > moments - frame.lookback) & ~is_stale(values)
    rows = present.any(axis=1)
    grid = Grid(block.series, values, present, frame.unmarked(len(block.series))).compact()
    return Instants(grid, times if rows.all() else times[rows])


def read_windows(node: RangeSelector, frame: Frame) -> Windows:
    """Return the samples of each series in the range before each instant."""
    reach = frame.duration(node.range, positive=True)
    ends = frame.moments(node.selector.offset, node.selector.at)
    block = frame.storage.select(node.selector.matchers, int(ends.min()) - reach, int(ends.max()))
    frame.bound(len(block.series), ends.size, node.span)
    return cut(without_stale(block), ends - reach, ends, frame.unmarked(len(block.series)))


def cut(block: Block, starts: Times, ends: Times, unnamed: Mask | None) -> Windows:
    """Return the windows of `block` from `starts` (exclusive) to `ends` (inclusive)."""
    if starts.size < MANY:
        low, high = (positions(block.times, block.offsets, moments) for moments in (starts, ends))
    else:  # which rows have the same times is looked at once
        low, high = np.split(positions(block.times, block.offsets, np.concatenate((starts, ends))), 2, axis=1)
    return Windows(block.series, block.times, block.values, low, high, starts, ends, unnamed)


def without_stale(block: Block) -> Block:
    """Return `block` without its stale markers."""
    stale = is_stale(block.values)
    if not stale.any():
        return block
    fresh = ~stale
    kept = np.concatenate(([0], np.cumsum(fresh)))
    return Block(block.series, kept[block.offsets], block.times[fresh], block.values[fresh])


def positions(times: Times, offsets: Indexes, moments: Times) -> Indexes:
    """Return, for each row of ragged `times` and each moment, the place behind the row's last time <= that moment."""
    rows = offsets.size - 1
    if times.size == 0:
        return np.repeat(offsets[:-1, np.newaxis], moments.size, axis=1)
    first, last = int(times.min()), int(times.max())
    if moments.size == 1 and int(moments[0]) >= last:
        return offsets[1:, np.newaxis]
    if moments.size == 1 and int(moments[0]) < first:
        return offsets[:-1, np.newaxis]
    if moments.size >= MANY and (shared := _shared(times, offsets, moments)) is not None:
        return shared
    # one number that orders by row, then by time, makes one search of many
    width = last - first + 2
    owner = np.repeat(np.arange(rows), np.diff(offsets))
    keys = owner * width + (times - first + 1)
    wanted = np.clip(moments - first + 1, 0, width - 1)
    return np.searchsorted(keys, np.arange(rows)[:, np.newaxis] * width + wanted, side="right").astype(np.int64)


def _shared(times: Times, offsets: Indexes, moments: Times) -> Indexes | None:
    """Return the same where many rows were collected together: what they share is looked through once. None where they do not."""
    begins, lengths = offsets[:-1], np.diff(offsets)
    if not lengths.all():
        return None
    marks = np.stack((lengths, times[begins], times[offsets[1:] - 1], np.add.reduceat(times, begins)))
    _, some, kinds = np.unique(marks, axis=1, return_index=True, return_inverse=True)
    kinds = kinds.reshape(-1)
    if 2 * some.size > lengths.size:
        return None
    places = np.empty((lengths.size, moments.size), np.int64)
    for kind, row in enumerate(some.tolist()):
        same, own = np.flatnonzero(kinds == kind), times[begins[row] : offsets[row + 1]]
        if (times[begins[same][:, np.newaxis] + np.arange(own.size)] != own).any():
            return None
        places[same] = np.searchsorted(own, moments, side="right") + begins[same][:, np.newaxis]
    return places


def read_subquery(node: Subquery, frame: Frame) -> Windows:
    """Return what the inner expression gives at every step within the range before each instant."""
    reach = frame.duration(node.range, positive=True)
    step = frame.default_step if node.step is None else frame.duration(node.step, positive=True)
    ends = frame.moments(node.offset, node.at)
    starts = ends - reach
    # steps are multiples of the step since the epoch, whatever the instant asked for
    first = (int(starts.min()) // step + 1) * step
    frame.bound(1, (int(ends.max()) - first) // step, node.span)
    steps = np.arange(first, int(ends.max()) + 1, step, dtype=np.int64)
    if steps.size == 0:
        return cut(ragged(empty_grid(0), steps), starts, ends, frame.unmarked(0))
    grid = frame.at(steps).vector(node.expression)
    return cut(ragged(grid, steps), starts, ends, grid.unnamed)


def ragged(grid: Grid, times: Times) -> Block:
    """Return the samples of a vector over time as a block."""
    rows, columns = np.nonzero(grid.present)
    offsets = np.concatenate(([0], np.cumsum(grid.present.sum(axis=1)))).astype(np.int64)
    values: Values = grid.values[rows, columns]
    return Block(grid.series, offsets, times[columns], values)
