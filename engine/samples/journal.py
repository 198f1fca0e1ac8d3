"""The files of the embedded store: which segments there are, which one is written, and what is done with damaged ones."""

from __future__ import annotations

import errno
import fcntl
import os
import time as clock
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from engine.samples.columns import Ints
from engine.samples.segment import MAGIC, End, Reader, Record

SUFFIX: Final = ".segment"
SYNC_INTERVAL: Final = 5.0
"""Seconds that may pass before what was written is also forced to the disk."""
KEPT_BROKEN: Final = 4
"""How many broken segments are kept for a person to look at."""

log = structlog.get_logger(__name__)


class SamplesFull(OSError):  # noqa: N818  # named for what happened, as BlockingIOError is
    """A batch could not be written (no space, or a limit); the store is as it was before the batch."""


class SamplesLocked(OSError):  # noqa: N818
    """Another process writes this store."""


@dataclass(slots=True)
class Segment:
    """One file, and the numbers it uses for series."""

    number: int
    path: Path
    size: int = 0
    oldest: int | None = None
    newest: int | None = None
    local: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """From the store's number of a series to the segment's; -1 for one that it has not named."""
    series: array[int] = field(default_factory=lambda: array("q"))
    """From the segment's number of a series to the store's."""
    lists: dict[bytes, int] = field(default_factory=dict)
    """From the segment's numbers of the series of a list, as bytes, to the number of the list."""
    read: list[Ints] = field(default_factory=list)
    """The lists as they were read, by number, in the store's numbers."""

    def name(self, numbers: Sequence[int]) -> None:
        """Take note that the segment names these series (by the store's numbers), in this order."""
        if not numbers:
            return
        have, need = len(self.local), max(numbers) + 1
        if need > have:
            self.local = np.concatenate((self.local, np.full(max(need - have, have // 4), -1, np.int64)))
        first = len(self.series)
        self.local[list(numbers)] = np.arange(first, first + len(numbers))
        self.series.extend(numbers)

    def unname(self, number: int) -> None:
        """Take note that a number of the store's will stand for another series."""
        if number < len(self.local):
            self.local[number] = -1

    def named(self, numbers: Ints) -> Ints:
        """Return the segment's numbers of series, -1 for those that it has not named."""
        if len(self.local) and len(numbers) and int(numbers.max()) < len(self.local):
            return self.local[numbers]
        inside = numbers < len(self.local)
        found = np.full(len(numbers), -1, np.int64)
        found[inside] = self.local[numbers[inside]]
        return found

    def spans(self, time: int) -> None:
        """Take note that the segment holds a sample of `time`."""
        self.oldest = time if self.oldest is None else min(self.oldest, time)
        self.newest = time if self.newest is None else max(self.newest, time)

    def seal(self) -> None:
        """Let go of what only writing and loading need."""
        self.local, self.lists, self.read = np.zeros(0, np.int64), {}, []


class Journal:
    """The segments in a directory, oldest first; records are put at the end of the last. Not thread-safe.

    A segment is closed for a new one when it reaches `limit` bytes or spans more than `span` milliseconds.
    """

    def __init__(self, path: Path, *, limit: int, span: int, read_only: bool) -> None:
        self.segments: list[Segment] = []
        self.cut_off = self.set_aside = 0
        self._path = path
        self._limit = limit
        self._span = span
        self._read_only = read_only
        self._number = 0  # of the newest segment there has been
        self._file: int | None = None
        self._lock: int | None = None
        self._synced = clock.monotonic()
        if not read_only:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = acquire(path / "lock")

    @property
    def size(self) -> int:
        """The bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    def close(self) -> None:
        """Force what was written to the disk and let another process write. Again is allowed."""
        self._release()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def writable(self, time: int) -> Segment:
        """Return the segment to write samples of `time` to: the last one, or a new one. Raises SamplesFull."""
        if self._file is not None:
            last = self.segments[-1]
            span = 0 if last.oldest is None else time - last.oldest
            if last.size < self._limit and span <= self._span:
                return last
        self._number += 1
        segment = Segment(self._number, self._path / f"{self._number:012}{SUFFIX}")
        try:
            file = os.open(segment.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SamplesFull(error.errno, f"samples not kept: {error.strerror}", str(segment.path)) from error
        self._release()
        if self.segments:
            self.segments[-1].seal()
        self._file = file
        self.segments.append(segment)
        return segment

    def put(self, segment: Segment, record: bytes) -> None:
        """Write one record at the end of the segment that is writable. Raises SamplesFull, and the file is as it was."""
        file = self._file
        assert file is not None  # noqa: S101  # `writable` has opened it
        data = record if segment.size else MAGIC + record
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            now = clock.monotonic()
            if now - self._synced >= SYNC_INTERVAL:
                os.fdatasync(file)
                self._synced = now
        except OSError as error:
            # The record must not stay half written before others: the next opening would have to set the file aside.
            try:
                os.ftruncate(file, segment.size)
                os.lseek(file, segment.size, os.SEEK_SET)
            except OSError:
                os.close(file)
                self._file = None  # the next batch goes to a new segment
            raise SamplesFull(error.errno, f"samples not kept: {error.strerror}", str(segment.path)) from error
        segment.size += len(data)

    def retire(self, segment: Segment) -> None:
        """Remove a segment whose samples are in a sealed file; if its file stays, the next opening removes it."""
        try:
            segment.path.unlink(missing_ok=True)
        except OSError:
            log.exception("segment of samples not removed", segment=str(segment.path))
        self.segments.remove(segment)

    def drop(self, segment: Segment) -> bool:
        """Remove a segment, not the last one; return whether it is gone."""
        try:
            segment.path.unlink(missing_ok=True)
        except OSError:
            log.exception("old samples not removed", segment=str(segment.path))
            return False
        self.segments.remove(segment)
        return True

    def load(self, sealed: Collection[int] = ()) -> Iterator[tuple[Segment, Record]]:
        """Yield every record that can be read, oldest segment first, and leave the files sound.

        Segments whose numbers are `sealed` are removed: a crash came between sealing and removing them. The caller keeps
        `name`s, `lists`, `read`, `oldest` and `newest` of each segment as it takes the records.
        """
        self._number = max(sealed, default=0)
        for path in sorted(self._path.glob(f"*{SUFFIX}")):
            if not path.stem.isdecimal():
                continue
            if int(path.stem) not in sealed:
                self._number = max(self._number, int(path.stem))
                yield from self._load(path, int(path.stem))
            elif not self._read_only:
                path.unlink(missing_ok=True)
        if self.segments and not self._read_only:
            last = self.segments[-1]
            if last.path.stat().st_size == last.size:
                self._file = os.open(last.path, os.O_RDWR | os.O_CLOEXEC)
                os.lseek(self._file, last.size, os.SEEK_SET)

    def _load(self, path: Path, number: int) -> Iterator[tuple[Segment, Record]]:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return  # retention, or sealing, was quicker than this reader
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            log.exception("segment of samples cannot be read", segment=str(path))
            return
        segment = Segment(number, path)
        reader = Reader(data)
        for record in reader:
            yield segment, record
        segment.size = reader.good
        if reader.end is not End.WHOLE and not self._read_only:
            try:
                self._repair(path, data, reader)
            except OSError:
                # On a full disk, say. What is readable counts all the same; the next batch goes to a new segment.
                log.exception("segment of samples not repaired", segment=str(path))
        if segment.newest is not None:
            if self.segments:
                self.segments[-1].seal()
            segment.read = []
            self.segments.append(segment)
        elif not self._read_only:
            path.unlink(missing_ok=True)

    def _repair(self, path: Path, data: bytes, reader: Reader) -> None:
        """Bring a segment back to its readable part: cut a torn tail off; set a broken file aside first."""
        lost = len(data) - reader.good
        if reader.end is End.TORN:
            os.truncate(path, reader.good)
            self.cut_off += lost
            if lost:
                log.warning("torn end of samples cut off", segment=str(path), bytes=lost)
            return
        aside = path.with_suffix(f"{SUFFIX}.broken")
        whole = path.with_suffix(".salvaged")
        aside.unlink(missing_ok=True)
        whole.write_bytes(data[: reader.good])
        os.link(path, aside)
        whole.replace(path)
        self.set_aside += 1
        log.error("segment of samples set aside", broken=str(aside), kept_bytes=reader.good, lost_bytes=lost)
        for old in sorted(self._path.glob("*.broken"))[:-KEPT_BROKEN]:
            old.unlink(missing_ok=True)

    def _release(self) -> None:
        """Close the segment being written, its content on the disk."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            os.fdatasync(file)
        except OSError:
            log.exception("samples not forced to the disk", path=str(self._path))
        finally:
            os.close(file)


def acquire(path: Path) -> int:
    """Return a file descriptor that holds the exclusive lock on `path`. Raises SamplesLocked when another has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise SamplesLocked(error.errno, "another process writes these samples", str(path.parent)) from error
    return file
