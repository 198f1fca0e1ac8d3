"""What needs no Ansible: folders, processes, digests, and executions that never began."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.executor import folder as folders
from engine.executor import processes
from engine.executor.digest import digest
from engine.executor.folder import Folder
from engine.executor.local import LocalExecutor
from engine.executor.prune import prune
from engine.model.execution import Execution, ExecutionState, PlannedStep
from tests.executor.conftest import wait


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalExecutor:
    monkeypatch.setattr("engine.executor.local.command", lambda _: ["true"])  # a supervisor that never begins
    return LocalExecutor(tmp_path, inventory=(), playbooks=(), grace=3600.0)


def execution(name: str) -> Execution:
    step = PlannedStep("p.yml", ("h",), {"password": "planted", "n": 1})
    return Execution(name, "a", "i", "r", "d", "m", "h", (step,))


def test_what_was_never_started_is_pending(executor: LocalExecutor) -> None:
    assert executor.report("never", 0).state is ExecutionState.PENDING
    executor.cancel("never", "why not")
    assert executor.report("never", 0).state is ExecutionState.PENDING


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\n", "x" * 200])
def test_an_id_that_cannot_name_a_folder_is_refused(executor: LocalExecutor, name: str) -> None:
    with pytest.raises(ValueError, match="id"):
        executor.start(execution(name))
    with pytest.raises(ValueError, match="id"):
        executor.report(name, 0)


def test_a_supervisor_has_a_while_to_begin_and_then_it_is_lost_whatever_the_clock_says(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.start(execution("one"))
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert executor.report("one", 0).state is ExecutionState.PENDING
    intent = tmp_path / "one" / "intent.json"
    content = json.loads(intent.read_text())
    assert content["execution"]["steps"][0]["vars"] == {"password": "********", "n": 1}
    content["launched"]["since_boot"] -= 3601
    intent.write_text(json.dumps(content))
    monkeypatch.setattr(time, "time", lambda: 1.0)
    report = executor.report("one", 0)
    assert (report.state, report.contained) == (ExecutionState.LOST, True)
    assert (tmp_path / "one" / "tombstone").exists()
    assert executor.report("one", 0) == report


def test_after_a_reboot_nothing_begins_any_more(executor: LocalExecutor, tmp_path: Path) -> None:
    executor.start(execution("one"))
    (tmp_path / "one" / "intent.json").write_text('{"launched": {"boot": "another", "since_boot": 1e9}}')
    assert executor.report("one", 0).state is ExecutionState.LOST


def test_while_the_lock_is_held_it_runs(executor: LocalExecutor, tmp_path: Path) -> None:
    executor.start(execution("one"))
    with Folder(tmp_path / "one").locked(wait=False) as got:
        assert got
        assert executor.report("one", 0).state is ExecutionState.RUNNING
    assert executor.report("one", 0).state is ExecutionState.PENDING


STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(99)"


def test_what_is_left_of_a_lost_execution_is_ended_and_that_it_was_all_is_not_claimed(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    name = f"left-{os.getpid()}"
    executor.start(execution(name))
    (tmp_path / name / "events.jsonl").touch()  # it had begun
    environment = {**os.environ, processes.MARK: name}
    with subprocess.Popen([sys.executable, "-c", STUBBORN], env=environment, stdout=subprocess.PIPE) as rest:
        assert rest.stdout is not None
        rest.stdout.readline()
        report = executor.report(name, 0)
        assert rest.wait(10) == -signal.SIGKILL
    assert (report.state, report.contained) == (ExecutionState.LOST, False)
    assert "cannot be proved" in report.message
    assert executor.report(name, 0) == report


def test_what_may_have_run_on_other_machines_is_not_proved_ended(executor: LocalExecutor, tmp_path: Path) -> None:
    executor.start(execution("far"))
    secret = tmp_path / "far" / "steps" / "1" / "env" / "remote"
    secret.parent.mkdir(parents=True)
    secret.write_text('["web-2", "web-1"]')
    intent = tmp_path / "far" / "intent.json"
    intent.write_text(
        json.dumps({**json.loads(intent.read_text()), "launched": {"boot": "another", "since_boot": 0.0}})
    )
    report = executor.report("far", 0)
    assert (report.state, report.contained) == (ExecutionState.LOST, False)
    assert "what ran on web-1, web-2 has ended cannot be proved" in report.message
    assert executor.report("far", 0) == report


def test_a_folder_is_made_once_and_whole(tmp_path: Path) -> None:
    made = folders.create(tmp_path / "new", "one", {"n": 1})
    assert made is not None
    assert folders.read(made.intent) == {"n": 1}
    assert made.path.stat().st_mode & 0o777 == 0o700
    assert folders.create(tmp_path / "new", "one", {"n": 2}) is None
    assert folders.read(made.intent) == {"n": 1}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one"]


def test_a_process_is_found_by_its_mark_and_by_its_descent_and_ended_whatever_it_does() -> None:
    script = "setsid sleep 98 & trap '' TERM; echo ready; while true; do sleep 1; done"
    environment = {**os.environ, processes.MARK: "mine"}
    with subprocess.Popen(["sh", "-c", script], env=environment, stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        shell.stdout.readline()
        wait(lambda: len(processes.marked("mine")) >= 2, "the shell and its child")
        assert not processes.marked("min")
        assert shell.pid in {process.pid for process in processes.descendants(os.getpid())}
        assert processes.end(lambda: processes.marked("mine"), grace=0.1, limit=5.0, meanwhile=shell.poll)
        assert shell.wait(5) == -signal.SIGKILL
    assert not processes.marked("mine")


def test_a_signal_never_reaches_another_process_of_the_same_number() -> None:
    with subprocess.Popen(["sleep", "97"]) as sleeper:
        process = processes.running()[sleeper.pid]
        processes.send(processes.Process(process.pid, process.parent, process.started + 1), signal.SIGKILL)
        assert sleeper.poll() is None
        processes.send(process, signal.SIGKILL)
        assert sleeper.wait(5) == -signal.SIGKILL


def finished(directory: Path, name: str, at: float) -> None:
    (directory / name).mkdir()
    (directory / name / "result.json").write_text(json.dumps({"ended_at": at}))


def test_only_what_ended_long_ago_is_pruned(tmp_path: Path) -> None:
    now = time.time()
    for day in range(10):
        finished(tmp_path, f"day{day}", now - day * 86400 - 60)
    (tmp_path / "running").mkdir()
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "tombstone").write_text('{"at": 1.0, "contained": true}')
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "tombstone").write_text('{"at": 1.0, "contained": false}')
    (tmp_path / ".old-x").mkdir()
    (tmp_path / ".new-y").mkdir()
    removed = prune(tmp_path, lambda name: name != "day8", older_than=5 * 86400, newest=3)
    assert removed == ("lost", "day9", "day7", "day6", "day5")
    left = [".new-y", "day0", "day1", "day2", "day3", "day4", "day8", "loose", "running"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left
    assert prune(tmp_path, lambda _: True, older_than=0.0, newest=3) == ("day8", "day4", "day3")
    assert prune(tmp_path / "absent", lambda _: True) == ()


def test_what_takes_up_too_much_is_pruned_from_its_oldest_end(tmp_path: Path) -> None:
    now = time.time()
    for hour in range(8):
        finished(tmp_path, f"hour{hour}", now - hour * 3600)
        (tmp_path / f"hour{hour}" / "output").write_bytes(b"x" * 100_000)
    assert prune(tmp_path, lambda _: True, most_bytes=10_000_000, newest=1) == ()
    assert prune(tmp_path, lambda _: False, most_bytes=500_000, newest=1) == ()
    assert prune(tmp_path, lambda _: True, most_bytes=500_000, newest=1) == ("hour7", "hour6", "hour5", "hour4")
    assert prune(tmp_path, lambda _: True, most_bytes=0, newest=2) == ("hour3", "hour2")


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    files = {
        "main.yml": "- hosts: all\n  roles: [web, {role: db}]\n  tasks:\n"
        "    - include_role: {name: extra}\n    - ansible.builtin.import_tasks: tasks/more.yml\n    - template: {src: t.j2}\n",
        "tasks/more.yml": "- x: !vault abc\n",
        "templates/t.j2": "{{ x }}",
        "other.yml": "- hosts: all\n",
        "library/module.py": "pass\n",
        "roles/web/tasks/main.yml": "- debug:\n",
        "roles/web/meta/main.yml": "dependencies: [base]\n",
        "roles/base/files/f": "f",
        "roles/db/defaults/main.yml": "a: 1\n",
        "roles/extra/templates/x.j2": "x",
        "roles/unused/tasks/main.yml": "[]\n",
    }
    for name, text in files.items():
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_text(text)
    return tmp_path / "p"


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("main.yml", True),
        ("tasks/more.yml", True),
        ("templates/t.j2", True),
        ("library/module.py", True),
        ("roles/web/tasks/main.yml", True),
        ("roles/base/files/f", True),
        ("roles/db/defaults/main.yml", True),
        ("roles/extra/templates/x.j2", True),
        ("other.yml", False),
        ("roles/unused/tasks/main.yml", False),
        ("roles/web/__pycache__/x.pyc", False),
    ],
)
def test_a_digest_changes_with_what_the_playbook_names(playbooks: Path, name: str, counts: bool) -> None:
    before = digest([playbooks / "main.yml"])
    assert before == digest([playbooks / "main.yml"])
    (playbooks / name).parent.mkdir(exist_ok=True)
    with (playbooks / name).open("a") as file:
        file.write(" ")
    assert (digest([playbooks / "main.yml"]) != before) == counts


def test_a_digest_knows_neither_place_nor_order(playbooks: Path) -> None:
    names = ["main.yml", "other.yml"]
    here = digest([playbooks / name for name in names])
    moved = playbooks.rename(playbooks.parent / "moved")
    assert digest([moved / name for name in reversed(names)]) == here
    assert digest([moved / "main.yml"]) != here
    with pytest.raises(FileNotFoundError):
        digest([moved / "missing.yml"])
    (moved / "main.yml").write_text("{not: yaml")
    assert digest([moved / "main.yml"]) != here
