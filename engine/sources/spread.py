"""When each of many endpoints is looked at: at a place of its own in the interval, the same one every time."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from engine.sources.fetcher import Endpoint

CROWD: Final = 64
"""So many endpoints may as well begin together: their pages are there within milliseconds."""
MOST_SLOTS: Final = 16
SHORTEST_SLOT: Final = 0.25
"""Seconds."""


def slots_for(endpoints: int, interval: float) -> int:
    """Return into how many slots an interval is divided for so many endpoints.

    Powers of two: when a fleet grows, each slot becomes two, and every endpoint stays about where it was.
    """
    slots = 1
    while slots < MOST_SLOTS and endpoints > slots * CROWD and interval / (2 * slots) >= SHORTEST_SLOT:
        slots *= 2
    return slots


def spread(endpoints: Iterable[Endpoint], slots: int) -> list[list[Endpoint]]:
    """Return the endpoints of each slot: by what they are, so that it is the same after a restart and beside others."""
    found: list[list[Endpoint]] = [[] for _ in range(slots)]
    for endpoint in endpoints:
        identity = f"{endpoint.url}\n{endpoint.instance}\n{endpoint.job}"
        found[zlib.crc32(identity.encode("utf-8", "surrogatepass")) * slots >> 32].append(endpoint)
    return found


@dataclass(slots=True)
class Rhythm:
    """Which slots are due. Slot s of k begins s/k of an interval after each multiple of the interval since `start`.

    What is late is begun late; what is a whole interval late is skipped: beats do not queue.
    """

    start: float
    interval: float
    slots: int = 1
    beat: int = 0
    """The number of the next beat: beat n is that of slot n % slots."""

    def divide(self, slots: int, now: float) -> None:
        """Go on in so many slots: with the first that begins after this, or at once where none has begun yet."""
        if slots != self.slots:
            self.slots = slots
            self.beat = self._last(now) + 1 if self.beat else 0

    def next(self) -> float:
        """Return when the next slot is due."""
        return self.start + self.beat * self.interval / self.slots

    def due(self, now: float) -> Iterator[int]:
        """Yield the slots that are due, each once at most."""
        last = self._last(now)
        self.beat = max(self.beat, last - self.slots + 1)
        while self.beat <= last:
            self.beat += 1
            yield (self.beat - 1) % self.slots

    def _last(self, now: float) -> int:
        """Return the number of the last beat that has begun."""
        return int((now - self.start) * self.slots / self.interval)
