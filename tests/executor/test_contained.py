"""Whatever a playbook begins ends with it: here, on a node over ssh, and when whoever should see to it was killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.executor import groups, processes
from engine.model.execution import ExecutionState, PlannedStep
from tests.executor.conftest import Bench, play, wait
from tests.executor.node import Node

pytestmark = pytest.mark.e2e

CANCELED, LOST = ExecutionState.CANCELED, ExecutionState.LOST

CLEARED = """name: hide
shell: |
  setsid env -i {python} -c '{stay} # {token} a' </dev/null >/dev/null 2>&1 &
  (env -i setsid {python} -c '{stay} # {token} b' </dev/null >/dev/null 2>&1 &)
  exec env -i {python} -c '{stay} # {token} c'
"""
STAY = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(99)"
KEPT = """name: {name}
shell: |
  exec {python} -c '{stay} # {token} {name}'
"""


def alive(token: str) -> list[int]:
    """Return the processes whose words contain the token."""
    found = []
    for process in processes.running().values():
        try:
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            continue
        if token.encode() in words and b"-c" in words.split(b"\0"):
            found.append(process.pid)
    return found


@pytest.fixture
def token(tmp_path: Path) -> Iterator[str]:
    """A word that stands in the command of whatever a test starts; nothing of that outlives the test."""
    word = f"token-{os.getpid()}-{tmp_path.name}"
    yield word
    for pid in alive(word):
        os.kill(pid, signal.SIGKILL)


def task(text: str, token: str, **more: str) -> str:
    return text.format(python=sys.executable, stay=STAY, token=token, **more)


def pid_of(bench: Bench, execution: str) -> int:
    return int((bench.directory / execution / "lock").read_text())


def needs_group() -> None:
    made = groups.create("test")
    if made is None:
        pytest.skip("no control group can be made here: it wants cgroups that are mounted and writable")
    made.remove()


def test_what_forgets_its_environment_its_session_and_its_parent_ends_with_a_cancel(bench: Bench, token: str) -> None:
    execution = bench.execution(PlannedStep(bench.playbook("hide.yml", play(task(CLEARED, token))), ("one",)))
    bench.executor.start(execution)
    wait(lambda: len(alive(token)) == 3, "three processes that hide")
    bench.executor.cancel(execution.id, "enough")
    told = bench.follow(execution.id)
    assert (told.report.state, told.report.contained) == (CANCELED, True)
    assert alive(token) == []


@pytest.mark.parametrize("who", ["supervisor", "warden", "both"])
def test_who_is_killed_leaves_nobody_behind(bench: Bench, token: str, who: str) -> None:
    if who == "both":
        needs_group()
    execution = bench.execution(PlannedStep(bench.playbook("hide.yml", play(task(CLEARED, token))), ("one",)))
    executor = bench.executor
    executor.start(execution)
    wait(lambda: len(alive(token)) == 3, "three processes that hide")
    supervisor = pid_of(bench, execution.id)
    warden = processes.running()[supervisor].parent
    for pid in {"supervisor": [supervisor], "warden": [warden], "both": [warden, supervisor]}[who]:
        os.kill(pid, signal.SIGKILL)
    if who == "warden":
        assert executor.report(execution.id, 0).state is ExecutionState.RUNNING
        assert len(alive(token)) == 3
        executor.cancel(execution.id, "enough")
    told = bench.follow(execution.id, executor)
    assert (told.report.state, told.report.contained) == (CANCELED if who == "warden" else LOST, True)
    assert alive(token) == []


def test_what_nobody_can_prove_ended_is_not_called_so(
    bench: Bench, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there are no control groups."""
    text = play(task(KEPT, token, name="stay"))
    execution = bench.execution(PlannedStep(bench.playbook("stay.yml", text), ("one",)))
    executor = bench.executor
    executor.start(execution)
    wait(lambda: alive(token), "the process")
    (bench.directory / execution.id / "group.json").unlink(missing_ok=True)
    supervisor = pid_of(bench, execution.id)
    for pid in (processes.running()[supervisor].parent, supervisor):
        os.kill(pid, signal.SIGKILL)
    told = bench.follow(execution.id, executor)
    assert (told.report.state, told.report.contained) == (LOST, False)
    assert "cannot be proved" in told.report.message
    wait(lambda: not alive(token), "the end of what carried the mark")


def test_a_node_over_ssh_is_asked_and_what_runs_there_is_ended(far: Bench, token: str) -> None:
    text = play(
        task(KEPT, token, name="job") + "async: 90\npoll: 0",
        task(KEPT, token, name="wait"),
    )
    execution = far.execution(PlannedStep(far.playbook("far.yml", text), ("far",)), target="far")
    far.executor.start(execution)
    wait(lambda: len(alive(token)) >= 2, "a job and a task on the node")
    far.executor.cancel(execution.id, "enough")
    told = far.follow(execution.id)
    assert (told.report.state, told.report.contained) == (CANCELED, True), told
    assert alive(token) == []
    assert told.kinds("failed") == []


def test_a_job_that_goes_on_when_its_playbook_is_over_is_ended_and_what_has_ended_is_not_asked_about(
    far: Bench, token: str
) -> None:
    text = play(
        task(KEPT, token, name="job") + "async: 90\npoll: 0", "name: done\ncommand: /bin/true\nasync: 9\npoll: 1"
    )
    told = far.run(PlannedStep(far.playbook("job.yml", text), ("far",)), target="far")
    assert (told.report.state, told.report.contained) == (ExecutionState.SUCCESSFUL, True), told
    assert alive(token) == []
    text = play("name: done\ncommand: /bin/true\nasync: 9\npoll: 1", "name: say\ncommand: /bin/true")
    told = far.run(PlannedStep(far.playbook("done.yml", text), ("far",)), target="far")
    assert told.report.contained
    assert not (far.directory / told.report.id / "steps" / "sweep").exists()


def test_what_runs_on_a_node_that_cannot_be_reached_any_more_is_not_called_ended(
    far: Bench, node: Node, token: str
) -> None:
    text = play(task(KEPT, token, name="job") + "async: 90\npoll: 0", task(KEPT, token, name="wait"))
    execution = far.execution(PlannedStep(far.playbook("far.yml", text), ("far",)), target="far")
    far.executor.start(execution)
    wait(lambda: len(alive(token)) >= 2, "a job and a task on the node")
    node.stop()
    far.executor.cancel(execution.id, "enough")
    told = far.follow(execution.id)
    assert (told.report.state, told.report.contained) == (CANCELED, False)
    assert "whether what ran on far has ended cannot be proved" in told.report.message
    assert alive(token)


def test_when_the_supervisor_is_killed_its_warden_asks_the_nodes(far: Bench, token: str) -> None:
    text = play(task(KEPT, token, name="wait"))
    execution = far.execution(PlannedStep(far.playbook("far.yml", text), ("far",)), target="far")
    executor = far.executor
    executor.start(execution)
    wait(lambda: alive(token), "a task on the node")
    os.kill(pid_of(far, execution.id), signal.SIGKILL)
    told = far.follow(execution.id, executor)
    assert (told.report.state, told.report.contained) == (LOST, True), told
    assert alive(token) == []
