from __future__ import annotations

import socket
import threading
import time

import pytest
from served import Served, answer

from engine.model.labels import Batch
from engine.sources.probe import HttpProbe, Probe, ProbeSource, TcpProbe


@pytest.fixture
def source():
    source = ProbeSource(timeout=5.0)
    yield source
    source.close()


def found(batch: Batch, name: str) -> dict[str, float]:
    """The values of a metric by instance, and phase where there is one."""
    return {
        labels["instance"] + labels.get("phase", ""): value
        for labels, value in zip(batch.series, batch.values, strict=True)
        if labels["__name__"] == name
    }


class Greeter:
    """A TCP server that greets each connection and then waits for its end."""

    def __init__(self, greeting: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(greeting,), daemon=True)
        self._thread.start()

    def _serve(self, greeting: bytes) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.sendall(greeting)
                try:
                    connection.recv(1)
                except OSError:
                    continue

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def ssh():
    server = Greeter(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    yield server
    server.close()


@pytest.fixture
def mute():
    server = Greeter(b"")
    yield server
    server.close()


def http(served: Served, path: str, **more: object) -> HttpProbe:
    return HttpProbe(served.url(path), instance=path, job="web", **more)


def test_a_port_must_greet_as_expected(ssh, mute, source):
    with socket.socket() as unbound:
        unbound.bind(("127.0.0.1", 0))
        source.set_probes(
            [
                TcpProbe("127.0.0.1", ssh.port, "ssh", "tcp", b"SSH-"),
                TcpProbe("127.0.0.1", ssh.port, "open", "tcp"),
                TcpProbe("127.0.0.1", ssh.port, "not smtp", "tcp", b"220 "),
                TcpProbe("127.0.0.1", mute.port, "mute", "tcp", b"SSH-", timeout=0.5),
                TcpProbe("127.0.0.1", unbound.getsockname()[1], "closed", "tcp"),
                TcpProbe("127.0.0.1", 99999, "no port", "tcp"),
                TcpProbe("", 1, "no host", "tcp"),
            ]
        )
        batch = source.collect(1.0)
    success = found(batch, "probe_success")
    assert {name for name, value in success.items() if value} == {"ssh", "open"}
    assert found(batch, "probe_failed_due_to_regex") == {name: float(name == "not smtp") for name in success}
    assert 0.5 <= found(batch, "probe_duration_seconds")["mute"] < 3
    assert source.errors["mute"] == "no whole answer within 0.5 s"
    assert source.errors["not smtp"] == "greets with b'SSH-', not b'220 '"
    assert set(source.errors) == {"not smtp", "mute", "closed", "no port", "no host"}


def test_an_address_must_answer_with_the_expected_status_and_text(served, source):
    served.pages["/ok"] = answer(b"all is well")
    served.pages["/sick"] = answer(b"oh no", "503 Service Unavailable")
    served.pages["/login"] = answer(b"", "302 Found", Location="/ok")
    served.pages["/cut"] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nall is"
    source.set_probes(
        [
            http(served, "/ok", contains="well"),
            http(served, "/sick"),
            http(served, "/login"),
            http(served, "/login", statuses=frozenset({302}), labels=(("kind", "redirect"),)),
            http(served, "/cut"),
            http(served, "/silent", timeout=0.5),
            HttpProbe(served.url("/ok"), "text", "web", contains="unwell"),
            HttpProbe("gopher://x", "scheme", "web"),
        ]
    )
    batch = source.collect(1.0)
    results = {
        (labels["instance"], labels.get("kind")): value
        for labels, value in zip(batch.series, batch.values, strict=True)
        if labels["__name__"] == "probe_success"
    }
    assert {key for key, value in results.items() if value} == {("/ok", None), ("/login", "redirect")}
    status = found(batch, "probe_http_status_code")
    assert status == {"/ok": 200, "/sick": 503, "/login": 302, "/cut": 200, "/silent": 0, "text": 200, "scheme": 0}
    assert found(batch, "probe_failed_due_to_regex")["text"] == 1
    assert source.errors["/sick"] == "HTTP status 503, not 2xx"
    phases = found(batch, "probe_http_duration_seconds")
    assert phases["/okconnect"] > 0
    assert phases["/okprocessing"] > 0
    total = sum(phases[f"/ok{phase}"] for phase in ("resolve", "connect", "processing", "transfer"))
    assert total <= found(batch, "probe_duration_seconds")["/ok"]
    assert phases["/silenttransfer"] == 0
    assert served.asked.count("/ok") == 2


def test_an_endless_answer_is_read_only_so_far(served, source):
    source.set_probes([http(served, "/endless")])
    assert found(source.collect(0.0), "probe_success") == {"/endless": 1}


def test_hundreds_of_probes_take_no_longer_than_the_slowest(served, ssh, mute, source):
    probes: list[Probe] = [TcpProbe("127.0.0.1", mute.port, f"mute {n}", "tcp", b"x", timeout=0.5) for n in range(50)]
    served.pages["/ok"] = answer(b"")
    probes += [HttpProbe(served.url("/ok"), f"web {n}", "web") for n in range(200)]
    source.set_probes(probes)
    begun = time.monotonic()
    success = found(source.collect(0.0), "probe_success")
    assert time.monotonic() - begun < 4
    assert sum(success.values()) == 200
    assert all(value == name.startswith("web") for name, value in success.items())


def test_probes_left_out_end_with_stale_markers_and_a_steady_set_is_one_tuple(served, source):
    served.pages["/ok"] = answer(b"")
    source.set_probes([http(served, "/ok"), http(served, "/sick")])
    first = source.collect(0.0)
    assert source.collect(1.0).series is first.series
    source.set_probes([http(served, "/ok")])
    batch = source.collect(2.0)
    assert len(batch.series) == len(first.series)
    assert len(source.collect(3.0).series) == len(first.series) / 2
