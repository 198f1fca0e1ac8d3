from __future__ import annotations

import gzip
import math
import socket
import time

import pytest
from served import Served, answer, bomb

from engine.model.labels import Batch, Labels
from engine.promql.block import STALE, is_stale
from engine.sources.exposition import Endpoint, ExpositionSource


@pytest.fixture
def source():
    source = ExpositionSource(timeout=5.0)
    yield source
    source.close()


def held(batch: Batch) -> dict[str, dict[Labels, float]]:
    """The samples of a batch by the name of the metric; a series stands in it once."""
    assert len(set(batch.series)) == len(batch.series)
    found: dict[str, dict[Labels, float]] = {}
    for labels, value in zip(batch.series, batch.values, strict=True):
        found.setdefault(labels["__name__"], {})[labels.without("__name__")] = value
    return found


def by_instance(batch: Batch, name: str) -> dict[str, float]:
    return {labels["instance"]: value for labels, value in held(batch).get(name, {}).items()}


def endpoint(served: Served, path: str, **more: object) -> Endpoint:
    return Endpoint(served.url(path), instance=path, job="web", **more)


def stale(value: float) -> bool:
    import numpy as np

    return bool(is_stale(np.array([value]))[0])


def test_a_page_becomes_series_with_the_labels_of_its_endpoint(served, source):
    served.page("/a", '# TYPE a counter\na{b="c"} 1\na{instance="own"} 2 1395066363000\n')
    source.set_endpoints([endpoint(served, "/a", labels=(("group", "g"),))])
    batch = source.collect(7.0)
    target = {"instance": "/a", "job": "web", "group": "g"}
    assert batch.time == 7.0
    assert held(batch)["a"] == {Labels({**target, "b": "c"}): 1, Labels({**target, "exported_instance": "own"}): 2}
    assert held(batch)["up"] == {Labels(target): 1}
    assert held(batch)["scrape_samples_scraped"] == {Labels(target): 2}
    assert 0 < held(batch)["scrape_duration_seconds"][Labels(target)] < 5
    assert source.errors == {}
    assert served.headers["Accept-Encoding"] == "gzip"


def test_a_compressed_page_is_read_even_in_several_members(served, source):
    served.gzip("/a", b"a 1\n" * 1 + b"# comment\n" * 5000)
    served.pages["/b"] = answer(gzip.compress(b"a 1\n") + gzip.compress(b"b 2\n"), Content_Encoding="gzip")
    source.set_endpoints([endpoint(served, "/a"), endpoint(served, "/b")])
    batch = source.collect(0.0)
    assert by_instance(batch, "up") == {"/a": 1, "/b": 1}
    assert by_instance(batch, "b") == {"/b": 2}


def test_series_that_vanish_end_with_a_stale_marker_once(served, source):
    served.page("/a", "a 1\nb 1\n")
    source.set_endpoints([endpoint(served, "/a")])
    source.collect(0.0)
    served.page("/a", "b 2\nc 2\n")
    second = source.collect(1.0)
    assert stale(by_instance(second, "a")["/a"])
    assert (by_instance(second, "b"), by_instance(second, "c")) == ({"/a": 2}, {"/a": 2})
    third = source.collect(2.0)
    assert "a" not in held(third)
    assert source.collect(3.0).series is third.series


def test_all_series_of_an_endpoint_that_went_away_end_and_come_back(served, source):
    served.page("/a", "a 1\n")
    served.page("/b", "a 1\n")
    source.set_endpoints([endpoint(served, "/a"), endpoint(served, "/b")])
    source.collect(0.0)
    served.pages["/a"] = answer(b"no", "500 Oh no")
    down = source.collect(1.0)
    assert stale(by_instance(down, "a")["/a"])
    assert by_instance(down, "a")["/b"] == 1
    assert by_instance(down, "up") == {"/a": 0, "/b": 1}
    assert by_instance(down, "scrape_samples_scraped") == {"/a": 0, "/b": 1}
    assert source.errors == {"/a": "HTTP status 500 Oh no"}
    assert by_instance(source.collect(2.0), "a") == {"/b": 1}
    served.page("/a", "a 3\n")
    assert by_instance(source.collect(3.0), "a") == {"/a": 3, "/b": 1}
    assert source.errors == {}


def test_an_endpoint_taken_off_the_list_ends_with_all_its_series(served, source):
    served.page("/a", "a 1\n")
    served.page("/b", "a 1\n")
    source.set_endpoints([endpoint(served, "/a"), endpoint(served, "/b")])
    source.collect(0.0)
    source.set_endpoints([endpoint(served, "/b")])
    batch = source.collect(1.0)
    for name in ("a", "up", "scrape_duration_seconds", "scrape_samples_scraped"):
        assert stale(by_instance(batch, name)["/a"])
        assert not stale(by_instance(batch, name)["/b"])
    assert by_instance(source.collect(2.0), "up") == {"/b": 1}
    source.set_endpoints([])
    assert all(map(stale, source.collect(3.0).values))
    assert source.collect(4.0).series == ()


def test_hundreds_of_endpoints_are_on_time_whatever_some_of_them_do(served, source):
    good = [f"/good/{number}" for number in range(300)]
    for number, path in enumerate(good):
        served.page(path, "".join(f'a{{n="{n}"}} {number}\n' for n in range(20)))
    served.pages["/bomb"] = answer(bomb(200 << 20), Content_Encoding="gzip")
    served.pages["/huge"] = answer(b"#" * (17 << 20))
    served.pages["/many"] = answer("".join(f'a{{n="{n}"}} 1\n' for n in range(50_001)).encode())
    served.pages["/binary"] = answer(bytes(range(256)) * 10)
    served.pages["/html"] = answer(b"<html>sign in</html>")
    served.pages["/lying"] = answer(b"not gzip", Content_Encoding="gzip")
    served.pages["/half"] = answer(gzip.compress(b"a 1\n" * 1000)[:-9], Content_Encoding="gzip")
    served.pages["/brotli"] = answer(b"a 1\n", Content_Encoding="br")
    served.pages["/cut"] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\na 1\n"
    served.pages["/garbage"] = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"
    served.pages["/headers"] = b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n"
    bad = {
        "/bomb": "more than 16777216 bytes",
        "/huge": "more than 16777216 bytes",
        "/endless": "more than 16777216 bytes",
        "/many": "more than 50000 samples",
        "/binary": "not UTF-8",
        "/html": "no metric's name",
        "/lying": "error",
        "/half": "compressed data ends too soon",
        "/brotli": "compressed in a way",
        "/cut": "Payload",
        "/garbage": "",
        "/headers": "",
        "/slow": "no whole answer within 1 s",
        "/silent": "no whole answer within 1 s",
        "/missing": "HTTP status 404",
    }
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        refused = Endpoint(f"http://127.0.0.1:{unbound.getsockname()[1]}/", "/refused", "web")
        odd = [
            Endpoint(url, f"odd {url}", "web")
            for url in ("ftp://127.0.0.1/", "", "http://", "http://[", "http://127.0.0.1:99999/")
        ]
        slow = {"/slow", "/silent"}
        waits = {path: 1.0 if path in slow else None for path in bad}
        source.set_endpoints(
            [*(endpoint(served, path, timeout=wait) for path, wait in waits.items()), refused, *odd]
            + [endpoint(served, path) for path in good]
        )
        begun = time.monotonic()
        batch = source.collect(0.0)
        seconds = time.monotonic() - begun
    up = by_instance(batch, "up")
    assert {path for path, value in up.items() if value == 1} == set(good)
    assert set(source.errors) == {*bad, "/refused", *(one.instance for one in odd)}
    for path, message in bad.items():
        assert message in source.errors[path], path
        assert source.errors[path]
    assert len(held(batch)["a"]) == 300 * 20
    assert all(value == int(labels["instance"].rpartition("/")[2]) for labels, value in held(batch)["a"].items())
    assert seconds < 7
    assert all(math.isfinite(value) for value in by_instance(batch, "scrape_duration_seconds").values())


def test_redirects_are_followed_on_the_same_server_only(served, source):
    other = Served()
    try:
        other.page("/a", "a 1\n")
        served.page("/there/", "a 1\n")
        served.pages["/here"] = answer(b"moved", "308 Permanent Redirect", Location="/there/")
        served.pages["/round"] = answer(b"", "302 Found", Location="/round")
        served.pages["/away"] = answer(b"", "301 Moved", Location=other.url("/a"))
        served.pages["/nowhere"] = answer(b"", "302 Found", Location="http://[")
        source.set_endpoints([endpoint(served, path) for path in ("/here", "/round", "/away", "/nowhere")])
        batch = source.collect(0.0)
        assert by_instance(batch, "up") == {"/here": 1, "/round": 0, "/away": 0, "/nowhere": 0}
        assert "more than 3 times" in source.errors["/round"]
        assert "another server" in source.errors["/away"]
        assert other.asked == []
    finally:
        other.close()


def test_proxies_of_the_environment_are_not_used(served, source, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    monkeypatch.delenv("no_proxy", raising=False)
    served.page("/a", "a 1\n")
    source.set_endpoints([endpoint(served, "/a")])
    assert by_instance(source.collect(0.0), "up") == {"/a": 1}


def test_a_page_that_tells_of_up_itself_does_not_overrule_the_engine(served, source):
    served.page("/a", 'up 0\nup{x="y"} 0\n')
    source.set_endpoints([endpoint(served, "/a")])
    batch = source.collect(0.0)
    first = dict(zip(reversed(batch.series), reversed(batch.values), strict=True))
    assert first[Labels({"__name__": "up", "instance": "/a", "job": "web"})] == 1


def test_a_source_without_endpoints_collects_nothing_and_may_be_closed():
    source = ExpositionSource()
    assert source.collect(1.0) == Batch(1.0, (), ())
    source.close()
    source.close()


def test_a_source_works_again_after_it_was_closed(served, source):
    served.page("/a", "a 1\n")
    source.set_endpoints([endpoint(served, "/a")])
    source.collect(0.0)
    source.close()
    assert by_instance(source.collect(1.0), "a") == {"/a": 1}


def test_a_stale_marker_of_the_source_is_prometheuss():
    assert stale(STALE)
    assert not stale(float("nan"))
