"""Samples made small: columns of numbers as planes of bytes, compressed.

What monitoring measures is mostly whole numbers or decimals with few places, near the value before. So values become
integers where they can without losing a bit, what is stored is the difference to the number before, and of these numbers all
lowest bytes stand together, then all second lowest, and so on: planes of zeros vanish. (Gorilla's XOR, Pelkonen et al. 2015,
is what values that are no short decimals get; its bit packing is replaced by byte planes, which numpy can take apart.)
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

LEVEL: Final = 1
"""Of zlib: more costs several times the time for a few per cent."""
PLACES: Final = (0, 1, 2, 3, 4, 6)
"""Numbers of decimal places that are tried."""
LARGEST: Final = float(1 << 53)
"""Integers up to here are exact as floats."""
EXCEPTIONS: Final = 8
"""One value in so many may be no short decimal (a stale marker, NaN) before bits are stored instead."""
BITS: Final = 255
"""The form of values that are stored by their bits, in the place of a number of decimal places."""
HEAD: Final = struct.Struct("<BBxxIII")
COLUMN: Final = struct.Struct("<BxxxI")


def pack_words(words: Words) -> bytes:
    """Return a column of numbers; it is the smaller, the smaller they are."""
    planes = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1, 8)
    most = int(words.max()) if words.size else 0
    used = (most.bit_length() + 7) // 8
    data = zlib.compress(np.ascontiguousarray(planes[:, :used].T).tobytes(), LEVEL) if used else b""
    return COLUMN.pack(used, len(data)) + data


def unpack_words(data: memoryview, count: int) -> tuple[Words, memoryview]:
    """Return the `count` numbers of the column that `data` begins with, and what comes behind it."""
    used, length = COLUMN.unpack_from(data)
    body, rest = data[COLUMN.size : COLUMN.size + length], data[COLUMN.size + length :]
    words = np.zeros((count, 8), np.uint8)
    if used:
        planes = np.frombuffer(zlib.decompress(body), np.uint8, used * count).reshape(used, count)
        words[:, :used] = planes.T
    return words.view("<u8").reshape(-1).astype(np.uint64, copy=False), rest


def pack_ints(numbers: Ints) -> bytes:
    """Return a column of integers; it is the smaller, the nearer each is to the one before."""
    steps = np.diff(numbers, prepend=0)  # wraps around where it must, and back when it is read
    return pack_words(((steps << 1) ^ (steps >> 63)).view(np.uint64))


def unpack_ints(data: memoryview, count: int) -> tuple[Ints, memoryview]:
    """Return the `count` integers of the column that `data` begins with, and what comes behind it."""
    words, rest = unpack_words(data, count)
    steps = (words >> np.uint64(1)) ^ (np.uint64(0) - (words & np.uint64(1)))
    return np.cumsum(steps.view(np.int64), dtype=np.int64), rest


def pack(counts: Ints, times: Ints, values: Floats) -> bytes:
    """Return the samples of some series, `counts[i]` of series i, series behind series."""
    rows, total = len(counts), len(times)
    width = int(counts[0]) if rows else 0
    together = total == rows * width and bool((counts == width).all())
    if together and total:
        grid = times.reshape(rows, width)
        together = bool((grid == grid[0]).all())
    parts = [HEAD.pack(together, 0, rows, total, width if together else 0)]
    if together:
        parts.append(pack_ints(times[:width]))
    else:
        parts += [pack_ints(counts), pack_ints(times)]
    parts.append(pack_floats(values))
    return b"".join(parts)


def unpack(data: bytes) -> tuple[Ints, Ints, Floats]:
    """Return counts, times and values as `pack` was given them."""
    together, _, rows, total, width = HEAD.unpack_from(data)
    rest = memoryview(data)[HEAD.size :]
    if together:
        counts = np.full(rows, width, np.int64)
        moments, rest = unpack_ints(rest, width)
        times = np.tile(moments, rows)
    else:
        counts, rest = unpack_ints(rest, rows)
        times, rest = unpack_ints(rest, total)
    return counts, times, unpack_floats(rest, total)


def pack_floats(values: Floats) -> bytes:
    """Return a column of values, every bit of them kept."""
    for places in PLACES:
        whole, exact = as_integers(values, places)
        odd = np.flatnonzero(~exact)
        if len(odd) * EXCEPTIONS > len(values):
            continue
        # In the place of an exception stands the number before it, which costs nothing.
        place = np.maximum.accumulate(np.where(exact, np.arange(len(values)), 0))
        numbers = np.where(exact[place], whole[place], 0)
        bits = values[odd].view(np.uint64)
        return b"".join((struct.pack("<BxxxI", places, len(odd)), pack_ints(numbers), pack_ints(odd), pack_words(bits)))
    bits = np.ascontiguousarray(values).view(np.uint64)
    changed = bits ^ np.concatenate((np.zeros(1, np.uint64), bits[:-1]))
    return struct.pack("<BxxxI", BITS, 0) + pack_words(changed)


def unpack_floats(data: memoryview, count: int) -> Floats:
    """Return the `count` values of the column in `data`."""
    places, odd_count = struct.unpack_from("<BxxxI", data)
    rest = data[8:]
    if places == BITS:
        changed, _ = unpack_words(rest, count)
        bits: Words = np.bitwise_xor.accumulate(changed)
        return bits.view(np.float64)
    numbers, rest = unpack_ints(rest, count)
    values: Floats = numbers / 10.0**places
    if odd_count:
        odd, rest = unpack_ints(rest, odd_count)
        values.view(np.uint64)[odd] = unpack_words(rest, odd_count)[0]
    return values


def as_integers(values: Floats, places: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Return `values` times a power of ten, rounded, and where dividing again gives the very bits of the value."""
    power = 10.0**places
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.rint(values * power)
        inside = np.abs(scaled) < LARGEST
        whole = np.where(inside, scaled, 0.0).astype(np.int64)
    exact = inside & ((whole / power).view(np.uint64) == values.view(np.uint64))
    return whole, exact
