"""A store read forward once, for many readers that go the same way: sealed samples are unpacked a single time.

Samples of one metric lie in every tile of a sealed file, so whoever reads one unpacks them all. What is said to be wanted is cut
out of each stretch of time as it is unpacked, and kept for as long as someone may look back on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.promql.block import Block, Matcher, Storage, Times, Values
from engine.samples.archive import joined
from engine.samples.index import Index, Ints

UNPACKED: Final = 3_000_000
"""Samples that are unpacked at once, about."""
SHORTEST, LONGEST = 1_800_000, 6 * 3_600_000
"""Milliseconds that are unpacked at once, at the least and at the most."""

Key = tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """The samples of some series in one stretch: of series number `numbers[i]`, `counts[i]` of them, series behind series."""

    numbers: Ints
    counts: Ints
    times: Times
    values: Values

    def within(self, start: int, end: int) -> Cut:
        """Return the samples with start < time <= end."""
        inside = (self.times > start) & (self.times <= end)
        if inside.all():
            return self
        before = np.concatenate((np.zeros(1, np.int64), np.cumsum(inside)))
        ends = np.cumsum(self.counts)
        return Cut(self.numbers, before[ends] - before[ends - self.counts], self.times[inside], self.values[inside])


class Reel:
    """Reads `store` in stretches of time, each once, as long as nobody goes back further than they said.

    `rate` is how many samples a second it has, about; `behind` how many milliseconds readers may be apart.
    """

    def __init__(self, store: Storage, *, rate: float, behind: int) -> None:
        self._store, self._behind = store, behind
        self._span = round(min(max(UNPACKED / max(rate, 1e-3) * 1000, SHORTEST), LONGEST))
        self._index = Index()
        self._reach: dict[Key, int] = {}
        self._cuts: dict[Key, dict[int, Cut]] = {}
        self._read: set[int] = set()

    def want(self, matchers: Sequence[Matcher], reach: int) -> None:
        """Say that what these matchers admit will be read, and how many milliseconds a reader looks back at most."""
        key = tuple(matchers)
        self._reach[key] = max(reach, self._reach.get(key, 0))
        self._cuts.setdefault(key, {})

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what the store returns; what nobody said to want, or what has gone by, is read from it each time."""
        key = tuple(matchers)
        numbers = range(start // self._span, (end - 1) // self._span + 1)
        if key not in self._reach or end <= start:
            return self._store.select(matchers, start, end)
        for number in numbers:
            if number not in self._read:
                self._unpack(number)
        cuts = self._cuts[key]
        if any(number not in cuts for number in numbers):
            return self._store.select(matchers, start, end)
        found = self._index.find(key)
        places = np.zeros(len(self._index), np.int64)
        places[found.ids] = np.arange(len(found.ids))
        pieces = []
        for number in numbers:
            cut = cuts[number].within(start, end)
            counts = np.zeros(len(found.ids), np.int64)
            counts[places[cut.numbers]] = cut.counts
            pieces.append((counts, cut.times, cut.values))
        counts, times, values = joined(pieces, len(found.ids))
        series = found.series
        if not counts.all():
            there = counts > 0
            series = tuple(labels for labels, one in zip(series, there.tolist(), strict=True) if one)
            counts = counts[there]
        return Block(series, np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))), times, values)

    def _unpack(self, number: int) -> None:
        """Read one stretch, keep what is wanted of it, and drop what nobody looks back on any more."""
        start = number * self._span
        block = self._store.select((), start, start + self._span)
        ids = self._index.ids
        numbers = np.fromiter(
            (self._index.add(each) if (known := ids.get(each)) is None else known for each in block.series),
            np.int64,
            len(block.series),
        )
        rows = np.full(len(self._index), -1)
        rows[numbers] = np.arange(len(numbers))
        for key, reach in self._reach.items():
            found = self._index.find(key).ids
            there = rows[found] >= 0
            self._cuts[key][number] = cut_out(block, found[there], rows[found[there]])
            oldest = start - reach - self._behind
            for old in [each for each in self._cuts[key] if (each + 1) * self._span < oldest]:
                del self._cuts[key][old]
        self._read.add(number)


def cut_out(block: Block, numbers: Ints, rows: Ints) -> Cut:
    """Return some rows of a block, by the numbers of their series."""
    counts = (block.offsets[1:] - block.offsets[:-1])[rows]
    begins = np.cumsum(counts) - counts
    places = np.arange(int(counts.sum())) + np.repeat(block.offsets[rows] - begins, counts)
    return Cut(numbers, counts, block.times[places], block.values[places])
