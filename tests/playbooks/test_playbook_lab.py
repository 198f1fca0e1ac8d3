"""The playbooks on the demo cluster: `ansible-playbook` really runs, and the cluster's own figures tell what it did."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from playbook_run import Run, play

from engine.lab import data
from engine.lab.cluster import Cluster

pytestmark = pytest.mark.e2e


def run(cluster: Cluster, name: str, host: str, *arguments: str, **variables: object) -> Run:
    return play(name, cluster.layout.inventory, "--limit", host, *arguments, variables=variables)


def local(manager: Path) -> dict[str, str]:
    """Return what an inventory of the demo cluster says of every node."""
    return {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "service_manager": "lab",
        "lab_socket": str(manager),
    }


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass in 15 s"
        time.sleep(0.02)


def flip(store: Path) -> None:
    with (store / "data.bin").open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("name", ["service_restart", "node_restart"])
def test_a_node_is_restarted_once_for_an_attempt(cluster: Cluster, name: str) -> None:
    before = cluster.node("web-1")["pid"]
    checked = run(cluster, name, "web-1", "--check", "--diff", mendbook_attempt=name)
    assert (checked.changed, checked.failed, cluster.node("web-1")["pid"]) == (1, 0, before)
    first = run(cluster, name, "web-1", mendbook_attempt=name)
    after = cluster.node("web-1")["pid"]
    assert (first.changed, first.failed) == (1, 0)
    assert after != before
    again = run(cluster, name, "web-1", mendbook_attempt=name)
    assert (again.changed, again.failed, cluster.node("web-1")["pid"]) == (0, 0, after)


@pytest.mark.parametrize("name", ["cpu_relieve", "memory_relieve"])
def test_a_node_that_runs_away_is_restarted(cluster: Cluster, name: str) -> None:
    before = cluster.node("web-1")["pid"]
    assert run(cluster, name, "web-1", mendbook_attempt=name).failed == 0
    assert cluster.node("web-1")["pid"] != before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_and_a_hung_node_serve_again(cluster: Cluster, number: signal.Signals) -> None:
    os.kill(cluster.node("web-2")["pid"], number)
    assert run(cluster, "node_restart", "web-2").failed == 0
    assert cluster.figures("web-2", "process_start_time_seconds")
    assert cluster.node("web-2")["state"] == "running"


def test_data_is_restored_from_the_newest_snapshot_that_passes(cluster: Cluster) -> None:
    store = Path(cluster.node("store-1")["directory"])
    wait_until(lambda: any(snapshot.valid for snapshot in data.snapshots(store)))
    good = data.snapshots(store)[0].path
    newest = store / "snapshots" / "20990101T000000Z"
    shutil.copytree(good, newest)
    flip(newest)
    flip(store)
    assert data.failing(store)

    checked = run(cluster, "data_restore", "store-1", "--check", "--diff", mendbook_attempt="d-1")
    assert checked.failed == 0
    assert checked.changed > 0
    assert data.failing(store)

    restored = run(cluster, "data_restore", "store-1", mendbook_attempt="d-1")
    assert restored.failed == 0
    assert "20990101T000000Z: data.bin does not match its checksum" in restored.output
    assert not data.failing(store)
    assert cluster.node("store-1")["state"] == "running"
    assert (store / "aside" / "d-1" / "data.bin").exists()

    again = run(cluster, "data_restore", "store-1")
    assert (again.changed, again.failed) == (0, 0)
    shutil.rmtree(newest)


def test_without_a_valid_snapshot_the_store_is_not_even_stopped(cluster: Cluster, tmp_path: Path) -> None:
    store = Path(cluster.node("store-2")["directory"])
    before = cluster.node("store-2")["pid"]
    flip(store)
    refused = run(cluster, "data_restore", "store-2", snapshot_directory=str(tmp_path))
    assert refused.failed == 1
    assert "nothing was touched" in refused.output
    assert cluster.node("store-2")["pid"] == before
    flip(store)


def test_a_store_that_a_dead_run_left_stopped_is_started(cluster: Cluster) -> None:
    run(cluster, "data_restore", "store-2", mendbook_attempt="d-2")
    os.kill(cluster.node("store-2")["pid"], signal.SIGKILL)
    wait_until(lambda: cluster.node("store-2")["state"] == "dead")
    assert run(cluster, "data_restore", "store-2", mendbook_attempt="d-2").failed == 0
    assert cluster.node("store-2")["state"] == "running"


def test_a_replica_is_added_once_for_an_attempt_and_gets_traffic(cluster: Cluster) -> None:
    before = set(cluster.status())
    checked = run(cluster, "replica_add", "lb", "--check", mendbook_attempt="r-1")
    assert (checked.changed, checked.failed, set(cluster.status())) == (1, 0, before)
    assert run(cluster, "replica_add", "lb", mendbook_attempt="r-1").failed == 0
    (added,) = set(cluster.status()) - before
    assert cluster.node(added)["attached"] is True
    again = run(cluster, "replica_add", "lb", mendbook_attempt="r-1")
    assert (again.changed, len(cluster.status())) == (0, len(before) + 1)


def test_a_full_cache_is_cleared_and_the_data_stays(cluster: Cluster) -> None:
    node = Path(cluster.node("store-1")["directory"])
    (node / "cache").mkdir(exist_ok=True)
    (node / "cache" / "junk-0").write_bytes(os.urandom(100_000))
    before = {path: path.read_bytes() for path in node.glob("data.*")}
    checked = run(cluster, "space_clear", "store-1", "--check", "--diff")
    assert (checked.changed, (node / "cache" / "junk-0").exists()) == (1, True)
    cleared = run(cluster, "space_clear", "store-1")
    assert "freed_bytes" in cleared.output
    assert list((node / "cache").iterdir()) == []
    assert {path: path.read_bytes() for path in node.glob("data.*")} == before
    assert run(cluster, "space_clear", "store-1").changed == 0


@pytest.mark.parametrize("path", ["", "/snapshots"])
def test_the_node_s_own_data_is_never_cleared(cluster: Cluster, path: str) -> None:
    node = Path(cluster.node("store-1")["directory"])
    refused = run(cluster, "space_clear", "store-1", space_paths=[f"{node}{path}"], space_patterns=["*"])
    assert refused.failed == 1
    assert "holds data" in refused.output
    assert (node / "data.bin").exists()


@pytest.mark.parametrize(
    ("out", "back", "host", "variables"),
    [("node_cordon", "node_uncordon", "web-3", {}), ("lb_drain", "lb_attach", "lb", {"node": "web-3"})],
)
def test_a_node_leaves_the_balancer_and_comes_back(
    cluster: Cluster, out: str, back: str, host: str, variables: dict[str, object]
) -> None:
    assert run(cluster, out, host, "--check", **variables).changed == 1
    assert cluster.node("web-3")["attached"] is True
    assert run(cluster, out, host, **variables).changed == 1
    assert cluster.node("web-3")["attached"] is False
    assert run(cluster, out, host, **variables).changed == 0
    assert run(cluster, back, host, **variables).changed == 1
    assert cluster.node("web-3")["attached"] is True


def test_a_grown_log_is_rotated(cluster: Cluster) -> None:
    log = Path(cluster.node("web-3")["directory"]) / "access.log"
    log.write_bytes(b"line\n" * 1000)
    assert run(cluster, "log_rotate", "web-3", log_max_size="1K").changed == 1
    assert log.stat().st_size == 0
    assert run(cluster, "log_rotate", "web-3", log_max_size="1K").changed == 0


def test_a_run_without_limit_is_refused_before_anything_is_done(cluster: Cluster) -> None:
    before = {name: node["pid"] for name, node in cluster.status().items()}
    refused = play("node_restart", cluster.layout.inventory)
    assert (refused.failed, refused.changed) == (len(before), 0)
    assert "--limit" in refused.output
    assert {name: node["pid"] for name, node in cluster.status().items()} == before


HOSTILE = ("web; touch pwned", "$(touch pwned)", "--version", "../../web-1", '"x"', "web-1\ttouch")


def test_hostile_host_names_are_only_names_that_the_manager_does_not_know(cluster: Cluster, tmp_path: Path) -> None:
    before = {name: node["pid"] for name, node in cluster.status().items()}
    known = local(cluster.layout.socket)
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"vars": known, "hosts": dict.fromkeys(HOSTILE)}}))
    result = play("node_restart", inventory, variables={"mendbook_all": True, "mendbook_attempt": "; touch pwned"})
    assert (result.failed, result.changed) == (len(HOSTILE), 0)
    assert result.output.count("the manager knows no node") >= len(HOSTILE)
    assert not list(tmp_path.rglob("pwned*"))
    assert {name: node["pid"] for name, node in cluster.status().items()} == before


def test_a_manager_that_is_not_there_is_a_clear_failure(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"web-1": local(tmp_path / "no.sock")}}}))
    result = play("service_restart", inventory, "--limit", "web-1")
    assert result.failed == 1
    assert "is the cluster up?" in result.output
