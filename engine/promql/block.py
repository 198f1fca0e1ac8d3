"""Blocks of samples: what the language is evaluated over."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from engine.model.labels import Labels

STALE_BITS = 0x7FF0000000000002
"""The bit pattern of Prometheus's stale marker: a NaN that no arithmetic produces."""
STALE: float = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]

Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


class MatchOperator(StrEnum):
    """How a matcher compares a label with its value."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher; a label that a series lacks has the value ""; regular expressions are RE2 and anchored."""

    name: str
    operator: MatchOperator
    value: str


@dataclass(frozen=True, slots=True)
class Block:
    """Samples of many series, one behind the other (ragged rows).

    Series i has the samples `offsets[i]:offsets[i+1]` of `times` (milliseconds since the epoch, strictly ascending
    within a series) and `values` (stale markers included; `is_stale` finds them).
    """

    series: tuple[Labels, ...]
    offsets: npt.NDArray[np.int64]
    times: Times
    values: Values


class Storage(Protocol):
    """Where the evaluator reads from."""

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return the samples with start < time <= end (milliseconds) of every series that all matchers admit.

        Series without a sample in that span are left out. The order of series is theirs of first appearance.
        """
        ...


@runtime_checkable
class LatestStorage(Storage, Protocol):
    """A storage that is quick where only the newest sample of each series counts."""

    def latest(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what `select` does, but of each series its newest sample alone."""
        ...


def latest(storage: Storage, matchers: Sequence[Matcher], start: int, end: int) -> Block:
    """Return the newest sample with start < time <= end of every series that all matchers admit."""
    if isinstance(storage, LatestStorage):
        return storage.latest(matchers, start, end)
    return only_last(storage.select(matchers, start, end))


def only_last(block: Block) -> Block:
    """Return the newest sample of each series of a block; series without any are left out."""
    filled = np.diff(block.offsets) > 0
    series = block.series
    if not filled.all():
        series = tuple(series[row] for row in np.flatnonzero(filled).tolist())
    last = block.offsets[1:][filled] - 1
    return Block(series, np.arange(len(series) + 1), block.times[last], block.values[last])


def is_stale(values: Values) -> npt.NDArray[np.bool_]:
    """Return where `values` holds stale markers; an ordinary NaN is not one."""
    stale: npt.NDArray[np.bool_] = values.view(np.uint64) == np.uint64(STALE_BITS)
    return stale
