"""What every node does alike: it answers /healthz and /metrics, measures its requests and ends on SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine

from aiohttp import web

from engine.lab import figures
from engine.lab.settings import NodeSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_UNCOUNTED = frozenset({"/metrics", "/healthz"})  # the watchers' own requests are not traffic
_BACKLOG = 512  # a stopped process still takes connections, as a hung one does
_GRACE = 0.5


class Service:
    """A node: subclasses add routes, work in the background and figures of their own."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.requests = figures.Requests()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes that this role serves."""
        return []

    def work(self) -> list[Coroutine[None, None, None]]:
        """Return what runs in the background for the node's whole life; if one of them fails, the node dies."""
        return []

    def write(self, page: figures.Page) -> None:
        """Add this role's figures to a page of metrics."""

    async def close(self) -> None:
        """Give back what the node holds open."""

    async def serve(self) -> None:
        """Serve on 127.0.0.1 until SIGTERM; then finish what is in flight and return."""
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)

        @web.middleware
        async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._measure(request, handler)

        application = web.Application(middlewares=[measure], client_max_size=64 * 1024)
        application.add_routes([web.get("/healthz", _health), web.get("/metrics", self._metrics), *self.routes()])
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE, handler_cancellation=False)
        await runner.setup()
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(work) for work in self.work()]
            # The manager holds the port with a socket that never listens, so that nobody takes it while the node is down.
            await web.TCPSite(runner, "127.0.0.1", self.settings.port, backlog=_BACKLOG, reuse_port=True).start()
            await ended.wait()
            await runner.cleanup()
            for task in background:
                task.cancel()
        await self.close()

    async def _metrics(self, _request: web.Request) -> web.Response:
        page = figures.Page()
        figures.write_own(page, self.settings)
        self.requests.write(page)
        self.write(page)
        return web.Response(body=page.text().encode(), headers={"Content-Type": figures.CONTENT_TYPE})

    async def _measure(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in _UNCOUNTED:
            return await handler(request)
        begun = time.monotonic()
        self.requests.in_flight += 1
        code = 500
        try:
            response = await handler(request)
            code = response.status
        except web.HTTPException as refusal:
            code = refusal.status
            raise
        finally:
            self.requests.in_flight -= 1
            self.requests.done(code, time.monotonic() - begun)
        return response


async def _health(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")
