"""approve, deny, silence, and plans in files: what is shown is what runs, or it is refused with the right exit code."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.app import App
from engine.cli import asking
from engine.model.incident import Incident
from tests.cli.cli_project import RUNBOOK, Project, wait
from tests.fakes.prometheus import Server

SETTINGS = """\
sources: {{host: false, exposition: [{{job: app, hosts: web, url: "http://127.0.0.1:{port}/{{{{ inventory_hostname }}}}"}}]}}
runbooks: runbooks
interval: 2s
modes: {{memory-short: {mode}}}
"""
BOOK = RUNBOOK.replace("  for: 3h\n", "").replace("> 200, for: 1m, within: 5m", "> 0, within: 1m")


@pytest.fixture
def page() -> Iterator[Server]:
    server = Server()
    server.pages["/web-1"] = (200, {}, b"memory_free_bytes 50\n")
    server.pages["/web-2"] = (200, {}, b"memory_free_bytes 500\n")
    yield server
    server.close()


def set_up(project: Project, page: Server, mode: str = "approve") -> None:
    project.write("mendbook.yml", SETTINGS.format(port=page.port, mode=mode))
    project.write("runbooks/memory-short.yml", BOOK)


def proposing(project: Project, page: Server) -> Incident:
    """Let an engine find that web-1 is short of memory, and ask; it is gone afterwards."""
    set_up(project, page)
    with App.open(project.root) as app:
        app.lead()
        app.collector(app.samples).once()
        controller = app.controller(app.samples)
        controller.tick()
        controller.tick()
        return next(each for each in app.record.standing(time.time()).incidents if each.proposal is not None)


def incident_of(project: Project) -> Incident:
    with project.record as record:
        (found,) = record.standing(time.time()).incidents
    return found


def executions(project: Project) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(project.run("runs", "-o", "json").out)
    return found


def test_what_is_denied_waits_for_a_human_and_can_be_approved_no_more(project: Project, page: Server) -> None:
    incident = proposing(project, page)
    denied = project.run("deny", incident.id, "--reason", "by hand tonight")
    assert denied.code == 0, denied.err
    assert "restart.yml on web-1" in denied.err
    assert 'service: "app"' in denied.err
    after = incident_of(project)
    assert (after.state, after.code) == ("escalated", "denied")
    assert after.reason == f"denied by {asking.operator()}: by hand tonight"
    assert project.run("approve", incident.id).code == 21
    assert project.run("deny", incident.id, "--reason", "x").code == 20
    assert not executions(project)


def test_who_looks_is_told_what_to_type_while_a_proposal_waits(project: Project, page: Server) -> None:
    incident = proposing(project, page)
    told = f"waits for you: mendbook approve {incident.id}, or mendbook deny {incident.id}"
    assert told in project.run("status").err
    assert told in project.run("why", "web-1").out
    assert "waits for you" not in project.run("why", "web-1", "--at", "-1h").out
    project.run("deny", incident.id)
    assert "waits for you" not in project.run("status").err + project.run("why", "web-1").out


def test_what_changed_since_it_was_shown_is_refused(project: Project, page: Server) -> None:
    incident = proposing(project, page)
    project.write("runbooks/memory-short.yml", BOOK.replace("service: app", "service: other"))
    refused = project.run("approve", incident.id)
    assert refused.code == 20, refused.err
    assert "this will be refused" in refused.err
    assert "files of memory-short changed" in refused.err
    assert not executions(project)


def test_a_proposal_whose_time_is_over_is_refused_as_expired(project: Project, page: Server) -> None:
    set_up(project, page)
    settings = (project.root / "mendbook.yml").read_text()
    project.write("mendbook.yml", settings + "approval: {expires: 10ms}\n")
    with App.open(project.root) as app:
        app.lead()
        app.collector(app.samples).once()
        app.controller(app.samples).tick()
    late = project.run("approve", incident_of(project).id)
    assert (late.code, "could be approved until" in late.err) == (21, True)


@pytest.mark.e2e
def test_what_is_approved_runs_without_an_engine(project: Project, page: Server) -> None:
    incident = proposing(project, page)
    done = project.run("approve", incident.id, "--reason", "ticket 4711", "--yes")
    assert done.code == 0, done.err
    assert "✗ approval" in done.err
    (run,) = executions(project)
    assert (run["state"], run["target"]) == ("successful", "web-1")
    assert run["reason"] == f"approved by {asking.operator()}: ticket 4711"
    assert incident_of(project).outcome == "resolved"


@pytest.mark.e2e
def test_what_is_approved_beside_an_engine_is_done_by_it(project: Project, page: Server) -> None:
    set_up(project, page)
    stop = threading.Event()
    with App.open(project.root) as app:
        engine = threading.Thread(target=app.watch, args=(stop,))
        engine.start()
        try:
            wait(lambda: any(each.proposal for each in app.record.standing(time.time()).incidents), "the proposal")
            done = project.run("approve", incident_of(project).id, "--yes")
        finally:
            stop.set()
            engine.join()
    assert done.code == 0, done.err
    assert [run["state"] for run in executions(project)] == ["successful"]


def test_a_plan_is_written_for_people_and_for_a_run(project: Project, page: Server) -> None:
    set_up(project, page, "auto")
    made = project.run("plan", "--wait", "0", "-o", "./kept.json")
    assert made.code == 0, made.err
    assert "wrote 1 run to kept.json" in made.err
    plan = json.loads((project.root / "kept.json").read_text())
    (run,) = plan["runs"]
    assert (plan["version"], plan["age_limit"]) == (1, 3600.0)
    assert (run["runbook"], run["target"], run["decision"]) == ("memory-short", "web-1", "run")
    assert run["steps"] == [
        {"playbook": "restart.yml", "hosts": ["web-1"], "vars": {"service": "app"}, "timeout": 600.0, "always": False}
    ]
    assert {verdict["guard"] for verdict in run["verdicts"]} >= {"approval", "window", "serial", "silence", "grace"}


def test_what_would_run_once_approved_stands_in_the_plan_as_that(project: Project, page: Server) -> None:
    set_up(project, page)
    assert project.run("plan", "--wait", "0", "--out", "json").code == 0
    (run,) = json.loads((project.root / "json").read_text())["runs"]
    assert run["decision"] == "held_for_approval"
    assert project.run("plan", "--wait", "0", "--detailed-exitcode").code == 0  # it would not be run by itself
    assert project.run("plan", "--wait", "0", "--detailed-exitcode", "--out", "json").code == 2
    unclear = project.run("plan", "-o", "jsno")
    assert (unclear.code, "write ./jsno" in unclear.err) == (64, True)


def spoil(path: Path, **more: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def test_a_plan_that_is_not_as_it_was_written_is_refused(project: Project, page: Server) -> None:
    set_up(project, page, "auto")
    project.run("plan", "--wait", "0", "--out", "plan.json", "--max-age", "200ms")
    path = project.root / "plan.json"
    whole = path.read_text()
    plan = json.loads(whole)
    wait(lambda: time.time() > plan["created"] + 0.2, "the end of its time")
    late = project.run("run", "--plan", "plan.json")
    assert (late.code, "plan anew" in late.err) == (21, True)
    for change in (
        {"created": time.time()},
        {"age_limit": 1e9},
        {"runs": [{**plan["runs"][0], "steps": []}]},
        {"runs": []},
        {"version": 2},
        {"digest": "0"},
    ):
        path.write_text(whole)
        spoil(path, **change)
        refused = project.run("run", "--plan", "plan.json")
        assert refused.code == 20, change
    for text in ("", "[]", "{}", "null", "{" * 9):
        path.write_text(text)
        assert project.run("run", "--plan", "plan.json").code == 20
    assert project.run("run", "--plan", "gone.json").code == 1
    assert project.run("run", "--plan", "plan.json", "--limit", "web-1").code == 64
    assert project.run("run", "memory-short").code == 64
    assert not executions(project)


@pytest.mark.e2e
def test_a_plan_that_was_kept_is_run_once_and_then_is_another_attempt(project: Project, page: Server) -> None:
    set_up(project, page, "auto")
    project.run("plan", "--wait", "0", "--out", "plan.json")
    done = project.run("run", "--plan", "plan.json", "--reason", "seen by ann")
    assert done.code == 0, done.err
    assert "restart.yml on web-1" in done.err
    (run,) = executions(project)
    assert (run["state"], run["triggered_by"], run["reason"]) == ("successful", asking.operator(), "seen by ann")
    again = project.run("run", "--plan", "plan.json")
    assert again.code == 20, again.err
    assert len(executions(project)) == 1


@pytest.mark.e2e
def test_a_plan_of_a_fault_that_is_gone_is_refused(project: Project, page: Server) -> None:
    set_up(project, page, "auto")
    project.run("plan", "--wait", "0", "--out", "plan.json")
    page.pages["/web-1"] = (200, {}, b"memory_free_bytes 500\n")
    refused = project.run("run", "--plan", "plan.json")
    assert refused.code == 20, refused.err
    assert "nothing is wrong with memory of web-1 now" in refused.err
    assert not executions(project)


def test_a_silence_is_listed_with_who_and_why_until_it_is_expired(project: Project) -> None:
    selector = 'MemoryShort{target="web-1"}'
    added = project.run("silence", "add", selector, "--for", "2h", "--reason", "new disk")
    assert added.code == 0, added.err
    assert "it covers 0 of 0 alerts now" in added.err
    (silence,) = json.loads(project.run("silence", "-o", "json").out)
    assert (silence["selector"], silence["by"], silence["reason"]) == (selector, asking.operator(), "new disk")
    assert 7190 < silence["until"] - time.time() <= 7200
    ended = project.run("silence", "expire", silence["id"][:6], "--reason", "disk is in")
    assert (ended.code, ended.err) == (0, f"{selector} starts things again\n")
    assert json.loads(project.run("silence", "list", "-o", "json").out) == []
    assert project.run("silence", "expire", silence["id"], "--reason", "x").code == 64


def test_a_silence_for_an_alert_that_no_runbook_has_says_so(project: Project) -> None:
    added = project.run("silence", "add", "MemoryShrot", "--for", "2h", "--reason", "x")
    assert added.code == 0, added.err
    assert "there is no alert 'MemoryShrot'; did you mean 'MemoryShort'?" in added.err
    assert "there is no" not in project.run("silence", "add", 'MemoryShort{a="b"}', "--for", "2h", "--reason", "x").err


def test_why_tells_a_host_of_the_silences_that_can_cover_it(project: Project) -> None:
    for selector in (
        '{target="web-1"}',
        '{target=~"web-.*"}',
        'MemoryShort{instance="web-2:9100"}',
        '{target="store-1"}',
    ):
        assert project.run("silence", "add", selector, "--for", "2h", "--reason", "x").code == 0
    told = json.loads(project.run("why", "web-2", "-o", "json").out)["silences"]
    assert [each["selector"] for each in told] == ['{target=~"web-.*"}', 'MemoryShort{instance="web-2:9100"}']


def test_a_silence_holds_what_the_engine_would_begin_and_says_so(project: Project, page: Server) -> None:
    set_up(project, page, "auto")
    project.run("silence", "add", '{alertname="MemoryShort"}', "--for", "1h", "--reason", "new disk")
    looked = project.run("plan", "--wait", "0")
    assert "✗ silence:" in looked.out
    assert "new disk" in looked.out
    assert not json.loads(project.run("plan", "--wait", "0", "-o", "json").out)[0].get("execution")


@pytest.mark.parametrize(
    ("selector", "place"),
    [
        ('{alertname="a"', 0),
        ("up + up", 0),
        ('{alertname=~".*"}', 0),
        ("up[5m]", 0),
        ('{a="b"} offset 5m', 0),
        ('{a=~"("}', 4),
    ],
)
def test_what_is_no_selector_is_refused_with_a_caret(project: Project, selector: str, place: int) -> None:
    refused = project.run("silence", "add", selector, "--for", "1h", "--reason", "x")
    assert refused.code == 64
    message, shown, caret = refused.err.splitlines()
    assert message.startswith("mendbook: ")
    assert shown == f"  {selector}"
    assert caret == f"  {' ' * place}^"
    assert json.loads(project.run("silence", "-o", "json").out) == []
