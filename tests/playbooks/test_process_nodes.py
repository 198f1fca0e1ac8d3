"""Processes of a real node: parents that do not reap, files that are never closed, and limits that last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes

pytestmark = pytest.mark.lab

PARENT = r"""
import os, signal, time
if {listens}:
    signal.signal(signal.SIGCHLD, lambda *_: None)
for _ in range(30):
    if os.fork() == 0:
        os._exit(0)
deadline = time.monotonic() + 3
while {listens} and time.monotonic() < deadline:
    time.sleep(0.5)
while True:
    signal.pause()
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""
HOLDER = "import os, signal; held = [os.open('/dev/null', os.O_RDONLY) for _ in range(200)]; signal.pause()"


@pytest.fixture
def node() -> Iterator[Node]:
    """A web node, left as it was."""
    (one,) = nodes("web1")
    yield one
    one.sh(
        "systemctl stop mb-held.service 2>/dev/null; pkill -9 -x mb-parent; "
        "rm -rf /etc/systemd/system/mb-held.service* /run/mb-parent; systemctl daemon-reload; true"
    )


def zombies(node: Node) -> int:
    return int(node.sh("ps -eo stat= | grep -c ^Z; true"))


def program(node: Node, text: str) -> None:
    node.sh(f"cat > /run/mb-parent <<'END'\n#!/usr/bin/python3\n{text}\nEND\nchmod 755 /run/mb-parent")


def test_a_parent_that_listens_is_told_and_goes_on(node: Node) -> None:
    program(node, PARENT.format(listens=True))
    node.sh("setsid --fork /run/mb-parent </dev/null >/dev/null 2>&1; sleep 4")
    assert zombies(node) >= 30
    checked, done, again = node.run_thrice("process_relieve", process="mb-parent", process_measure="zombies")
    assert (checked.failed, done.failed, again.failed, again.changed) == (0, 0, 0, 0)
    assert done.changed == 1
    assert zombies(node) < 30
    assert "mb-parent" in node.sh("ps -eo comm")


def test_a_parent_that_does_not_listen_is_ended(node: Node) -> None:
    program(node, PARENT.format(listens=False))
    node.sh("setsid --fork /run/mb-parent </dev/null >/dev/null 2>&1; sleep 1")
    assert zombies(node) >= 30
    runs = node.run_thrice("process_relieve", process="mb-parent", process_measure="zombies")
    assert [(run.changed > 0, run.failed) for run in runs] == [(True, 0), (True, 0), (False, 0)]
    assert zombies(node) < 30
    assert "mb-parent" not in node.sh("ps -eo comm")


def serve(node: Node) -> None:
    program(node, HOLDER)
    node.sh(
        "printf '[Service]\\nExecStart=/run/mb-parent\\nLimitNOFILE=256:8192\\n' > /etc/systemd/system/mb-held.service;"
        " systemctl daemon-reload; systemctl start mb-held.service; sleep 1"
    )


def test_a_service_that_holds_too_many_files_is_restarted(node: Node) -> None:
    serve(node)
    before = node.sh("systemctl show -p MainPID --value mb-held.service")
    runs = node.run_thrice("process_relieve", process="mb-parent", process_measure="files")
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    assert node.sh("systemctl show -p MainPID --value mb-held.service") != before


def test_a_limit_lasts_and_holds_for_what_runs(node: Node) -> None:
    serve(node)
    process = node.sh("systemctl show -p MainPID --value mb-held.service")
    runs = node.run_thrice("unit_limits", process="mb-parent", limit_files=4096, limit_tasks=100)
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    assert node.sh("systemctl show -p MainPID --value mb-held.service") == process
    assert node.sh(f"awk '/open files/{{print $4}}' /proc/{process}/limits") == "4096"
    assert node.sh("cat /etc/systemd/system/mb-held.service.d/60-mendbook.conf").splitlines()[1:] == [
        "[Service]",
        "LimitNOFILE=4096",
        "TasksMax=100",
    ]
    assert node.run("unit_limits", "--check", process="mb-parent", limit_files=1024).changed == 0


@pytest.mark.parametrize("limits", [{"limit_memory_high": "1M\nExecStart=/bin/true"}, {"limit_nice": -5}, {}])
def test_what_is_no_limit_is_refused(node: Node, limits: dict[str, object]) -> None:
    serve(node)
    refused = node.run("unit_limits", process="mb-parent", **limits)
    assert (refused.changed, refused.failed) == (0, 1)
