"""A store node: it serves records, goes on checking every block of its data, and takes snapshots."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine

from aiohttp import web

from engine.lab import data
from engine.lab.figures import Page
from engine.lab.service import Service
from engine.lab.settings import NodeSettings

_CHECK_EVERY = 0.1
_CHECKED_AT_ONCE = data.BLOCKS // 4  # so a pass over all blocks takes 0.4 s
_SNAPSHOT_EVERY = 6.0
_REVIEW_EVERY = 2.0


class Store(Service):
    """A node that keeps data and says how many of its blocks do not match their checksums."""

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings)
        self._failing: set[int] = set()
        self._snapshots: list[data.Snapshot] = []
        settings.directory.mkdir(parents=True, exist_ok=True)
        if not (settings.directory / "data.bin").exists() and not (settings.directory / "snapshots").exists():
            data.create(settings.directory, settings.seed)
        self._check(range(data.BLOCKS))

    def routes(self) -> list[web.RouteDef]:
        """Serve one record, and the list of failing blocks checked on request."""
        return [web.get("/record/{key:[0-9]{1,9}}", self._record), web.get("/verify", self._verify)]

    def work(self) -> list[Coroutine[None, None, None]]:
        """Check the blocks round robin; take snapshots and check those."""
        return [self._scrub(), self._snapshot()]

    def write(self, page: Page) -> None:
        """Add how many blocks fail, and the newest snapshot that passes its checksums."""
        page.gauge("mendbook_data_checksum_failures", len(self._failing), path="data.bin")
        valid = [snapshot for snapshot in self._snapshots if snapshot.valid]
        page.gauge("mendbook_snapshot_valid", 1 if valid else 0)
        if valid:
            page.gauge("mendbook_snapshot_timestamp_seconds", valid[0].taken)

    def _check(self, blocks: range) -> None:
        self._failing.difference_update(blocks)
        self._failing.update(data.failing(self.settings.directory, blocks))

    async def _record(self, request: web.Request) -> web.Response:
        key = int(request.match_info["key"])
        try:
            record = data.read(self.settings.directory, key)
        except IndexError:
            raise web.HTTPNotFound(text="no such record\n") from None
        except OSError as error:
            raise web.HTTPInternalServerError(text=f"record {key} cannot be read: {error.strerror}\n") from error
        if record is None:
            self._check(range(key // data.RECORDS_PER_BLOCK, key // data.RECORDS_PER_BLOCK + 1))
            raise web.HTTPInternalServerError(text=f"record {key} lies in a block that fails its checksum\n")
        return web.Response(body=record)

    async def _verify(self, _request: web.Request) -> web.Response:
        self._check(range(data.BLOCKS))
        return web.json_response({"blocks": data.BLOCKS, "failing": sorted(self._failing)})

    async def _scrub(self) -> None:
        start = 0
        while True:
            self._check(range(start, start + _CHECKED_AT_ONCE))
            start = (start + _CHECKED_AT_ONCE) % data.BLOCKS
            await asyncio.sleep(_CHECK_EVERY)

    async def _snapshot(self) -> None:
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                due += _SNAPSHOT_EVERY
                with contextlib.suppress(
                    OSError
                ):  # data.bin is gone, which the failing blocks tell, or there is no room
                    data.take(self.settings.directory, time.time())
            self._snapshots = data.snapshots(self.settings.directory)
            await asyncio.sleep(_REVIEW_EVERY)
