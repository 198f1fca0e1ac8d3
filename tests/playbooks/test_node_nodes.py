"""Power of real nodes: off is seen and not believed, on again is truly back, and nothing happens twice for an attempt."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_nodes import Node, nodes, wait_until
from playbook_run import play

pytestmark = pytest.mark.lab

SERVICES = ["ssh.service"]


@pytest.fixture
def node() -> Iterator[Node]:
    """A node of which nothing else depends; it has power again when the test ends."""
    (one,) = nodes("standby")
    yield one
    assert one.run("node_power_on").failed == 0
    assert one.run("node_return", node_wait=60).failed == 0


def reachable(node: Node) -> bool:
    try:
        return node.sh("echo here", check=False) == "here"
    except subprocess.TimeoutExpired:
        return False


def boot_id(node: Node) -> str:
    return node.sh("cat /proc/sys/kernel/random/boot_id")


def test_a_node_is_fenced_switched_on_and_truly_back_once_for_an_attempt(node: Node) -> None:
    before = boot_id(node)
    known: dict[str, object] = {"mendbook_attempt": str(uuid.uuid4())}
    checked = node.run("node_fence", "--check", **known)
    assert (checked.changed, checked.failed) == (1, 0)
    assert boot_id(node) == before
    assert [
        (run.changed, run.failed) for run in (node.run("node_fence", **known), node.run("node_fence", **known))
    ] == [
        (1, 0),
        (0, 0),
    ]
    assert not reachable(node)
    assert [
        (run.changed, run.failed) for run in (node.run("node_power_on", **known), node.run("node_power_on", **known))
    ] == [
        (1, 0),
        (0, 0),
    ]
    back = node.run("node_return", node_services=SERVICES, node_wait=60, node_boot_id=before)
    assert (back.changed, back.failed) == (0, 0)
    after = boot_id(node)
    assert after != before
    assert (node.run("node_fence", **known).changed, boot_id(node)) == (0, after), "fenced again by what switched it on"


def test_a_node_with_power_is_left_alone_when_it_may_be_cut_off_only(node: Node) -> None:
    before = boot_id(node)
    refused = node.run("node_fence", fence_powered="refuse")
    assert (refused.changed, refused.failed) == (0, 1)
    assert "cut off from us rather than dead" in refused.output
    assert boot_id(node) == before


def test_a_node_is_rebooted_once_for_an_attempt(node: Node) -> None:
    first = boot_id(node)
    checked, done, again = node.run_thrice("node_restart", node_services=SERVICES)
    assert [(run.changed, run.failed) for run in (checked, done, again)] == [(1, 0), (1, 0), (0, 0)]
    assert boot_id(node) != first
    wait_until(lambda: node.sh("systemctl is-active ssh") == "active")


def fenced(folder: Path, **variables: object) -> tuple[int, int, str]:
    """Fence a host that an inventory of ours describes; return how many tasks changed something and failed, and what was said."""
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"far": {"ansible_host": "127.0.0.2", **variables}}}}))
    run = play("node_fence", inventory, variables={"fence_wait": 2})
    return run.changed, run.failed, run.output


def test_what_is_not_seen_off_is_no_success(tmp_path: Path) -> None:
    lie = {"fence_off_command": ["true"], "fence_on_command": ["true"], "fence_status_command": ["echo", "on"]}
    assert fenced(tmp_path, **lie)[1] == 1


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"fence_off_command": ["true"]},
        {"fence_off_command": ["true"], "fence_status_command": ["echo", "off"], "ansible_connection": "local"},
        {"fence_off_command": ["true"], "fence_status_command": ["echo", "off"], "ansible_host": "localhost"},
        {"fence_off_command": ["true"], "fence_status_command": ["false"]},
        {"fence_off_command": ["true"], "fence_status_command": ["echo", "perhaps"]},
    ],
)
def test_who_cannot_be_fenced_for_sure_is_not_fenced(tmp_path: Path, variables: dict[str, object]) -> None:
    changed, failed, _ = fenced(tmp_path, **variables)
    assert (changed, failed) == (0, 1)
