"""Windows kept from tick to tick: what was read of a range is not read again, only what has come since."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.model.labels import Labels
from engine.promql.block import Block, Matcher, Times, Values
from engine.promql.track import Track
from engine.promql.values import Indexes
from engine.samples.store import Mark, SampleStore

LEAST: Final = 4096
"""Smaller windows are read as quickly as they are put together."""
SPARE: Final = 4
"""A table has room for this part more of what it held when it was read."""
MOST_CELLS: Final = 16 << 20
"""Numbers that all tracks may hold together, with what is worked out along them, at eight bytes each."""
MOST: Final = 8 << 20
"""Samples that all kept windows may have together, at eight bytes each."""


@dataclass(frozen=True, slots=True)
class Window:
    """The samples of series that are all collected at the same moments: `values[i, j]` of series i at moment j.

    Nothing up to `end` is missing that the store had at `mark`.
    """

    series: tuple[Labels, ...]
    moments: Times
    values: Values
    end: int
    mark: Mark

    def block(self) -> Block:
        """Return the same samples series behind series."""
        rows, columns = self.values.shape
        offsets = np.arange(0, rows * columns + 1, columns, dtype=np.int64)
        return Block(self.series, offsets, np.tile(self.moments, rows), self.values.reshape(-1))


@dataclass(slots=True)
class Followed:
    """A track that is moved on from tick to tick, with everything the store had at `mark`; `reach` is what is asked of it."""

    track: Track
    mark: Mark
    reach: int
    some: tuple[Labels, ...]
    """Those of its series that had samples when last asked; `rows` are theirs."""
    rows: Indexes

    def rows_of(self, series: tuple[Labels, ...]) -> Indexes | None:
        """Return which rows of the track these series are; None where one is new to it, or they come in another order."""
        if series is not self.some and series != self.some:  # the same objects are found equal at once
            places = {labels: row for row, labels in enumerate(self.track.series)}
            rows = np.array([places.get(labels, -1) for labels in series], np.int64)
            if rows.size and (rows[0] < 0 or (np.diff(rows) <= 0).any()):
                return None
            self.rows = rows
        self.some = series
        return self.rows


class Recent:
    """A store whose ranges are read anew only at their ends, where that gives exactly what the store would give.

    Tracks follow every selection whose set of series stays. Other reading, such as that of subqueries, is spared where all
    series of a selection were collected together, as those of one source are; anything else (a gap, a late batch, a series
    that began or ended) is read from the store. Thread-safe, but for `track`: what that returns changes when it is next
    called, so the whole of an evaluation has to be one at a time.
    """

    def __init__(self, store: SampleStore) -> None:
        self._store = store
        self._windows: OrderedDict[tuple[tuple[Matcher, ...], int], Window] = OrderedDict()
        self._followed: OrderedDict[tuple[tuple[Matcher, ...], int], Followed] = OrderedDict()
        self._mutex = threading.Lock()

    def track(self, matchers: Sequence[Matcher], offset: int, reach: int, end: int) -> Track | Block:
        """Return a track that ends at `end` and reaches back `reach` (milliseconds) or further.

        A block with the samples of that span where those are too few, or too uneven, for a track. Nothing that came late, or
        again, is missed: where the store cannot say since when it has changed, all is read anew.
        """
        key = (tuple(matchers), offset)
        asked, known = reach, self._followed.pop(key, None)
        mark = self._store.mark()  # before reading: what comes meanwhile is read again, and nothing is left out
        if known is not None:
            known.reach = max(known.reach, reach)
            if not self._followed_on(known, matchers, end - reach, end, mark):
                reach, known = max(reach, known.reach), None
        if known is None:
            block = self._store.select(matchers, end - reach, end)
            track = None
            if block.times.size >= LEAST:
                spare = max(16, int(np.diff(block.offsets).max(initial=0)) // SPARE)
                track = Track.of(block, end - reach, end, spare)
            if track is None:
                return block if reach == asked else self._store.select(matchers, end - asked, end)
            known = Followed(track, mark, 0, track.series, np.arange(track.size))
        self._followed[key] = known
        while sum(each.track.cells for each in self._followed.values()) > MOST_CELLS:
            self._followed.popitem(last=False)
        return known.track

    def _followed_on(self, known: Followed, matchers: Sequence[Matcher], start: int, end: int, mark: Mark) -> bool:
        """Move a track on to `end`; False where it has to be read anew."""
        earliest, track = self._store.earliest_since(known.mark), known.track
        if earliest is None or end < track.end or start < track.start or start >= track.end:
            return False
        sure = min(track.end, earliest - 1)
        new = self._store.select(matchers, sure, end)
        rows = known.rows_of(new.series)
        if rows is None:
            return False
        lengths = np.zeros(track.size, np.int64)
        lengths[rows] = np.diff(new.offsets)
        known.mark = mark
        everyone = Block(track.series, np.concatenate(([0], np.cumsum(lengths))), new.times, new.values)
        return track.advance(everyone, sure, end)

    def latest(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what the store does."""
        return self._store.latest(matchers, start, end)

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what the store does."""
        key = (tuple(matchers), end - start)
        with self._mutex:
            known = self._windows.get(key)
        mark = self._store.mark()  # before reading: what comes meanwhile is read again, and nothing is left out
        window = None if known is None else self._moved(known, matchers, start, end, mark)
        if window is not None:
            block = window.block()
        else:
            block = self._store.select(matchers, start, end)
            window = squared(block, end, mark) if block.times.size >= LEAST else None
        with self._mutex:
            self._keep(key, window)
        return block

    def _moved(self, known: Window, matchers: Sequence[Matcher], start: int, end: int, mark: Mark) -> Window | None:
        """Return a window moved on to `start` and `end`; None where it has to be read."""
        earliest = self._store.earliest_since(known.mark)
        if earliest is None or end < known.end:
            return None
        sure = min(known.end, earliest - 1)
        first, last = np.searchsorted(known.moments, (start, sure), side="right").tolist()
        if first >= last or start < known.end - (end - start):
            return None
        new = squared(self._store.select(matchers, sure, end), end, mark)
        if new is None:
            return None
        kept = known.values[:, first:last]
        if not new.series:
            if len(self._store.series(matchers)) != len(known.series):
                return None
            return Window(known.series, known.moments[first:last], np.ascontiguousarray(kept), end, mark)
        if new.series is not known.series:
            return None
        moments = np.concatenate((known.moments[first:last], new.moments))
        return Window(known.series, moments, np.concatenate((kept, new.values), axis=1), end, mark)

    def _keep(self, key: tuple[tuple[Matcher, ...], int], window: Window | None) -> None:
        self._windows.pop(key, None)
        if window is None:
            return
        self._windows[key] = window
        while sum(each.values.size for each in self._windows.values()) > MOST:
            self._windows.popitem(last=False)


def squared(block: Block, end: int, mark: Mark) -> Window | None:
    """Return a block as a window; None unless all its series were collected at the same moments."""
    rows = len(block.series)
    if rows == 0:
        return Window((), np.zeros(0, np.int64), np.zeros((0, 0)), end, mark)
    columns = int(block.offsets[1])
    if block.times.size != rows * columns or (np.diff(block.offsets) != columns).any():
        return None
    moments = block.times[:columns]
    if (block.times.reshape(rows, columns) != moments).any():
        return None
    return Window(block.series, moments, block.values.reshape(rows, columns), end, mark)
