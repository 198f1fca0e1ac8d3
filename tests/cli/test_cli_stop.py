"""The emergency stop: with an engine, without one, and beside one that hangs."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.model.standing import Pause
from tests.cli.cli_project import REPOSITORY, Project, wait

RECORD = Path(".mendbook", "record.sqlite3")
SETTINGS = """\
sources: {host: false}
runbooks: runbooks
interval: 1s
"""
RUNBOOK = """\
runbook: always
summary: Always true, so that something runs.
mode: auto
trigger: {alert: Always, expr: vector(1) > 0, scope: fleet}
localize: {resource: cpu, target: web-1}
remedies:
  - {name: Take long, playbook: long.yml}
verify: {expr: vector(1) > 0, scope: fleet, for: 1s, within: 5s}
"""
PLAYBOOK = """\
- name: Take long
  hosts: all
  gather_facts: false
  tasks:
    - name: Sleep
      ansible.builtin.command: {argv: [sleep, "%s"]}
"""


class Engine:
    """A `mendbook watch` of its own."""

    def __init__(self, root: Path) -> None:
        self.log = (root / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from engine.cli.main import main; main()", "watch", "--lines"],
            cwd=root, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=self.log, stderr=self.log,
        )  # fmt: skip

    def hang(self, record: Path) -> None:
        """Stop it where it stands, but not in the midst of a commit: who wants the record locked locks it."""
        for _ in range(100):
            self.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
            if not locked(record):
                return
            self.go_on()
            time.sleep(0.05)
        pytest.fail("the engine never let go of the record")

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def asleep(project: Project) -> str:
    """Lay out the project; return the argument by which its sleep is known."""
    seconds = f"{86_000 + os.getpid() % 9000}.{time.time_ns() % 1000:03}"
    (project.root / "runbooks" / "memory-short.yml").unlink()
    project.write("mendbook.yml", SETTINGS)
    project.write("runbooks/always.yml", RUNBOOK)
    project.write("playbooks/long.yml", PLAYBOOK % seconds)
    return seconds


@pytest.fixture
def engine(project: Project, asleep: str) -> Iterator[Engine]:
    engine = Engine(project.root)
    try:
        wait(lambda: sleeps(asleep), "the remedy", patience=120.0)  # a busy machine takes its time to start Ansible
        yield engine
    finally:
        engine.end()
        project.run("stop", "--wait", "20s")


def sleeps(seconds: str) -> bool:
    """Return whether the remedy's command runs."""
    return any(each.info["cmdline"] == ["sleep", seconds] for each in psutil.process_iter(["cmdline"]))


def locked(record: Path) -> bool:
    """Return whether someone is in the midst of a commit."""
    probe = sqlite3.connect(record, isolation_level=None, timeout=0.0)
    try:
        probe.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    else:
        probe.execute("ROLLBACK")
        return False
    finally:
        probe.close()


def stopped(project: Project) -> Pause:
    with project.record as record:
        (pause,) = record.standing(time.time()).pauses
    return pause


@pytest.mark.e2e
def test_beside_an_engine_everything_ends_and_is_written_down(project: Project, asleep: str, engine: Engine) -> None:
    result = project.run("stop", "--reason", "wrong rack", "-o", "json")
    assert result.code == 0, result.err
    assert not sleeps(asleep)
    answer = json.loads(result.out)
    assert answer["paused"] is True
    (execution,) = answer["executions"]
    assert (execution["target"], execution["state"], execution["over"]) == ("web-1", "canceled", True)
    assert "wrong rack" in execution["message"]
    pause = stopped(project)
    assert (pause.scope, pause.reason, pause.stop, pause.until) == ("all", "wrong rack", True, None)

    def written() -> bool:
        with project.record as record:
            return not record.standing(time.time()).executions

    wait(written, "the end in the record")
    assert engine.process.poll() is None


@pytest.mark.e2e
def test_an_engine_that_hangs_is_no_hindrance_and_what_it_begins_later_ends_too(
    project: Project, asleep: str, engine: Engine
) -> None:
    engine.hang(project.root / RECORD)
    result = project.run("stop", "--reason", "it hangs")
    assert result.code == 0, result.err
    assert not sleeps(asleep)
    assert "nothing" in result.out
    assert stopped(project).stop
    engine.go_on()

    def learned() -> bool:
        with project.record as record:
            return not record.standing(time.time()).executions

    wait(learned, "the end in the record")
    assert not sleeps(asleep)


@pytest.mark.e2e
def test_without_an_engine_it_ends_what_a_dead_one_left_and_writes_that_down(
    project: Project, asleep: str, engine: Engine
) -> None:
    engine.end()
    engine.log = (project.root / "log").open("ab")
    assert sleeps(asleep)
    result = project.run("stop", "--reason", "the engine is dead")
    assert result.code == 0, result.err
    assert not sleeps(asleep)
    with project.record as record:
        standing = record.standing(time.time())
    assert standing.executions == ()
    assert standing.pauses[0].stop
    (incident,) = standing.incidents
    assert incident.state == "escalated"
    assert "the engine is dead" in incident.reason


@pytest.mark.e2e
def test_a_record_that_another_process_keeps_locked_does_not_keep_anything_running(
    project: Project, asleep: str, engine: Engine
) -> None:
    engine.hang(project.root / RECORD)
    locker = sqlite3.connect(project.root / RECORD, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    result = project.run("stop")
    assert result.code == 1
    assert "NOT paused" in result.err
    assert "the pause could not be stored" in result.err
    assert not sleeps(asleep)
    locker.execute("ROLLBACK")
    locker.close()
    assert project.run("stop").code == 0
    assert stopped(project).stop


@pytest.mark.e2e
def test_settings_that_are_wrong_do_not_keep_it_from_stopping(project: Project, asleep: str, engine: Engine) -> None:
    project.write("mendbook.yml", SETTINGS + "nonsense: true\n")
    result = project.run("stop")
    assert result.code == 0, result.err
    assert not sleeps(asleep)
    assert stopped(project).stop
    assert engine.process.poll() is None


def test_where_nothing_runs_everything_is_paused_until_resumed(project: Project) -> None:
    result = project.run("stop", "--reason", "drill")
    assert result.code == 0
    assert "nothing ran" in result.err
    assert stopped(project).reason == "drill"
    assert project.run("resume", "--reason", "over").code == 0
    with project.record as record:
        assert record.standing(time.time()).pauses == ()


def test_a_pause_for_a_while_does_not_turn_a_stop_into_one(project: Project) -> None:
    assert project.run("stop", "--reason", "wrong rack").code == 0
    paused = project.run("pause", "--for", "1s", "--reason", "ten minutes")
    assert paused.code == 20
    assert "all is stopped by" in paused.err
    assert "until resumed: wrong rack; that stands, and `mendbook resume` ends it" in paused.err
    with project.record as record:
        (pause,) = record.standing(time.time()).pauses
    assert (pause.stop, pause.until, pause.reason) == (True, None, "wrong rack")


def test_a_stop_is_seen_in_the_status(project: Project) -> None:
    assert project.run("stop", "--reason", "drill").code == 0
    assert "STOPPED" in project.run("status").out
