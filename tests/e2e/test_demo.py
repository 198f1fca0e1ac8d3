"""The demo as people run it: the console script, in an empty folder, ended in every way that there is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.e2e

MENDBOOK = str(Path(sys.executable).with_name("mendbook"))
LONGEST = 120.0
GONE_WITHIN = 15.0


def traces(process: psutil.Process) -> tuple[str, str]:
    """Return a process's command line, and the execution that it belongs to."""
    try:
        with process.oneshot():
            return " ".join(process.cmdline()), process.environ().get("MENDBOOK_EXECUTION", "")
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return "", ""


class Place:
    """An empty folder with a home and a folder for temporary files beside it, and the processes that belong to it."""

    def __init__(self, root: Path) -> None:
        self.here, self.home, self.temporary = root / "here", root / "home", root / "tmp"
        for folder in (self.here, self.home, self.temporary):
            folder.mkdir()
        self.executions = self.here / ".mendbook-demo" / ".mendbook" / "executions"
        self.environment = {**os.environ, "HOME": str(self.home), "TMPDIR": str(self.temporary)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [MENDBOOK, *arguments],
            cwd=self.here,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MENDBOOK, *arguments],
            cwd=self.here,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )

    def processes(self) -> list[str]:
        """Return every process that names the folder, or belongs to an execution whose folder lies in it."""
        own = {each.name for each in self.executions.iterdir()} if self.executions.is_dir() else set()
        found = [traces(each) for each in psutil.process_iter() if each.pid != os.getpid()]
        return [command for command, execution in found if str(self.here) in command or execution in own]

    def files_outside(self) -> list[Path]:
        """Return whatever was written beside the demo's directory."""
        demo = self.here / ".mendbook-demo"
        found = [path for folder in (self.here, self.home, self.temporary) for path in folder.rglob("*")]
        return [path for path in found if path != demo and demo not in path.parents]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    own = Place(tmp_path)
    yield own
    own.run("lab", "down")


def eventually(condition: Callable[[], bool], seconds: float, message: Callable[[], object]) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, message()
        time.sleep(0.05)


def test_a_demo_heals_and_leaves_neither_a_process_nor_a_file_elsewhere(place: Place) -> None:
    demo = place.run("demo", "--inject", "killed", "--seed", "2", "-o", "json")
    assert demo.returncode == 0, demo.stderr
    (row,) = json.loads(demo.stdout)
    assert row["good"]
    assert (row["injection"], row["localized"], row["runbook"]) == ("killed", "right", "node-down")
    assert 0 < row["detected_after"] <= row["localized_after"] < row["recovered_after"]
    for kind in ("injection", "alert", "fault", "decision", "playbook", "task", "execution", "verification", "outcome"):
        assert f" {kind} " in demo.stderr
    assert place.processes() == []
    assert place.files_outside() == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, None), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_demo_that_is_ended_while_a_playbook_runs_leaves_no_process(
    place: Place, number: signal.Signals, code: int | None
) -> None:
    demo = place.start("demo", "--inject", "killed")
    try:

        def playbook_runs() -> bool:
            assert demo.poll() is None, "it ended by itself"
            return any("ansible" in command for command in place.processes())

        eventually(playbook_runs, LONGEST, lambda: "no playbook was started")
        demo.send_signal(number)
        demo.communicate(timeout=GONE_WITHIN)
        if code is not None:
            assert demo.returncode == code
        eventually(lambda: not place.processes(), GONE_WITHIN, place.processes)
    finally:
        demo.kill()
        demo.communicate()


def test_a_demo_that_is_killed_while_it_starts_leaves_no_process(place: Place) -> None:
    demo = place.start("demo", "--inject", "killed")
    try:
        eventually(lambda: any("engine.lab.web" in each or "engine.lab.node" in each for each in place.processes()),
                   LONGEST, lambda: "no node was started")  # fmt: skip
        demo.kill()
        demo.communicate(timeout=GONE_WITHIN)
        eventually(lambda: not place.processes(), GONE_WITHIN, place.processes)
    finally:
        demo.kill()
        demo.communicate()


def test_a_kept_cluster_stays_until_it_is_taken_down(place: Place) -> None:
    demo = place.run("demo", "--inject", "killed", "--keep")
    assert demo.returncode == 0, demo.stderr
    assert len(place.processes()) >= 7, "three web nodes, two stores, the balancer and their manager"
    status = place.run("lab", "status", "-o", "json")
    assert status.returncode == 0, status.stderr
    assert {each["state"] for each in json.loads(status.stdout)} == {"running"}
    down = place.run("lab", "down")
    assert down.returncode == 0, down.stderr
    eventually(lambda: not place.processes(), GONE_WITHIN, place.processes)
    assert place.run("lab", "down").returncode == 1, "there is none any more"
