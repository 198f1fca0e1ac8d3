"""Collects from metric pages: hundreds of endpoints side by side, none of which can hold the others up."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

import aiohttp
from yarl import URL

from engine.model.labels import METRIC_NAME, Batch, Labels
from engine.sources.assembly import Assembly, Part
from engine.sources.page import MAX_BYTES, MAX_SAMPLES, PageError, PageLimits, PageReader
from engine.sources.side_by_side import Job, Outcome, Refused, SideBySide

HEADERS: Final = {
    "Accept": "text/plain;version=0.0.4;q=1,text/plain;q=0.9,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "mendbook",
}
CONNECTIONS: Final = 512
"""Connections open at once: below the usual limit of 1,024 open files."""
REDIRECTS: Final = 3


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A metric page: where it is, and the labels that its series get. `timeout` in seconds overrides the source's."""

    url: str
    instance: str
    job: str
    labels: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None


class ExpositionSource:
    """Collects the pages of all endpoints at once; each is `up 0` or `up 1` within its own timeout.

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
        self._errors: Mapping[str, str] = MappingProxyType({})
        self._assembly = Assembly()
        self._fetcher: Fetcher | None = None
        self.set_endpoints(endpoints)

    @property
    def errors(self) -> Mapping[str, str]:
        """Why the endpoints that were down at the last collection were, by instance."""
        return self._errors

    def set_endpoints(self, endpoints: Sequence[Endpoint]) -> None:
        """Collect from these endpoints from now on; what is known of those that stay is kept."""
        have = self._targets  # swapped whole, so that nobody waits for a collection that is under way
        self._targets = {one: have.get(one) or Target(one, self._limits) for one in endpoints}

    def collect(self, at: float) -> Batch:
        """Return the samples of every page, all as of `at`, within the longest timeout of an endpoint and a little more."""
        with self._mutex:
            targets = self._targets
            if targets and self._fetcher is None:
                self._fetcher = Fetcher()
            errors: dict[str, str] = {}
            parts: dict[Endpoint, tuple[Part, ...]] = {}
            if self._fetcher is not None:
                waits = {one: self._timeout if one.timeout is None else one.timeout for one in targets}
                for endpoint, fetched in self._fetcher.fetch(waits, self._limits.bytes):
                    parts[endpoint], error = targets[endpoint].read(fetched)
                    if error is not None:
                        errors[endpoint.instance] = error
            self._errors = MappingProxyType(errors)
            return self._assembly.batch(at, [part for one in targets for part in parts[one]])

    def close(self) -> None:
        """End the connections and the thread that serves them."""
        with self._mutex:
            if self._fetcher is not None:
                self._fetcher.close()
                self._fetcher = None


class Target:
    """What is known of one endpoint from collection to collection."""

    def __init__(self, endpoint: Endpoint, limits: PageLimits) -> None:
        labels = {**dict(endpoint.labels), "instance": endpoint.instance, "job": endpoint.job}
        self._reader = PageReader(labels, limits)
        self._report = tuple(
            Labels({METRIC_NAME: name, **labels})
            for name in ("up", "scrape_duration_seconds", "scrape_samples_scraped")
        )

    def read(self, fetched: Outcome[bytes]) -> tuple[tuple[Part, ...], str | None]:
        """Return the samples about the endpoint and those of its page; or why there is no page."""
        error = fetched.error
        if error is None:
            try:
                page = self._reader.read(fetched.result or b"")
            except PageError as wrong:
                error = str(wrong)
            else:
                report = Part(self._report, (1.0, fetched.seconds, float(len(page.values))))
                return (report, Part(page.series, page.values)), None
        return (Part(self._report, (0.0, fetched.seconds, 0.0)),), error


class Fetcher:
    """Fetches pages side by side."""

    def __init__(self) -> None:
        self._side_by_side = SideBySide("exposition")
        self._session = self._side_by_side.call(self._open())

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ttl_dns_cache=60, resolver=aiohttp.ThreadedResolver()),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(total=None),  # each job has its own
            auto_decompress=False,  # by hand, so that a small answer cannot grow beyond all bounds
            trust_env=False,
        )

    def close(self) -> None:
        """End the connections."""
        self._side_by_side.call(self._session.close())
        self._side_by_side.close()

    def fetch(self, waits: Mapping[Endpoint, float], max_bytes: int) -> Iterator[tuple[Endpoint, Outcome[bytes]]]:
        """Yield each endpoint's page, in the order in which they answer; `waits` says how long each may take."""
        jobs = {one: Job(partial(self._page, one.url, max_bytes), wait) for one, wait in waits.items()}
        return self._side_by_side.round(jobs)

    async def _page(self, address: str, max_bytes: int) -> bytes:
        url = URL(address)
        if url.scheme not in ("http", "https") or not url.host:
            raise Refused(f"not an http:// or https:// address: {address!r}")
        for _ in range(REDIRECTS + 1):
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    there = url.join(URL(response.headers.get("Location", "")))
                    if there.origin() != url.origin():
                        raise Refused(f"redirects to another server, {there}; name it in the endpoint if it is meant")
                    url = there.with_user(url.user).with_password(url.password)
                    continue
                if response.status != 200:  # noqa: PLR2004
                    raise Refused(f"HTTP status {response.status} {response.reason}")
                return await body(response, max_bytes)
        raise Refused(f"redirects more than {REDIRECTS} times")


async def body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the decompressed body of an answer. Raises Refused beyond `max_bytes`, which are never all held at once."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise Refused(f"compressed in a way that was not asked for: {encoding!r}")
    inflate = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    data = bytearray()
    async for chunk in response.content.iter_any():
        rest = chunk
        while rest and len(data) <= max_bytes:
            if inflate is None:
                data += rest
                break
            data += inflate.decompress(rest, max_bytes + 1 - len(data))
            rest = inflate.unconsumed_tail
            if inflate.eof and (rest := inflate.unused_data):
                inflate = zlib.decompressobj(wbits=31)
        if len(data) > max_bytes:
            raise Refused(f"more than {max_bytes} bytes")
    if inflate is not None and not inflate.eof:
        raise Refused("compressed data ends too soon")
    return bytes(data)
