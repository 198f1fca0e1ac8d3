"""The balancer: a small HTTP reverse proxy over the attached web nodes, with figures under haproxy's exporter's names."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Collection, Coroutine
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from engine.lab.figures import Page
from engine.lab.service import Service
from engine.lab.settings import WORKERS, NodeSettings

_PROXY = "web"
_SESSIONS = WORKERS  # per server: more would only wait inside the node, where another node could not take them
_QUEUE = 40
_QUEUE_SECONDS = 1.0
_TRY_SECONDS = 1.5
_CHECK_EVERY = 0.5
_CHECK_SECONDS = 0.5
_FALL = 2
_LOOK_EVERY = 0.1
_FAILURES = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


@dataclass(slots=True, eq=False)
class Server:
    """An attached web node as the balancer sees it."""

    name: str
    address: str
    sessions: int = 0
    up: bool = False
    failed_checks: int = 0
    turn: int = 0
    fresh: bool = True  # it has not passed a check yet: it is asked more often, so that it serves at once


class Overflow(Exception):  # noqa: N818  # not an error of ours: what the caller answers with 503
    """No server can take the request in time."""


class Pool:
    """The attached servers and the requests that wait for one of their sessions.

    No server ever has more than its maximum of sessions, and nobody waits while a server that is up has one free.
    """

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self._waiting: deque[asyncio.Future[Server]] = deque()
        self._turns = 0

    @property
    def queued(self) -> int:
        """Return how many requests wait."""
        return sum(not waiting.done() for waiting in self._waiting)

    @property
    def active(self) -> list[Server]:
        """Return the servers that are up."""
        return [server for server in self.servers.values() if server.up]

    async def take(self, avoid: Collection[Server] = ()) -> Server:
        """Return the server with the fewest sessions, one of which is now the caller's; wait for it in the queue.

        Raises Overflow when no server is up, the queue is full, or the wait is too long.
        """
        server = self._free(avoid) or self._free()
        if server is not None:
            return self._begin(server)
        if not self.active:
            raise Overflow("no server is up")
        if self.queued >= _QUEUE:
            raise Overflow(f"the queue of {_QUEUE} is full")
        waiting: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(_QUEUE_SECONDS):
                return await waiting
        except BaseException as error:
            if waiting.done() and not waiting.cancelled():  # a session came in the moment that the wait ended
                self.give_back(waiting.result())
            if isinstance(error, TimeoutError):
                raise Overflow(f"no session came free within {_QUEUE_SECONDS:g} s") from None
            raise

    def give_back(self, server: Server) -> None:
        """End a session and hand it to the next in the queue."""
        server.sessions -= 1
        self.hand_out()

    def hand_out(self) -> None:
        """Give every free session to those that wait, in their order."""
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
                continue
            server = self._free()
            if server is None:
                return
            self._waiting.popleft().set_result(self._begin(server))

    def _begin(self, server: Server) -> Server:
        self._turns += 1
        server.turn = self._turns
        server.sessions += 1
        return server

    def _free(self, avoid: Collection[Server] = ()) -> Server | None:
        free = [server for server in self.active if server.sessions < _SESSIONS and server not in avoid]
        # Among servers with equally few sessions the one that has waited longest: a quiet cluster uses all of them.
        return min(free, key=lambda server: (server.sessions, server.turn), default=None)


class Balancer(Service):
    """Least connections, active checks, a bounded queue, and one retry on another server when a connection fails."""

    def __init__(self, settings: NodeSettings) -> None:
        super().__init__(settings)
        self._pool = Pool()
        self._responses: Counter[str] = Counter({"2xx": 0, "4xx": 0, "5xx": 0})
        self._client: aiohttp.ClientSession | None = None
        self._written = ""
        self._checks: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Pass on every GET that is not our own."""
        return [web.get("/{path:.*}", self._pass_on)]

    def work(self) -> list[Coroutine[None, None, None]]:
        """Follow the list of attached servers and check each."""
        return [self._follow(), self._check_all()]

    async def close(self) -> None:
        """Close the connections to the servers."""
        if self._client is not None:
            await self._client.close()

    def write(self, page: Page) -> None:
        """Add the back end's figures; as in haproxy, a session counts from its place in the queue on."""
        queued, active = self._pool.queued, self._pool.active
        servers = sorted(self._pool.servers.values(), key=lambda server: server.name)
        in_service = sum(server.sessions for server in servers)
        page.gauge("haproxy_backend_current_queue", queued, proxy=_PROXY)
        page.gauge("haproxy_backend_current_sessions", in_service + queued, proxy=_PROXY)
        page.gauge("haproxy_backend_limit_sessions", _SESSIONS * len(active), proxy=_PROXY)
        page.gauge("haproxy_backend_active_servers", len(active), proxy=_PROXY)
        responses = [("", {"proxy": _PROXY, "code": code}, float(n)) for code, n in sorted(self._responses.items())]
        page.family("haproxy_backend_http_responses_total", "counter", responses)
        names = [{"proxy": _PROXY, "server": server.name} for server in servers]
        page.family(
            "haproxy_server_status", "gauge", [("", name, float(s.up)) for name, s in zip(names, servers, strict=True)]
        )
        page.family(
            "haproxy_server_current_sessions",
            "gauge",
            [("", name, s.sessions) for name, s in zip(names, servers, strict=True)],
        )

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self._client

    async def _pass_on(self, request: web.Request) -> web.Response:
        response = await self._try_twice(request)
        self._responses[f"{response.status // 100}xx"] += 1
        return response

    async def _try_twice(self, request: web.Request) -> web.Response:
        failed: list[Server] = []
        while True:
            try:
                server = await self._pool.take(failed)
            except Overflow as full:
                return web.Response(status=503, text=f"{full}\n")
            try:
                return await self._ask(server, request)
            except TimeoutError:
                return web.Response(status=504, text=f"{server.name} did not answer within {_TRY_SECONDS:g} s\n")
            except _FAILURES as error:
                failed.append(server)
                if len(failed) > 1:
                    return web.Response(status=502, text=f"{server.name}: {error}\n")
            finally:
                self._pool.give_back(server)

    async def _ask(self, server: Server, request: web.Request) -> web.Response:
        limit = aiohttp.ClientTimeout(total=_TRY_SECONDS)
        url = f"http://{server.address}{request.rel_url.raw_path_qs}"
        async with self._session().get(url, timeout=limit, allow_redirects=False) as answer:
            body = await answer.read()
            return web.Response(status=answer.status, body=body, content_type=answer.content_type)

    async def _follow(self) -> None:
        while True:
            try:
                text = (self.settings.directory / "servers.json").read_text()
            except OSError:
                text = "[]"
            if text != self._written:
                self._written = text
                self._attach(json.loads(text))
            for server in self._pool.servers.values():
                if server.fresh:
                    self._start_check(server)
            await asyncio.sleep(_LOOK_EVERY)

    def _attach(self, wanted: list[dict[str, str]]) -> None:
        """Make the servers those of the list; a server that leaves finishes the sessions it has."""
        before, self._pool.servers = self._pool.servers, {}
        for one in wanted:
            known = before.get(one["name"])
            kept = (
                known if known is not None and known.address == one["address"] else Server(one["name"], one["address"])
            )
            self._pool.servers[kept.name] = kept
        self._pool.hand_out()

    async def _check_all(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            for server in self._pool.servers.values():
                if not server.fresh:
                    self._start_check(server)

    def _start_check(self, server: Server) -> None:
        task = asyncio.create_task(self._check(server))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _check(self, server: Server) -> None:
        """Ask a server for its health: it is down after _FALL failures in a row and up after one success."""
        limit = aiohttp.ClientTimeout(total=_CHECK_SECONDS)
        try:
            async with self._session().get(f"http://{server.address}/healthz", timeout=limit) as answer:
                healthy = answer.status == web.HTTPOk.status_code
        except (TimeoutError, aiohttp.ClientError):
            healthy = False
        server.failed_checks = 0 if healthy else server.failed_checks + 1
        server.up = healthy or (server.up and server.failed_checks < _FALL)
        if healthy:
            server.fresh = False
            self._pool.hand_out()
