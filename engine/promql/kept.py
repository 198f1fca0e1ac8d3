"""What is worked out about tuples of series, kept for as long as the same tuples come again.

Storage gives the identical tuple while the set of its series does not change, and what is derived from it is the identical
tuple again. So names are dropped, groups formed and partners found when series appear and end, not at every evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

from engine.model.labels import Labels

FEW: Final = 64
"""Tuples this short are dealt with as quickly as they are looked up."""
MOST_SERIES: Final = 4_000_000
"""How many series there may be in all the tuples that something is kept about."""

T = TypeVar("T")
Series = tuple[Labels, ...]


class Kept:
    """Facts by what they are and by the tuples they are about. Threads may share it: each step is one of a dict's own."""

    def __init__(self, most: int = MOST_SERIES) -> None:
        self._facts: dict[tuple[Hashable, ...], tuple[tuple[Series, ...], Any]] = {}
        self._most = most
        self._size = 0

    def get(self, what: Hashable, work: Callable[..., T], *about: Series) -> T:
        """Return `work(*about)`, which depends on nothing else than `what` says."""
        size = sum(map(len, about))
        if size <= FEW or size > self._most:
            return work(*about)
        key = (what, *map(id, about))
        found = self._facts.get(key)
        # an id may have been given again: what counts is being the same
        if found is not None and all(one is other for one, other in zip(found[0], about, strict=True)):
            fact: T = found[1]
            return fact
        fact = work(*about)
        self._size += size
        if self._size > self._most:  # what is still looked at comes back at once
            self._facts.clear()
            self._size = size
        self._facts[key] = (about, fact)
        return fact


KEPT: Final = Kept()
