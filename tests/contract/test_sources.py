"""What every source promises."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from engine.ports import Source
from engine.sources.exposition import Endpoint, ExpositionSource
from engine.sources.host import HostSource
from engine.sources.probe import HttpProbe, ProbeSource, TcpProbe


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        yield unbound.getsockname()[1]


@pytest.fixture(params=["host", "exposition", "probe", "exposition of nothing", "probe of nothing"])
def source(request, closed_port) -> Iterator[Source]:
    url = f"http://127.0.0.1:{closed_port}/"
    source: HostSource | ExpositionSource | ProbeSource
    match request.param:
        case "host":
            source = HostSource("here")
        case "exposition":
            source = ExpositionSource([Endpoint(url, "here", "web"), Endpoint("nonsense", "there", "web")])
        case "probe":
            source = ProbeSource([TcpProbe("127.0.0.1", closed_port, "here", "ssh"), HttpProbe(url, "here", "web")])
        case "exposition of nothing":
            source = ExpositionSource()
        case _:
            source = ProbeSource()
    yield source
    source.close()


def test_a_batch_is_of_the_time_asked_for_and_names_each_series_once(source):
    for at in (12.5, 13.5):
        batch = source.collect(at)
        assert batch.time == at
        assert len(set(batch.series)) == len(batch.series) == len(batch.values)


def test_every_series_has_a_name_an_instance_and_a_job(source):
    assert all({"__name__", "instance", "job"} <= set(labels) for labels in source.collect(0.0).series)


def test_collections_from_several_threads_do_not_disturb_each_other(source):
    batches = []
    threads = [threading.Thread(target=lambda: batches.append(source.collect(1.0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [{labels["__name__"] for labels in batch.series} for batch in batches]
    assert names == [names[0]] * 4
