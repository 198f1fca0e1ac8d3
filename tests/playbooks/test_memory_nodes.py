"""Memory on a real node: a process that is no service is ended, a service is restarted, and what must live is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes, wait_until

pytestmark = pytest.mark.lab

EATER = "setsid --fork stress-ng --vm 1 --vm-bytes 64M --vm-keep --timeout 120 </dev/null >/dev/null 2>&1; sleep 1"


@pytest.fixture
def node() -> Iterator[Node]:
    """A web node on which nothing of ours is left running afterwards."""
    (one,) = nodes("web1")
    yield one
    one.sh(
        "killall -q -9 stress-ng stress-ng-vm; systemctl stop mb-leak.service; rm -f /etc/systemd/system/mb-leak.service; true"
    )


def test_a_process_that_is_no_service_is_ended_with_what_started_it_and_once(node: Node) -> None:
    node.sh(EATER)
    wait_until(lambda: "stress-ng-vm" in node.sh("ps -eo comm"))
    variables: dict[str, object] = {
        "process": "stress-ng-vm",
        "mendbook_attempt": node.sh("cat /proc/sys/kernel/random/uuid"),
    }
    checked = node.run("memory_relieve", "--check", **variables)
    assert (checked.changed, checked.failed) == (1, 0)
    assert "stress-ng-vm" in node.sh("ps -eo comm")
    done = node.run("memory_relieve", **variables)
    assert (done.changed, done.failed) == (1, 0)
    assert "stress-ng" not in node.sh("ps -eo comm")
    node.sh(EATER)
    again = node.run("memory_relieve", **variables)
    assert (again.changed, again.failed) == (0, 0)
    assert "stress-ng" in node.sh("ps -eo comm")


def test_a_service_that_leaks_is_restarted_by_its_command_s_name(node: Node) -> None:
    node.sh(
        "cp /bin/sleep /tmp/mbleak && printf '[Service]\\nExecStart=/tmp/mbleak 1000\\n' >/etc/systemd/system/mb-leak.service"
        " && systemctl daemon-reload && systemctl restart mb-leak.service"
    )
    before = node.sh("systemctl show -p MainPID --value mb-leak.service")
    checked, done, again = node.run_thrice("memory_relieve", process="mbleak")
    assert [(run.changed, run.failed) for run in (checked, done, again)] == [(1, 0), (1, 0), (0, 0)]
    assert node.sh("systemctl is-active mb-leak.service") == "active"
    assert node.sh("systemctl show -p MainPID --value mb-leak.service") != before


@pytest.mark.parametrize("name", ["sshd", "systemd", "systemd-journald"])
def test_what_must_live_is_neither_ended_nor_restarted(node: Node, name: str) -> None:
    before = node.sh(f"pidof {name} | tr ' ' '\\n' | sort -n | head -1")
    refused = node.run("memory_relieve", process=name)
    assert (refused.changed, refused.failed) == (0, 1)
    assert "is one that is never ended; nothing was touched" in refused.output
    assert node.sh(f"pidof {name} | tr ' ' '\\n' | sort -n | head -1") == before


def test_a_name_that_nothing_has_changes_nothing(node: Node) -> None:
    assert [(run.changed, run.failed) for run in node.run_thrice("memory_relieve", process="no-such-name")] == [
        (0, 0)
    ] * 3
