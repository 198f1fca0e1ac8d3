"""`why --at` tells of any moment in the record: what held, what was decided and why, what ran, what held automation back."""

from __future__ import annotations

import datetime as dt
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from engine.cli.times import moment_of
from engine.core.see import alert_entry
from engine.model.decision import Change, Entry, Escalate, Hold, Run, Verdict
from engine.model.execution import Execution, ExecutionState, PlannedStep
from engine.model.incident import Alert, AlertState, Incident, IncidentState, Outcome
from engine.model.labels import Batch, Labels
from engine.model.standing import Pause
from engine.records.desk import Desk
from engine.samples.store import SampleStore
from tests.cli.cli_project import HOUR, Project

BEGAN = 10 * HOUR
"""Seconds ago that the story begins."""


class Story:
    """Writes what happened to web-1, minute by minute."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.began = float(round(time.time() - BEGAN))
        self.record = project.record

    def at(self, minutes: float) -> float:
        return self.began + 60 * minutes

    def write(self, minutes: float, *entries: Entry, **more: Any) -> None:
        version = self.record.standing(time.time()).version
        assert self.record.commit(Change(version, self.at(minutes), entries, **more))

    def tell(self) -> None:
        """Write it: fires, held by its cooldown, runs, is verified and resolved; comes back, escalates, is closed."""
        labels = Labels({"instance": "web-1"})
        alert = Alert(labels.fingerprint(), "memory-short", "MemoryShort", labels, "web-1", AlertState.FIRING, 50.0,
                      self.at(-5), self.at(0), self.at(0), condition="memory_free_bytes = 50, limit < 100")  # fmt: skip
        incident = Incident("inc-1", "web-1", "memory", IncidentState.RESOLVED, self.at(1), culprit="app",
                            runbook="memory-short", ended_at=self.at(70), reopened=1, code="closed",
                            outcome=Outcome.UNKNOWN)  # fmt: skip
        execution = Execution("run-1", "att-1", "inc-1", "memory-short", "d", "Restart the service", "web-1",
                              (PlannedStep("restart.yml", ("web-1",)),), ExecutionState.SUCCESSFUL, self.at(10),
                              self.at(10), self.at(12))  # fmt: skip
        held = Verdict("cooldown", False, "cooldown", "the last attempt began 60s ago, cooldown is 600s", self.at(10))
        fine = Verdict("mode", True, "ok", "mode is auto")

        def about(kind: str, sentence: str, code: str = "") -> Entry:
            return Entry(kind, sentence, "inc-1", "web-1", "memory-short", code)

        self.write(0, alert_entry(alert))
        self.write(1, about("fault", "memory of web-1", "localized"), incident=incident)
        self.write(2, about("decision", f"Hold: {held.sentence}", "cooldown"), decision=Hold((fine, held)))
        self.write(10, about("decision", "Run: 'Restart the service'", "run"), decision=Run(execution, (fine,)),
                   execution=execution)  # fmt: skip
        self.write(12, about("execution", "run-1 successful", "successful"))
        self.write(15, about("outcome", "resolved: it holds", "resolved"))
        self.write(16, alert_entry(replace(alert, state=AlertState.RESOLVED, last_seen=self.at(16))))
        self.write(30, about("fault", "incident inc-1 reopened", "reopened"))
        self.write(31, about("decision", "Escalate: it came back", "again"), decision=Escalate("again", "it came back"))
        self.write(70, about("operator", "ann closed it", "close"), about("outcome", "unknown: closed", "unknown"))
        desk = Desk(self.record, clock=lambda: self.at(40))
        desk.pause(Pause("all", "ann", "moving racks", self.at(40), self.at(60)))
        Desk(self.record, clock=lambda: self.at(50)).resume("all", "ann", "moved")
        self.record.close()

    def samples(self, minutes: float, free: float) -> None:
        series = (Labels({"__name__": "memory_free_bytes", "instance": "web-1"}),)
        with SampleStore(self.project.root / ".mendbook" / "samples") as store:
            for back in range(600, -1, -15):
                store.append(Batch(self.at(minutes) - back, series, (free,)))


@pytest.fixture
def story(project: Project) -> Story:
    story = Story(project)
    story.tell()
    return story


def then(story: Story, minutes: float) -> dict[str, Any]:
    return then_of(story, "web-1", minutes)


def then_of(story: Story, host: str, minutes: float) -> dict[str, Any]:
    shown = story.project.run("why", host, "--at", f"{story.at(minutes):.0f}", "-o", "json")
    assert shown.code == 0, shown.err
    answer = json.loads(shown.out)
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize(
    ("minutes", "state"),
    [
        (0.5, None),
        (1.5, "open"),
        (5, "open"),
        (11, "remediating"),
        (13, "verifying"),
        (20, None),
        (30.5, "open"),
        (45, "escalated"),
        (80, None),
    ],
)
def test_an_incident_has_the_state_that_it_had_then(story: Story, minutes: float, state: str | None) -> None:
    incidents = then(story, minutes)["incidents"]
    assert [each["state"] for each in incidents] == ([] if state is None else [state])


def test_the_guard_that_held_it_back_is_told_with_its_sentence_and_until_when(story: Story) -> None:
    told = story.project.run("why", "web-1", "--at", f"{story.at(5):.0f}").out
    assert "incident inc-1: memory open since" in told
    clock = dt.datetime.fromtimestamp(story.at(10)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert f"✗ cooldown: the last attempt began 60s ago, cooldown is 600s (until {clock}, 5m later)" in told
    assert "✓ mode: mode is auto" in told
    assert "(3m earlier) memory-short: Hold" in told


def test_a_guard_that_holds_no_more_is_not_told_as_if_it_did(story: Story) -> None:
    decision = story.project.run("why", "web-1", "--at", f"{story.at(9.99):.0f}").out
    assert "which is over" not in decision
    with story.project.record as record:
        incident = Incident("inc-2", "web-2", "memory", IncidentState.OPEN, time.time())
        held = Verdict("cooldown", False, "cooldown", "cooldown", time.time() - 60)
        entry = Entry("decision", "Hold: cooldown", "inc-2", "web-2", "memory-short", "cooldown")
        version = record.standing(time.time()).version
        change = Change(version, time.time() - 600, (entry,), incident=incident, decision=Hold((held,)))
        assert record.commit(change)
    assert "which is over" in story.project.run("why", "web-2").out


def test_what_ran_then_is_told_with_what_came_of_it(story: Story) -> None:
    assert [each["id"] for each in then(story, 11)["executions"]] == ["run-1"]
    assert then(story, 13)["executions"] == []
    told = story.project.run("why", "web-1", "--at", f"{story.at(11):.0f}").out
    assert "running run-1: Restart the service, of memory-short" in told
    assert "it ended 60s later, successful" in told


def test_a_pause_is_told_while_it_was_in_force_and_not_after_it_was_ended(story: Story) -> None:
    assert then(story, 39)["pauses"] == []
    (pause,) = then(story, 45)["pauses"]
    assert (pause["scope"], pause["by"], pause["reason"]) == ("all", "ann", "moving racks")
    assert then(story, 55)["pauses"] == [], "it was resumed before it ran out"


def test_conditions_are_evaluated_anew_where_samples_reach_back(story: Story) -> None:
    story.samples(5, 42.0)
    (condition,) = then(story, 5)["conditions"]
    assert (condition["truth"], condition["state"]) == ("true", "firing")
    assert condition["comparisons"][0]["values"][0]["value"] == 42.0
    assert condition["held"] == pytest.approx(600.0, abs=1)


def test_where_samples_do_not_reach_back_what_was_recorded_is_told(story: Story) -> None:
    (condition,) = then(story, 5)["conditions"]
    assert (condition["truth"], condition["state"]) == ("unknown", "firing")
    assert condition["condition"] == "memory_free_bytes = 50, limit < 100"
    told = story.project.run("why", "web-1", "--at", f"{story.at(5):.0f}").out
    assert "no samples tell how it was then" in told
    assert "recorded when it became so: memory_free_bytes = 50, limit < 100" in told
    assert then(story, 20)["conditions"][0]["state"] is None, "it was resolved by then"


def switch_over(story: Story) -> None:
    """Write a run for web-1 that takes in web-2, and one after it that does not."""
    incident = Incident("inc-5", "web-1", "primary", IncidentState.REMEDIATING, story.at(200), runbook="switch-over")
    for number, (minutes, hosts) in enumerate(((201.0, ("web-1", "web-2")), (205.0, ("web-1",))), 1):
        execution = Execution(f"run-part-{number}", f"att-{number}", "inc-5", "switch-over", "d", "Switch over", "web-1",
                              (PlannedStep("switch.yml", hosts),), ExecutionState.FAILED, story.at(minutes),
                              story.at(minutes), story.at(minutes + 1))  # fmt: skip
        chosen = Entry("decision", f"Run: on {', '.join(hosts)}", "inc-5", "web-1", "switch-over", "run")
        ended = Entry("execution", f"{execution.id} failed", "inc-5", "web-1", "switch-over", "failed")
        fine = Verdict("mode", True, "ok", "mode is auto")
        with story.project.record as story.record:
            story.write(minutes, chosen, decision=Run(execution, (fine,)), execution=execution, incident=incident)
            story.write(minutes + 1, ended)


def test_a_host_that_a_run_for_another_took_in_is_told_of_it(story: Story) -> None:
    switch_over(story)
    shown = story.project.run("why", "web-2", "-o", "json")
    account = json.loads(shown.out)
    assert [each["entry"]["sentence"] for each in account["entries"]] == ["Run: on web-1, web-2", "run-part-1 failed"]
    assert account["decision"]["decision"] == "run"
    told = story.project.run("why", "web-2").out
    assert "switch-over: as a part of what ran on web-1: Run: on web-1, web-2" in told
    assert "as a part of what ran on web-1: run-part-1 failed" in told
    assert "nothing was decided" not in told
    assert then_of(story, "web-2", 200.5)["entries"] == []


@pytest.mark.parametrize(("host", "there", "count"), [("web-1", 15, 3), ("web-2", 2, 1), ("web-2", 2, 0)])
def test_entries_that_are_not_shown_are_counted(story: Story, host: str, there: int, count: int) -> None:
    switch_over(story)
    account = json.loads(story.project.run("why", host, "-n", str(count), "-o", "json").out)
    assert (len(account["entries"]), account["earlier"]) == (count, there - count)
    told = story.project.run("why", host, "-n", str(count)).out
    assert f"… {there - count} earlier: -n {there} shows them" in told
    assert "nothing is recorded" not in told
    assert "earlier:" not in story.project.run("why", host, "-n", str(there)).out


def test_a_hold_of_no_incident_does_not_hide_the_decision_of_one(story: Story) -> None:
    held = Verdict("cooldown", False, "cooldown", "cooldown is 600s")
    entry = Entry("decision", "Hold: cooldown is 600s", None, "web-1", "log-rotate", "cooldown")
    for host in ("web-1", "web-2"):
        with story.project.record as story.record:
            story.write(100, replace(entry, target=host), decision=Hold((held,)))
    account = then_of(story, "web-1", 101)
    assert account["decision"]["entry"]["sentence"] == "Escalate: it came back"
    assert account["later"]["entry"]["runbook"] == "log-rotate"
    told = story.project.run("why", "web-1", "--at", f"{story.at(101):.0f}").out
    assert told.index("Last decision") < told.index("it came back") < told.index("(60s earlier) log-rotate: Hold")
    alone = then_of(story, "web-2", 101)
    assert (alone["decision"]["entry"]["runbook"], alone["later"]) == ("log-rotate", None)
    assert then_of(story, "web-1", 99)["later"] is None


def test_what_runs_on_a_host_for_another_is_told_with_that_other(story: Story) -> None:
    switch_over(story)
    told = story.project.run("why", "web-2", "--at", f"{story.at(201.5):.0f}").out
    assert "running run-part-1: Switch over, of switch-over on web-1, since" in told


def test_nothing_that_came_later_is_told(story: Story) -> None:
    assert all(each["at"] <= story.at(5) for each in then(story, 5)["entries"])
    assert then(story, 0.5)["decision"] is None
    assert "nothing was decided" in story.project.run("why", "web-1", "--at", f"{story.at(0.5):.0f}").out


def test_a_host_that_has_left_the_inventory_is_answered_for(story: Story) -> None:
    story.project.write("inventory/hosts.yml", "all: {hosts: {web-9: {}}}\n")
    shown = story.project.run("why", "web-1", "--at", f"{story.at(45):.0f}")
    assert shown.code == 0
    assert "not in the inventory any more" in shown.err
    assert "memory escalated since" in shown.out
    assert story.project.run("why", "web-77").code == 64


def test_yesterday_is_a_day_of_the_calendar() -> None:
    today = dt.datetime.now().astimezone()
    found = moment_of("yesterday 03:00")
    assert found is not None
    there = dt.datetime.fromtimestamp(found).astimezone()
    assert (there.date(), there.hour, there.minute) == (today.date() - dt.timedelta(days=1), 3, 0)
    assert moment_of("today 00:00:01") == moment_of("00:00:01")
    assert moment_of("yesterday") is None
    assert moment_of("-2h") == pytest.approx(time.time() - 7200, abs=5)
