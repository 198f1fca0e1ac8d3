"""Sealed files: what a segment held, compressed and read piece by piece, so that old samples take no memory.

A file is a grid of tiles. Its series, in the order of their births, are cut into bands of rows; its time is cut into slices;
a tile holds the samples of one band in one slice. Behind the tiles stand the index (births, newest times, ends of slices,
places and checksums of tiles), the labels, and a footer of fixed size that says where these are. A file is written under another
name and renamed when it is on the disk, so that it is there whole or not at all. Numbers are little-endian.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from engine.model.labels import Labels
from engine.samples.codec import Floats, Ints, pack, pack_ints, unpack, unpack_ints

MAGIC: Final = b"mendbook sealed samples 1\n"
FOOTER: Final = struct.Struct("<QIIIIIIIqqQI")
SUFFIX: Final = ".sealed"
UNFINISHED: Final = ".sealing"
TILE: Final = 16384
"""Samples in a tile, about."""
DEEP: Final = 256
"""Samples of one series in a tile, about: an hour at the default interval of 15 s."""
MOST: Final = 256
"""A file has at most so many slices."""
WIDEST: Final = 4096
"""A band has at most so many rows."""

Piece = tuple[Ints, Ints, Floats]
"""Of some series: how many samples each has, then the times and the values of all, series behind series."""


class Damaged(ValueError):  # noqa: N818  # named for what happened
    """A file does not hold what its checksums say."""


@dataclass(slots=True)
class Sealed:
    """One sealed file: what is kept in memory of it."""

    number: int
    path: Path
    size: int
    samples: int
    oldest: int
    newest: int
    births: Ints
    """Of its series, ascending; one array for all files that have the same series."""
    band: int
    """Rows in a band."""
    ends: Ints
    """The newest time that each slice can hold, ascending."""
    places: Ints
    """Where each tile begins, band by band, and where the last one ends."""
    sums: Ints
    """The CRC of each tile."""
    labels_size: int
    labels_sum: int
    broken: set[int] = field(default_factory=set)
    """The tiles that could not be read."""

    def labels(self, rows: Ints) -> list[Labels]:
        """Return the labels of the series in some rows. Raises Damaged, OSError."""
        with self.path.open("rb") as file:
            file.seek(self.size - FOOTER.size - self.labels_size)
            data = file.read(self.labels_size)
        if zlib.crc32(data) != self.labels_sum:
            raise Damaged(f"the labels in {self.path}")
        lines = zlib.decompress(data).split(b"\n")
        found = []
        for row in rows.tolist():
            texts = json.loads(lines[row])
            found.append(Labels(zip(texts[::2], texts[1::2], strict=True)))
        return found

    def tile(self, number: int) -> Piece:
        """Return the samples of a tile. Raises Damaged, OSError."""
        first, beyond = self.places[number : number + 2].tolist()
        with self.path.open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), beyond - first, first)
        if len(data) != beyond - first or zlib.crc32(data) != self.sums[number]:
            raise Damaged(f"tile {number} of {self.path}")
        return unpack(data)

    def read(self, births: Ints, start: int, end: int, tile: Callable[[Sealed, int], Piece | None]) -> list[Piece]:
        """Return the samples with start < time <= end of the series with these births (ascending), a piece for each slice.

        `tile` gives a tile of this file by its number, None where it cannot be read.
        """
        if not births.size or not self.births.size or self.oldest > end or self.newest <= start:
            return []
        rows = np.minimum(np.searchsorted(self.births, births), len(self.births) - 1)
        there = np.flatnonzero(self.births[rows] == births)
        if not there.size:
            return []
        first = int(np.searchsorted(self.ends, start, side="right"))
        last = min(int(np.searchsorted(self.ends, end, side="left")), len(self.ends) - 1)
        bands = np.unique(rows[there] // self.band).tolist()
        pieces = []
        for part in range(first, last + 1):
            tiles = [(band, tile(self, band * len(self.ends) + part)) for band in bands]
            counts, times, values = self._cut(tiles, rows[there], start, end)
            of_all = np.zeros(len(births), np.int64)
            of_all[there] = counts
            pieces.append((of_all, times, values))
        return pieces

    def _cut(self, tiles: Sequence[tuple[int, Piece | None]], rows: Ints, start: int, end: int) -> Piece:
        """Return of some tiles of one slice, which hold at least these rows, what is theirs and in the window."""
        known = [(band * self.band, tile) for band, tile in tiles if tile is not None]
        if not known:
            return np.zeros(len(rows), np.int64), np.zeros(0, np.int64), np.zeros(0)
        held = np.concatenate([np.arange(first, first + len(tile[0])) for first, tile in known])
        counts, times, values = (np.concatenate([tile[part] for _, tile in known]) for part in range(3))
        at = np.minimum(np.searchsorted(held, rows), len(held) - 1)
        found = held[at] == rows
        wanted = np.zeros(len(held), np.bool_)
        wanted[at[found]] = True
        inside = (times > start) & (times <= end)
        if not wanted.all():
            inside &= np.repeat(wanted, counts)
        if not inside.all():
            before = np.concatenate((np.zeros(1, np.int64), np.cumsum(inside)))
            ends = np.cumsum(counts)
            counts = before[ends] - before[ends - counts]
            times, values = times[inside], values[inside]
        return np.where(found, counts[at], 0), times, values


def seal(
    path: Path,
    births: Ints,
    labels: Sequence[Labels],
    span: tuple[int, int],
    samples: int,
    read: Callable[[int, int], Piece],
) -> Generator[int, None, None]:
    """Write a sealed file, yielding now and then how many samples were written since; at the end it is there, and whole.

    `births` ascend; `read(low, high)` gives the samples, all within `span`, of the series from place `low` to before place
    `high`. Abandoned, it leaves nothing. Raises OSError.
    """
    unfinished = path.with_suffix(UNFINISHED)
    oldest, newest = span
    deep = min(max(samples // max(len(births), 1), 1), DEEP)
    band = min(max(TILE // deep, 1), WIDEST)
    slices = min(max(round(samples / max(len(births), 1) / DEEP), 1), MOST, newest - oldest + 1)
    ends = oldest + (newest - oldest) * np.arange(1, slices + 1) // slices
    places, sums = [len(MAGIC)], []
    last = np.full(len(births), np.iinfo(np.int64).min)
    try:
        with unfinished.open("wb") as file:
            file.write(MAGIC)
            for low in range(0, len(births), band):
                high = min(low + band, len(births))
                whole = read(low, high)
                counts, times, _ = whole
                last[low:high][counts > 0] = times[np.cumsum(counts)[counts > 0] - 1]
                for piece in sliced(whole, ends):
                    data = pack(*piece)
                    file.write(data)
                    places.append(places[-1] + len(data))
                    sums.append(zlib.crc32(data))
                yield len(times)
            index = b"".join(map(pack_ints, (births, last, ends, np.array(places), np.array(sums, np.int64))))
            texts = zlib.compress(b"\n".join(line(one) for one in labels))
            footer = FOOTER.pack(
                places[-1],
                *(len(index), zlib.crc32(index), len(texts), zlib.crc32(texts)),
                *(len(births), band, slices, oldest, newest, samples, 0),
            )[:-4]
            file.write(index + texts + footer + struct.pack("<I", zlib.crc32(footer)))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def sliced(piece: Piece, ends: Ints) -> list[Piece]:
    """Return the samples of each slice."""
    counts, times, values = piece
    if len(ends) == 1:
        return [piece]
    rows = np.repeat(np.arange(len(counts)), counts)
    part = np.searchsorted(ends, times, side="left")
    found = []
    for number in range(len(ends)):
        inside = part == number
        found.append((np.bincount(rows[inside], minlength=len(counts)), times[inside], values[inside]))
    return found


def line(labels: Labels) -> bytes:
    """Return the labels of a series as one line."""
    return json.dumps([text for pair in labels.pairs for text in pair], separators=(",", ":")).encode()


def open_sealed(path: Path, like: Sealed | None) -> tuple[Sealed, Ints]:
    """Return a sealed file, and the newest time of each of its series. Raises Damaged, OSError.

    `like` is a file that may have the same series.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < len(MAGIC) + FOOTER.size or file.read(len(MAGIC)) != MAGIC:
            raise Damaged(f"the beginning of {path}")
        file.seek(size - FOOTER.size)
        footer = file.read(FOOTER.size)
        at, length, checksum, texts, texts_sum, rows, band, slices, oldest, newest, samples, own = FOOTER.unpack(footer)
        if zlib.crc32(footer[:-4]) != own or at + length + texts + FOOTER.size != size:
            raise Damaged(f"the footer of {path}")
        file.seek(at)
        index = file.read(length)
    if zlib.crc32(index) != checksum:
        raise Damaged(f"the index of {path}")
    tiles = -(-rows // band) * slices
    rest, columns = memoryview(index), []
    for count in (rows, rows, slices, tiles + 1, tiles):
        column, rest = unpack_ints(rest, count)
        columns.append(column)
    births, last, ends, places, sums = columns
    if like is not None and np.array_equal(like.births, births):
        births = like.births
    number = int(path.stem)
    sealed = Sealed(number, path, size, samples, oldest, newest, births, band, ends, places, sums, texts, texts_sum)
    return sealed, last


def sync_folder(path: Path) -> None:
    """Force a folder's entries to the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
