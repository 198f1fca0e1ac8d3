"""Moves samples out of memory: the oldest segment of the journal into a sealed file, in small steps."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

import numpy as np
import structlog

from engine.samples.archive import Archive
from engine.samples.columns import NEVER, NONE, Columns, Ints
from engine.samples.index import Index
from engine.samples.journal import Journal, Segment
from engine.samples.sealed import SUFFIX, Damaged, Piece, Sealed, seal

HOT: Final = 2
"""So many segments stay in memory whole, the one being written among them."""

log = structlog.get_logger(__name__)


class Sealer:
    """Knows which series are in sealed files, and makes more of those. Not thread-safe.

    Sealing shows in nothing but the memory and the disk. A crash on the way leaves the segment as it was; one between the
    renaming of the file and the removal of the segment leaves both, and opening removes the segment.
    """

    def __init__(self, index: Index, columns: Columns, archive: Archive, journal: Journal) -> None:
        self._index = index
        self._columns = columns
        self._archive = archive
        self._journal = journal
        self._files = np.zeros(64, np.int32)
        """By series: in how many sealed files it is."""
        self._underway: Generator[int, None, None] | None = None
        self._refused = 0
        """The newest segment when sealing failed: it is tried again when there is a newer one."""

    def reserve(self, series: int) -> None:
        """Make room for series numbers below `series`."""
        self._columns.reserve(series)
        have = len(self._files)
        if series > have:
            self._files = np.concatenate((self._files, np.zeros(max(series - have, have // 4), np.int32)))

    def adopt(self, file: Sealed, last: Ints) -> None:
        """Take in a sealed file that is there at opening: its series, whose newest times are `last`."""
        numbers = self._index.numbers(file.births)
        new, old = np.flatnonzero(numbers < 0), np.flatnonzero(numbers >= 0)
        if ((last[old] <= self._columns.last[numbers[old]]) & (last[old] != NEVER)).any():
            self._archive.put_aside(file.path, Damaged("its samples are not later than those before: is it a copy?"))
            return
        if new.size:
            try:
                found = file.labels(new)
            except (Damaged, OSError) as error:
                self._archive.put_aside(file.path, error)
                return
            for row, labels in zip(new.tolist(), found, strict=True):
                if labels not in self._index.ids:  # always, unless someone has copied files about
                    numbers[row] = self._index.add(labels, int(file.births[row]))
            self.reserve(len(self._index.births))
        known = numbers >= 0
        self._files[numbers[known]] += 1
        self._columns.last[numbers[known]] = np.maximum(self._columns.last[numbers[known]], last[known])

    def drop(self, file: Sealed) -> Ints | None:
        """Remove a sealed file; return the series that have no samples left, None when it stays."""
        if not self._archive.drop(file):
            return None
        numbers = self._index.numbers(file.births)
        numbers = numbers[numbers >= 0]
        self._files[numbers] -= 1
        return self._ended(numbers)

    def drop_segment(self, segment: Segment) -> Ints | None:
        """Remove a segment that is still in memory; return the series that have no samples left, None when it stays."""
        if segment is self._journal.segments[0]:
            self.stop()
        if not self._journal.drop(segment):
            return None
        return self._ended(self._columns.drop(segment.number))

    def advance(self, work: float) -> None:
        """Go on sealing the oldest segment in memory by about `work` samples; to its end when one more waits already."""
        hot = self._journal.segments
        while len(hot) > HOT and work > 0 and self._refused != hot[-1].number:
            oldest = hot[0]
            if self._underway is None:
                self._underway = self._begin(oldest)
            try:
                done = next(self._underway, None)
            except OSError:
                log.exception("samples not sealed; they stay in memory", segment=str(oldest.path))
                self.stop()
                self._refused = hot[-1].number
                return
            if done is None:
                self._finish(oldest)
            elif len(hot) <= HOT + 1:
                work -= max(done, 1)

    def stop(self) -> None:
        """Abandon what is underway."""
        if self._underway is not None:
            self._underway.close()
            self._underway = None

    def _begin(self, segment: Segment) -> Generator[int, None, None]:
        numbers = np.unique(np.array(segment.series, np.int64))
        births = self._index.births[numbers]
        order = np.argsort(births)
        numbers, births = numbers[order], births[order]

        def read(low: int, high: int) -> Piece:
            return self._columns.window(numbers[low:high], NEVER, -NEVER - 1, segment.number)

        span = (segment.oldest or 0, segment.newest or 0)
        labels = [self._index.labels(number) for number in numbers.tolist()]
        return seal(segment.path.with_suffix(SUFFIX), births, labels, span, self._columns.held(segment.number), read)

    def _finish(self, segment: Segment) -> None:
        """Let the sealed file take the place of its segment."""
        self._underway = None
        opened = self._archive.open(segment.path.with_suffix(SUFFIX))
        if opened is None:  # what was written is not what is read: keep the samples where they are
            self._refused = self._journal.segments[-1].number
            return
        self._files[self._index.numbers(opened[0].births)] += 1
        self._columns.drop(segment.number)
        self._journal.retire(segment)

    def _ended(self, numbers: Ints) -> Ints:
        """Return those of some series that have no samples anywhere."""
        ended: Ints = numbers[(self._files[numbers] == 0) & (self._columns.current[numbers] == NONE)]
        return ended
