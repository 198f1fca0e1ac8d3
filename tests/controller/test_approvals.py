"""A person's word: what is asked, what it is bound to, and that it never counts for anything else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from engine.core.orders import orders, read_row, row_of
from engine.model.execution import ExecutionState, PlannedStep
from engine.model.incident import Incident, IncidentState, Outcome, Proposal
from engine.model.runbook import Guards, Limits, Localization, Mode
from engine.model.standing import Pause, Request, Silence
from tests.fakes.world import House, runbook

LIMITS = Limits(interval=1.0, max_targets=1.0, grace=0.0, approval=60.0)


def asking(**more: Any) -> House:
    """Return a house whose runbook asks before it acts, web-1 being down for a moment."""
    house = House(runbook(mode=Mode.APPROVE, **more), limits=LIMITS)
    house.breaks("web-1")
    house.run(3)
    return house


def proposal(house: House) -> Proposal:
    found = house.incident("web-1").proposal
    assert found is not None
    return found


def ask(house: House, kind: str, name: str = "r1", shown: Proposal | None = None, **more: Any) -> None:
    what = shown or proposal(house)
    words = {"digest": what.digest, "expires_at": what.expires_at, **more}
    incident = house.incident("web-1").id
    house.records.request(Request(name, kind, "ann", "seen", house.clock.now(), incident, vars=words))


def answer(house: House, name: str = "r1") -> dict[str, Any]:
    state, text = house.records.request_state(name) or ("", "[]")
    assert state == "finished"
    found: dict[str, Any] = json.loads(text)[0]
    return found


def entries(house: House, kind: str) -> list[str]:
    return [entry.code for entry in house.records.entries if entry.kind == kind]


def test_what_waits_for_a_word_is_proposed_once_with_everything_that_would_be_run() -> None:
    house = asking()
    house.run(20)
    found = proposal(house)
    assert (found.runbook, found.remedy, found.number, found.target) == ("web-down", "restart", 1, "web-1")
    assert found.steps == (PlannedStep("restart.yml", ("web-1",)),)
    assert found.expires_at == found.proposed_at + 60.0
    assert entries(house, "approval") == ["proposed"]
    assert entries(house, "decision") == ["held_for_approval"]
    assert not house.executor.started


def test_what_is_in_shadow_is_not_proposed() -> None:
    house = House(runbook(mode=Mode.SHADOW, destructive=True), limits=LIMITS)
    house.breaks("web-1")
    house.run(5)
    assert house.incident("web-1").proposal is None


def test_what_is_approved_is_run_verified_and_recorded_with_who_and_why() -> None:
    house = asking()
    ask(house, "approve")
    house.run(15)
    assert answer(house)["execution"] == house.executor.started[0]
    incident = house.incident("web-1")
    assert incident.outcome is Outcome.RESOLVED
    assert (incident.proposal, incident.approved) == (None, None)
    said = next(entry for entry in house.records.entries if entry.kind == "operator")
    assert said.sentence == "ann approved 'restart' of web-down: seen"
    run = house.records.executions[house.executor.started[0]]
    assert run.reason == "approved by ann: seen"


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("after", [False, True])
def test_an_approval_is_taken_once_wherever_the_engine_is_killed(at: int, after: bool) -> None:
    house = asking()
    house.records.crash_at, house.records.after = house.records.count + at, after
    ask(house, "approve")
    house.run(20)
    assert len(house.executor.started) == 1
    assert house.incident("web-1").outcome is Outcome.RESOLVED


def test_what_was_approved_waits_for_the_other_guards_and_then_begins() -> None:
    house = asking()
    house.records.pause(Pause("all", "bob", "deploy", house.clock.now()))
    ask(house, "approve")
    house.run(10)
    assert "bob" in answer(house)["held"][0]
    assert not house.executor.started
    house.records.resume("all", "bob", "done")
    house.run(3)
    assert len(house.executor.started) == 1


def test_an_approval_does_not_hold_for_ever() -> None:
    house = asking()
    house.records.pause(Pause("all", "bob", "deploy", house.clock.now()))
    ask(house, "approve")
    house.run(70)
    house.records.resume("all", "bob", "done")
    house.run(5)
    assert not house.executor.started
    assert house.incident("web-1").code == "held_for_approval"
    assert house.incident("web-1").proposal is not None


def test_what_nobody_answers_is_proposed_anew_and_the_old_one_is_refused() -> None:
    house = asking()
    old = proposal(house)
    house.run(70)
    assert proposal(house).proposed_at > old.proposed_at
    assert entries(house, "approval") == ["proposed", "proposed"]
    ask(house, "approve", shown=old)
    house.run(2)
    assert answer(house)["codes"] == ["expired"]
    assert not house.executor.started


def changed(house: House, what: str) -> None:
    """Change one thing about what would be run."""
    book = house.runbooks[0]
    match what:
        case "files":
            house.runbooks = (replace(book, digest="new"),)
        case "remedy":
            house.runbooks = (replace(book, remedies=(replace(book.remedies[0], name="reboot"),)),)
        case "hosts":
            step = replace(book.remedies[0].steps[0], hosts="web-2")
            house.runbooks = (replace(book, remedies=(replace(book.remedies[0], steps=(step,)),)),)
        case "vars":
            step = replace(book.remedies[0].steps[0], vars={"force": True})
            house.runbooks = (replace(book, remedies=(replace(book.remedies[0], steps=(step,)),)),)
        case "culprit":
            incident = house.incident("web-1")
            house.records.incidents[incident.id] = replace(incident, culprit="other")
        case "attempt":
            tried = next(iter(attempts(house)))
            house.records.attempts[tried.id] = tried


def attempts(house: House) -> list[Any]:
    from tests.core.cases_of import attempt_of

    return [replace(attempt_of(1, "web-1", 0.0), started_at=house.clock.now() - 9)]


@pytest.mark.parametrize("what", ["files", "remedy", "hosts", "vars", "culprit", "attempt"])
def test_a_word_counts_for_nothing_else_than_what_was_shown(what: str) -> None:
    house = asking()
    shown = proposal(house)
    changed(house, what)
    ask(house, "approve", shown=shown)
    house.run(2)
    assert answer(house)["codes"] == ["changed"]
    assert answer(house)["refused"][0]
    assert not house.executor.started
    assert proposal(house).digest != shown.digest, "what would be run now is proposed"
    ask(house, "approve", "r2")
    house.run(3)
    assert len(house.executor.started) == 1


def test_a_word_for_what_is_no_longer_wrong_comes_to_nothing() -> None:
    house = asking()
    shown = proposal(house)
    house.world.silent.add("web-1")
    ask(house, "approve")
    house.run(2)
    assert answer(house)["codes"] == ["gone"]
    house.world.silent.clear()
    house.mended("web-1")
    house.run(2)
    ask(house, "approve", "r2", shown)
    house.run(2)
    assert answer(house, "r2")["codes"] == ["not_live"]
    assert not house.executor.started


def test_what_is_denied_waits_for_a_human_and_is_not_proposed_until_it_is_handed_back() -> None:
    house = asking()
    shown = proposal(house)
    ask(house, "deny")
    house.run(30)
    incident = house.incident("web-1")
    assert (incident.state, incident.code) == (IncidentState.ESCALATED, "denied")
    assert incident.reason == "denied by ann: seen"
    assert incident.proposal is None
    assert entries(house, "approval") == ["proposed"]
    ask(house, "approve", "r2", shown)
    house.run(2)
    assert answer(house, "r2")["codes"] == ["denied"]
    house.records.request(Request("r3", "hand_back", "ann", "", house.clock.now(), incident.id))
    house.run(2)
    assert proposal(house).target == "web-1"
    assert not house.executor.started


def test_each_rung_asks_for_itself() -> None:
    house = asking(remedies=("first", "second"), within=5.0)
    house.mends = False
    ask(house, "approve")
    house.run(15)
    assert len(house.executor.started) == 1
    found = proposal(house)
    assert (found.remedy, found.rung, found.number) == ("second", 1, 2)


def plan_of(house: House) -> list[dict[str, Any]]:
    look = house.controller.look()
    rows = [row_of(each.proposal) for each in orders(look.changes, look.standing, look.scene.catalog, look.scene.now)]
    kept: list[dict[str, Any]] = json.loads(json.dumps(rows))
    return kept


def run_plan(house: House, rows: object, name: str = "p1", until: float | None = None) -> list[dict[str, Any]]:
    now = house.clock.now()
    words: Any = {"created": now, "expires_at": now + 60 if until is None else until, "runs": rows}
    house.records.request(Request(name, "run_plan", "ann", "seen", now, vars=words))
    house.run(1)
    state, text = house.records.request_state(name) or ("", "[]")
    assert state == "finished"
    found: list[dict[str, Any]] = json.loads(text)
    return found


def planned(mode: Mode = Mode.AUTO, automatic: bool = False) -> House:
    house = House(runbook(mode=mode), limits=LIMITS, automatic=automatic)
    house.breaks("web-1")
    house.breaks("web-2")
    return house


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.APPROVE])
def test_a_plan_that_was_kept_is_what_runs(mode: Mode) -> None:
    house = planned(mode)
    house.controller.automatic = True
    rows = plan_of(house)
    house.controller.automatic = False
    assert {row["target"] for row in rows} == {"web-1", "web-2"}
    house.run(3)
    assert not house.executor.started, "it waits to be asked"
    results = run_plan(house, rows)
    house.run(15)
    assert [each["execution"] for each in results] == house.executor.started
    assert {each.target: each.outcome for each in house.incidents} == dict.fromkeys(
        ("web-1", "web-2"), Outcome.RESOLVED
    )
    assert {each.triggered_by for each in house.records.executions.values()} == {"ann"}
    for row, run in zip(rows, house.records.executions.values(), strict=True):
        known = read_row(row)
        assert known is not None
        assert known.steps == run.steps


@pytest.mark.parametrize("at", range(1, 9))
def test_a_plan_is_begun_once_wherever_the_engine_is_killed(at: int) -> None:
    house = planned()
    house.controller.automatic = True
    rows = plan_of(house)
    house.controller.automatic = False
    house.records.crash_at, house.records.after = house.records.count + at, True
    now = house.clock.now()
    words: Any = {"created": now, "expires_at": now + 60, "runs": rows}
    house.records.request(Request("p1", "run_plan", "ann", "", now, vars=words))
    house.run(15)
    assert len(house.executor.started) == len(set(house.executor.started)) == 2
    assert (house.records.request_state("p1") or ("",))[0] == "finished"


def tampered(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "steps": [{**row["steps"][0], "hosts": ["web-3"]}]}


def test_a_plan_of_which_one_part_changed_is_refused_as_a_whole() -> None:
    house = planned()
    house.controller.automatic = True
    rows = plan_of(house)
    house.controller.automatic = False
    assert run_plan(house, [tampered(rows[0]), rows[1]], "tampered")[0]["codes"] == ["tampered"]
    assert run_plan(house, rows, "late", until=house.clock.now())[0]["codes"] == ["expired"]
    assert run_plan(house, [], "empty")[0]["codes"] == ["empty"]
    assert run_plan(house, "all", "text")[0]["codes"] == ["empty"]
    house.mended("web-2")
    (refused,) = run_plan(house, rows, "gone")
    assert (refused["target"], refused["codes"]) == ("web-2", ["gone"])
    house.breaks("web-2")
    house.runbooks = (replace(house.runbooks[0], digest="new"),)
    assert "files of web-down changed" in run_plan(house, rows, "changed")[0]["refused"][0]
    house.runbooks = (replace(house.runbooks[0], digest=""),)
    house.records.pause(Pause("host:web-2", "bob", "disk", house.clock.now()))
    assert run_plan(house, rows, "paused")[0]["codes"] == ["paused"]
    assert not house.executor.started
    assert not house.incidents, "what was refused left nothing behind"
    refusals = [entry for entry in house.records.entries if entry.sentence.startswith("Refused to ann: the plan")]
    assert len(refusals) == 8, "changed says both hosts"


def test_a_plan_passes_no_guard_that_keeps_the_fleet_safe() -> None:
    house = planned()
    house.controller.automatic = True
    rows = plan_of(house)
    house.controller.automatic = False
    house.records.silence(Silence("s1", '{target="web-1"}', "bob", "new disk", 0.0, house.clock.now() + 60))
    assert run_plan(house, rows)[0]["codes"] == ["silenced"]


def test_a_plan_says_nothing_of_what_another_guard_holds() -> None:
    house = House(runbook(mode=Mode.APPROVE, guards=Guards(max_concurrent=1)), limits=LIMITS)
    house.records.pause(Pause("host:web-2", "bob", "disk", house.clock.now()))
    house.breaks("web-1")
    house.breaks("web-2")
    house.run(2)
    assert [row["target"] for row in plan_of(house)] == ["web-1"]


def test_nobody_is_asked_while_there_is_no_culprit_or_people_want_to_hear_nothing() -> None:
    house = House(runbook(mode=Mode.APPROVE, localize=Localization("node", "who", "job")), limits=LIMITS)
    house.breaks("web-1")
    house.run(3)
    assert house.incident("web-1").proposal is None
    house.records.silence(Silence("s1", '{target="web-1"}', "bob", "new disk", 0.0, house.clock.now() + 10))
    house.world.values["who"] = {"web-1": 5.0}
    house.run(3)
    assert house.incident("web-1").proposal is None
    house.run(10)
    assert proposal(house).culprit == "web"


def test_a_run_of_an_approved_remedy_that_fails_asks_no_more_than_it_was_told() -> None:
    house = asking()
    house.executor.work = lambda _: ExecutionState.FAILED
    ask(house, "approve")
    house.run(10)
    incident: Incident = house.incident("web-1")
    assert (incident.state, incident.code) == (IncidentState.ESCALATED, "ladder_exhausted")
    assert len(house.executor.started) == 1
