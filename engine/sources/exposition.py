"""Collects from metric pages: thousands of endpoints, none of which can hold the others up."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from engine.model.labels import METRIC_NAME, Batch, Labels
from engine.ports import Clock
from engine.promql.block import STALE
from engine.sources.assembly import Merger, Part
from engine.sources.fetcher import Endpoint, Fetcher
from engine.sources.page import MAX_BYTES, MAX_SAMPLES, PageError, PageLimits, PageReader
from engine.sources.side_by_side import Outcome
from engine.sources.spread import Rhythm, slots_for, spread
from engine.sources.visits import Visits

__all__ = ["Endpoint", "ExpositionSource"]

PROMPT: Final = 0.9
"""A page may take this share of the interval: a dead endpoint is known to be one before it is looked at again."""
BRIEFEST: Final = 0.9
"""Seconds that a page may take however short the interval."""


class ExpositionSource:
    """Collects the pages of all endpoints; each is `up 0` or `up 1` within its own timeout.

    Beside the page's own series each endpoint has `up`, `scrape_duration_seconds` and `scrape_samples_scraped`. A series
    that was on the last page and is not on this one ends with a stale marker, as do all those of an endpoint that is down or
    no longer among the endpoints. Pages are fetched directly, never through a proxy that the environment names, and a redirect
    is followed only to the same server. Thread-safe.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint] = (),
        *,
        max_bytes: int = MAX_BYTES,
        max_samples: int = MAX_SAMPLES,
        timeout: float = 10.0,
    ) -> None:
        self._limits = PageLimits(bytes=max_bytes, samples=max_samples)
        self._timeout = timeout
        self._mutex = threading.Lock()
        self._targets: dict[Endpoint, Target] = {}
        self._departed: queue.SimpleQueue[Target] = queue.SimpleQueue()
        self._merger = Merger()
        self._fetcher: Fetcher | None = None
        self.set_endpoints(endpoints)

    @property
    def errors(self) -> Mapping[str, str]:
        """Why the endpoints that were down when they were last looked at were, by instance."""
        targets = self._targets.items()
        return {endpoint.instance: target.error for endpoint, target in targets if target.error is not None}

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Collect from these endpoints from now on; what is known of those that stay is kept."""
        have, wanted = self._targets, dict.fromkeys(endpoints)
        gone = {one.origin: target for one, target in have.items() if one not in wanted}
        # swapped whole, so that nobody waits for a collection that is under way
        self._targets = {one: have.get(one) or Target(one, self._limits, gone.pop(one.origin, None)) for one in wanted}
        for target in gone.values():
            self._departed.put(target)

    def collect(self, at: float) -> Batch:
        """Return the samples of every page, all as of `at`, within the longest timeout of an endpoint and a little more."""
        targets = self._targets
        parts: dict[Endpoint, Part] = {}
        if targets:
            for endpoint, fetched in self._begun().fetch(self._waits(targets), self._limits.bytes):
                with self._mutex:
                    parts[endpoint] = targets[endpoint].read(fetched)
        with self._mutex:
            return self._merger.batch(at, [*(parts[one] for one in targets), *self._endings()])

    def feed(
        self, interval: float, clock: Clock, stop: threading.Event, before: Callable[[], None] = lambda: None
    ) -> Iterator[Batch]:
        """Yield samples until told to stop: of each endpoint once an interval, at its own place in it.

        All samples of a page have the moment at which it was asked for. Pages that were asked for together come in one batch;
        those that take long come later, each in its own. A page that is not there when the next one is due counts as down, unless its
        endpoint has a timeout of its own: then it misses beats for as long as it owes its last one. `before` is
        called before each beat.
        """
        rhythm, visits = Rhythm(clock.now(), interval), Visits(clock, self._read)
        targets: Mapping[Endpoint, Target] | None = None
        slots: list[list[Endpoint]] = []
        while not stop.is_set():
            before()
            now = clock.now()
            if targets is not self._targets:
                targets = self._targets
                rhythm.divide(slots_for(len(targets), interval), now)
                slots = spread(targets, rhythm.slots)
            for slot in rhythm.due(now):
                waits = self._waits(visits.free(slots[slot]), max(interval * PROMPT, BRIEFEST))
                if waits:
                    visits.begin(slot, now, waits, self._begun(), self._limits.bytes)
            if not self._departed.empty():
                yield Merger().batch(now, self._endings())
            yield from visits.batches(rhythm.next(), stop)

    def close(self) -> None:
        """End the connections and the thread that serves them."""
        with self._mutex:
            if self._fetcher is not None:
                self._fetcher.close()
                self._fetcher = None

    def _begun(self) -> Fetcher:
        with self._mutex:
            if self._fetcher is None:
                self._fetcher = Fetcher()
            return self._fetcher

    def _waits(self, endpoints: Iterable[Endpoint], most: float = math.inf) -> dict[Endpoint, float]:
        """Return how many seconds each may take; `most` holds for those that do not say it themselves."""
        usual = min(self._timeout, most)
        return {one: usual if one.timeout is None else one.timeout for one in endpoints}

    def _read(self, endpoint: Endpoint, fetched: Outcome[bytes]) -> Part | None:
        """Return what came of an endpoint; None when it has departed meanwhile."""
        target = self._targets.get(endpoint)
        if target is None:
            return None
        with self._mutex:
            return target.read(fetched)

    def _endings(self) -> list[Part]:
        """Return the ends of the series of endpoints that have departed."""
        parts = []
        with suppress(queue.Empty):
            while True:
                parts.append(self._departed.get_nowait().end())
        return parts


class Target:
    """What is known of one endpoint from collection to collection; `heir_of` is what had its labels before, elsewhere."""

    def __init__(self, endpoint: Endpoint, limits: PageLimits, heir_of: Target | None = None) -> None:
        labels = {**dict(endpoint.labels), "instance": endpoint.instance, "job": endpoint.job}
        self.error: str | None = None
        """Why it was down when it was last looked at."""
        self.series: tuple[Labels, ...] = () if heir_of is None else heir_of.series
        """What it had then."""
        self._reader = PageReader(labels, limits)
        self._report = tuple(
            Labels({METRIC_NAME: name, **labels})
            for name in ("up", "scrape_duration_seconds", "scrape_samples_scraped")
        )
        self._page: tuple[Labels, ...] | None = None

    def read(self, fetched: Outcome[bytes]) -> Part:
        """Return the samples about the endpoint and those of its page, and the ends of what is on it no longer."""
        series: tuple[Labels, ...] = ()
        values: list[float] = []
        self.error = fetched.error
        if fetched.error is None:
            try:
                page = self._reader.read(fetched.result or b"")
            except PageError as wrong:
                self.error = str(wrong)
            else:
                series, values = page.series, page.values
        values = [1.0 if self.error is None else 0.0, fetched.seconds, float(len(values)), *values]
        if series is self._page:
            return Part(self.series, values)
        before, self._page, self.series = self.series, series, self._report + series
        now = frozenset(self.series)
        ended = tuple(labels for labels in before if labels not in now)
        return Part(self.series + ended, values + [STALE] * len(ended))

    def end(self) -> Part:
        """Return the ends of all its series."""
        return Part(self.series, [STALE] * len(self.series))
