"""The samples of a selection by place: what every window that ends now is cut from, without being copied.

Row j of the tables holds the j-th sample of each series, so that stepping through the samples of all series at once is one
numpy operation a step. Where all series were collected at the same moments, one column of times does for all of them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from engine.promql.block import Block, Times, Values, is_stale
from engine.promql.segments import Stretches
from engine.promql.values import Indexes, Mask

FEW: Final = 64
"""Fewer series than this are dealt with as quickly one by one."""
WIDEST: Final = 3
"""A table may have so many times as many places as there are samples."""
FAR: Final = np.iinfo(np.int64).max
"""The time at a place that holds no sample."""
WILD: Final = 1e150
"""Sums and squares of smaller numbers than this do not overflow, however many there are."""
TILE: Final = 64


class Following(Protocol):
    """What is worked out along a track."""

    @property
    def cells(self) -> int:
        """How many numbers this holds."""
        ...

    def forget(self, back: Indexes) -> None:
        """Be told that the samples from these places on are going to be replaced."""
        ...


class Track:
    """The samples of some series in `start` < time <= `end` (milliseconds), stale markers apart.

    `times` has a column for each series, or one for all. `count` says how many samples each series (or all) have. Places
    are counted from the first sample that was there when this was made; none is ever moved.
    """

    def __init__(self, block: Block, start: int, end: int, spare: int = 0) -> None:
        """Hold a block's samples, with room for `spare` more of each series."""
        self.series, self.start, self.end = block.series, start, end
        self.size = len(block.series)
        self._rows = np.arange(self.size)
        self.marked_rows, self.marked_times = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._wild: Indexes | None = None
        self.negative = False
        """Whether any sample is or was below zero."""
        self.folds: dict[Hashable, Following] = {}
        lengths, times, values = self._unmarked(block)
        columns = int(lengths.max(initial=0))
        room = max(columns + spare, 1)
        self.values = np.zeros((room, self.size))
        self.times = np.full((room + 1, 1), FAR)  # the last row stays empty
        self.count = np.zeros(1, np.int64)
        self._add(lengths, times, values)

    @classmethod
    def of(cls, block: Block, start: int, end: int, spare: int = 0) -> Track | None:
        """Return the track of a block; None for few series, or such as differ much in how many samples they have."""
        longest = int(np.diff(block.offsets).max(initial=0))
        if len(block.series) < FEW or longest * len(block.series) > WIDEST * block.times.size:
            return None
        return cls(block, start, end, spare)

    @property
    def cells(self) -> int:
        """How many numbers the tables hold, and those of what is worked out along them."""
        return self.values.size + self.times.size + sum(each.cells for each in self.folds.values())

    def advance(self, block: Block, sure: int, end: int) -> bool:
        """Move the end to `end`, where `block` has the samples after `sure` of the very same series, row by row.

        What was known of later times than `sure` is replaced. False, with nothing changed, where there is no room.
        """
        back = self._places(sure)
        lengths = np.diff(block.offsets)
        if int(back.max()) + int(lengths.max(initial=0)) > len(self.values):
            return False
        if (back < self.count).any():
            self._forget(back, sure)
        self.end = end
        if block.times.size == 0:
            return True
        self._add(*self._unmarked(block))
        return True

    def tail(self, start: int) -> Tail:
        """Return the window from `start` (exclusive) to the end."""
        low = np.minimum(self._places(start), self.count)
        return Tail(self, start, low, self.count)

    def wild(self, low: Indexes) -> Mask | None:
        """Return which series may have a sample from place `low` on that cannot be summed with others; None for none."""
        if self._wild is None:
            return None
        wild: Mask = self._wild >= low
        return wild if wild.any() else None

    def pick(self, table: Values, places: Indexes) -> Values:
        """Return the entry at each series' own place of a table."""
        if places.size == 1:
            one: Values = table[int(places[0])]
            return one
        each: Values = table.reshape(-1).take(places * self.size + self._rows)
        return each

    def pick_times(self, places: Indexes) -> Times:
        """Return the time at each series' own place; one time where that is the same for all."""
        if self.times.shape[1] == 1:
            one: Times = self.times[places, 0]
            return one
        each: Times = self.times.reshape(-1).take(places * self.size + self._rows)
        return each

    def _places(self, moment: int) -> Indexes:
        """Return how many samples each series has up to and including `moment`."""
        if self.times.shape[1] == 1:
            return np.searchsorted(self.times[:, 0], [moment], side="right")
        # the greatest step first; what lies beyond the table's last row, which is empty, is too late as well
        flat, found = self.times.reshape(-1), self._rows.copy()
        for bit in range((len(self.times) - 1).bit_length() - 1, -1, -1):
            before = flat.take(found + ((1 << bit) - 1) * self.size, mode="clip") <= moment
            found += before * (self.size << bit)
        places: Indexes = found // self.size
        return places

    def _unmarked(self, block: Block) -> tuple[Indexes, Times, Values]:
        """Return how many samples each series of a block has, their times and values; its stale markers are kept apart."""
        lengths = np.diff(block.offsets)
        stale = is_stale(block.values)
        if not stale.any():
            return lengths, block.times, block.values
        owners = np.repeat(self._rows, lengths)
        self.marked_rows = np.concatenate((self.marked_rows, owners[stale]))
        self.marked_times = np.concatenate((self.marked_times, block.times[stale]))
        lengths = lengths - np.bincount(owners[stale], minlength=self.size)
        return lengths, block.times[~stale], block.values[~stale]

    def _add(self, lengths: Indexes, times: Times, values: Values) -> None:
        """Add ragged rows of samples behind what there is."""
        self._note(lengths, values)
        columns = int(lengths.max(initial=0))
        if self.times.shape[1] == 1 and _together(lengths, times, columns):
            here = slice(int(self.count[0]), int(self.count[0]) + columns)
            self.times[here, 0] = times[:columns]
            _turn(values.reshape(self.size, columns), self.values[here])
            self.count = self.count + columns
            return
        if self.times.shape[1] == 1:  # from now on every series has times of its own
            self.times = np.repeat(self.times, self.size, axis=1)
            self.count = np.repeat(self.count, self.size)
        begins = np.cumsum(lengths) - lengths
        owners = np.repeat(self._rows, lengths)
        places = np.arange(times.size) + np.repeat(self.count - begins, lengths)
        self.times[places, owners] = times
        self.values[places, owners] = values
        self.count = self.count + lengths

    def _note(self, lengths: Indexes, values: Values) -> None:
        """Note where samples are about to be added that are no numbers, or too great ones; and whether any is negative."""
        least = values.min(initial=0.0)
        self.negative = self.negative or not least >= 0
        if values.size == 0 or (values.max() < WILD and least > -WILD):
            return
        if self._wild is None:
            self._wild = np.full(self.size, -1)
        ends = np.cumsum(lengths)
        found = np.flatnonzero(~(np.abs(values) < WILD))
        owners = np.searchsorted(ends, found, side="right")
        before = np.broadcast_to(self.count, (self.size,))
        np.maximum.at(self._wild, owners, before[owners] + found - (ends - lengths)[owners])

    def _forget(self, back: Indexes, sure: int) -> None:
        for place in range(int(back.min()), int(self.count.max())):
            self.times[place] = np.where(place >= back, FAR, self.times[place])
        self.count = back
        for each in self.folds.values():
            each.forget(back)
        stay = self.marked_times <= sure
        self.marked_rows, self.marked_times = self.marked_rows[stay], self.marked_times[stay]


@dataclass(frozen=True, slots=True)
class Tail:
    """The windows of all series of a track that begin after `start` and end with it: places `low` to `high`."""

    track: Track
    start: int
    low: Indexes
    high: Indexes

    @property
    def lengths(self) -> Indexes:
        """How many samples each window has: of each series, or one number for all."""
        return self.high - self.low

    def counts(self) -> Values:
        """Return how many samples each window has, as numbers."""
        return np.broadcast_to(self.lengths.astype(np.float64), (self.track.size,))

    def last(self, back: int = 0) -> Values:
        """Return the last value of each window, or the one so many places before."""
        return self.track.pick(self.track.values, np.maximum(self.high - 1 - back, 0))

    def first(self) -> Values:
        """Return the first value of each window."""
        return self.track.pick(self.track.values, self._first_place())

    def first_times(self) -> Times:
        """Return the times of the first values."""
        return self.track.pick_times(self._first_place())

    def last_times(self, back: int = 0) -> Times:
        """Return the times of the last values, or of those so many places before."""
        return self.track.pick_times(np.maximum(self.high - 1 - back, 0))

    def stretches(self, rows: Indexes, instant: int) -> Stretches:
        """Return the windows of some series, none of them empty, one behind the other."""
        track = self.track
        lengths = np.broadcast_to(self.lengths, (track.size,))[rows]
        begins = np.cumsum(lengths) - lengths
        if self.low.size == 1:
            here = slice(int(self.low[0]), int(self.high[0]))
            table = np.empty((rows.size, here.stop - here.start))
            _turn(track.values[here] if rows.size == track.size else track.values[here][:, rows], table)
            values, times = table.reshape(-1), np.tile(track.times[here, 0], rows.size)
        else:
            places = np.arange(int(lengths.sum())) + np.repeat(self.low[rows] - begins, lengths)
            owners = np.repeat(rows, lengths)
            times, values = track.times[places, owners], track.values[places, owners]
        whole = np.full(rows.size, 0)
        starts, ends = whole + self.start, whole + track.end
        return Stretches(values, begins, lengths, times, rows, whole, starts, ends, whole + instant)

    def _first_place(self) -> Indexes:
        return np.minimum(self.low, len(self.track.values) - 1)


def _together(lengths: Indexes, times: Times, columns: int) -> bool:
    """Return whether ragged rows all have the same times."""
    if times.size != lengths.size * columns or (lengths != columns).any():
        return False
    return bool((times.reshape(lengths.size, columns) == times[:columns]).all())


def _turn(source: Values, target: Values) -> None:
    """Write `source` into the first rows of `target` with rows and columns exchanged, tile by tile: quick for caches."""
    for begin in range(0, len(source), TILE):
        target[: source.shape[1], begin : begin + TILE] = source[begin : begin + TILE].T
