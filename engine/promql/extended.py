"""Selectors that look beyond their range: `anchored` to real samples, `smoothed` by a straight line between two.

Both end a window with a sample at its start and one at its end, so that nothing is extrapolated. What lies up to the
lookback before the range is looked at (and, smoothed, as much behind it); stale markers are passed over.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.promql.block import Block, Times, Values
from engine.promql.frame import Frame, Windows
from engine.promql.reading import cut, positions, without_stale
from engine.promql.syntax import Extension, RangeSelector, Selector
from engine.promql.values import Grid, Indexes, Mask, empty_grid


def read_extended(node: RangeSelector, frame: Frame, *, counter: bool) -> Windows:
    """Return the samples in the range before each instant, and one at either edge of it.

    A `counter` that falls between two samples is taken to have started again from nothing just after the first.
    """
    selector = node.selector
    reach = frame.duration(node.range, positive=True)
    ends = frame.moments(selector.offset, selector.at)
    starts = ends - reach
    ahead = frame.lookback if selector.extension is Extension.SMOOTHED else 0
    first, last = int(starts.min()) - frame.lookback, int(ends.max()) + ahead
    block = without_stale(frame.storage.select(selector.matchers, first, last))
    if block.times.size == 0:
        return cut(block, starts, ends, frame.unmarked(len(block.series)))
    frame.bound(len(block.series), ends.size, node.span)
    low = positions(block.times, block.offsets, starts - frame.lookback)
    high = positions(block.times, block.offsets, ends + ahead)
    begin = np.maximum(low, np.minimum(positions(block.times, block.offsets, starts), high - 1) - 1)
    end = high - 1
    if ahead:
        end = np.minimum(positions(block.times, block.offsets, ends - 1), end)
    # an empty window has nothing to look at, but its places must be places
    begin, end = np.maximum(begin, 0), np.maximum(end, 0)
    present: Mask = (high > low) & (block.times[end] > starts) & (block.times[begin] <= ends)
    left, right = block.values[begin], block.values[end]
    if ahead:
        nearest = block.times.size - 1
        left = np.where(
            block.times[begin] < starts, _between(block, begin, np.minimum(begin + 1, nearest), starts, counter), left
        )
        right = np.where(
            (end > low) & (block.times[end] > ends), _between(block, np.maximum(end - 1, 0), end, ends, counter), right
        )
    begin, end = begin + (block.times[begin] <= starts), end - (block.times[end] >= ends)
    lengths = np.where(present, np.maximum(end - begin + 1, 0), 0)
    frame.bound(1, int(lengths.sum()), node.span)
    windows = _bordered(block, begin, lengths, present, (left, right), (starts, ends))
    return replace(windows, unnamed=frame.unmarked(len(block.series)))


def _between(block: Block, before: Indexes, after: Indexes, moments: Times, counter: bool) -> Values:
    """Return the value at each moment on the straight line from one sample to the next."""
    first, second = block.values[before], block.values[after]
    if counter:
        first = np.where(second < first, 0.0, first)
    apart = np.maximum(block.times[after] - block.times[before], 1)
    line: Values = first + (second - first) * (moments - block.times[before]) / apart
    return line


def _bordered(
    block: Block,
    begin: Indexes,
    lengths: Indexes,
    present: Mask,
    edges: tuple[Values, Values],
    moments: tuple[Times, Times],
) -> Windows:
    """Return windows of `lengths` samples from `begin` on, with a sample at either edge, one behind the other."""
    sizes = np.where(present, lengths + 2, 0).reshape(-1)
    ends = np.cumsum(sizes)
    low = ends - sizes
    times, values = np.zeros(int(sizes.sum()), np.int64), np.zeros(int(sizes.sum()))
    here = present.reshape(-1)
    columns = np.broadcast_to(np.arange(present.shape[1]), present.shape).reshape(-1)[here]
    for place, edge, moment in ((low[here], edges[0], moments[0]), (ends[here] - 1, edges[1], moments[1])):
        times[place], values[place] = moment[columns], edge.reshape(-1)[here]
    inner = lengths.reshape(-1)
    steps = np.arange(int(inner.sum())) - np.repeat(np.cumsum(inner) - inner, inner)
    into = np.repeat(low + 1, inner) + steps
    source = np.repeat(begin.reshape(-1), inner) + steps
    times[into], values[into] = block.times[source], block.values[source]
    shape = present.shape
    return Windows(block.series, times, values, low.reshape(shape), ends.reshape(shape), *moments)


def read_smoothed(node: Selector, frame: Frame) -> Grid:
    """Return each series at each instant: on the line between its neighbours, or as it was where no later one is."""
    moments = frame.moments(node.offset, node.at)
    first, last = int(moments.min()) - frame.lookback, int(moments.max()) + frame.lookback
    block = without_stale(frame.storage.select(node.matchers, first, last))
    if block.times.size == 0:
        return empty_grid(moments.size)
    frame.bound(len(block.series), moments.size, node.span)
    before = positions(block.times, block.offsets, moments) - 1
    after = before + 1
    found = before >= positions(block.times, block.offsets, moments - frame.lookback)
    follows = after < positions(block.times, block.offsets, moments + frame.lookback)
    before, after = np.maximum(before, 0), np.minimum(after, block.times.size - 1)
    on_line = _between(block, before, after, moments, counter=False)
    exact = block.times[before] == moments
    values = np.where(follows & ~exact, on_line, block.values[before])
    return Grid(block.series, values, found, frame.unmarked(len(block.series))).compact()
