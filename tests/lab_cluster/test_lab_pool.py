"""The balancer's choice of a server and its queue, without HTTP."""

from __future__ import annotations

import asyncio

import pytest

from engine.lab import balancer
from engine.lab.balancer import Overflow, Pool, Server
from engine.lab.settings import WORKERS


def pool(*names: str) -> Pool:
    made = Pool()
    made.servers = {name: Server(name, "127.0.0.1:1", up=True) for name in names}
    return made


def test_equally_busy_servers_take_turns() -> None:
    async def run() -> list[str]:
        servers = pool("a", "b", "c")
        taken = []
        for _ in range(6):
            server = await servers.take()
            taken.append(server.name)
            servers.give_back(server)
        return taken

    assert asyncio.run(run()) == ["a", "b", "c", "a", "b", "c"]


def test_no_server_gets_more_sessions_than_it_has_workers_and_a_free_one_goes_to_the_first_in_the_queue() -> None:
    async def run() -> None:
        servers = pool("a")
        held = [await servers.take() for _ in range(WORKERS)]
        first, second = asyncio.create_task(servers.take()), asyncio.create_task(servers.take())
        await asyncio.sleep(0)
        assert (servers.queued, servers.servers["a"].sessions) == (2, WORKERS)
        servers.give_back(held[0])
        assert await first is held[0]
        assert (servers.queued, servers.servers["a"].sessions, second.done()) == (1, WORKERS, False)
        second.cancel()

    asyncio.run(run())


def test_a_full_queue_and_a_pool_without_servers_refuse_at_once() -> None:
    async def run() -> None:
        with pytest.raises(Overflow, match="no server is up"):
            await pool().take()
        servers = pool("a")
        for _ in range(WORKERS):
            await servers.take()
        waiting = [asyncio.create_task(servers.take()) for _ in range(balancer._QUEUE)]
        await asyncio.sleep(0)
        with pytest.raises(Overflow, match="is full"):
            await servers.take()
        for task in waiting:
            task.cancel()

    asyncio.run(run())


def test_a_caller_that_leaves_the_queue_loses_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancer, "_QUEUE_SECONDS", 0.01)

    async def run() -> None:
        servers = pool("a")
        held = [await servers.take() for _ in range(WORKERS)]
        with pytest.raises(Overflow, match="no session came free"):
            await servers.take()
        leaving = asyncio.create_task(servers.take())
        await asyncio.sleep(0)
        servers.give_back(held.pop())  # handed to `leaving` …
        leaving.cancel()  # … which goes in the same moment
        await asyncio.gather(leaving, return_exceptions=True)
        assert servers.servers["a"].sessions == len(held)
        assert await servers.take() is servers.servers["a"]

    asyncio.run(run())
