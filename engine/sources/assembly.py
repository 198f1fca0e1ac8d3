"""Puts the parts of a collection together, and marks the series that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from engine.model.labels import Batch, Labels
from engine.promql.block import STALE


@dataclass(frozen=True, slots=True)
class Part:
    """Some samples of a collection, such as one endpoint's: `values[i]` belongs to `series[i]`."""

    series: tuple[Labels, ...]
    values: Sequence[float]


class Assembly:
    """Makes one batch of the parts of each collection.

    A series of the last collection that is in no part of this one gets a stale marker, once. While the parts bring the
    identical tuples of series the batch does too, by which the store knows them without looking at each.
    """

    def __init__(self) -> None:
        self._parts: dict[int, tuple[Labels, ...]] = {}
        self._series: tuple[Labels, ...] = ()

    def batch(self, at: float, parts: Sequence[Part]) -> Batch:
        """Return the batch of a collection made at `at`."""
        # By identity; the tuples of last time are kept, so that none of this time can have the same identity by chance.
        now = {id(part.series): part.series for part in parts}
        values = tuple(chain.from_iterable(part.values for part in parts))
        if list(now) == list(self._parts) and len(self._series) == len(values):
            return Batch(at, self._series, values)
        ended = [series for key, series in self._parts.items() if key not in now]
        begun = [series for key, series in now.items() if key not in self._parts]
        gone = dict.fromkeys(chain.from_iterable(ended))
        for labels in chain.from_iterable(begun):
            gone.pop(labels, None)
        self._parts = now
        self._series = tuple(chain.from_iterable(part.series for part in parts))
        if not gone:
            return Batch(at, self._series, values)
        return Batch(at, (*self._series, *gone), values + (STALE,) * len(gone))


class Merger:
    """Makes one batch of parts that tell themselves what has ended.

    While the parts bring the identical tuples of series, in the same order, the batch does too.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Labels, ...]] = []
        self._series: tuple[Labels, ...] = ()

    def batch(self, at: float, parts: Sequence[Part]) -> Batch:
        """Return the batch of a collection made at `at`."""
        same = len(parts) == len(self._parts) and all(
            part.series is before for part, before in zip(parts, self._parts, strict=True)
        )
        if not same:
            self._parts = [part.series for part in parts]
            self._series = tuple(chain.from_iterable(self._parts))
        return Batch(at, self._series, tuple(chain.from_iterable(part.values for part in parts)))
