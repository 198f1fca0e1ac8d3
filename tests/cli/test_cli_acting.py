"""Commands that change something: who did what and why is in the record, and what cannot be is refused."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import pytest

from engine.app import App
from engine.cli import asking
from engine.cli.exits import Exit
from engine.cli.following import of_check
from engine.model.decision import Change, Entry, Start
from engine.model.execution import Execution, ExecutionState, PlannedStep
from engine.model.incident import IncidentState
from engine.records.history import History
from engine.records.leader import Leadership
from tests.cli.cli_project import Project, escalated, execution, wait


def told(project: Project) -> list[str]:
    with project.record as record:
        return [each.entry.sentence for each in History(record).entries()]


def waiting(project: Project) -> None:
    """Put an incident into the record that waits for a human, its host locked."""
    with project.record as record:
        incident = escalated(time.time())
        assert record.commit(Change(0, time.time(), incident=incident, locks=frozenset({"web-1"})))


def state(project: Project) -> tuple[IncidentState, str | None]:
    with project.record as record:
        incident = History(record).incident("inc-waits")
        assert incident is not None
        return incident.state, incident.acknowledged_by


@pytest.mark.parametrize(
    ("options", "scope"),
    [((), "all"), (("--host", "web-1"), "host:web-1"), (("--runbook", "memory-short"), "runbook:memory-short")],
)
def test_a_pause_is_listed_until_it_is_resumed(project: Project, options: tuple[str, ...], scope: str) -> None:
    assert project.run("pause", *options, "--reason", "moving racks", "--for", "2h").code == 0
    (pause,) = json.loads(project.run("status", "-o", "json").out)["pauses"]
    assert (pause["scope"], pause["by"], pause["reason"]) == (scope, asking.operator(), "moving racks")
    assert 7190 < pause["until"] - time.time() <= 7200
    assert "moving racks" in project.run("status").out
    assert project.run("resume", *options, "--reason", "done").code == 0
    assert json.loads(project.run("status", "-o", "json").out)["pauses"] == []
    by = asking.operator()
    assert told(project) == [f"{by} paused {scope}: moving racks", f"{by} resumed {scope}: done"]


def test_pausing_works_when_the_inventory_cannot_be_read(project: Project) -> None:
    project.write("inventory/hosts.yml", "all: [")
    paused = project.run("pause", "--host", "web-1", "--reason", "everything is broken")
    assert paused.code == 0
    assert "the files cannot be read" in paused.err
    assert told(project) == [f"{asking.operator()} paused host:web-1: everything is broken"]


def test_who_asks_is_the_person_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada\x1b[1m")
    assert asking.operator().startswith("ada�[1m@")


def test_a_lock_is_broken_once_and_the_record_says_whose_it_was(project: Project) -> None:
    waiting(project)
    broken = project.run("locks", "break", "web-1", "--reason", "checked")
    assert broken.code == 0
    assert "inc-waits still waits for a human" in broken.err
    assert json.loads(project.run("locks", "-o", "json").out) == []
    assert told(project) == [f"{asking.operator()} broke the lock of inc-waits on web-1: checked"]
    again = project.run("locks", "release", "web-1", "--reason", "checked")
    assert again.code == 1
    assert "no host is" in again.err


def test_a_lock_is_not_broken_while_an_execution_works_on_the_host_unless_by_force(project: Project) -> None:
    steps = (PlannedStep("restart.yml", ("web-1", "web-2")),)
    execution = Execution("run-1", "att-1", "", "memory-short", "d1", "Restart", "web-1", steps)
    with project.record as record:
        hosts = frozenset({"web-1", "web-2"})
        assert record.commit(Change(0, time.time(), execution=execution, locks=hosts))
    (one, _) = json.loads(project.run("locks", "-o", "json").out)
    assert one["doing"] == "run-1 is pending"
    refused = project.run("locks", "break", "web-2", "--reason", "in a hurry")
    assert refused.code == 20
    assert "run-1 works on web-2" in refused.err
    assert "mendbook runs cancel run-1" in refused.err
    assert len(json.loads(project.run("locks", "-o", "json").out)) == 2
    assert project.run("locks", "break", "web-2", "--reason", "it is scrap", "--force").code == 0
    assert [each["target"] for each in json.loads(project.run("locks", "-o", "json").out)] == ["web-1"]


def test_who_has_seen_an_incident_is_listed_with_since_when(project: Project) -> None:
    waiting(project)
    assert project.run("incidents", "ack", "inc-w").code == 0
    (listed,) = json.loads(project.run("incidents", "--state", "live", "-o", "json").out)
    assert listed["acknowledged_by"] == asking.operator()
    assert 0 <= time.time() - listed["acknowledged_at"] < 60
    shown = project.run("incidents").out
    assert "escalated, seen" in shown
    assert f"seen by {asking.operator()} since" in shown
    assert f"seen by    {asking.operator()} since" in project.run("incidents", "show", "inc-w").out


def test_a_pause_that_ran_out_is_not_resumed(project: Project) -> None:
    assert project.run("pause", "--reason", "short", "--for", "1ms").code == 0
    over = project.run("resume", "--reason", "done")
    assert over.code == 1
    assert "all is not paused" in over.err


def test_an_incident_is_acknowledged_handed_back_and_closed_without_an_engine(project: Project) -> None:
    waiting(project)
    assert project.run("incidents", "ack", "inc-w", "--reason", "on it").code == 0
    assert state(project) == (IncidentState.ESCALATED, asking.operator())
    assert project.run("incidents", "close", "inc-w", "--reason", "fixed by hand").code == 0
    assert state(project)[0] is IncidentState.RESOLVED
    assert json.loads(project.run("locks", "-o", "json").out) == []
    refused = project.run("incidents", "handback", "inc-w")
    assert (refused.code, refused.err) == (20, "mendbook: inc-waits is not a live incident\n")
    assert Leadership(project.root / ".mendbook" / "record.sqlite3").holder() is None


def test_an_incident_that_is_handed_back_begins_anew(project: Project) -> None:
    waiting(project)
    assert project.run("incidents", "hand-back", "inc-w", "--reason", "part replaced").code == 0
    assert state(project)[0] is IncidentState.OPEN
    assert f"{asking.operator()} handed it back: part replaced" in told(project)


def test_a_shrunken_inventory_is_accepted_by_a_person(project: Project) -> None:
    accepted = project.run("resume", "--inventory", "--reason", "retired")
    assert accepted.err == "accepted the inventory as it is, with 3 hosts\n"
    assert f"{asking.operator()} accepted the inventory as it is: retired" in told(project)


def test_beside_an_engine_its_answer_is_waited_for(project: Project) -> None:
    project.write("mendbook.yml", "sources: {host: false}\ninterval: 100ms\n")
    waiting(project)
    stop = threading.Event()
    with App.open(project.root) as app:
        engine = threading.Thread(target=app.watch, args=(stop,))
        engine.start()
        try:
            while app.leadership.holder() is None:
                stop.wait(0.01)
            done = project.run("incidents", "ack", "inc-w")
        finally:
            stop.set()
            engine.join()
    assert (done.code, state(project)[1]) == (0, asking.operator())
    assert "asked the engine that runs" in done.err


def test_a_request_that_no_engine_takes_up_stays(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PATIENCE", 0.2)
    project.write("mendbook.yml", "sources: {host: false}\ninterval: 100ms\n")
    waiting(project)
    with Leadership(project.root / ".mendbook" / "record.sqlite3") as silent:
        assert silent.acquire()
        late = project.run("incidents", "ack", "inc-w")
    assert late.code == 124
    assert "it stays" in late.err
    with project.record as record:
        assert [each.kind for each in record.standing(time.time()).requests] == ["acknowledge"]


def begun(project: Project, playbook: str) -> Execution:
    """Commit an execution of a playbook and start it, as the engine does."""
    project.write("playbooks/restart.yml", playbook)
    steps = (PlannedStep("restart.yml", ("web-1",)),)
    execution = Execution("run-now", "att-now", "", "memory-short", "d1", "Restart the service", "web-1", steps,
                          created_at=time.time())  # fmt: skip
    with App.open(project.root) as app:
        change = Change(0, time.time(), execution=execution, locks=frozenset({"web-1"}), effect=Start(execution))
        assert app.record.commit(change)
        app.executor.start(execution)
    return execution


@pytest.mark.e2e
def test_logs_are_followed_to_the_end_of_a_run(project: Project) -> None:
    begun(project, play("ansible.builtin.command: sleep 1", "ansible.builtin.debug: {msg: it is done}"))
    shown = project.run("runs", "logs", "-f", "run-now")
    assert shown.code == 0
    assert "it is done" in shown.out
    assert "step 1 ended" in shown.out.splitlines()[-1]
    assert shown.err == "run-now: successful\n"
    lines = project.run("runs", "logs", "run-now", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(1, len(lines) + 1))


@pytest.mark.e2e
def test_a_canceled_run_has_ended_when_the_command_returns(project: Project) -> None:
    from engine.executor import processes

    begun(project, play("ansible.builtin.command: sleep 300"))
    wait(lambda: '"task_started"' in project.run("runs", "logs", "run-now", "-o", "jsonl").out, "the task")
    assert processes.marked("run-now")
    canceled = project.run("runs", "cancel", "run-now", "--reason", "wrong host")
    assert (canceled.code, canceled.err) == (0, "run-now is canceled\n")
    assert not processes.marked("run-now")
    (listed,) = json.loads(project.run("runs", "-o", "json").out)
    assert listed["state"] == "canceled"
    assert any("wrong host" in sentence for sentence in told(project))
    assert project.run("runs", "cancel", "run-now", "--reason", "again").code == 20


@pytest.mark.e2e
def test_a_run_can_be_canceled_when_the_project_cannot_be_read(project: Project) -> None:
    begun(project, play("ansible.builtin.command: sleep 300"))
    wait(lambda: '"task_started"' in project.run("runs", "logs", "run-now", "-o", "jsonl").out, "the task")
    project.write("inventory/hosts.yml", "all: [")
    canceled = project.run("runs", "cancel", "run-now", "--reason", "stop")
    assert canceled.code == 0
    assert "canceled directly" in canceled.err
    assert canceled.err.endswith("run-now is canceled\n")


def play(*tasks: str) -> str:
    lines = ["- hosts: all", "  gather_facts: false", "  tasks:", *(f"    - {task}" for task in tasks)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("state", "data", "code"),
    [
        (ExecutionState.SUCCESSFUL, {}, Exit.OK),
        (ExecutionState.FAILED, {}, Exit.PLAYBOOK_FAILED),
        (ExecutionState.FAILED, {"unreachable": ["web-1"]}, Exit.UNREACHABLE),
        (ExecutionState.TIMEOUT, {}, Exit.TIMEOUT),
        (ExecutionState.LOST, {}, Exit.PLAYBOOK_FAILED),
    ],
)
def test_a_check_run_ends_with_the_code_of_what_became_of_it(
    project: Project, state: ExecutionState, data: dict[str, object], code: Exit
) -> None:
    now = time.time()
    done = replace(execution(now), incident="", target="web-1", check=True, state=state)
    entry = Entry(
        "execution", f"{done.id} {state}", None, done.target, code=str(state), data={"execution": done.id, **data}
    )
    with project.record as record:
        assert record.commit(Change(0, now, entries=(entry,), execution=done))
    with App.open(project.root) as app:
        assert of_check(app, done.id) is code
