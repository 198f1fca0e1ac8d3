"""The file format of the embedded store: append-only segments of records, each with checksums.

A segment is a magic line and then records. A record is a prefix of three 32-bit numbers (length of the payload, CRC of
the payload, CRC of the two before) and a payload that holds one batch of samples: a head, the series that the segment
has not named before, the list of series the values belong to unless an earlier record gave the same list, and the
values. So a steady source costs eight bytes a sample, and any prefix of a segment that ends with a record is a segment.

All numbers are little-endian. Series are numbered within their segment in the order in which it names them.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.model.labels import Labels

MAGIC: Final = b"mendbook samples 1\n"
PREFIX: Final = struct.Struct("<III")
HEAD: Final = struct.Struct("<BxxxIqII")
BATCH: Final = 1
NEW_LIST: Final = 0xFFFFFFFF
"""The list of series follows, and later records may refer to it by its number."""
ONE_LIST: Final = 0xFFFFFFFE
"""The list of series follows and is used once."""

Ids = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class End(StrEnum):
    """How reading a segment ended."""

    WHOLE = "whole"
    TORN = "torn"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class NewSeries:
    """A series that a segment names for the first time; `birth` orders all series of a store by first appearance."""

    birth: int
    labels: Labels


@dataclass(frozen=True, slots=True)
class Record:
    """One batch as a segment holds it; `ids` is None where list number `list_number` of the segment is meant."""

    time: int
    new: tuple[NewSeries, ...]
    list_number: int
    ids: Ids | None
    values: Values


def encode(record: Record) -> bytes:
    """Return the bytes of one record, prefix and all."""
    new = json.dumps(
        [[one.birth, *(text for pair in one.labels.pairs for text in pair)] for one in record.new]
    ).encode()
    parts = [HEAD.pack(BATCH, record.list_number, record.time, len(new), len(record.values)), new]
    if record.ids is not None:
        parts.append(record.ids.astype("<u4").tobytes())
    parts.append(record.values.astype("<f8", copy=False).tobytes())
    payload = b"".join(parts)
    prefix = struct.pack("<II", len(payload), zlib.crc32(payload))
    return prefix + struct.pack("<I", zlib.crc32(prefix)) + payload


class Reader:
    """Iterates over the records of a segment up to the first that cannot be read.

    Afterwards `good` is the length of the readable part in bytes (0 when not even the magic line is there) and `end` says
    why reading stopped: a torn segment ends within its last record, as an interrupted write leaves it; a broken one has
    bytes that no interrupted write explains.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.good = 0
        self.end = End.TORN

    def __iter__(self) -> Iterator[Record]:
        data, size = self._data, len(self._data)
        if not data.startswith(MAGIC):
            self.end = End.TORN if MAGIC.startswith(data) else End.BROKEN
            return
        self.good = len(MAGIC)
        while self.good < size:
            if size - self.good < PREFIX.size:
                self.end = End.TORN
                return
            length, checksum, prefix_checksum = PREFIX.unpack_from(data, self.good)
            if zlib.crc32(data[self.good : self.good + 8]) != prefix_checksum:
                self.end = End.BROKEN
                return
            first = self.good + PREFIX.size
            if first + length > size:
                self.end = End.TORN
                return
            payload = data[first : first + length]
            record = decode(payload) if zlib.crc32(payload) == checksum else None
            if record is None:
                self.end = End.BROKEN
                return
            yield record
            self.good = first + length
        self.end = End.WHOLE


def decode(payload: bytes) -> Record | None:
    """Return the record in a payload whose checksum was right; None when it is of a kind not known here."""
    if len(payload) < HEAD.size or payload[0] != BATCH:
        return None
    _, list_number, time, new_length, count = HEAD.unpack_from(payload)
    at = HEAD.size
    new = tuple(
        NewSeries(birth, Labels(zip(texts[::2], texts[1::2], strict=True)))
        for birth, *texts in json.loads(payload[at : at + new_length])
    )
    at += new_length
    ids: Ids | None = None
    if list_number in (NEW_LIST, ONE_LIST):
        ids = np.frombuffer(payload, "<u4", count, at).astype(np.int64)
        at += 4 * count
    values = np.frombuffer(payload, "<f8", count, at)
    return Record(time, new, list_number, ids, values)
