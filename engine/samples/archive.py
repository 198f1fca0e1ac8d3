"""The sealed files in a directory: read on demand, and set aside where they are damaged."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from engine.samples.codec import Ints
from engine.samples.sealed import SUFFIX, UNFINISHED, Damaged, Piece, Sealed, open_sealed

CACHED: Final = 2 << 20
"""Samples of so many are kept as they were read last, in case they are asked for again: 32 MB."""
KEPT_BROKEN: Final = 4
"""How many broken files are kept for a person to look at."""

log = structlog.get_logger(__name__)


class Archive:
    """The sealed files, oldest first. `read` is thread-safe; everything else is for one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.files: list[Sealed] = []
        self.set_aside = 0
        self._path = path
        self._read_only = read_only
        self._tried: set[Path] = set()
        self._tiles: OrderedDict[tuple[int, int], Piece] = OrderedDict()
        self._cached = 0
        self._mutex = threading.Lock()

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def samples(self) -> int:
        """The number of samples in all files."""
        return sum(file.samples for file in self.files)

    @property
    def memory(self) -> int:
        """The bytes that samples kept from reading take."""
        return self._cached * 16

    def load(self) -> Iterator[tuple[Sealed, Ints]]:
        """Yield every file that can be read, oldest first, with the newest time of each of its series."""
        if not self._read_only:
            for left in self._path.glob(f"*{UNFINISHED}"):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
        for path in self._paths():
            self._tried.add(path)
            if (opened := self.open(path)) is not None:
                yield opened

    def more(self, segments: Collection[int]) -> bool:
        """Return whether a file has come since `load` that was not made of one of these segments, which are known."""
        return any(path not in self._tried and int(path.stem) not in segments for path in self._paths())

    def _paths(self) -> list[Path]:
        return sorted(path for path in self._path.glob(f"*{SUFFIX}") if path.stem.isdecimal())

    def open(self, path: Path) -> tuple[Sealed, Ints] | None:
        """Take a file in, as the newest; None when it is damaged, and then it is set aside."""
        try:
            opened = open_sealed(path, self.files[-1] if self.files else None)
        except FileNotFoundError:
            return None  # retention was quicker than this reader
        except (Damaged, OSError) as error:
            self.put_aside(path, error)
            return None
        self.files.append(opened[0])
        return opened

    def put_aside(self, path: Path, error: Exception) -> None:
        """Report a file that cannot be used, and rename it, so that the next opening does not meet it."""
        self.set_aside += 1
        log.error("sealed samples set aside", file=str(path), error=str(error))
        self.files = [file for file in self.files if file.path != path]
        if self._read_only:
            return
        try:
            path.replace(path.with_suffix(f"{SUFFIX}.broken"))
            for old in sorted(self._path.glob(f"*{SUFFIX}.broken"))[:-KEPT_BROKEN]:
                old.unlink(missing_ok=True)
        except OSError:
            log.exception("damaged samples stay where they are", file=str(path))

    def drop(self, file: Sealed) -> bool:
        """Remove a file; return whether it is gone."""
        try:
            file.path.unlink(missing_ok=True)
        except OSError:
            log.exception("old samples not removed", file=str(file.path))
            return False
        self.files.remove(file)
        with self._mutex:
            for key in [key for key in self._tiles if key[0] == file.number]:
                self._cached -= len(self._tiles.pop(key)[1])
        return True

    def overlapping(self, start: int, end: int) -> list[Sealed]:
        """Return the files that may hold samples with start < time <= end."""
        return [file for file in self.files if file.newest > start and file.oldest <= end]

    def read(self, files: Sequence[Sealed], births: Ints, start: int, end: int) -> list[Piece]:
        """Return the samples with start < time <= end of the series with these births (ascending), oldest pieces first."""
        return [piece for file in files for piece in file.read(births, start, end, self._tile)]

    def _tile(self, file: Sealed, number: int) -> Piece | None:
        """Return a tile; None, and a word in the log the first time, where it cannot be read."""
        key = file.number, number
        with self._mutex:
            if (piece := self._tiles.get(key)) is not None:
                self._tiles.move_to_end(key)
                return piece
        if number in file.broken:
            return None
        try:
            piece = file.tile(number)
        except FileNotFoundError:
            return None  # dropped by retention since
        except (Damaged, OSError) as error:
            file.broken.add(number)
            self.set_aside += 1
            log.error("part of sealed samples left out", file=str(file.path), error=str(error))  # noqa: TRY400
            return None
        with self._mutex:
            if key not in self._tiles:
                self._tiles[key] = piece
                self._cached += len(piece[1])
            while self._cached > CACHED:
                self._cached -= len(self._tiles.popitem(last=False)[1][1])
        return piece


def joined(pieces: Sequence[Piece], rows: int) -> Piece:
    """Return the samples of pieces, one later than the other within each series, as one."""
    if len(pieces) == 1:
        return pieces[0]
    counts = sum((piece[0] for piece in pieces), np.zeros(rows, np.int64))
    free = np.cumsum(counts) - counts
    times, values = np.zeros(int(counts.sum()), np.int64), np.zeros(int(counts.sum()))
    for own, moments, numbers in pieces:
        places = np.repeat(free - (np.cumsum(own) - own), own) + np.arange(len(moments))
        times[places], values[places] = moments, numbers
        free = free + own
    return counts, times, values
