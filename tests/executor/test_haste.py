"""New ssh connections of warm runs are not held up by the kernel, and nothing else about them is different."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.executor import processes
from engine.executor.local import LocalExecutor
from engine.executor.warm import haste, starts
from engine.executor.warm.starts import Reason
from engine.model.execution import ExecutionState, PlannedStep
from tests.executor.conftest import Bench, Told, play
from tests.executor.node import Node

READY = 120.0
CALLER = """
import socket, sys
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print("held back" if not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) else "never", flush=True)
while not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY):
    pass
connection.sendall(b"the same")
print("hastened", flush=True)
sys.stdin.read()
"""
TALKER = """
import os, socket, sys
pair = socket.socketpair()
own = socket.socket()
print("up", flush=True)
sys.stdin.read()
"""
PROXY = """
import os, socket, sys, threading
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))

def back():
    while data := connection.recv(9999):
        os.write(1, data)

threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 9999):
    connection.sendall(data)
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        made.settimeout(60.0)
        yield made


def caller(text: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", text, *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ([b"ssh", b"-o", b"User=x", b"host", b"true"], True),
        ([b"ssh", b"-o", b'ControlPath="/nowhere/at all"', b"host", b"true"], True),
        ([b"ssh", b"-o", b'ControlPath="/dev/null"', b"host", b"true"], False),
        ([b"ssh", b"-o", b"ControlPath=/dev/null", b"host", b"true"], False),
        ([b"sshpass", b"-d7", b"ssh", b"host"], False),
        ([b"sftp", b"-b", b"-", b"[host]"], False),
        ([b"/opt/ssh", b"host"], False),
        ([], False),
        ("ssh host true", False),
        (b"ssh", False),
    ],
)
def test_only_an_ssh_that_makes_a_connection_is_hastened(command: Any, wanted: bool) -> None:
    assert haste.connects(command) is wanted


def test_a_childs_connection_holds_nothing_back_and_is_given_back(listener: socket.socket) -> None:
    before = files()
    with caller(CALLER, str(listener.getsockname()[1])) as child:
        assert line(child) == "held back"
        thread = haste.hasten(child.pid, seconds=60.0)
        assert line(child) == "hastened"
        arrived, _ = listener.accept()
        with arrived:
            assert arrived.recv(100) == b"the same"
            child.communicate()
            assert arrived.recv(100) == b"", "somebody holds the connection when its owner is gone"
    assert thread is not None
    thread.join(10.0)
    assert not thread.is_alive()
    assert files() == before


def test_a_child_that_connects_to_nothing_is_let_alone_and_for_a_time_only() -> None:
    before = files()
    with caller(TALKER) as child:
        assert line(child) == "up"
        thread = haste.hasten(child.pid, seconds=0.05)
        assert thread is not None
        thread.join(10.0)
        assert not thread.is_alive()
        assert child.poll() is None
        assert files() == before + 2, "its own pipes"
        child.communicate()


def test_where_it_is_not_permitted_nothing_changes(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files()
    monkeypatch.setattr(haste, "_BORROW", 1 << 20)
    with caller(CALLER, str(listener.getsockname()[1])) as child:
        assert line(child) == "held back"
        thread = haste.hasten(child.pid, seconds=60.0)
        assert thread is not None
        thread.join(10.0)
        assert not thread.is_alive()
        assert child.poll() is None
        child.kill()
        child.communicate()
    assert haste.hasten(child.pid) is None, "it is gone"
    assert files() == before


def test_without_room_for_a_thread_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading, "Thread", Full)
    with caller(TALKER) as child:
        before = files()
        assert haste.hasten(child.pid) is None
        assert files() == before
        child.communicate()


def test_what_is_no_ssh_is_started_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        subprocess: Any = subprocess

    monkeypatch.setitem(sys.modules, haste.PLUGIN, Plugin)
    haste.install()
    known = threading.active_count()
    with Plugin.subprocess.Popen([b"echo", b"so"], stdout=Plugin.subprocess.PIPE) as child:
        assert child.communicate() == (b"so\n", None)
    assert threading.active_count() == known
    assert Plugin.subprocess.CalledProcessError is subprocess.CalledProcessError
    monkeypatch.delitem(sys.modules, haste.PLUGIN)
    haste.install()
    assert haste.PLUGIN not in sys.modules, "nothing is imported for it"


@pytest.fixture
def warm(far: Bench, node: Node, listener: socket.socket) -> Iterator[LocalExecutor]:
    """An executor of warm runs, for hosts that are reached in all kinds of ways, or not."""
    options = str(node.variables["ansible_ssh_common_args"])
    (far.root / "proxy.py").write_text(PROXY)
    proxy = f"{sys.executable} {far.root / 'proxy.py'} {node.port}"
    keyless = options.replace(f"-i {node.root / 'user'}", "-i /nowhere")
    strict = options.replace("StrictHostKeyChecking=no", "StrictHostKeyChecking=yes")
    hosts: dict[str, dict[str, object]] = {
        "proxied": {"ansible_host": "127.1", "ansible_ssh_extra_args": f'-o ProxyCommand="{proxy}"'},
        "alone": {"ansible_host": "127.0.1", "ansible_ssh_args": "-o ControlMaster=no"},
        "unknown": {"ansible_host": "0x7f000001", "ansible_ssh_common_args": strict},
        "keyless": {"ansible_host": "0x7f.1", "ansible_ssh_common_args": keyless},
        "secret": {"ansible_host": "0x7f.0.1", "ansible_ssh_common_args": keyless, "ansible_password": "wrong"},
        "silent": {"ansible_port": listener.getsockname()[1], "ansible_ssh_timeout": 60},
        "odd": {"ansible_host": "$(touch${IFS}odd);`touch${IFS}odd`"},
    }  # one address under many names: hosts of one name, port and user share their connection
    hosts = {name: {**node.variables, **own} for name, own in hosts.items()}
    (far.root / "ways.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    far.inventories = (*far.inventories, "ways.json")
    executor = far.executor
    assert executor.keep_warm().wait(READY) is None, (far.directory / ".warm" / "log").read_text()
    yield executor
    executor.close()


def run(bench: Bench, executor: LocalExecutor, step: PlannedStep) -> Told:
    execution = bench.execution(step)
    executor.start(execution)
    return bench.follow(execution.id, executor)


def plain(told: Told) -> list[object]:
    name = told.report.id
    lines = [(each.kind, each.host, each.task, each.text.replace(name, "NAME")) for each in told.events]
    return [
        told.report.state,
        told.report.message.replace(name, "NAME"),
        told.report.unreachable,
        *sorted(lines, key=str),
    ]


@pytest.mark.e2e
def test_a_warm_run_over_ssh_tells_what_a_cold_one_tells(far: Bench, warm: LocalExecutor) -> None:
    name = far.playbook(
        "ways.yml",
        play(
            "name: raw\nraw: 'echo out; echo err >&2'\nregister: it",
            "name: said\ndebug: {msg: '{{ it.rc }} {{ it.stdout }} {{ it.stderr }}'}",
            "name: much\ncommand: seq 30000\nregister: it\nchanged_when: false",
            "name: all\ndebug: {msg: '{{ it.stdout | hash }}'}",
            "name: again\nmeta: reset_connection",
            "name: bad\ncommand: sh -c 'echo dear >&2; exit 3'\nignore_errors: true",
            "name: write\ncopy: {content: '{{ it.stdout }}', dest: '{{ playbook_dir }}/{{ inventory_hostname }}'}\ndiff: false",
            "name: late\ncommand: sleep 0.2\nasync: 20\npoll: 1\nchanged_when: false",
            "name: here\ncommand: 'true'\ndelegate_to: one\nchanged_when: false",
        ).replace("gather_facts: false", "gather_facts: false\n  strategy: linear"),
    )
    step = PlannedStep(name, ("far", "proxied", "alone", "unknown", "keyless", "secret", "odd", "gone"))
    first = run(far, far.executor, step)
    for host in ("far", "proxied", "alone"):
        (far.root / "playbooks" / host).unlink()
    second = run(far, warm, step)
    assert plain(second) == plain(first)
    assert set(first.report.unreachable) == {"unknown", "keyless", "secret", "odd", "gone"}
    assert (far.root / "playbooks" / "proxied").read_text() == "\n".join(map(str, range(1, 30001)))
    assert not list(far.root.rglob("odd"))
    assert starts.counted(far.directory).warm == 1
    assert set(starts.counted(far.directory).cold) == {Reason.OFF}, (
        "the one that was to be cold, and what looks after hosts"
    )


@pytest.mark.e2e
def test_a_run_that_is_canceled_while_it_connects_leaves_nothing(
    far: Bench, warm: LocalExecutor, listener: socket.socket
) -> None:
    execution = far.execution(PlannedStep(far.playbook("ask.yml", play("name: ask\nping:")), ("silent",)))
    warm.start(execution)
    arrived, _ = listener.accept()
    with arrived:
        listener.close()  # so that whoever looks there afterwards hears at once that there is nobody
        assert any(_command(one.pid).startswith("ssh\0") for one in processes.marked(execution.id))
        warm.cancel(execution.id, "enough")
        report = far.follow(execution.id, warm).report
    assert report.state is ExecutionState.CANCELED
    assert report.message.startswith("canceled: enough; whether what ran on silent has ended"), (
        "nobody there can be asked"
    )
    assert not processes.marked(execution.id)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
