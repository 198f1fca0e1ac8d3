"""How a cluster begins and ends: quickly, in one directory, and without leaving a process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from lab_waiting import command_lines, eventually

from engine.lab import cluster as lab
from engine.lab import control, files, process, traffic
from engine.lab.cluster import Cluster, ClusterError
from engine.lab.settings import Layout

pytestmark = pytest.mark.e2e

OWNER = """
import sys, time
from pathlib import Path
from engine.lab.cluster import Cluster
running = Cluster.start(Path(sys.argv[1]), keep=sys.argv[2] == "keep")
print("up", flush=True)
time.sleep(60)
"""


def owner(directory: Path, how: str) -> subprocess.Popen[str]:
    """Start a cluster in a process of its own and return that process once the cluster is up."""
    started = subprocess.Popen([sys.executable, "-c", OWNER, str(directory), how], stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    started.stdout.close()
    return started


def test_it_is_up_and_serving_within_seconds_and_writes_below_its_directory_alone(tmp_path: Path) -> None:
    begun = time.monotonic()
    with Cluster.start(tmp_path / "demo", seed=1) as running:
        took = time.monotonic() - begun
        eventually(lambda: traffic.answered(running.directory, 0, time.time()) > 10)
        assert traffic.lost(running.directory, 0, time.time()) == 0
        assert traffic.rate(running.directory) == 25
    assert took < 3
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert command_lines(str(tmp_path)) == []


def test_it_is_light(tmp_path: Path) -> None:
    with Cluster.start(tmp_path, seed=1) as running:
        processes = [psutil.Process(one.pid) for one in files.read_pids(running.layout)]
        assert len(processes) == 8
        before, begun = sum(sum(one.cpu_times()[:2]) for one in processes), time.monotonic()
        for _ in range(4):
            for name in running.status():
                assert running.figures(name, "node_cpu_seconds_total")
            time.sleep(1)
        used = sum(sum(one.cpu_times()[:2]) for one in processes) - before
        assert used / (time.monotonic() - begun) < 0.25  # 0.13 on a quiet machine


def test_an_exception_ends_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Cluster.start(tmp_path):
        raise ZeroDivisionError
    assert command_lines(str(tmp_path)) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_the_process_that_started_it(tmp_path: Path, number: signal.Signals) -> None:
    finished, running = (tmp_path / ".mendbook" / "executions" / name for name in ("finished", "running"))
    for execution in (finished, running):
        execution.mkdir(parents=True)
    (finished / "result.json").write_text("{}")
    started = owner(tmp_path, "owned")
    assert len(command_lines(f"{tmp_path}")) >= 8
    started.send_signal(number)
    started.wait()
    eventually(lambda: command_lines(str(tmp_path)) == [], 5)
    assert (running / "cancel").exists()
    assert not (finished / "cancel").exists()


def test_a_stopped_node_does_not_survive_its_owner(tmp_path: Path) -> None:
    started = owner(tmp_path, "owned")
    os.kill(control.status(tmp_path)["web-2"]["pid"], signal.SIGSTOP)
    started.kill()
    started.wait()
    eventually(lambda: command_lines(str(tmp_path)) == [], 5)


def test_no_node_survives_the_manager(tmp_path: Path) -> None:
    with Cluster.start(tmp_path) as running:
        os.kill(running.node("web-2")["pid"], signal.SIGSTOP)
        manager = files.read_pids(running.layout)[0]
        os.kill(manager.pid, signal.SIGKILL)
        eventually(lambda: command_lines(str(tmp_path)) == [], 5)
        with pytest.raises(control.ControlError):
            running.status()


def test_a_kept_cluster_outlives_its_starter_and_down_ends_it(tmp_path: Path) -> None:
    started = owner(tmp_path, "keep")
    started.kill()
    started.wait()
    running = Cluster.attach(tmp_path)
    assert {node["state"] for node in running.status().values()} == {"running"}
    with pytest.raises(ClusterError, match="already runs"):
        Cluster.start(tmp_path)
    assert lab.down(tmp_path) is True
    assert command_lines(str(tmp_path)) == []
    assert lab.down(tmp_path) is False
    with pytest.raises(ClusterError, match="no demo cluster runs"):
        Cluster.attach(tmp_path)


def test_down_ends_a_manager_that_does_not_answer_but_never_a_process_with_a_recycled_number(tmp_path: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        with Cluster.start(tmp_path, keep=True) as running:
            running.layout.socket.unlink()
            here = process.identify(bystander.pid)
            assert here is not None
            written = json.loads(running.layout.pids.read_text())
            written.append({"pid": here.pid, "start_ticks": here.start_ticks - 1, "boot": here.boot})
            running.layout.pids.write_text(json.dumps(written))
            assert lab.down(tmp_path) is True
            assert command_lines(str(tmp_path)) == []
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_cluster_can_begin_where_another_ended_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    with Cluster.start(tmp_path, seed=1) as running:
        (running.layout.node("web-1") / "cache" / "old").write_text("old")
    with Cluster.start(tmp_path, seed=2) as running:
        assert not (running.layout.node("web-1") / "cache" / "old").exists()
        assert running.status()


def test_what_is_not_a_clusters_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "thesis.txt").write_text("years of work")
    with pytest.raises(ClusterError, match="not made by a demo cluster"):
        Cluster.start(tmp_path)
    assert (tmp_path / "nodes" / "thesis.txt").read_text() == "years of work"


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with Cluster.start(deep) as running:
        assert control.command(deep, "restart", node="web-1")["changed"] is True
        assert len(str(running.layout.socket)) > 108


def test_a_node_carries_no_runs_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MENDBOOK_EXECUTION", "an-execution")
    with Cluster.start(tmp_path) as running:
        for one in files.read_pids(Layout(running.directory))[1:]:
            assert b"MENDBOOK_EXECUTION" not in Path(f"/proc/{one.pid}/environ").read_bytes()
