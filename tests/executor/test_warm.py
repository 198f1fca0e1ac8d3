"""Warm starts: when they are cold instead, what they leave behind, and that whoever looks at processes sees them as they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.executor import processes
from engine.executor.local import LocalExecutor
from engine.executor.warm import disguise, stage, starts
from engine.executor.warm.keeper import Keeper
from engine.executor.warm.memory import Memory
from engine.executor.warm.stage import Stage, Unfit
from engine.executor.warm.starts import Cold, Reason, Starts
from engine.model.execution import ExecutionState, PlannedStep
from tests.executor.conftest import Bench, Told, play, wait

READY = 120.0
SLEEPER = """name: sleep
command: >-
  {{ ansible_playbook_python }} -c
  "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork() and time.sleep(99); os.setsid();
  open('{{ playbook_dir }}/pid', 'w').write(str(os.getpid())); time.sleep(99)"
"""
FORKING = """
import os, sys
from engine.executor.warm import disguise

pid = os.fork()
if pid == 0:
    disguise.mark("execution-1")
    disguise.rename(["/somewhere/python", "/somewhere/ansible-playbook", "x.yml"], "ansible-playbook")
print(open("/proc/self/comm").read().strip())
print(open("/proc/self/cmdline").read().rstrip(chr(0)).replace(chr(0), " ")[:60])
print([word for word in open("/proc/self/environ").read().split(chr(0)) if word.startswith("MENDBOOK")])
print(os.environ["OTHER"], sys.stdout.flush())
if pid:
    os.waitpid(pid, 0)
"""
OWNING = """
import sys, time
from pathlib import Path
from engine.executor.local import LocalExecutor

keeper = LocalExecutor(Path(sys.argv[1]), inventory=(), playbooks=()).keep_warm()
print(keeper.wait(float(sys.argv[2])), flush=True)
time.sleep(99)
"""


def test_starts_are_counted_by_their_reasons(tmp_path: Path) -> None:
    assert starts.counted(tmp_path) == Starts()
    for cold in (
        None,
        Cold(Reason.STARTING),
        None,
        Cold(Reason.CHANGED, "a file"),
        Cold(Reason.STARTING, "still"),
        None,
    ):
        starts.count(tmp_path, cold)
    assert starts.counted(tmp_path) == Starts(3, {"starting": 2, "changed": 1}, "starting: still")
    next(tmp_path.iterdir()).write_text("{torn")
    assert starts.counted(tmp_path) == Starts()
    starts.count(tmp_path, None)
    assert starts.counted(tmp_path) == Starts(1)


def test_what_cannot_be_written_is_not_counted(tmp_path: Path) -> None:
    starts.count(tmp_path / "nowhere", None)
    assert starts.counted(tmp_path / "nowhere") == Starts()


def test_a_forked_process_is_marked_and_named_as_if_it_had_been_started(tmp_path: Path) -> None:
    surroundings = {"FIRST": "1", **disguise.room(), "OTHER": "kept", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", FORKING, disguise.BLANK]
    told = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "['MENDBOOK_EXECUTION=execution-1']" in told
    assert "/somewhere/python /somewhere/ansible-playbook x.yml" in told
    assert "ansible-playboo" in told
    assert [line for line in told if line.startswith("['MENDBOOK_EXECUTION=  ")], "the one that forks was marked, too"
    assert told.count("kept None") == 2


def test_there_is_no_mark_without_room_for_it() -> None:
    with pytest.raises(OSError, match="no room"):
        disguise.mark("x" * 5000)


def test_the_environment_must_be_the_same_but_for_what_is_read_late(tmp_path: Path) -> None:
    program = tmp_path / "ansible-playbook"
    program.touch()
    known = {"PATH": "/bin", "ANSIBLE_FORKS": "5", "ANSIBLE_LOCAL_TEMP": "/a", "MENDBOOK_HOSTS": "[]"}
    ready = Stage(program, known, tmp_path)
    assert ready.refusal(str(program), known) is None
    assert ready.refusal(str(program), {**known, "ANSIBLE_LOCAL_TEMP": "/b", "MENDBOOK_HOSTS": "[1]"}) is None
    for other in ({**known, "ANSIBLE_FORKS": "6"}, {**known, "PYTHONPATH": "/x"}, {"PATH": "/bin"}):
        refusal = ready.refusal(str(program), other)
        assert refusal is not None
        assert refusal.reason is Reason.ENVIRONMENT
    assert "ANSIBLE_FORKS" in str(ready.refusal(str(program), {**known, "ANSIBLE_FORKS": "6"}))
    assert "another ansible-playbook" in str(ready.refusal(sys.executable, known))


def test_a_file_that_changed_or_came_to_be_makes_a_stage_stale(tmp_path: Path) -> None:
    program, settings = tmp_path / "ansible-playbook", tmp_path / "ansible.cfg"
    program.touch()
    ready = Stage(program, {"ANSIBLE_CONFIG": str(settings)}, tmp_path)
    ready.watch()
    assert ready.stale() is None
    settings.write_text("[defaults]\nforks = 9\n")
    assert ready.stale() == Cold(Reason.CHANGED, f"{settings} has changed")


@pytest.mark.parametrize("first", ["", "#!/bin/sh", "#!/usr/bin/env python", f"#!{sys.executable} -I", "\udc80"])
def test_a_program_of_another_interpreter_is_not_stood_for(tmp_path: Path, first: str) -> None:
    program = tmp_path / "ansible-playbook"
    program.write_bytes(first.encode("utf-8", "surrogateescape"))
    with pytest.raises(Unfit, match=r"ansible-playbook"):
        stage.interpreter(program)


def test_memory_gives_everybody_their_own(tmp_path: Path) -> None:
    learning, taught = Memory(), Memory()
    assert learning.recall("key", lambda: {"a": [1]}) == {"a": [1]}
    taught.take(learning.dump())
    copies = [taught.recall("key", lambda: pytest.fail("it was known")) for _ in range(3)]
    assert copies == [{"a": [1]}] * 3
    assert len({id(each) for each in copies} | {id(each["a"]) for each in copies}) == 6
    assert taught.recall("other", lambda: 7) == 7
    assert taught.recall("other", lambda: 8) == 8, "it learns no more"


def of_kind(program: str) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and program in (entry / "cmdline").read_bytes().decode("utf-8", "replace"):
                found.add(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def warm(bench: Bench) -> Iterator[LocalExecutor]:
    executor = bench.executor
    assert executor.keep_warm().wait(READY) is None, (bench.directory / ".warm" / "log").read_text()
    yield executor
    executor.close()
    wait(lambda: not of_kind(str(bench.directory)), "the end of the last process")


def keeper(executor: LocalExecutor) -> Keeper:
    found = executor._keeper
    assert found is not None
    return found


def run(bench: Bench, executor: LocalExecutor, *steps: PlannedStep) -> Told:
    execution = bench.execution(*steps)
    executor.start(execution)
    return bench.follow(execution.id, executor)


def say(bench: Bench) -> PlannedStep:
    return PlannedStep(bench.playbook("say.yml", play("name: say\ndebug: {msg: said}")), ("one",))


@pytest.mark.e2e
def test_canceling_a_warm_run_leaves_nothing(bench: Bench, warm: LocalExecutor) -> None:
    execution = bench.execution(PlannedStep(bench.playbook("sleep.yml", play(SLEEPER)), ("one",)))
    warm.start(execution)
    pid = bench.root / "playbooks" / "pid"
    wait(lambda: pid.exists() and pid.read_text(), "the daemon")
    lines = [Path(f"/proc/{one.pid}/cmdline").read_text() for one in processes.marked(execution.id)]
    assert any("ansible-playbook" in line for line in lines), "the forked ansible-playbook carries no mark"
    warm.cancel(execution.id, "enough")
    report = bench.follow(execution.id, warm).report
    assert (report.state, report.contained, report.message) == (ExecutionState.CANCELED, True, "canceled: enough")
    assert int(pid.read_text()) not in processes.running()
    assert not processes.marked(execution.id)
    assert starts.counted(bench.directory) == Starts(1)


@pytest.mark.e2e
def test_a_warm_run_that_takes_too_long_leaves_nothing(bench: Bench, warm: LocalExecutor) -> None:
    told = run(bench, warm, PlannedStep(bench.playbook("sleep.yml", play(SLEEPER)), ("one",), timeout=2.0))
    assert (told.report.state, told.report.contained) == (ExecutionState.TIMEOUT, True)
    assert not processes.marked(told.report.id)


@pytest.mark.e2e
def test_what_a_killed_supervisor_leaves_is_found_and_ended(bench: Bench, warm: LocalExecutor) -> None:
    execution = bench.execution(PlannedStep(bench.playbook("sleep.yml", play(SLEEPER)), ("one",)))
    warm.start(execution)
    pid = bench.root / "playbooks" / "pid"
    wait(lambda: pid.exists() and pid.read_text(), "the daemon")
    for process in of_kind(f"engine.executor.supervisor\0{bench.directory / execution.id}"):
        os.kill(process, signal.SIGKILL)
    report = bench.follow(execution.id, warm).report
    assert report.state is ExecutionState.LOST
    wait(lambda: not processes.marked(execution.id), "the end of what was left")
    assert int(pid.read_text()) not in processes.running()


@pytest.mark.e2e
def test_what_runs_goes_on_when_the_server_and_the_engine_are_gone(bench: Bench, warm: LocalExecutor) -> None:
    name = bench.playbook("rest.yml", play("name: rest\npause: {seconds: 2}", "name: say\ndebug: {msg: said}"))
    execution = bench.execution(PlannedStep(name, ("one",)))
    warm.start(execution)
    bench.started_task(execution.id, "rest")
    warm.close()
    told = bench.follow(execution.id)
    assert told.report.state is ExecutionState.SUCCESSFUL
    assert told.kinds("ok")[-1].text == "said"


@pytest.mark.e2e
def test_a_server_that_hangs_or_dies_is_done_without_and_nothing_runs_twice(bench: Bench, warm: LocalExecutor) -> None:
    line = "name: add\nlineinfile: {path: '{{ playbook_dir }}/count', line: '{{ 10000 | random }}', create: true}"
    step = PlannedStep(bench.playbook("add.yml", play(line)), ("one",))
    server = keeper(warm).server
    assert server is not None
    os.kill(server, signal.SIGSTOP)
    assert run(bench, warm, step).report.state is ExecutionState.SUCCESSFUL
    assert server not in processes.running(), "a server that did not answer must not hear of it later"
    assert run(bench, warm, step).report.state is ExecutionState.SUCCESSFUL
    counted = starts.counted(bench.directory)
    assert (counted.warm, sum(counted.cold.values())) == (0, 2)
    assert counted.cold["gone"] >= 1
    assert len((bench.root / "playbooks" / "count").read_text().splitlines()) == 2


@pytest.mark.e2e
def test_settings_that_change_are_cold_once_and_warm_again(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "ansible.cfg"
    settings.write_text("[defaults]\nforks = 7\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(settings))
    executor = bench.executor
    assert executor.keep_warm().wait(READY) is None
    name = bench.playbook("forks.yml", play("name: say\ndebug: {msg: '{{ ansible_forks }}'}"))
    step = PlannedStep(name, ("one",))
    assert run(bench, executor, step).kinds("ok")[0].text == "7"
    settings.write_text("[defaults]\nforks = 11\n")
    assert run(bench, executor, step).kinds("ok")[0].text == "11"
    assert starts.counted(bench.directory).last == f"changed: {settings} has changed"
    assert keeper(executor).wait(READY) is None
    assert run(bench, executor, step).kinds("ok")[0].text == "11"
    monkeypatch.setenv("ANSIBLE_FORKS", "13")
    assert run(bench, executor, step).kinds("ok")[0].text == "13"
    executor.close()
    assert starts.counted(bench.directory) == Starts(
        2, {"changed": 1, "environment": 1}, "environment: ANSIBLE_FORKS is not what it was"
    )


@pytest.mark.e2e
def test_a_log_of_ansibles_own_cannot_be_shared(bench: Bench, tmp_path: Path) -> None:
    bench.environment = {"ANSIBLE_LOG_PATH": str(tmp_path / "log")}
    executor = bench.executor
    why = executor.keep_warm().wait(READY)
    assert why is not None
    assert why.reason is Reason.UNFIT
    assert run(bench, executor, say(bench)).report.state is ExecutionState.SUCCESSFUL
    executor.close()
    assert "log_path" in starts.counted(bench.directory).last
    assert (tmp_path / "log").exists()


@pytest.mark.e2e
@pytest.mark.parametrize("when", ["preparing", "ready"])
def test_the_server_ends_with_whoever_wanted_it(bench: Bench, when: str) -> None:
    patience = str(READY if when == "ready" else 0)
    command = [sys.executable, "-c", OWNING, str(bench.directory), patience]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline().strip() == ("None" if when == "ready" else "starting")
        wait(lambda: of_kind("engine.executor.warm.server"), "the server")
        owner.kill()
    wait(lambda: not of_kind(str(bench.directory)), "the end of the server")


@pytest.mark.e2e
def test_eight_side_by_side_are_each_themselves(bench: Bench, warm: LocalExecutor) -> None:
    name = bench.playbook(
        "who.yml",
        play(
            "name: who\ndebug: {msg: '{{ mendbook_execution }} {{ inventory_hostname }}'}",
            "name: write\ncopy: {content: '{{ mendbook_execution }}', dest: '{{ playbook_dir }}/{{ mendbook_execution }}'}",
            "name: dice\ndebug: {msg: '{{ 1000000000 | random }}'}",
        ),
    )
    executions = [bench.execution(PlannedStep(name, ("one", "two"))) for _ in range(8)]
    for execution in executions:
        warm.start(execution)
    dice = set()
    for execution in executions:
        told = bench.follow(execution.id, warm)
        assert told.report.state is ExecutionState.SUCCESSFUL, told
        said = {(event.task, event.host): event.text for event in told.kinds("ok")}
        assert said["who", "two"] == f"{execution.id} two"
        assert (bench.root / "playbooks" / execution.id).read_text() == execution.id
        dice.add(said["dice", "one"])
    assert len(dice) == 8
    assert starts.counted(bench.directory) == Starts(8)


@pytest.mark.e2e
def test_one_after_the_other_the_server_does_not_grow(bench: Bench, warm: LocalExecutor) -> None:
    server = keeper(warm).server
    step = say(bench)
    sizes = []
    for _ in range(12):
        assert run(bench, warm, step).report.state is ExecutionState.SUCCESSFUL
        resident = int(Path(f"/proc/{server}/statm").read_text().split()[1])
        sizes.append((len(list(Path(f"/proc/{server}/fd").iterdir())), resident))
    assert {files for files, _ in sizes} == {sizes[0][0]}
    assert sizes[-1][1] - sizes[2][1] <= 64, "pages"
    assert keeper(warm).server == server
    assert json.loads((bench.directory / ".starts").read_text())["warm"] == 12
