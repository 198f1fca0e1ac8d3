"""Whole incidents on fakes, and what must hold wherever the engine is killed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from engine.model.execution import ExecutionState
from engine.model.incident import AlertState, IncidentState, Outcome
from engine.model.runbook import Catalog, Guards, Limits, Localization, MinHealthy, Mode
from engine.model.standing import Pause, Request
from tests.fakes.world import Crash, House, runbook


def codes(house: House) -> list[str]:
    return [entry.code for entry in house.records.entries if entry.kind == "decision"]


def test_a_fault_is_found_mended_verified_and_recorded() -> None:
    house = House(runbook())
    house.run(5)
    house.breaks("web-1")
    house.run(20)
    incident = house.incident("web-1")
    assert incident.state is IncidentState.RESOLVED
    assert incident.outcome is Outcome.RESOLVED
    assert house.executor.started == [incident.attempt.execution]
    assert not house.standing.locks
    kinds = [entry.kind for entry in house.records.entries]
    assert kinds[:3] == ["alert", "fault", "decision"]
    assert sorted(kinds[3:5]) == ["alert", "execution"]
    assert kinds[5:] == ["verification", "outcome"]


def test_nothing_is_done_where_nothing_is_wrong() -> None:
    house = House(runbook())
    house.run(100)
    assert not house.records.entries
    assert not house.executor.started


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 26))
def test_killed_at_the_kth_commit_it_heals_all_the_same_and_starts_nothing_twice(at: int, after: bool) -> None:
    house = House(runbook(remedies=("first", "second")))
    house.records.crash_at, house.records.after = at, after
    house.run(3)
    house.breaks("web-1")
    house.run(40)
    assert house.incident("web-1").state is IncidentState.RESOLVED
    assert len(house.records.attempts) == 1
    assert Counter(house.executor.started).most_common(1)[0][1] == 1
    assert not house.standing.locks
    assert not house.standing.executions


@pytest.mark.parametrize("at", range(1, 40))
def test_killed_anywhere_a_ladder_is_climbed_rung_by_rung(at: int) -> None:
    house = House(runbook(remedies=("first", "second"), within=5.0))
    house.mends = False
    house.records.crash_at, house.records.after = at, True
    house.breaks("web-1")
    house.run(60)
    incident = house.incident("web-1")
    assert incident.state is IncidentState.ESCALATED
    assert incident.code == "ladder_exhausted"
    assert sorted(attempt.rung for attempt in house.records.attempts.values()) == [0, 1]
    assert all(attempt.outcome is Outcome.INEFFECTIVE for attempt in house.records.attempts.values())
    assert {lock.target for lock in house.standing.locks} == {"web-1"}


def test_an_engine_killed_between_commit_and_effect_starts_what_it_meant_to() -> None:
    house = House(runbook())
    house.breaks("web-1")
    start = house.executor.start

    def die(execution: object) -> None:
        house.executor.start = start  # type: ignore[method-assign]
        raise Crash

    house.executor.start = die  # type: ignore[method-assign]
    house.run(20)
    assert len(house.executor.started) == 1
    assert house.incident("web-1").state is IncidentState.RESOLVED


def test_shadow_decides_and_does_nothing() -> None:
    house = House(runbook(mode=Mode.SHADOW))
    house.breaks("web-1")
    house.run(10)
    assert codes(house) == ["shadow"]
    assert not house.executor.started


def test_approve_holds_for_approval() -> None:
    house = House(runbook(mode=Mode.APPROVE))
    house.breaks("web-1")
    house.run(10)
    assert codes(house) == ["held_for_approval"]


def test_no_data_is_neither_healed_nor_a_reason_to_climb() -> None:
    house = House(runbook(remedies=("first", "second"), within=10.0))
    house.breaks("web-1")
    house.run(3)
    house.world.silent.add("web-1")
    house.run(8)
    assert house.incident("web-1").state is IncidentState.VERIFYING
    house.run(20)
    incident = house.incident("web-1")
    assert incident.state is IncidentState.ESCALATED
    assert incident.code == "blind"
    assert len(house.executor.started) == 1


def test_an_alert_that_ends_because_data_ended_is_unknown_and_not_resolved() -> None:
    house = House(runbook(mode=Mode.SHADOW))
    house.breaks("web-1")
    house.run(3)
    house.world.silent.add("web-1")
    house.run(5)
    assert house.records.alerts[0].state is AlertState.UNKNOWN
    assert house.incident("web-1").state is IncidentState.OPEN
    house.world.silent.clear()
    house.mended("web-1")
    house.run(3)
    assert house.incident("web-1").state is IncidentState.SELF_HEALED


def test_an_evaluator_that_errs_holds_everything() -> None:
    house = House(runbook())
    house.breaks("web-1")
    house.world.broken.add("down")
    house.run(10)
    assert not house.executor.started


def test_for_needs_continuity() -> None:
    house = House(runbook(for_=5.0))
    house.breaks("web-1")
    house.run(4)
    house.clock.time += 10
    house.run(4)
    assert not house.executor.started
    house.run(4)
    assert house.executor.started


def test_a_second_fault_of_a_group_waits_for_the_first() -> None:
    guards = Guards(min_healthy=MinHealthy("web", 2))
    house = House(
        runbook(guards=guards, within=1.0, remedies=("first",)),
        runbook("slow", expr="slow", resource="service", guards=guards),
    )
    house.executor.length = 5
    house.breaks("web-1", "slow")
    house.run(2)
    house.breaks("web-2", "slow")
    house.run(2)
    assert len(house.executor.started) == 1
    assert "min_healthy" in ",".join(codes(house))


def test_a_dead_node_explains_its_services_and_its_dependents() -> None:
    house = House(
        runbook("node", expr="down"),
        runbook("slow", expr="slow", resource="latency"),
        runbook("errors", expr="errors", resource="errors"),
        hosts=("web-1", "lb"),
        depends_on={"lb": ("web-1",)},
    )
    house.breaks("web-1")
    house.breaks("web-1", "slow")
    house.breaks("lb", "errors")
    house.run(3)
    assert [(each.target, each.resource) for each in house.incidents] == [("web-1", "node")]
    fault = house.incident("web-1").fault
    assert fault is not None
    assert len(fault.alerts) == 3
    assert len(house.executor.started) == 1


def test_a_symptom_that_lags_behind_the_cure_opens_nothing() -> None:
    house = House(
        runbook("node", expr="down"),
        runbook("errors", expr="errors", resource="errors", longest_range=30.0),
        hosts=("web-1", "lb"),
        depends_on={"lb": ("web-1",)},
    )
    house.breaks("web-1")
    house.breaks("lb", "errors")
    house.run(15)
    assert house.incident("web-1").state is IncidentState.RESOLVED
    assert [each.target for each in house.incidents] == ["web-1"]
    house.run(40)
    assert [each.target for each in house.incidents] == ["web-1", "lb"]


def test_more_targets_than_the_storm_limit_are_one_incident_for_a_human() -> None:
    hosts = [f"web-{number}" for number in range(8)]
    house = House(runbook(), hosts=hosts, limits=Limits(interval=1.0, storm=3, max_targets=1.0))
    for host in hosts:
        house.breaks(host)
    house.run(5)
    assert not house.executor.started
    storm = next(each for each in house.incidents if each.resource == "storm")
    assert storm.state is IncidentState.ESCALATED
    assert all(host in storm.reason for host in hosts)


def test_the_same_fault_on_a_new_target_right_after_a_remedy_stops_the_engine() -> None:
    house = House(runbook())
    house.breaks("web-1")
    house.run(10)
    assert house.incident("web-1").state is IncidentState.RESOLVED
    house.breaks("web-2")
    house.run(5)
    assert house.incident("web-2").state is IncidentState.ESCALATED
    assert house.incident("web-2").code == "common_cause"


def test_attempts_count_over_a_day_whatever_the_incident() -> None:
    house = House(runbook(guards=Guards(max_attempts=2)), limits=Limits(interval=1.0, max_targets=1.0, reopen=0.0))
    for _ in range(3):
        house.breaks("web-1")
        house.run(12)
        house.mended("web-1")
        house.run(600)
    assert len(house.executor.started) == 2
    assert [each.code for each in house.incidents if each.outcome is not Outcome.RESOLVED] == ["self_healed"]
    assert "max_attempts" in codes(house)


def test_a_refire_reopens_the_incident_with_its_attempts() -> None:
    house = House(runbook())
    house.breaks("web-1")
    house.run(10)
    house.run(5)
    house.breaks("web-1")
    house.run(10)
    assert len(house.incidents) == 1
    assert house.incidents[0].reopened == 1
    assert len(house.records.attempts) == 2


def test_after_recovery_nothing_opens_until_the_trigger_was_seen_false() -> None:
    book = replace(runbook(longest_range=20.0, verify="fine"), name="web-down")
    house = House(book)
    house.mends = False
    house.world.true["fine"] = {"web-1", "web-2", "web-3"}
    house.breaks("web-1")
    house.run(15)
    assert house.incident("web-1").state is IncidentState.RESOLVED
    house.run(5)
    assert len(house.executor.started) == 1
    house.run(30)
    assert house.incidents[0].reopened >= 1


def test_a_pause_made_during_the_tick_wins_over_its_plan() -> None:
    house = House(runbook())
    house.breaks("web-1")
    commit = house.records.commit
    calls = []

    def late(change: object) -> bool:
        calls.append(change)
        if len(calls) == 2:
            house.records.pause(Pause("all", "ann", "deploy", house.clock.now()))
        return commit(change)  # type: ignore[arg-type]

    house.records.commit = late  # type: ignore[method-assign, assignment]
    house.run(10)
    assert not house.executor.started
    assert "paused" in codes(house)
    house.records.resume("all", "ann", "done")
    house.run(10)
    assert len(house.executor.started) == 1


def test_a_jump_of_the_wall_clock_holds() -> None:
    house = House(runbook())
    house.run(3)
    house.clock.shift = 3600
    house.breaks("web-1")
    house.run(2)
    assert not house.executor.started
    assert codes(house) == ["clock_jumped"]
    house.run(5)
    assert len(house.executor.started) == 1


def test_a_lost_execution_goes_to_verifying_and_is_not_started_again() -> None:
    house = House(runbook())
    house.breaks("web-1")
    house.run(1.5)
    house.executor.lost.update(house.executor.started)
    house.mended("web-1")
    house.run(10)
    assert house.incident("web-1").outcome is Outcome.RESOLVED
    assert len(house.executor.started) == 1
    assert next(iter(house.records.executions.values())).state is ExecutionState.LOST


def test_what_is_not_proved_ended_stays_locked() -> None:
    house = House(runbook())
    house.executor.contained = False
    house.breaks("web-1")
    house.run(1.5)
    house.executor.lost.update(house.executor.started)
    house.mended("web-1")
    house.run(30)
    assert {lock.target for lock in house.standing.locks} == {"web-1"}


def test_a_failed_run_climbs_to_the_next_rung_without_waiting_for_the_cooldown() -> None:
    house = House(runbook(remedies=("first", "second"), guards=Guards(cooldown=3600)))
    results = iter([ExecutionState.FAILED, ExecutionState.SUCCESSFUL])

    def work(execution: object) -> ExecutionState:
        state = next(results)
        if state is ExecutionState.SUCCESSFUL:
            house.mended("web-1")
        return state

    house.executor.work = work
    house.breaks("web-1")
    house.run(20)
    assert house.incident("web-1").state is IncidentState.RESOLVED
    assert [attempt.outcome for attempt in house.records.attempts.values()] == [Outcome.FAILED, Outcome.RESOLVED]


def test_a_remedy_after_which_something_else_breaks_is_harmful_and_ends_the_ladder() -> None:
    house = House(
        runbook("leak", expr="leak", resource="memory", remedies=("first", "second"), within=5.0),
        runbook("disk", expr="full", resource="disk", mode=Mode.SHADOW),
    )

    def work(execution: object) -> ExecutionState:
        house.breaks("web-1", "full")
        return ExecutionState.SUCCESSFUL

    house.executor.work = work
    house.breaks("web-1", "leak")
    house.run(20)
    incident = next(each for each in house.incidents if each.resource == "memory")
    assert incident.code == "harmful"
    assert incident.state is IncidentState.ESCALATED
    assert len(house.executor.started) == 1


def test_a_tie_between_runbooks_holds_and_priority_breaks_it() -> None:
    house = House(runbook("one"), runbook("two"))
    house.breaks("web-1")
    house.run(5)
    assert codes(house) == ["tie"]
    house = House(runbook("one"), runbook("two", priority=5))
    house.breaks("web-1")
    house.run(5)
    assert next(iter(house.records.executions.values())).runbook == "two"


def test_a_runbook_that_names_culprits_does_not_act_without_one() -> None:
    house = House(runbook(localize=Localization("node", "who", "job")))
    house.world.values["who"] = {"web-2": 5.0}
    house.breaks("web-1")
    house.run(5)
    assert codes(house) == ["no_culprit"]
    house.world.values["who"] = {"web-1": 5.0}
    house.run(3)
    assert house.incident("web-1").culprit == "web"
    assert len(house.executor.started) == 1


def test_a_protected_host_is_not_touched_unless_an_operator_names_it() -> None:
    house = House(runbook(), protected=frozenset({"web-1"}))
    house.breaks("web-1")
    house.run(5)
    assert codes(house) == ["protected"]
    house.records.request(Request("r1", "run", "ann", "try", house.clock.now(), "web-down", ("web-1",)))
    house.run(10)
    assert len(house.executor.started) == 1


def test_an_inventory_that_shrank_suddenly_holds_until_a_human_accepts_it() -> None:
    house = House(runbook())
    house.run(2)
    house.fleet = replace(house.fleet, targets={"web-1": house.fleet.targets["web-1"]})
    house.world.hosts = ("web-1",)
    house.breaks("web-1")
    house.run(5)
    assert codes(house) == ["inventory_shrank"]
    house.records.request(Request("r1", "accept_inventory", "ann", "decommissioned", house.clock.now()))
    house.run(5)
    assert len(house.executor.started) == 1


@pytest.mark.parametrize("at", [None, *range(1, 16)])
def test_an_operators_run_is_done_once_and_answers_with_what_it_started(at: int | None) -> None:
    house = House(runbook(mode=Mode.SHADOW))
    house.run(2)
    house.records.crash_at = None if at is None else house.records.count + at
    house.records.after = True
    house.records.request(Request("r1", "run", "ann", "try", house.clock.now(), "web-down", ("web-1", "web-2")))
    house.run(12)
    assert len(house.executor.started) == 2
    state, result = house.records.request_state("r1") or ("", "")
    assert state == "finished"
    assert [each["target"] for each in json.loads(result)] == ["web-1", "web-2"]
    assert {each.triggered_by for each in house.incidents} == {"ann"}


def test_an_operators_run_obeys_the_guards_and_says_which_refused() -> None:
    house = House(runbook())
    house.records.pause(Pause("host:web-1", "bob", "maintenance", house.clock.now()))
    house.records.request(Request("r1", "run", "ann", "try", house.clock.now(), "web-down", ("web-1", "ghost")))
    house.run(3)
    _, result = house.records.request_state("r1") or ("", "")
    first, second = json.loads(result)
    assert first["codes"] == ["paused"]
    assert "bob" in first["refused"][0]
    assert second["codes"] == ["unknown_host"]
    assert not house.executor.started


def test_a_check_run_is_no_attempt_and_leaves_no_lock() -> None:
    house = House(runbook())
    house.records.request(Request("r1", "run", "ann", "", house.clock.now(), "web-down", ("web-1",), check=True))
    house.run(10)
    assert len(house.executor.started) == 1
    assert not house.records.attempts
    assert not house.incidents
    assert not house.standing.locks


def test_an_operator_can_cancel_what_runs_and_close_what_was_escalated() -> None:
    house = House(runbook())
    house.executor.length = 1000
    house.breaks("web-1")
    house.run(3)
    house.records.request(Request("r1", "cancel", "ann", "stop it", house.clock.now(), house.executor.started[0]))
    house.run(3)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    house.mended("web-1")
    house.records.request(Request("r2", "close", "ann", "seen to", house.clock.now(), house.incident("web-1").id))
    house.run(1)
    assert house.incident("web-1").outcome is Outcome.UNKNOWN
    assert not house.standing.locks


def test_an_escalated_incident_is_closed_by_measured_recovery_alone() -> None:
    house = House(runbook(remedies=()))
    house.breaks("web-1")
    house.run(5)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    house.mended("web-1")
    house.world.silent.add("web-1")
    house.run(5)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    house.world.silent.clear()
    house.run(6)
    assert house.incident("web-1").state is IncidentState.SELF_HEALED
    assert not house.standing.locks


def test_a_week_of_quiet_costs_nothing_and_says_nothing() -> None:
    house = House(runbook(), limits=Limits(interval=15.0, max_targets=1.0))
    for _ in range(2000):
        house.controller.tick()
        house.clock.time += 300
    assert not house.records.entries


def test_a_catalog_without_runbooks_is_quiet() -> None:
    house = House()
    house.run(5)
    assert Catalog().runbooks == ()
    assert not house.records.entries
