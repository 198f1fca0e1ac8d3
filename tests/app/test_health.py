"""The engine says of itself how it is: in series, on a page, to a dead man's switch and to systemd."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import structlog.testing

from engine.app.health import Health
from engine.app.health_beat import Beat
from engine.app.health_page import MOST, Page
from engine.app.health_systemd import Systemd
from engine.app.health_watch import addresses
from engine.config.settings import Heartbeat, Notify, Settings
from engine.controller import Tick
from engine.promql.literals import LEGAL_METRIC
from engine.records.past import Counts
from engine.sources.page import PageLimits, PageReader


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    wall = now

    def sleep(self, seconds: float) -> None:
        self.time += seconds


STANDING = Counts({"open": 1, "escalated": 2}, {"firing": 3}, {"running": 1, "pending": 1}, 4, paused=True, requests=5)


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def health(hand: Hand) -> Health:
    return Health(hand, 15.0, "here", lambda _: STANDING)


def value(health: Health, name: str, **labels: str) -> float | None:
    found = [each.value for each in health.figures() if each.name == name and dict(each.labels) == labels]
    assert len(found) < 2
    return found[0] if found else None


def wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


def test_the_age_of_the_last_tick_grows_while_no_tick_comes(health: Health, hand: Hand) -> None:
    assert value(health, "mendbook_last_tick_age_seconds") is None
    begun = hand.now()
    hand.sleep(0.5)
    health.ticked(Tick(begun, (), ()))
    hand.sleep(100)
    assert value(health, "mendbook_tick_duration_seconds") == 0.5
    assert value(health, "mendbook_last_tick_age_seconds") == 100
    assert value(health, "mendbook_last_tick_timestamp_seconds") == begun + 0.5
    assert value(health, "mendbook_ticks_total") == 1


def test_ticks_that_fail_are_counted_and_make_it_late_all_the_same(health: Health, hand: Hand) -> None:
    assert health.late() == ""
    for _ in range(10):
        hand.sleep(15)
        health.failed(OSError("full"))
    assert value(health, "mendbook_tick_failures_total") == 10
    assert health.late() == "no tick has succeeded yet, 150s after the start"
    health.ticked(Tick(hand.now(), (), ()))
    assert health.late() == ""
    hand.sleep(76)
    assert health.late() == "the last tick succeeded 76s ago"


def test_what_stands_in_the_record_is_told_by_state_and_a_state_without_any_is_0(health: Health) -> None:
    assert value(health, "mendbook_incidents", state="escalated") == 2
    assert value(health, "mendbook_incidents", state="verifying") == 0
    assert value(health, "mendbook_alerts", state="firing") == 3
    assert value(health, "mendbook_executions_active") == 2
    assert value(health, "mendbook_paused") == 1


def test_a_record_that_cannot_be_read_leaves_its_figures_out(hand: Hand) -> None:
    health = Health(hand, 15.0, "here", lambda _: None)
    assert value(health, "mendbook_paused") is None
    assert value(health, "mendbook_ticks_total") == 0


def test_the_figures_are_series_of_the_engine(health: Health) -> None:
    batch = health.collect(7.0)
    assert batch.time == 7.0
    assert {labels["instance"] for labels in batch.series} == {"here"}
    assert {labels["job"] for labels in batch.series} == {"mendbook"}
    assert all(LEGAL_METRIC.fullmatch(labels["__name__"]) for labels in batch.series)
    assert len(set(batch.series)) == len(batch.series)


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def page(health: Health) -> Iterator[str]:
    page = Page(health, "127.0.0.1:0")
    page.start()
    yield f"http://{page.address}"
    page.stop()


def test_the_page_is_one_that_our_own_reader_reads(page: str, health: Health) -> None:
    status, text = ask(f"{page}/metrics")
    assert status == 200
    read = PageReader({}, PageLimits()).read(text.encode())
    values = {str(labels): value for labels, value in zip(read.series, read.values, strict=True)}
    assert values['mendbook_incidents{state="escalated"}'] == 2
    assert values["mendbook_interval_seconds"] == 15
    assert "# TYPE mendbook_ticks_total counter" in text
    assert len(values) == len(list(health.figures()))


def test_the_page_says_when_it_is_not_well(page: str, hand: Hand) -> None:
    assert ask(f"{page}/-/healthy") == (200, "healthy\n")
    hand.sleep(1000)
    assert ask(f"{page}/-/healthy") == (503, "no tick has succeeded yet, 1000s after the start\n")
    assert ask(f"{page}/elsewhere")[0] == 404


def test_the_page_is_served_over_ipv6_too(health: Health) -> None:
    try:
        page = Page(health, "[::1]:0")
    except OSError as error:
        pytest.skip(f"this machine has no ::1: {error}")
    page.start()
    assert page.address.startswith("[::1]:")
    assert ask(f"http://{page.address}/-/healthy") == (200, "healthy\n")
    page.stop()


def test_a_client_that_says_nothing_does_not_hold_up_others_nor_the_end(health: Health) -> None:
    page = Page(health, "127.0.0.1:0")
    page.start()
    host, _, port = page.address.rpartition(":")
    with socket.create_connection((host, int(port))):
        assert ask(f"http://{page.address}/-/healthy")[0] == 200
        begun = time.monotonic()
        page.stop()
        assert time.monotonic() - begun < 5


def test_clients_that_drip_and_crowds_of_them_cost_little_and_are_sent_away(health: Health) -> None:
    page = Page(health, "127.0.0.1:0", patience=1.0)
    page.start()
    host, _, port = page.address.rpartition(":")
    before = threading.active_count()
    crowd = [socket.create_connection((host, int(port))) for _ in range(3 * MOST)]
    try:
        end = time.monotonic() + 20
        left = list(crowd)
        while left:
            assert time.monotonic() < end, f"{len(left)} clients are still held"
            assert threading.active_count() <= before + MOST
            left = [each for each in left if drips(each)]
            time.sleep(0.05)
        assert answers(f"http://{page.address}/-/healthy", end)
    finally:
        for each in crowd:
            each.close()
        page.stop()


def drips(client: socket.socket) -> bool:
    """Send a byte more of a request without end; return whether anybody is there."""
    try:
        client.sendall(b"G")
        client.setblocking(False)
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        client.setblocking(True)


def answers(url: str, end: float) -> bool:
    """Return whether the page is there again in time."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            return ask(url) == (200, "healthy\n")
        time.sleep(0.05)
    return False


class Switch:
    """A dead man's switch on loopback."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        switch = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                switch.calls.append(f"{self.command} {self.path}")
                switch.gate.wait(20)
                self.send_response(switch.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hush"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Switch]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    switch = Switch()
    yield switch
    switch.gate.set()
    switch.server.shutdown()
    switch.server.server_close()


def test_the_heart_beats_after_a_tick_and_not_more_often_than_is_wanted(switch: Switch) -> None:
    beat = Beat(Heartbeat(switch.url, every=3600.0, post=True))
    beat.start()
    for _ in range(100):
        beat.ticked()
    wait(lambda: beat.counts["ok"], "the call")
    for _ in range(100):
        beat.ticked()
    beat.stop()
    assert switch.calls == ["POST /hush"]


def test_without_a_tick_there_is_no_beat_and_with_one_there_is_another(switch: Switch) -> None:
    beat = Beat(Heartbeat(switch.url, every=0.01))
    beat.start()
    beat.ticked()
    wait(lambda: beat.counts["ok"] == 1, "the first")
    beat.ticked()
    wait(lambda: beat.counts["ok"] == 2, "the second")
    beat.stop()
    assert switch.calls == ["GET /hush"] * 2


def test_a_heartbeat_that_hangs_delays_neither_ticks_nor_the_end(switch: Switch) -> None:
    before = threading.enumerate()
    switch.gate.clear()
    beat = Beat(Heartbeat(switch.url, every=0.01, timeout=30.0))
    beat.start()
    beat.ticked()
    wait(lambda: switch.calls, "the call")
    for _ in range(1000):
        beat.ticked()
    beat.stop()
    calls = [each for each in threading.enumerate() if each.name == "heartbeat-call" and each not in before]
    assert calls  # nobody has waited for its end


def test_a_heartbeat_whose_answer_has_no_end_is_given_up_and_called_again() -> None:
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            """Drip for the first who calls, and answer the second."""
            first, _ = server.accept()
            second = None
            server.settimeout(0.02)
            while not done.is_set():
                with contextlib.suppress(OSError):
                    first.sendall(b"H")
                with contextlib.suppress(TimeoutError):
                    second, _ = server.accept()
                    second.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            for each in (first, second):
                if each is not None:
                    each.close()

        thread = threading.Thread(target=serve)
        thread.start()
        beat = Beat(Heartbeat(f"http://127.0.0.1:{port}/x", every=0.05, timeout=0.3))
        beat.start()
        try:
            end = time.monotonic() + 20
            while not beat.counts["ok"]:
                assert time.monotonic() < end, "it was not called again"
                beat.ticked()
                time.sleep(0.02)
            assert beat.counts["failed"] >= 1
        finally:
            beat.stop()
            done.set()
            thread.join()


def test_a_heartbeat_that_is_not_heard_is_logged_once_and_without_its_path(switch: Switch) -> None:
    switch.status = 500
    beat = Beat(Heartbeat(switch.url, every=0.01))
    with structlog.testing.capture_logs() as logs:
        beat.start()
        while beat.counts["failed"] < 5:
            beat.ticked()
            time.sleep(0.005)
        switch.status = 200
        while not beat.counts["ok"]:
            beat.ticked()
            time.sleep(0.005)
        wait(lambda: len(logs) == 2, "the end of it")
    beat.stop()
    assert [each["event"] for each in logs] == ["the heartbeat is not heard", "the heartbeat is heard again"]
    assert logs[0]["why"] == "it answered 500"
    assert "hush" not in str(logs)


def test_a_heartbeat_that_nobody_listens_to_says_why() -> None:
    beat = Beat(Heartbeat("http://127.0.0.1:1/hush"))  # a port that others, too, may take at any time would not do
    with structlog.testing.capture_logs() as logs:
        beat.start()
        beat.ticked()
        wait(lambda: logs, "the complaint")
    beat.stop()
    assert logs[0]["why"] == "Connection refused"
    assert "hush" not in str(logs)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def test_systemd_hears_when_it_is_ready_alive_and_stopping(manager: socket.socket) -> None:
    systemd = Systemd(environment(manager, WATCHDOG_USEC="60000000", WATCHDOG_PID=str(os.getpid())))
    assert systemd.watchdog == 60.0
    systemd.ready("watching")
    assert manager.recv(999) == f"READY=1\nSTATUS=watching\nMAINPID={os.getpid()}".encode()
    systemd.ticked("no alerts firing")
    assert manager.recv(999) == b"WATCHDOG=1\nSTATUS=no alerts firing"
    systemd.status("a tick failed: OSError")
    assert manager.recv(999) == b"STATUS=a tick failed: OSError"
    systemd.stopping()
    assert manager.recv(999).startswith(b"STOPPING=1\n")


def test_the_watchdog_is_fed_by_ticks_alone(manager: socket.socket) -> None:
    systemd = Systemd(environment(manager, WATCHDOG_USEC="10000"))
    for _ in range(3):
        systemd.status("a tick failed")
    systemd.ticked("well")
    time.sleep(0.003)  # beyond a quarter of the watchdog's 10 ms
    systemd.ticked("well")
    heard = [manager.recv(999) for _ in range(3)]
    assert heard == [b"STATUS=a tick failed", b"WATCHDOG=1\nSTATUS=well", b"WATCHDOG=1"]


def test_a_watchdog_of_another_process_is_not_ours(manager: socket.socket) -> None:
    given = environment(manager, WATCHDOG_USEC="1000", WATCHDOG_PID="1")
    assert Systemd(given).watchdog is None
    assert given == {}, "what we start must not speak in our name"


def test_a_watchdog_shorter_than_the_interval_is_complained_of(manager: socket.socket) -> None:
    with structlog.testing.capture_logs() as logs:
        Systemd(environment(manager, WATCHDOG_USEC="20000000")).check(15.0)
        Systemd(environment(manager, WATCHDOG_USEC="40000000")).check(15.0)
    assert len(logs) == 1
    assert "raise WatchdogSec" in logs[0]["event"]


def test_without_systemd_nothing_is_said_and_a_listener_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    silent = Systemd({})
    silent.ready("x")
    gone = Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"})
    gone.ticked("x")
    abstract = f"\0mendbook-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(abstract)
        listening.settimeout(10)
        Systemd({"NOTIFY_SOCKET": "@" + abstract[1:]}).ready("x")
        assert listening.recv(99).startswith(b"READY=1")


def test_addresses_come_from_the_settings_and_from_a_file_without_its_remarks(tmp_path: Path) -> None:
    file = tmp_path / "told"
    file.write_text("# the pager\njson://b\n\n  json://c  \njson://a\n")
    settings = Settings(tmp_path, notify=Notify(("json://a",), file))
    assert addresses(settings) == ("json://a", "json://b", "json://c")


UNIT = Path(__file__).parent.parent.parent / "engine" / "cli" / "scaffold" / "mendbook.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="wants systemd-analyze: apt-get install systemd")
def test_systemd_understands_the_unit_that_is_shipped(tmp_path: Path) -> None:
    text = UNIT.read_text().replace("/opt/mendbook/bin/mendbook", "/bin/true").replace("/etc/mendbook", str(tmp_path))
    (tmp_path / "mendbook.service").write_text(text)
    verify = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "mendbook.service")]
    found = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    assert "KillMode=process" in text
    assert "Type=notify" in text
