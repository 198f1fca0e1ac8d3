"""Pages under way: asked for in rounds, taken as they come, and put together so that few batches result."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.model.labels import Batch
from engine.ports import Clock
from engine.sources.assembly import Merger, Part
from engine.sources.fetcher import Arrivals, Endpoint, Fetcher
from engine.sources.side_by_side import NO_END, SLACK, Outcome

GATHER: Final = 0.2
"""Seconds within which pages that were asked for together go into one batch; who is later has one alone."""
GLANCE: Final = 0.25
"""At least so often, in seconds, is it looked whether to stop."""


@dataclass(slots=True)
class Round:
    """Pages that were asked for together."""

    slot: int
    at: float
    latest: float
    order: tuple[Endpoint, ...]
    waiting: set[Endpoint]
    parts: dict[Endpoint, Part] = field(default_factory=dict)
    gathered: bool = False


class Visits:
    """The rounds that are not over. `read` makes samples of an endpoint's page, or of its absence."""

    def __init__(self, clock: Clock, read: Callable[[Endpoint, Outcome[bytes]], Part | None]) -> None:
        self._clock = clock
        self._read = read
        self._arrivals: Arrivals = queue.SimpleQueue()
        self._rounds: dict[int, Round] = {}
        self._mergers: dict[int, Merger] = {}
        self._number = 0

    def free(self, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
        """Return those that owe no page."""
        owing: set[Endpoint] = set().union(*(each.waiting for each in self._rounds.values()))
        return [one for one in endpoints if one not in owing]

    def begin(self, slot: int, at: float, waits: Mapping[Endpoint, float], fetcher: Fetcher, max_bytes: int) -> None:
        """Ask for the pages of a slot; each may take as many seconds as `waits` says."""
        self._number += 1
        latest = self._clock.now() + max(waits.values()) + SLACK
        self._rounds[self._number] = Round(slot, at, latest, tuple(waits), set(waits))
        fetcher.begin(self._number, waits, max_bytes, self._arrivals)

    def batches(self, until: float, stop: threading.Event) -> Iterator[Batch]:
        """Yield what comes, until that moment or until told to stop."""
        while not stop.is_set() and (now := self._clock.now()) < until:
            if not self._rounds:
                stop.wait(until - now)
                return
            self._take(min(until, self._next_end()) - now)
            yield from self._ready()

    def _next_end(self) -> float:
        """Return when the time of a round to be gathered, or to come at all, is over."""
        return min(each.latest if each.gathered else each.at + GATHER for each in self._rounds.values())

    def _take(self, seconds: float) -> None:
        """Read what is there, once there is something; give up after so many seconds."""
        try:
            arrival = self._arrivals.get(timeout=max(0.0, min(seconds, GLANCE)))
            while True:
                (number, endpoint), outcome = arrival
                if (each := self._rounds.get(number)) is not None:
                    self._came(each, endpoint, outcome)
                arrival = self._arrivals.get_nowait()
        except queue.Empty:
            return

    def _came(self, each: Round, endpoint: Endpoint, outcome: Outcome[bytes]) -> None:
        each.waiting.discard(endpoint)
        part = self._read(endpoint, outcome)
        if part is not None:
            each.parts[endpoint] = part

    def _ready(self) -> Iterator[Batch]:
        """Yield what is whole, or has been waited for long enough; forget the rounds that are over."""
        now = self._clock.now()
        for number, each in list(self._rounds.items()):
            if now >= each.latest:
                for endpoint in tuple(each.waiting):
                    self._came(each, endpoint, Outcome(None, NO_END, now - each.at))
            if each.gathered:
                for part in each.parts.values():
                    yield Batch(each.at, part.series, tuple(part.values))
                each.parts.clear()
            elif not each.waiting or now >= each.at + GATHER:
                merger = self._mergers.setdefault(each.slot, Merger())
                parts = [each.parts[one] for one in each.order if one in each.parts]
                each.gathered, each.parts = True, {}
                if parts:
                    yield merger.batch(each.at, parts)
            if not each.waiting:
                del self._rounds[number]
