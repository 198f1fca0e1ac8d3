"""The modules that act on a host: markers of attempts, limits of units, niceness, HAProxy's servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playbook_run import run_module


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An attempt's id that nobody used before; its markers go when the test ends."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    identity = f"{uuid.uuid4()}/../{{{{ 7*7 }}}}"
    yield identity
    for reboot in (False, True):
        marker = mark(identity, reboot=reboot)["marker"]
        Path(marker).unlink(missing_ok=True)


def mark(attempt: str, *, check: bool = False, **arguments: object) -> dict[str, Any]:
    return run_module("attempt_marker", check=check, attempt=attempt, **{"act": "restart x", **arguments})


def test_an_act_is_done_for_an_attempt_once_it_was_recorded(attempt: str) -> None:
    assert mark(attempt)["done"] is False
    assert mark(attempt, state="present")["changed"] is True
    assert mark(attempt)["done"] is True
    assert mark(attempt, act="restart y")["done"] is False
    assert mark(attempt + "1")["done"] is False


def test_the_marker_is_named_by_a_digest(attempt: str) -> None:
    assert len(Path(mark(attempt)["marker"]).name) == 64


def test_check_mode_records_nothing(attempt: str) -> None:
    assert mark(attempt, state="present", check=True)["changed"] is True
    assert mark(attempt)["done"] is False


def test_without_an_attempt_the_act_is_always_due() -> None:
    assert mark("", state="present") | {"invocation": None} == {
        "changed": False,
        "done": False,
        "marker": "",
        "invocation": None,
    }


def test_a_reboot_is_done_only_when_the_boot_id_has_changed(attempt: str) -> None:
    marker = Path(mark(attempt, reboot=True, state="present")["marker"])
    assert mark(attempt, reboot=True)["done"] is False
    marker.write_text(f"{uuid.uuid4()}\n")  # what a marker from before the reboot looks like
    assert mark(attempt, reboot=True)["done"] is True


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process with a name of its own that waits to be ended."""
    name = f"mb{uuid.uuid4().hex[:8]}"
    code = f"import ctypes; ctypes.CDLL(None).prctl(15, b'{name}'); print('{name}', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_processes_are_made_nicer_once_and_only_those(sleeper: subprocess.Popen[bytes]) -> None:
    assert sleeper.stdout is not None
    name = sleeper.stdout.readline().decode().strip()
    assert run_module("process_niced", check=True, pattern=name, nice=12)["processes"] == [f"{sleeper.pid} {name}"]
    assert os.getpriority(os.PRIO_PROCESS, sleeper.pid) == os.getpriority(os.PRIO_PROCESS, 0)
    assert run_module("process_niced", pattern=f"{name[:6]}*", nice=12)["changed"] is True
    assert os.getpriority(os.PRIO_PROCESS, sleeper.pid) == 12
    assert run_module("process_niced", pattern=name, nice=5)["changed"] is False


@pytest.mark.parametrize(("pattern", "nice"), [("*", 10), ("**", 10), ("?*", 10), ("x", 0), ("x", -5), ("x", 20)])
def test_a_pattern_for_everything_and_a_raise_in_priority_are_refused(pattern: str, nice: int) -> None:
    assert run_module("process_niced", check=True, pattern=pattern, nice=nice)["failed"] is True


SYSTEMCTL = """#!/bin/sh
printf '%s\\n' "$*" >> "$0.log"
case "$1 $2" in
  "show --property=CPUQuotaPerSecUSec") cat "$0.cpu" ;;
  "show --property=MemoryHigh") cat "$0.memory" ;;
esac
"""


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for systemctl that shows what two files hold and writes down how it was called."""
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return program


def calls(systemctl: Path) -> list[str]:
    return [line for line in Path(f"{systemctl}.log").read_text().splitlines() if line.startswith("set-property")]


@pytest.mark.parametrize(
    ("shown", "wanted", "due"),
    [("infinity", "50%", True), ("500ms", "50%", False), ("1.5s", "50%", True), ("250ms", "50%", False)],
)
def test_a_unit_is_limited_unless_it_is_held_as_tightly_already(
    systemctl: Path, shown: str, wanted: str, due: bool
) -> None:
    Path(f"{systemctl}.cpu").write_text(shown + "\n")
    assert run_module("unit_limit", check=True, unit="app.service", cpu_quota=wanted)["changed"] is due
    assert calls(systemctl) == []
    assert run_module("unit_limit", unit="app.service", cpu_quota=wanted)["changed"] is due
    assert calls(systemctl) == ["set-property --runtime -- app.service CPUQuota=50%"] * due


def test_memory_limits_are_compared_in_bytes(systemctl: Path) -> None:
    Path(f"{systemctl}.memory").write_text(f"{512 << 20}\n")
    assert run_module("unit_limit", unit="app", memory_high="512M")["changed"] is False
    assert run_module("unit_limit", unit="app", memory_high="256M")["limits"] == {"MemoryHigh": "256M"}


@pytest.mark.parametrize("unit", ["--host=evil", "a b", "a;b", "../x", "{{ 7*7 }}", "", "a\n"])
def test_what_cannot_name_a_unit_is_refused(systemctl: Path, unit: str) -> None:
    assert run_module("unit_limit", unit=unit, cpu_quota="50%")["failed"] is True
    assert not Path(f"{systemctl}.log").exists()


class Haproxy(threading.Thread):
    """A stand-in for HAProxy's runtime socket with one server; it takes one command per connection, as HAProxy does."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.bits = 0
        self.commands: list[str] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                command = connection.makefile().readline().strip()
                self.commands.append(command)
                connection.sendall(self._reply(command).encode())

    def _reply(self, command: str) -> str:
        if command == "show servers state app":
            header = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight"
            return f"1\n{header}\n3 app 1 app-1 127.0.0.1 2 {self.bits} 1\n\n"
        if command.startswith("set server app/app-1 state "):
            self.bits = {"ready": 0, "drain": 8}[command.rsplit(maxsplit=1)[-1]]
            return "\n"
        return "Can't find backend.\n"

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join()


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    running = Haproxy(tmp_path / "admin.sock")
    running.start()
    yield running
    running.stop()


def drain(tmp_path: Path, *, check: bool = False, **arguments: object) -> dict[str, Any]:
    wanted = {"socket": str(tmp_path / "admin.sock"), "backend": "app", "server": "app-1", "state": "drain"}
    return run_module("haproxy_server", check=check, **{**wanted, **arguments})


def test_a_server_is_drained_once_and_attached_again(haproxy: Haproxy, tmp_path: Path) -> None:
    assert drain(tmp_path, check=True)["changed"] is True
    assert haproxy.bits == 0
    assert drain(tmp_path)["changed"] is True
    assert haproxy.bits == 8
    assert drain(tmp_path)["changed"] is False
    assert drain(tmp_path, state="ready")["before"] == "drain"
    assert haproxy.bits == 0


def test_an_unknown_server_or_backend_is_an_error(haproxy: Haproxy, tmp_path: Path) -> None:
    assert "no server 'app-9'" in drain(tmp_path, server="app-9")["msg"]
    assert drain(tmp_path, backend="other")["failed"] is True
    assert haproxy.bits == 0


@pytest.mark.parametrize("server", ["x; shutdown sessions server app/app-1", "x\nshow info", "a/b", "", "-x"])
def test_what_would_be_another_command_never_reaches_haproxy(haproxy: Haproxy, tmp_path: Path, server: str) -> None:
    assert drain(tmp_path, server=server)["failed"] is True
    assert haproxy.commands == []


def test_a_socket_that_is_not_there_is_an_error_with_its_path(tmp_path: Path) -> None:
    assert str(tmp_path / "admin.sock") in drain(tmp_path)["msg"]
