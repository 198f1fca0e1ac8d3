"""A web node: it serves items that it reads from a store, with a bounded number of workers, a cache and an access log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections import OrderedDict
from collections.abc import Coroutine

import aiohttp
from aiohttp import web

from engine.lab import figures
from engine.lab.service import Service
from engine.lab.settings import LEAK_BYTES_PER_SECOND, PACE, WORKERS, NodeSettings

_WAITING = 64
_STORE_TIMEOUT = aiohttp.ClientTimeout(total=1.0, connect=0.3)
_CACHE_ENTRIES = 64
_CACHE_SECONDS = 2.0
_LOG_BYTES = 128 * 1024
_LEAK_EVERY = 0.1
_HOUSEKEEPING = 0.2


class Web(Service):
    """A node whose capacity is finite: each request holds one of WORKERS workers for at least PACE seconds."""

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings)
        self._workers = asyncio.Semaphore(WORKERS)
        self._client: aiohttp.ClientSession | None = None
        self._cached: OrderedDict[int, float] = OrderedDict()
        for folder in ("cache", "logs"):
            (settings.directory / folder).mkdir(parents=True, exist_ok=True)
        self._used = figures.bytes_below(settings.directory)
        self._leaking = False
        self._leaked: list[bytearray] = []

    def routes(self) -> list[web.RouteDef]:
        """Serve items."""
        return [web.get("/item/{key:[0-9]{1,9}}", self._item)]

    def work(self) -> list[Coroutine[None, None, None]]:
        """Keep house; and leak, when the lab orders it by a signal."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, self._leak, True)
        loop.add_signal_handler(signal.SIGUSR2, self._leak, False)
        return [self._keep_house(), self._grow()]

    async def close(self) -> None:
        """Close the connections to the stores."""
        if self._client is not None:
            await self._client.close()

    async def _item(self, request: web.Request) -> web.Response:
        key = int(request.match_info["key"])
        if self.requests.in_flight > WORKERS + _WAITING:
            raise web.HTTPServiceUnavailable(text="all workers are busy and too many wait\n")
        async with self._workers:
            begun = time.monotonic()
            try:
                return await self._answer(key)
            finally:
                await asyncio.sleep(max(0.0, begun + PACE - time.monotonic()))

    async def _answer(self, key: int) -> web.Response:
        """Answer from the cache or the store that keeps the key, and write both cache and log.

        A node that cannot write what it must keep has failed the request: 507.
        """
        content = self._from_cache(key)
        if content is None:
            store = self.settings.stores[key % len(self.settings.stores)]
            try:
                status, record = await self._read(store, key)
            except (TimeoutError, aiohttp.ClientError) as error:
                raise web.HTTPBadGateway(text=f"store {store}: {error or type(error).__name__}\n") from error
            if status == web.HTTPNotFound.status_code:
                raise web.HTTPNotFound(text="no such item\n")
            if status != web.HTTPOk.status_code:
                raise web.HTTPBadGateway(text=f"store {store} answered {status}\n")
            content = json.dumps({"key": key, "from": store, "record": record.decode("ascii", "replace")}).encode()
            self._store("cache", f"{key}.json", content)
            self._cached[key] = time.monotonic()
        self._store("logs", "access.log", f"{time.time():.3f} item {key} {len(content)}\n".encode(), append=True)
        return web.Response(body=content, content_type="application/json")

    async def _read(self, store: str, key: int) -> tuple[int, bytes]:
        if self._client is None:
            self._client = aiohttp.ClientSession(timeout=_STORE_TIMEOUT)
        async with self._client.get(f"http://{store}/record/{key}") as response:
            return response.status, await response.read()

    def _from_cache(self, key: int) -> bytes | None:
        if time.monotonic() - self._cached.get(key, float("-inf")) > _CACHE_SECONDS:
            return None
        try:
            return (self.settings.directory / "cache" / f"{key}.json").read_bytes()
        except OSError:
            return None  # somebody cleared the cache, which is what a cache is for

    def _store(self, folder: str, name: str, content: bytes, *, append: bool = False) -> None:
        if self._used + len(content) > self.settings.directory_limit:
            raise web.HTTPInsufficientStorage(text="the node's directory has reached its limit\n")
        path = self.settings.directory / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab" if append else "wb") as file:
            file.write(content)
        self._used += len(content)

    async def _keep_house(self) -> None:
        """Measure the directory, drop old cache entries and turn the log over."""
        log = self.settings.directory / "logs" / "access.log"
        while True:
            while len(self._cached) > _CACHE_ENTRIES:
                oldest, _ = self._cached.popitem(last=False)
                (self.settings.directory / "cache" / f"{oldest}.json").unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):  # whoever clears space may take the log, too
                if log.stat().st_size > _LOG_BYTES:
                    log.replace(log.with_suffix(".log.1"))
            self._used = figures.bytes_below(self.settings.directory)
            await asyncio.sleep(_HOUSEKEEPING)

    def _leak(self, order: bool) -> None:
        self._leaking = order
        if not order:
            self._leaked.clear()

    async def _grow(self) -> None:
        """While told to leak, take memory and touch it, so that it is really held."""
        while True:
            if self._leaking:
                self._leaked.append(bytearray(b"\x01") * int(LEAK_BYTES_PER_SECOND * _LEAK_EVERY))
            await asyncio.sleep(_LEAK_EVERY)
