"""The embedded time-series store: every batch on disk before it counts, what is new in memory, what is old compressed on disk."""

from __future__ import annotations

import threading
import time as clock
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Self

import numpy as np
import structlog

from engine.model.labels import Batch, Labels
from engine.promql.block import STALE, Block, Matcher, is_stale, only_last
from engine.samples.archive import Archive, joined
from engine.samples.columns import NONE, Columns, Floats, Ints
from engine.samples.index import Index
from engine.samples.journal import Journal, SamplesFull, SamplesLocked, Segment
from engine.samples.sealer import Sealer
from engine.samples.segment import NEW_LIST, ONE_LIST, NewSeries, Record, encode
from engine.samples.stats import Mark, StoreStats

__all__ = ["Mark", "SampleStore", "SamplesFull", "SamplesLocked", "StoreStats"]

SEGMENTS: Final = 16
"""Into about how many segments retention (and the size limit) is divided."""
PACE: Final = 2
"""For each sample that comes, so many are sealed while there are any to seal."""
REOPENINGS: Final = 5
"""So often a reader begins again when the process that writes has sealed what it was about to read."""
LARGEST: Final = 32 << 20
"""Bytes of a segment at most: so what is in memory has a limit that no retention and no disk moves."""
REMEMBERED: Final = 64
"""How many lists of series are known by their identity: more than sources have slots in an interval."""
ARRIVALS: Final = 1 << 15
"""The times of so many of the last batches are known by the order in which they came."""
AHEAD: Final = 60.0
"""Seconds by which the newest sample may be ahead of the wall clock before that is worth a word."""
SERIES: Final = 700
"""Bytes of memory that a series takes besides its samples, about: its labels, and where it is found by them."""
LATEST: Final = 1 << 53
"""Times beyond this many milliseconds either side of the epoch are refused."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Resolved:
    """The series of a batch by their numbers; `keep` picks one of each where a batch names a series twice."""

    series: tuple[Labels, ...]
    ids: Ints
    keep: Ints | None
    segment: int = 0
    """The segment that knows the whole of `ids` as list number `list_number`."""
    list_number: int = 0


class SampleStore:
    """Keeps samples, bounded by age and by size, through restarts and crashes. Thread-safe; one process writes.

    `path` is a directory, made where missing; `retention` is in seconds; `size_limit` in bytes holds for the files and for
    series and samples in memory alike: beyond it the oldest go early, and the log says so. With `read_only` the store is a picture of the moment it was opened, for a reader beside
    the process that writes.

    The last two segments (each a sixteenth of the retention or of the limit of size, and 32 MB at most) are in memory.
    Older ones are sealed: compressed into a file that is read where it is asked for. Sealing goes on in small
    steps with the batches that come, and shows in nothing but the memory and the disk.

    Durability: a batch is acknowledged (`append` returns) after one write(2) of one record, so the kernel has it: a crash or
    SIGKILL of the process loses nothing acknowledged, and can leave at most the one record in flight torn, which is cut
    off on opening. It is forced to the disk (fdatasync) at most every five seconds, since that may take tens of
    milliseconds: a loss of power can cost the last five seconds of samples, which is less than one interval.

    Order: within a series times ascend. A sample older than the newest of its series is dropped and counted; of two with
    the same time the first stays, and the other is counted. A series without samples within retention is forgotten.

    Raises SamplesLocked when another process writes the store.
    """

    def __init__(
        self, path: Path, *, retention: float = 7 * 86400.0, size_limit: int = 2 << 30, read_only: bool = False
    ) -> None:
        self._retention = round(retention * 1000)
        self._size_limit = size_limit
        self._read_only = read_only
        self._mutex = threading.RLock()
        self._resolved: OrderedDict[int, _Resolved] = OrderedDict()
        self._out_of_order = self._duplicates = 0
        self._arrived = self._dropped = 0
        self._arrivals: deque[int] = deque(maxlen=ARRIVALS)
        self._newest: int | None = None
        self._closed = self._early = False
        self._journal = Journal(
            path,
            limit=min(max(size_limit // SEGMENTS, 4096), LARGEST),
            span=max(self._retention // SEGMENTS, 1000),
            read_only=read_only,
        )
        self._empty(path)
        try:
            self._load(path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Force what was written to the disk and let another process write. Again is allowed; reading goes on working."""
        with self._mutex:
            self._closed = True
            self._sealer.stop()
            self._journal.close()

    # Reading

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return the samples with start < time <= end (milliseconds) of every series that all matchers admit.

        Series without a sample in that span are left out; the order is that of first appearance. While the set of series
        does not change, equal matchers that find samples of all their series give the identical tuple of series.
        Raises PatternError (a ValueError) for a regular expression that is none.
        """
        with self._mutex:
            found = self._index.find(matchers)
            hot = self._columns.window(found.ids, start, end)
            cold = self._archive.overlapping(start, end)
        # Reading files holds nobody up: they do not change, and one that is dropped meanwhile was too old anyway.
        pieces = [*self._archive.read(cold, found.births, start, end), hot] if cold else [hot]
        counts, times, values = joined(pieces, len(found.ids))
        series = found.series
        if not counts.all():
            has = counts > 0
            series = tuple(labels for labels, one in zip(series, has.tolist(), strict=True) if one)
            counts = counts[has]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return Block(series, offsets, times, values)

    def latest(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what `select` does, but of each series its newest sample alone."""
        with self._mutex:
            found = self._index.find(matchers)
            newest = self._columns.latest(found.ids, start, end)
        if newest is None:
            return only_last(self.select(matchers, start, end))
        there, times, values = newest
        if there.all():
            return Block(found.series, np.arange(len(times) + 1), times, values)
        rows = np.flatnonzero(there)
        series = tuple(found.series[row] for row in rows.tolist())
        return Block(series, np.arange(len(rows) + 1), times[rows], values[rows])

    def mark(self) -> Mark:
        """Return a mark to ask by, later, what has come since."""
        with self._mutex:
            return Mark(self._arrived, self._dropped)

    def earliest_since(self, mark: Mark) -> int | None:
        """Return the earliest time (milliseconds) of a batch that came since, `LATEST` when none did.

        None when that is not known any more, or when samples or series were dropped since.
        """
        with self._mutex:
            came = self._arrived - mark.arrived
            if mark.dropped != self._dropped or came > len(self._arrivals):
                return None
            return min(islice(reversed(self._arrivals), came), default=LATEST)

    def series(self, matchers: Sequence[Matcher] = ()) -> tuple[Labels, ...]:
        """Return the series within retention that all matchers admit, in the order of first appearance."""
        with self._mutex:
            return self._index.find(matchers).series

    def newest(self) -> float | None:
        """Return the time of the newest sample in seconds; None when there is none."""
        with self._mutex:
            return None if self._newest is None else self._newest / 1000

    def oldest(self) -> float | None:
        """Return the time of the oldest sample in seconds; None when there is none."""
        with self._mutex:
            times = [file.oldest for file in self._archive.files]
            times += [segment.oldest for segment in self._journal.segments if segment.oldest is not None]
        return min(times) / 1000 if times else None

    def stats(self) -> StoreStats:
        """Return what the store holds and what it refused."""
        with self._mutex:
            return StoreStats(
                series=len(self._index),
                samples=self._columns.samples + self._archive.samples,
                segments=len(self._journal.segments) + len(self._archive.files),
                disk_bytes=self._journal.size + self._archive.size,
                memory_bytes=self._columns.size + self._archive.memory,
                out_of_order=self._out_of_order,
                duplicates=self._duplicates,
                cut_off_bytes=self._journal.cut_off,
                set_aside=self._journal.set_aside + self._archive.set_aside,
            )

    # Writing

    def append(self, batch: Batch) -> None:
        """Keep a batch: when this returns, it survives the end of the process.

        Raises SamplesFull when it cannot be written, and then nothing of it is kept; ValueError for a time that is none.
        """
        if not -LATEST < batch.time * 1000 < LATEST:
            raise ValueError(f"not a time: {batch.time}")
        time = round(batch.time * 1000)
        values = np.array(batch.values, np.float64)
        with self._mutex:
            if self._closed or self._read_only:
                raise ValueError("the store is closed" if self._closed else "the store is open for reading only")
            resolved, born = self._resolve(batch.series)
            try:
                self._keep(resolved, time, values)
            except BaseException:
                for number in born:
                    if self._columns.current[number] == NONE:
                        self._forget(number)
                raise

    def _resolve(self, series: tuple[Labels, ...]) -> tuple[_Resolved, list[int]]:
        """Return the numbers of a batch's series, and those among them that are new."""
        known = self._resolved.get(id(series))
        if known is not None and known.series is series:  # a steady source gives the identical tuple again
            self._resolved.move_to_end(id(series))
            return known, []
        index, born = self._index, []
        ids = np.empty(len(series), np.int64)
        for place, labels in enumerate(series):
            number = index.ids.get(labels)
            if number is None:
                number = index.add(labels)
                born.append(number)
            ids[place] = number
        self._sealer.reserve(len(index.births))
        unique, first = np.unique(ids, return_index=True)
        keep = None if len(unique) == len(ids) else np.sort(first)
        resolved = _Resolved(series, ids if keep is None else ids[keep], keep)
        self._resolved[id(series)] = resolved
        if len(self._resolved) > REMEMBERED:
            self._resolved.popitem(last=False)
        return resolved, born

    def _keep(self, resolved: _Resolved, time: int, values: Floats) -> None:
        """Write what is in order, then show it to readers; count the rest."""
        ids = resolved.ids
        if resolved.keep is not None:
            duplicates = len(values) - len(ids)
            values = values[resolved.keep]
        else:
            duplicates = 0
        last = self._columns.last[ids]
        ahead = last < time
        steady = bool(ahead.all())
        if not steady:
            same = int(np.count_nonzero(last == time))
            ids, values = ids[ahead], values[ahead]
            duplicates += same
            self._out_of_order += len(last) - len(ids) - same
        self._duplicates += duplicates
        if not ids.size:
            return
        segment = self._journal.writable(time)
        if steady and resolved.segment == segment.number:
            self._journal.put(segment, encode(Record(time, (), resolved.list_number, None, values)))
        elif (number := self._write(segment, ids, time, values, steady=steady)) is not None:
            resolved.segment, resolved.list_number = segment.number, number
        segment.spans(time)
        self._columns.append(ids, time, values, segment.number)
        self._arrived += 1
        self._arrivals.append(time)
        self._newest = time if self._newest is None else max(self._newest, time)
        self._retain()
        self._sealer.advance(PACE * len(ids))

    def _write(self, segment: Segment, ids: Ints, time: int, values: Floats, *, steady: bool) -> int | None:
        """Append one record to the segment, whole or not at all; return the number it gives to a steady list of series."""
        local = segment.named(ids)
        places = np.flatnonzero(local < 0)
        local[places] = np.arange(len(segment.series), len(segment.series) + len(places))
        unnamed = ids[places].tolist()
        key = local.astype("<u4").tobytes()
        known = segment.lists.get(key)
        number = known if known is not None else NEW_LIST if steady else ONE_LIST
        births = self._index.births[ids[places]].tolist()
        new = tuple(NewSeries(birth, self._index.labels(one)) for birth, one in zip(births, unnamed, strict=True))
        data = encode(Record(time, new, number, local if known is None else None, values))
        self._journal.put(segment, data)
        segment.name(unnamed)
        if number == NEW_LIST:
            segment.lists[key] = len(segment.lists)
        return segment.lists.get(key) if steady else None

    def end_series(self, within: float) -> int:
        """Mark as ended every series whose newest sample is at most `within` seconds old; return how many there were.

        For an engine that begins: nobody looked since the last one, and what vanished meanwhile (a process, a mount, a whole
        host) has nobody left who would say so. What is still there goes on with its next sample.
        """
        now = round(clock.time() * 1000)
        with self._mutex:
            block = self.latest((), now - round(within * 1000), now)
            alive: dict[int, list[Labels]] = {}
            for labels, time, stale in zip(block.series, block.times.tolist(), is_stale(block.values), strict=True):
                if not stale:
                    alive.setdefault(time, []).append(labels)
            for time, series in alive.items():
                self.append(Batch((time + 1) / 1000, tuple(series), (STALE,) * len(series)))
        return sum(map(len, alive.values()))

    # Retention

    def _retain(self) -> None:
        """Drop what is too old, oldest first, and more while the limit of size is passed; never the segment being written.

        Age counts from the newest sample, yet never from later than now: a sample from the future must not empty the store.
        """
        if self._newest is None:
            return
        cutoff = min(self._newest, round(clock.time() * 1000)) - self._retention
        for file in tuple(self._archive.files):
            if self._over(file.newest, cutoff):
                self._forget_all(self._sealer.drop(file))
        for segment in self._journal.segments[:-1]:
            if segment.newest is None or self._over(segment.newest, cutoff):
                self._forget_all(self._sealer.drop_segment(segment))

    def _over(self, newest: int, cutoff: int) -> bool:
        """Return whether samples up to `newest` are to be dropped, and say so when size asks for it and age had not."""
        if newest <= cutoff:
            self._early = False
            return True
        memory = self._columns.size + SERIES * len(self._index)
        disk = self._journal.size + self._archive.size
        if max(disk, memory) <= self._size_limit:
            return False
        if not self._early:
            self._early = True
            log.warning(
                "samples dropped before their time; raise samples.max_bytes, or shorten retention",
                limit_bytes=self._size_limit,
                disk_bytes=disk,
                memory_bytes=memory,
                days_kept=round((self._retention + cutoff - newest) / 86_400_000, 2),
                days_wanted=round(self._retention / 86_400_000, 2),
            )
        return True

    def _forget_all(self, ended: Ints | None) -> None:
        """Forget series that have no samples left, after some were dropped."""
        if ended is None:
            return
        self._dropped += 1
        for number in ended.tolist():
            self._forget(number)
        times = [file.newest for file in self._archive.files]
        times += [segment.newest for segment in self._journal.segments if segment.newest is not None]
        self._newest = max(times, default=None)

    def _forget(self, number: int) -> None:
        self._dropped += 1
        self._index.remove(number)
        self._columns.forget(number)
        self._resolved.clear()
        if self._journal.segments:
            # Its number will be given to another series, which the segment being written has not named.
            self._journal.segments[-1].unname(number)

    # Opening

    def _empty(self, path: Path) -> None:
        self._index = Index()
        self._columns = Columns()
        self._archive = Archive(path, read_only=self._read_only)
        self._sealer = Sealer(self._index, self._columns, self._archive, self._journal)
        self._newest = None

    def _load(self, path: Path) -> None:
        for _ in range(REOPENINGS):
            self._load_once()
            # Between looking for sealed files and for segments, the process that writes may have made one of the other.
            if not self._archive.more({segment.number for segment in self._journal.segments}):
                break
            self._sealer.stop()  # left to the garbage collector, it would take away the file that is written anew
            self._journal.segments.clear()
            self._empty(path)
        if not self._read_only:
            self._sealer.advance(1)
            self._retain()
        ahead = 0.0 if self._newest is None else self._newest / 1000 - clock.time()
        if ahead > AHEAD:
            log.warning(
                "samples are from the future; newer ones of their series wait for the clock", seconds=round(ahead)
            )

    def _load_once(self) -> None:
        for file, last in self._archive.load():
            self._sealer.adopt(file, last)
        self._newest = max((file.newest for file in self._archive.files), default=None)
        number = 0
        for segment, record in self._journal.load([file.number for file in self._archive.files]):
            if segment.number != number and not self._read_only:
                self._sealer.advance(1)  # a store of an older version has all its samples in segments
            number = segment.number
            self._replay(segment, record)

    def _replay(self, segment: Segment, record: Record) -> None:
        numbers = []
        for one in record.new:
            number = self._index.ids.get(one.labels)
            numbers.append(self._index.add(one.labels, one.birth) if number is None else number)
        segment.name(numbers)
        self._sealer.reserve(len(self._index.births))
        if record.ids is None:
            ids = segment.read[record.list_number]
        else:
            ids = np.array(segment.series, np.int64)[record.ids]
            if record.list_number == NEW_LIST:
                segment.lists[record.ids.astype("<u4").tobytes()] = len(segment.read)
                segment.read.append(ids)
        ahead = self._columns.last[ids] < record.time  # always, unless someone has copied files about
        if ahead.all():
            self._columns.append(ids, record.time, record.values, segment.number)
        else:
            self._columns.append(ids[ahead], record.time, record.values[ahead], segment.number)
        segment.spans(record.time)
        self._newest = record.time if self._newest is None else max(self._newest, record.time)
