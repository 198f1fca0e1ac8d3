"""Pages looked at in their own time: spread over the interval, and held up by nobody."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from served import Served, answer

from engine.app.wiring import SteadyClock
from engine.model.labels import Batch
from engine.promql.block import is_stale
from engine.sources.exposition import Endpoint, ExpositionSource

PATIENCE = 20.0
CLOCK = SteadyClock()


@pytest.fixture
def source() -> Iterator[ExpositionSource]:
    source = ExpositionSource(timeout=5.0)
    yield source
    source.close()


def endpoint(served: Served, path: str, **more: object) -> Endpoint:
    return Endpoint(served.url(path), instance=path, job="web", **more)


def until(
    source: ExpositionSource, interval: float, enough: Callable[[list[tuple[Batch, float]]], bool]
) -> list[tuple[Batch, float]]:
    """Take what the source gives, and when, until there is enough of it."""
    came: list[tuple[Batch, float]] = []
    end = CLOCK.now() + PATIENCE
    for batch in source.feed(interval, CLOCK, threading.Event()):
        came.append((batch, CLOCK.now()))
        if enough(came):
            return came
        assert CLOCK.now() < end, "never enough"
    raise AssertionError("it ended by itself")


def looks(came: list[tuple[Batch, float]], name: str = "up") -> dict[str, list[tuple[float, float, float]]]:
    """When each instance was looked at, when that was known, and the value that was found."""
    found = defaultdict(list)
    for batch, known in came:
        for labels, value in zip(batch.series, batch.values, strict=True):
            if labels["__name__"] == name:
                found[labels["instance"]].append((batch.time, known, value))
    return found


def seen(times: int, *paths: str) -> Callable[[list[tuple[Batch, float]]], bool]:
    return lambda came: all(len(looks(came)[path]) >= times for path in paths)


def test_many_pages_are_looked_at_over_the_interval_each_at_its_own_place(served, source):
    paths = [f"/{number}" for number in range(130)]
    for path in paths:
        served.page(path, "a 1\nb 2\n")
    source.set_endpoints([endpoint(served, path) for path in paths])
    came = until(source, 1.0, seen(3, *paths))
    found = looks(came)
    moments = {round(batch.time, 1) for batch, _ in came}
    assert len(moments) >= 3 * 4 - 1
    for path in paths:
        times = [at for at, _, _ in found[path]]
        apart = np.diff(times)
        assert (apart > 0.5).all(), "each at its own pace"
        assert [at for at, _, _ in looks(came, "b")[path]] == times, "a page has one time"


def test_a_page_that_never_comes_holds_up_nobody_and_misses_beats(served, source):
    served.page("/a", "a 1\n")
    source.set_endpoints([endpoint(served, "/a"), endpoint(served, "/silent", timeout=1.0)])
    came = until(source, 0.3, seen(2, "/silent"))
    found = looks(came)
    assert {value for _, _, value in found["/a"]} == {1.0}
    assert len(found["/a"]) >= 5
    assert max(known - at for at, known, _ in found["/a"]) < 0.9
    (first, known, value), (second, _, _) = found["/silent"][:2]
    assert value == 0.0
    assert 1.0 <= known - first < 3.0
    assert second >= first + 1.0, "the next one was not asked for while the last was owed"
    assert source.errors == {"/silent": "no whole answer within 1 s"}


def test_what_is_gone_from_a_page_or_from_the_endpoints_ends(served, source):
    served.page("/a", "a 1\nb 1\n")
    served.page("/b", "a 1\n")
    source.set_endpoints([endpoint(served, "/a"), endpoint(served, "/b")])

    def change(came: list[tuple[Batch, float]]) -> bool:
        if len(looks(came)["/a"]) == 2:
            served.page("/a", "b 1\n")
            source.set_endpoints([endpoint(served, "/a")])
        return len(looks(came)["/a"]) >= 4 and bool(ends(came, "up"))

    def ends(came: list[tuple[Batch, float]], name: str) -> list[str]:
        return [
            path for path, found in looks(came, name).items() for _, _, value in found if is_stale(np.array([value]))[0]
        ]

    came = until(source, 0.2, change)
    assert sorted(ends(came, "a")) == ["/a", "/b"]
    assert ends(came, "b") == []
    assert ends(came, "up") == ["/b"]
    assert source.errors == {}


def test_an_endpoint_that_moves_goes_on(served, source):
    served.page("/old", "a 1\nb 1\n")
    served.page("/new", "a 2\n")

    def at(path: str) -> Endpoint:
        return Endpoint(served.url(path), "here", "web")

    def move(came: list[tuple[Batch, float]]) -> bool:
        source.set_endpoints([at("/new")])
        return len(looks(came)["here"]) >= 3

    source.set_endpoints([at("/old")])
    came = until(source, 0.2, move)
    assert [value for _, _, value in looks(came, "up")["here"]] == [1.0, 1.0, 1.0]
    assert [value for _, _, value in looks(came, "a")["here"]] == [1.0, 2.0, 2.0]
    (_, _, first), (_, _, last) = looks(came, "b")["here"]
    assert first == 1.0
    assert is_stale(np.array([last]))[0]


def test_a_page_that_is_down_is_known_to_be(served, source):
    served.pages["/a"] = answer(b"no", "500 Oh no")
    source.set_endpoints([endpoint(served, "/a")])
    came = until(source, 0.2, seen(2, "/a"))
    assert [value for _, _, value in looks(came)["/a"]] == [0.0, 0.0]
    assert source.errors == {"/a": "HTTP status 500 Oh no"}


def test_told_to_stop_it_ends_soon_whatever_is_owed(served, source):
    source.set_endpoints([endpoint(served, "/silent")])
    stop, begun = threading.Event(), CLOCK.now()
    threading.Timer(0.3, stop.set).start()
    assert list(source.feed(60.0, CLOCK, stop)) == []
    assert CLOCK.now() - begun < 3.0


def test_before_each_beat_the_endpoints_may_be_looked_up(served, source):
    served.page("/a", "a 1\n")
    counted = []

    def look_up() -> None:
        counted.append(CLOCK.now())
        source.set_endpoints([endpoint(served, "/a")] if len(counted) > 1 else [])

    stop = threading.Event()
    batch = next(source.feed(0.2, CLOCK, stop, look_up))
    assert len(batch.series) == 4
    assert len(counted) == 2


def test_a_page_that_hangs_is_down_before_the_next_one_is_due(served, source):
    source.set_endpoints([endpoint(served, "/silent")])
    found = looks(until(source, 1.0, seen(3, "/silent")))["/silent"]
    assert [value for _, _, value in found] == [0.0, 0.0, 0.0]
    assert max(known - at for at, known, _ in found) < 1.8
    assert found[-1][0] - found[0][0] < 3.5, "beats were missed"
