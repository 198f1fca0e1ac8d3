"""Samples in memory: columns of fixed-size blocks, each of one series, linked from the newest back.

Nothing here is a Python object per sample or per series: appending a batch and reading a window are a handful of numpy
operations over all series at once.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

BLOCK = 32
"""Samples in a block: eight minutes at the default interval of 15 s."""
NONE = 0
"""The number of no block; block 0 is never used."""
NEVER = -(2**63)
"""The newest time of a series without samples."""
OFFSET_LIMIT = 2**32
"""A block spans less than this many milliseconds (49 days)."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Number = TypeVar("Number", bound=np.generic)


class Columns:
    """The samples of series numbered 0…n-1, ascending in time within a series. Twelve bytes a sample. Not thread-safe.

    A block holds samples of one series and of one segment, so that dropping a segment frees exactly its own samples.
    """

    def __init__(self) -> None:
        # By series: its newest block, and the time of its newest sample.
        self.current = np.zeros(64, np.int64)
        self.last = np.full(64, NEVER, np.int64)
        # By block. `base` is the time of its first sample; the block before it in the same series is `previous`.
        self._base = np.zeros(64, np.int64)
        self._count = np.zeros(64, np.int64)
        self._previous = np.zeros(64, np.int64)
        self._segment = np.full(64, -1, np.int64)
        self._free = np.arange(63, NONE, -1, dtype=np.int64)
        # By sample: block b has BLOCK places from b * BLOCK. Times are milliseconds since the block's base.
        self._offsets = np.zeros(64 * BLOCK, np.uint32)
        self._values = np.zeros(64 * BLOCK, np.float64)

    @property
    def blocks(self) -> int:
        """The number of blocks in use."""
        return len(self._base) - 1 - len(self._free)

    @property
    def samples(self) -> int:
        """The number of samples held."""
        return int(self._count.sum())

    @property
    def size(self) -> int:
        """The bytes that the blocks in use take."""
        return self.blocks * (BLOCK * 12 + 32)

    def held(self, segment: int) -> int:
        """Return the number of samples of a segment."""
        return int(self._count[self._segment == segment].sum())

    def reserve(self, series: int) -> None:
        """Make room for series numbers below `series`."""
        have = len(self.current)
        if series > have:
            more = max(series, have + have // 2) - have
            self.current = np.concatenate([self.current, np.zeros(more, np.int64)])
            self.last = np.concatenate([self.last, np.full(more, NEVER, np.int64)])

    def append(self, ids: Ints, time: int, values: Floats, segment: int) -> None:
        """Add one sample at `time` to each of `ids`, which are distinct and whose last samples are older."""
        blocks = self.current[ids]
        full = (
            (blocks == NONE)
            | (self._count[blocks] == BLOCK)
            | (self._segment[blocks] != segment)
            | (time - self._base[blocks] >= OFFSET_LIMIT)
        )
        if full.any():
            fresh = self._take(int(np.count_nonzero(full)))
            self._base[fresh] = time
            self._previous[fresh] = blocks[full]
            self._segment[fresh] = segment
            blocks[full] = fresh
            self.current[ids] = blocks
        places = blocks * BLOCK + self._count[blocks]
        self._offsets[places] = time - self._base[blocks]
        self._values[places] = values
        self._count[blocks] += 1
        self.last[ids] = time

    def drop(self, segment: int) -> Ints:
        """Let go of the samples of a segment; return the series that have none left here. Their newest times stay known."""
        belongs = self._segment == segment
        gone = np.flatnonzero(belongs)
        if not gone.size:
            return gone
        bypass = np.arange(len(self._base), dtype=np.int64)
        bypass[gone] = self._previous[gone]
        # A series may have several blocks of the segment one behind the other: leap until none is left.
        while (again := belongs[bypass]).any():
            bypass[again] = bypass[bypass[again]]
        self._previous = bypass[self._previous]
        had = np.flatnonzero(self.current)
        self.current = bypass[self.current]
        self._count[gone] = 0
        self._segment[gone] = -1
        self._previous[gone] = NONE
        self._free = np.concatenate([self._free, gone[::-1]])
        dead: Ints = had[self.current[had] == NONE]
        return dead

    def forget(self, number: int) -> None:
        """Have the number of a series without samples stand for another one from now on."""
        self.last[number] = NEVER

    def window(self, ids: Ints, start: int, end: int, segment: int | None = None) -> tuple[Ints, Ints, Floats]:
        """Return, for each of `ids`, how many samples it has in start < time <= end; then their times and values.

        The samples stand series behind series in the order of `ids`, ascending in time; those of one segment where it is named.
        """
        rows, blocks = self._spread(ids, start, end)
        if segment is not None:
            inside = self._segment[blocks] == segment
            rows, blocks = rows[inside], blocks[inside]
        low, high = self._bounds(blocks, start, end)
        lengths = high - low
        counts = np.bincount(rows, weights=lengths, minlength=len(ids)).astype(np.int64)
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if ends.size else 0
        places = np.repeat(blocks * BLOCK + low - (ends - lengths), lengths) + np.arange(total)
        times = np.repeat(self._base[blocks], lengths) + self._offsets[places]
        return counts, times, self._values[places]

    def latest(self, ids: Ints, start: int, end: int) -> tuple[Mask, Ints, Floats] | None:
        """Return which of `ids` have their newest sample in start < time <= end, and the times and values of all newest.

        None when one has samples beyond `end`: then the newest is not the one asked for. None, too, when one asked for is not here.
        """
        times = self.last[ids]
        if times.size and int(times.max()) > end:
            return None
        blocks = self.current[ids]
        if ((blocks == NONE) & (times > start)).any():
            return None
        places = blocks * BLOCK + np.maximum(self._count[blocks] - 1, 0)
        return times > start, times, self._values[places]

    def _spread(self, ids: Ints, start: int, end: int) -> tuple[Ints, Ints]:
        """Return the blocks that may hold samples of the window, with the row in `ids` of each, oldest first per row."""
        rows = np.arange(len(ids), dtype=np.int64)
        blocks = self.current[ids]
        levels: list[tuple[Ints, Ints]] = []
        while True:
            live = blocks != NONE
            rows, blocks = rows[live], blocks[live]
            if not rows.size:
                break
            base = self._base[blocks]
            begun = base <= end
            levels.append((rows[begun], blocks[begun]))
            older = base > start + 1
            rows, blocks = rows[older], self._previous[blocks[older]]
        if not levels:
            return rows, blocks
        if len(levels) == 1:
            return levels[0]
        rows = np.concatenate([level[0] for level in reversed(levels)])
        blocks = np.concatenate([level[1] for level in reversed(levels)])
        order = np.argsort(rows, kind="stable")
        return rows[order], blocks[order]

    def _bounds(self, blocks: Ints, start: int, end: int) -> tuple[Ints, Ints]:
        """Return the first place after `start` and the first after `end` in each block."""
        base, count = self._base[blocks], self._count[blocks]
        low = np.zeros(len(blocks), np.int64)
        cut = np.flatnonzero(base <= start)
        low[cut] = self._rank(blocks[cut], start)
        high = count.copy()
        last = base + self._offsets[blocks * BLOCK + count - 1]
        cut = np.flatnonzero(last > end)
        high[cut] = self._rank(blocks[cut], end)
        return low, np.maximum(low, high)

    def _rank(self, blocks: Ints, time: int) -> Ints:
        """Return how many samples of each block are at or before `time`: a binary search over all blocks at once."""
        low = np.zeros(len(blocks), np.int64)
        high = self._count[blocks]
        bound = time - self._base[blocks]
        first = blocks * BLOCK
        while (open_ := low < high).any():
            middle = (low + high) // 2
            before = open_ & (self._offsets[first + np.minimum(middle, BLOCK - 1)] <= bound)
            low = np.where(before, middle + 1, low)
            high = np.where(open_ & ~before, middle, high)
        return low

    def _take(self, number: int) -> Ints:
        """Return the numbers of `number` unused blocks."""
        if number > len(self._free):
            have = len(self._base)
            more = max(number, have, 64)
            self._base = longer(self._base, more)
            self._count = longer(self._count, more)
            self._count[have:] = 0
            self._previous = longer(self._previous, more)
            self._previous[have:] = NONE
            self._segment = longer(self._segment, more)
            self._segment[have:] = -1
            self._offsets = longer(self._offsets, more * BLOCK)
            self._values = longer(self._values, more * BLOCK)
            self._free = np.concatenate([np.arange(have + more - 1, have - 1, -1, dtype=np.int64), self._free])
        taken, self._free = self._free[-number:], self._free[:-number]
        return taken[::-1]


def longer(numbers: npt.NDArray[Number], more: int) -> npt.NDArray[Number]:
    """Return `numbers` with `more` behind them of any value: what is not written to takes no memory yet."""
    room = np.empty(len(numbers) + more, numbers.dtype)
    room[: len(numbers)] = numbers
    return room
