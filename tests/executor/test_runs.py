"""Executions with the real ansible-playbook on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine.executor import processes
from engine.executor.local import LocalExecutor
from engine.model.execution import ExecutionState, PlannedStep
from tests.executor.conftest import Bench, play, wait

pytestmark = pytest.mark.e2e

SUCCESSFUL, FAILED, LOST = ExecutionState.SUCCESSFUL, ExecutionState.FAILED, ExecutionState.LOST

SLEEPER = """name: sleep
command: >-
  {{ ansible_playbook_python }} -c
  "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork() and time.sleep(99); os.setsid();
  open('{{ playbook_dir }}/pid.new', 'w').write(str(os.getpid())); os.rename('{{ playbook_dir }}/pid.new', '{{ playbook_dir }}/pid');
  time.sleep(99)"
"""


def gone(bench: Bench, execution: str) -> bool:
    pid = int((bench.root / "playbooks" / "pid").read_text())
    return pid not in processes.running() and not processes.marked(execution)


def test_a_run_tells_what_it_does_and_templates_nothing_that_it_was_given(bench: Bench) -> None:
    hostile = f"{{{{ lookup('pipe', 'touch {bench.root}/witness') }}}}"
    name = bench.playbook(
        "say.yml",
        play(
            "name: say\ndebug: {msg: '{{ culprit }} {{ deep.er[0] }} {{ number + 1 }}'}",
            "name: about\ndebug: {msg: '{{ mendbook_attempt }} {{ mendbook_incident }} {{ mendbook_target }} {{ mendbook_execution }}'}",
            "name: write\ncopy: {content: \"new\\n\", dest: '{{ playbook_dir }}/{{ inventory_hostname }}'}",
            "name: skip\ndebug: {msg: no}\nwhen: false",
            "name: interpreter\ncommand: '{{ ansible_python_interpreter }} -c \"import sys; print(sys.executable)\"'\nregister: it",
            "name: which\ndebug: {msg: '{{ it.stdout }} {{ ansible_remote_tmp }}'}",
        ),
    )
    step = PlannedStep(name, ("one", "two"), {"culprit": hostile, "deep": {"er": (hostile,)}, "number": 4})
    told = bench.run(step, diff=True)
    assert told.report.state is SUCCESSFUL, told
    assert told.report.contained
    assert [event.number for event in told.events] == list(range(1, len(told.events) + 1))
    assert told.events[0].kind == "step_started"
    assert told.events[0].data["hosts"] == ("one", "two")
    assert told.events[-1].kind == "step_ended"
    said = {(event.task, event.host): event.text for event in told.kinds("ok")}
    assert said["say", "one"] == f"{hostile} {hostile} 5"
    assert said["about", "two"] == f"attempt-1 incident-1 one {told.report.id}"
    interpreter = Path(said["which", "one"].split()[0])  # `python` and `python3` of one environment are the same
    assert interpreter.parent == Path(sys.executable).parent
    assert interpreter.samefile(sys.executable)
    assert said["which", "one"].split()[1].startswith(str(bench.directory))
    assert {event.host for event in told.kinds("skipped")} == {"one", "two"}
    written = [event for event in told.kinds("changed") if event.task == "write"]
    assert [("+new" in event.text) for event in written] == [True, True]
    assert not (bench.root / "witness").exists()
    assert told.report.started_at < told.report.ended_at


def test_check_changes_nothing_and_a_second_start_runs_nothing(bench: Bench) -> None:
    line = "name: add\nlineinfile: {path: '{{ playbook_dir }}/count', line: '{{ 10000 | random }}', create: true}"
    step = PlannedStep(bench.playbook("add.yml", play(line)), ("one",))
    assert bench.run(step, check=True).report.state is SUCCESSFUL
    assert not (bench.root / "playbooks" / "count").exists()
    execution = bench.execution(step)
    assert bench.executor.report(execution.id, 0).state is ExecutionState.PENDING
    first, second = bench.executor, bench.executor
    first.start(execution)
    second.start(execution)
    first.start(execution)
    assert bench.follow(execution.id, second).report.state is SUCCESSFUL
    first.start(execution)
    assert bench.follow(execution.id, first).report.state is SUCCESSFUL
    assert len((bench.root / "playbooks" / "count").read_text().splitlines()) == 1


def test_a_failure_skips_the_rest_but_never_what_always_runs(bench: Bench) -> None:
    bad = bench.playbook("bad.yml", play("name: break\ncommand: sh -c 'echo oh dear >&2; exit 3'"))
    good = bench.playbook("good.yml", play("name: mark\ndebug: {msg: fine}"))
    steps = [PlannedStep(bad, ("one",)), PlannedStep(good, ("one",)), PlannedStep(good, ("two",), always=True)]
    told = bench.run(*steps)
    assert told.report.state is FAILED
    assert told.report.message == "failed on one"
    assert [event.step for event in told.kinds("step_started")] == [1, 3]
    (failed,) = told.kinds("failed")
    assert (failed.host, failed.task, failed.step, failed.data["rc"]) == ("one", "break", 1, 3)
    assert "oh dear" in failed.text
    assert "non-zero return code" in failed.text
    assert [event.host for event in told.kinds("ok")] == ["two"]


def test_each_result_is_told_once(bench: Bench) -> None:
    tasks = (
        "name: bad\ncommand: 'false'\nignore_errors: true",
        "name: each\ncommand: 'echo {{ item }}'\nloop: [a, b]",
        "name: stir\ncommand: 'true'\nnotify: [hear]",
    )
    playbook = play(*tasks).replace("  tasks:", "  handlers: [{name: hear, debug: {msg: heard}}]\n  tasks:")
    told = bench.run(PlannedStep(bench.playbook("once.yml", playbook), ("one",)))
    assert told.report.state is SUCCESSFUL
    results = [(each.kind, each.task) for kind in ("ok", "changed", "failed") for each in told.kinds(kind)]
    assert sorted(results) == [("changed", "each"), ("changed", "stir"), ("failed", "bad"), ("ok", "hear")]
    assert [each.task for each in told.kinds("task_started")] == ["bad", "each", "stir", "hear"]


@pytest.mark.parametrize(
    ("playbook", "said"),
    [
        (play("name: told\ndebug: {msg: '{{ word }}'}").replace("  tasks:", "  vars_prompt: [{name: word}]\n  tasks:"), "'word'"),
        (play("name: ask people\npause: {prompt: 'Go on?'}", "name: never\ndebug: {msg: no}"), "'ask people'"),
    ],
)  # fmt: skip
def test_a_playbook_that_asks_is_refused_at_once(bench: Bench, playbook: str, said: str) -> None:
    told = bench.run(PlannedStep(bench.playbook("asks.yml", playbook), ("one",)))
    assert told.report.state is FAILED
    assert said in told.report.message
    assert "nobody" in told.report.message
    assert not told.kinds("ok")


def test_a_variable_that_is_given_is_not_asked_for(bench: Bench) -> None:
    playbook = play("name: told\ndebug: {msg: '{{ word }}'}").replace(
        "  tasks:", "  vars_prompt: [{name: word}]\n  tasks:"
    )
    told = bench.run(PlannedStep(bench.playbook("given.yml", playbook), ("one",), {"word": "so"}))
    assert told.report.state is SUCCESSFUL
    assert [event.text for event in told.kinds("ok")] == ["so"]


def test_an_unreachable_host_is_named(bench: Bench) -> None:
    step = PlannedStep(bench.playbook("ping.yml", play("name: ask\nping:")), ("one", "gone"))
    told = bench.run(step)
    assert told.report.state is FAILED
    assert told.report.unreachable == ("gone",)
    assert told.report.message == "unreachable: gone"
    assert [event.host for event in told.kinds("unreachable")] == ["gone"]
    assert "Connection refused" in told.text


def test_a_play_without_a_host_and_one_on_other_hosts_are_failures(bench: Bench) -> None:
    task = "name: touch\nfile: {path: '{{ playbook_dir }}/{{ inventory_hostname }}', state: touch}"
    told = bench.run(PlannedStep(bench.playbook("nobody.yml", play(task, hosts="two")), ("one",)))
    assert told.report.state is FAILED
    assert "no host matched" in told.report.message
    told = bench.run(PlannedStep(bench.playbook("group.yml", play(task)), ("pair",)))  # a group's name for a host's
    assert told.report.state is FAILED
    assert "hosts that it was not given: one, two" in told.report.message
    assert sorted(path.name for path in (bench.root / "playbooks").iterdir()) == ["group.yml", "nobody.yml"]


def test_what_ansible_cannot_read_is_told_in_its_own_words(bench: Bench) -> None:
    name = bench.playbook("wrong.yml", "- hosts: all\n  tasks:\n    - debug: {msg: 1\n    - debug:\n")
    told = bench.run(PlannedStep(name, ("one",)))
    assert told.report.state is FAILED
    assert "wrong.yml:4" in told.report.message
    name = bench.playbook("misspelt.yml", play("name: x\ndebugg: {msg: 1}"))
    told = bench.run(PlannedStep(name, ("one",)))
    assert told.report.state is FAILED
    assert "debugg" in told.report.message
    assert "misspelt.yml:4" in told.report.message


@pytest.mark.parametrize(
    ("playbook", "hosts", "says"),
    [
        ("missing.yml", ("one",), "'missing.yml' was not found"),
        ("../inventory.yml", ("one",), "leaves the playbook folders"),
        ("link.yml", ("one",), "outside the playbook folders"),
        ("fine.yml", ("one", "all"), "names a group"),
        ("fine.yml", ("one:two",), "':'"),
        ("fine.yml", ("--become",), "'--become'"),
        ("fine.yml", (), "no host is named"),
    ],
)
def test_what_is_refused_runs_nothing(bench: Bench, playbook: str, hosts: tuple[str, ...], says: str) -> None:
    bench.playbook("fine.yml", play("name: x\ndebug:"))
    (bench.root / "playbooks" / "link.yml").symlink_to(bench.root / "inventory.yml")
    told = bench.run(PlannedStep("fine.yml", ("one",)), PlannedStep(playbook, hosts, always=True))
    assert told.report.state is FAILED
    assert says in told.report.message
    assert told.events == ()


def test_a_timeout_ends_everything_and_what_always_runs_still_does(bench: Bench) -> None:
    sleep = bench.playbook("sleep.yml", play(SLEEPER))
    good = bench.playbook("good.yml", play("name: x\ndebug: {msg: put back}"))
    told = bench.run(PlannedStep(sleep, ("one",), timeout=8.0), PlannedStep(good, ("one",), always=True))
    assert told.report.state is ExecutionState.TIMEOUT
    assert told.report.contained
    assert "8 s" in told.report.message
    assert gone(bench, told.report.id)
    assert "put back" in told.text


def test_a_cancel_ends_everything_whoever_asks(bench: Bench) -> None:
    sleep = bench.playbook("sleep.yml", play(SLEEPER))
    execution = bench.execution(PlannedStep(sleep, ("one",)), PlannedStep(sleep, ("one",), always=True))
    bench.executor.start(execution)
    wait((bench.root / "playbooks" / "pid").exists, "the sleeper")
    bench.executor.cancel(execution.id, "enough")
    bench.executor.cancel(execution.id, "again")
    told = bench.follow(execution.id)
    assert told.report.state is ExecutionState.CANCELED
    assert told.report.message == "canceled: enough"
    assert gone(bench, execution.id)
    assert [event.step for event in told.kinds("step_started")] == [1]
    execution = bench.execution(PlannedStep(sleep, ("one",)))
    bench.executor.start(execution)
    bench.started_task(execution.id, "sleep")
    (bench.directory / execution.id / "cancel").touch()
    assert bench.follow(execution.id).report.state is ExecutionState.CANCELED
    execution = bench.execution(PlannedStep(sleep, ("one",)))
    bench.executor.start(execution)
    bench.started_task(execution.id, "sleep")
    os.kill(supervisor(bench, execution.id), signal.SIGTERM)
    assert "SIGTERM" in bench.follow(execution.id).report.message


def supervisor(bench: Bench, execution: str) -> int:
    """Return the number of the process that supervises an execution."""
    return int((bench.directory / execution / "lock").read_text())


def test_what_a_playbook_leaves_in_the_background_ends_with_its_step(bench: Bench) -> None:
    leave = """name: leave
shell: "setsid sleep 99 & echo $! > {{ playbook_dir }}/pid"
"""
    told = bench.run(PlannedStep(bench.playbook("leave.yml", play(leave)), ("one",)))
    assert told.report.state is SUCCESSFUL
    assert told.report.contained
    assert gone(bench, told.report.id)


def test_an_execution_whose_supervisor_was_killed_is_lost_and_what_is_left_of_it_is_ended(bench: Bench) -> None:
    execution = bench.execution(
        PlannedStep(bench.playbook("sleep.yml", play(SLEEPER)), ("one",), {"app_password": "planted-in-vars"})
    )
    executor = bench.executor
    executor.start(execution)
    wait((bench.root / "playbooks" / "pid").exists, "the sleeper")
    assert not gone(bench, execution.id)
    os.kill(supervisor(bench, execution.id), signal.SIGKILL)
    told = bench.follow(execution.id)
    assert told.report.state is LOST
    assert told.report.contained
    assert gone(bench, execution.id)
    assert told.kinds("task_started")
    executor.start(execution)
    assert bench.follow(execution.id, executor).report.state is LOST
    assert hidden(bench, "planted-in-vars")


def test_the_death_of_the_engine_changes_nothing(bench: Bench) -> None:
    step = PlannedStep(
        bench.playbook("pause.yml", play("name: wait\npause: {seconds: 1}", "name: x\ndebug: {msg: done}")), ("one",)
    )
    execution = bench.execution(step)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        bench.executor.start(execution)
        os.write(writing, b"!")
        signal.pause()
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = bench.follow(execution.id)
    assert told.report.state is SUCCESSFUL
    assert "done" in told.text


def hidden(bench: Bench, *secrets: str) -> bool:
    for path in bench.directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
    return True


def test_secrets_are_nowhere_once_it_has_ended(bench: Bench) -> None:
    vault = bench.root / "vault"
    vault.write_text("open sesame\n")
    sealed = subprocess.run(
        [Path(sys.executable).parent / "ansible-vault", "encrypt", f"--vault-password-file={vault}"],
        input=b"sealed: planted-in-the-vault\n",
        capture_output=True,
        check=True,
    ).stdout
    group = bench.root / "group_vars" / "all"
    group.mkdir(parents=True)
    (group / "vault.yml").write_bytes(sealed)
    bench.environment = {"DATABASE_PASSWORD": "planted-in-env", "ANSIBLE_VAULT_PASSWORD_FILE": str(vault)}
    name = bench.playbook(
        "leak.yml",
        play(
            "name: all of it\ndebug: {msg: \"{{ lookup('env', 'DATABASE_PASSWORD') }} {{ api_token }} {{ sealed }} {{ from_inventory_password }}\"}",
            "name: hush\ncommand: echo planted-no-log\nno_log: true",
            "name: write\ncopy: {content: 'pin={{ api_token }}', dest: '{{ playbook_dir }}/out'}",
            "name: fail {{ api_token }}\nfail: {msg: 'user:{{ api_token }} {{ sealed }} password=planted-inline'}",
        ),
    )
    told = bench.run(PlannedStep(name, ("one",), {"api_token": "planted-in-vars"}), diff=True)
    assert told.report.state is FAILED
    assert "planted" not in repr(told)
    assert told.kinds("ok")[0].text == "******** ******** ******** ********"
    assert hidden(bench, "planted")
    files = {path.name for path in (bench.directory / told.report.id).rglob("*") if path.is_file()}
    assert sorted(files - {"group.json"}) == [
        "events.jsonl",
        "intent.json",
        "lock",
        "output",
        "result.json",
        "supervisor.log",
    ]


def test_megabytes_and_binary_neither_hang_nor_bloat(bench: Bench) -> None:
    flood = "import os; w = os.write; [w(1, b'y' * 999 + b'\\\\x1b[K\\\\n') for _ in range(8000)]; w(2, b'last words'); os._exit(3)"
    name = bench.playbook(
        "flood.yml",
        play(
            f'name: flood\ncommand: {{argv: ["{sys.executable}", -c, "{flood}"]}}\nignore_errors: true',
            "name: noise\ncommand: head -c 2000000 /dev/urandom\nignore_errors: true",
            "name: long\ndebug: {msg: \"{{ 'z' * 5000000 }}\"}",
            "name: many\ndebug: {msg: \"{{ 'many words ' * 400 }}\"}\nloop: '{{ range(400) | list }}'",
        ),
    )
    told = bench.run(PlannedStep(name, ("one",)))
    assert told.report.state is SUCCESSFUL, told.report
    assert "last words" in told.kinds("failed")[0].text
    size = sum(path.stat().st_size for path in (bench.directory / told.report.id).rglob("*") if path.is_file())
    assert size < 2_000_000
    assert all(len(event.text.encode()) <= 4096 for event in told.events)


def test_a_supervisor_needs_nothing_but_python_and_what_it_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # a virtual environment that nobody activated
    monkeypatch.setenv("SOME_SECRET", "planted-here")
    monkeypatch.chdir("/")
    told = bench.run(
        PlannedStep(
            bench.playbook("env.yml", play("name: x\ndebug: {msg: \"{{ lookup('env', 'SOME_SECRET') }}.\"}")), ("one",)
        )
    )
    assert told.report.state is SUCCESSFUL
    assert told.kinds("ok")[0].text == "."


def test_a_late_supervisor_finds_the_tombstone_and_does_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    step = PlannedStep(
        bench.playbook("x.yml", play("name: x\nfile: {path: '{{ playbook_dir }}/ran', state: touch}")), ("one",)
    )
    execution = bench.execution(step)
    bench.grace = 0.0
    late: list[LocalExecutor] = []
    real = LocalExecutor._launch

    def hold(self, folder, order):
        late.append((self, folder, order))
        return subprocess.Popen(["true"])

    monkeypatch.setattr(LocalExecutor, "_launch", hold)
    bench.executor.start(execution)
    report = bench.executor.report(execution.id, 0)
    assert (report.state, report.contained) == (LOST, True)
    assert json.loads((bench.directory / execution.id / "tombstone").read_text())["contained"] is True
    assert real(*late[0]).wait(30) == 0
    assert bench.executor.report(execution.id, 0) == replace(report, events=())
    assert not (bench.root / "playbooks" / "ran").exists()
