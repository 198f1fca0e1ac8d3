from __future__ import annotations

import asyncio
import socket
import threading

import pytest
from served import Served

from engine.sources.exposition import Endpoint, ExpositionSource
from engine.sources.probe import ProbeSource, TcpProbe
from engine.sources.side_by_side import Job, Refused, SideBySide


@pytest.fixture
def side_by_side():
    runner = SideBySide("test")
    yield runner
    runner.close()


def test_jobs_end_in_their_own_time_whatever_the_others_do(side_by_side):
    async def say(text: str) -> str:
        return text

    async def refuse() -> str:
        raise Refused("not\ntoday")

    async def surprise() -> str:
        raise AssertionError("nobody thought of this")

    async def cancel() -> str:
        raise asyncio.CancelledError

    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    jobs = {
        "said": Job(lambda: say("it"), 5.0),
        "refused": Job(refuse, 5.0),
        "surprise": Job(surprise, 5.0),
        "canceled": Job(cancel, 5.0),
        "hung": Job(hang, 0.2),
    }
    outcomes = dict(side_by_side.round(jobs))
    assert {key: (outcome.result, outcome.error) for key, outcome in outcomes.items()} == {
        "said": ("it", None),
        "refused": (None, "not today"),
        "surprise": (None, "AssertionError: nobody thought of this"),
        "canceled": (None, "canceled"),
        "hung": (None, "no whole answer within 0.2 s"),
    }
    assert 0.2 <= outcomes["hung"].seconds < 2


def test_a_round_of_nothing_is_over_at_once(side_by_side):
    assert dict(side_by_side.round({})) == {}


def test_names_that_are_not_answered_for_hold_up_no_other(monkeypatch):
    """As with a name server that is down, for more names than there are threads in the usual pool."""
    answered, ask = threading.Event(), socket.getaddrinfo

    def look_up(host: str, *arguments: object, **options: object) -> object:
        if str(host).startswith("stuck"):
            answered.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return ask("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    served = Served()
    served.page("/", "a 1\n")
    stuck = [f"stuck-{number}.invalid" for number in range(50)]
    endpoints = [Endpoint(f"http://{name}/", name, "web", timeout=1.0) for name in stuck]
    tcp = [TcpProbe(name, 22, name, "tcp", timeout=1.0) for name in stuck]
    pages = ExpositionSource([*endpoints, Endpoint(f"http://good.invalid:{served.port}/", "good", "web")])
    probes = ProbeSource([*tcp, TcpProbe("good.invalid", served.port, "good", "tcp")])
    try:
        pages.collect(0.0)
        probes.collect(0.0)
        assert set(pages.errors) == set(probes.errors) == set(stuck)
        assert set(pages.errors.values()) == {"no whole answer within 1 s"}
        answered.set()
        pages.collect(1.0)
        assert "good" not in pages.errors
        assert "name resolution" in pages.errors[stuck[0]]
    finally:
        answered.set()
        pages.close()
        probes.close()
        served.close()
