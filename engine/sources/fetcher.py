"""Fetches metric pages over HTTP, side by side, within bounds of bytes and seconds."""

from __future__ import annotations

import queue
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiohttp
from yarl import URL

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

    @property
    def origin(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        """What tells its series from those of others."""
        return self.instance, self.job, self.labels


Visit = tuple[int, Endpoint]
"""One of an endpoint's turns: the number of the round, and the endpoint."""
Arrivals = queue.SimpleQueue[tuple[Visit, Outcome[bytes]]]


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

    def begin(self, number: int, waits: Mapping[Endpoint, float], max_bytes: int, arrivals: Arrivals) -> None:
        """Begin a round; each endpoint's page is put into `arrivals` when it is there, or when it has had its time."""
        jobs = {(number, one): Job(partial(self._page, one.url, max_bytes), wait) for one, wait in waits.items()}
        self._side_by_side.begin(jobs, arrivals)

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
