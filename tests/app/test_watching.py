"""`mendbook watch` as a service: what goes along with the loop, seen from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.model.decision import Change, Entry, Escalate
from engine.records.store import Record
from engine.samples.store import SampleStore

REPOSITORY = Path(__file__).parent.parent.parent
WATCH = [sys.executable, "-c", "from engine.cli.main import main; main()", "watch", "--lines"]
SETTINGS = """\
sources: {{host: false}}
runbooks: runbooks
interval: 500ms
heartbeat: {{url: "{beat}", every: 100ms}}
notify: "{told}"
"""
RUNBOOK = """\
runbook: engine-late
summary: The engine does not tick.
trigger: {alert: EngineLate, expr: mendbook_last_tick_age_seconds > 3600}
localize: {resource: cpu}
remedies:
  - {name: Nothing to do, playbook: nothing.yml}
verify: {expr: mendbook_last_tick_age_seconds < 60, within: 5m}
"""
PLAYBOOK = """\
- name: Nothing
  hosts: all
  gather_facts: false
  tasks: []
"""


class Ears:
    """A web server on loopback that keeps what it is asked and told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[dict[str, object]] = []
        ears = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ears.asked.append(self.path)
                self.answer()

            def do_POST(self) -> None:
                ears.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.answer()

            def answer(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def ears() -> Iterator[Ears]:
    ears = Ears()
    yield ears
    ears.server.shutdown()
    ears.server.server_close()


@pytest.fixture
def root(tmp_path: Path, ears: Ears) -> Path:
    beat, told = f"http://127.0.0.1:{ears.port}/beat", f"json://127.0.0.1:{ears.port}/told"
    for name, text in {
        "mendbook.yml": SETTINGS.format(beat=beat, told=told),
        "inventory/hosts.yml": "all: {hosts: {web-1: {}}}\n",
        "runbooks/engine-late.yml": RUNBOOK,
        "playbooks/nothing.yml": PLAYBOOK,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}


def wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as once:
        return int(once.getsockname()[1])


def page(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.e2e
def test_systemd_the_page_the_heartbeat_and_people_hear_of_an_engine_that_watches(root: Path, ears: Ears) -> None:
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (root / "log").open("wb") as log:
        manager.bind(str(root / "notify"))
        manager.settimeout(30)
        given = environment(NOTIFY_SOCKET=str(root / "notify"), WATCHDOG_USEC="10000000")
        watching = subprocess.Popen(
            [*WATCH, "--listen", f"127.0.0.1:{port}"], cwd=root, env=given, stdout=log, stderr=log
        )
        try:
            assert manager.recv(999).startswith(b"READY=1\n")
            heard = manager.recv(999)
            assert heard.startswith(b"WATCHDOG=1\n")
            assert page(f"http://127.0.0.1:{port}/-/healthy") == "healthy\n"
            figures = page(f"http://127.0.0.1:{port}/metrics")
            assert "mendbook_executions_active 0.0" in figures
            wait(lambda: "/beat" in ears.asked, "the heartbeat")
            with Record(root / ".mendbook" / "record.sqlite3") as record:
                entry = Entry("decision", "Escalate: it is beyond me", "inc-1", "web-1", "r", "beyond")
                wait(lambda: committed(record, entry), "the commit")
            wait(lambda: ears.told, "the notice")
            assert ears.told[0]["title"] == "web-1: a human is needed"
            watching.send_signal(signal.SIGTERM)
            assert watching.wait(20) == 0
            while not heard.startswith(b"STOPPING=1"):
                heard = manager.recv(999)
        finally:
            watching.kill()
            watching.wait()
    with SampleStore(root / ".mendbook" / "samples", read_only=True) as store:
        names = {labels["__name__"] for labels in store.series() if labels.get("job") == "mendbook"}
    assert {"mendbook_last_tick_age_seconds", "mendbook_incidents", "mendbook_paused"} <= names


def committed(record: Record, entry: Entry) -> bool:
    """Commit an escalation beside the engine that ticks."""
    version = record.standing(time.time()).version
    change = Change(version, time.time(), (entry,), decision=Escalate("beyond", "it is beyond me"))
    return record.commit(change)


@pytest.mark.e2e
def test_a_reader_that_goes_away_ends_it_quietly(root: Path, ears: Ears) -> None:
    watching = subprocess.Popen(WATCH, cwd=root, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout is not None
    watching.stdout.close()
    wait(lambda: ears.asked, "the first tick")
    with Record(root / ".mendbook" / "record.sqlite3") as record:
        entry = Entry("engine", "something to show")
        wait(lambda: committed(record, entry), "the commit")
    try:
        _, errors = watching.communicate(timeout=30)
    finally:
        watching.kill()
    assert watching.returncode == 0, errors
    assert b"Traceback" not in errors


@pytest.mark.e2e
def test_whom_nobody_can_tell_is_said_before_anything_begins(root: Path) -> None:
    (root / "mendbook.yml").write_text("sources: {host: false}\nnotify: 'nosuch://hush'\n")
    ended = subprocess.run(WATCH, cwd=root, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "address 1 of notify: Apprise does not know an address of the kind nosuch://" in ended.stderr
    assert "hush" not in ended.stderr
