"""Where one rule meets another: what a reviewer asked, each as a whole incident."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from engine.controller import Declared
from engine.core.guards import troubled
from engine.core.meet import join
from engine.model.decision import Preparation
from engine.model.execution import ExecutionState
from engine.model.incident import Alert, AlertState, Incident, IncidentState, Outcome
from engine.model.runbook import Guards, Hours, Limits, Localization, Mode, Remedy, Runbook, Window
from engine.model.standing import Pause, Request, Silence
from tests.fakes.world import Crash, House, runbook


def ask(house: House, name: str, kind: str, subject: str, *targets: str, check: bool = False) -> None:
    house.records.request(Request(name, kind, "ann", "", house.clock.now(), subject, targets, check=check))


def result(house: House, name: str) -> dict[str, object]:
    state, text = house.records.request_state(name) or ("", "[]")
    assert state == "finished"
    return json.loads(text)[0]


def codes(house: House) -> list[str]:
    return [entry.code for entry in house.records.entries if entry.kind == "decision"]


def locked(house: House) -> dict[str, str]:
    return {lock.target: lock.owner for lock in house.standing.locks}


def fails(house: House, *names: str) -> None:
    """Let every run fail, or those of the named remedies."""

    def work(execution: object) -> ExecutionState:
        failed = not names or execution.remedy in names  # type: ignore[attr-defined]
        return ExecutionState.FAILED if failed else ExecutionState.SUCCESSFUL

    house.executor.work = work


def test_an_alert_that_only_keeps_firing_does_not_reopen_what_was_healed() -> None:
    house = House(runbook(keep_firing_for=30.0))
    house.breaks("web-1")
    house.run(60)
    assert house.incident("web-1").outcome is Outcome.RESOLVED
    assert house.incident("web-1").reopened == 0
    assert len(house.executor.started) == 1


def test_a_host_that_joins_a_variant_leaves_its_alerts_as_they_were() -> None:
    book = replace(runbook(for_=5.0, mode=Mode.SHADOW), hosts=frozenset({"web-1", "web-2"}))
    house = House(book)
    house.breaks("web-1")
    house.run(4)
    house.runbooks = (replace(book, hosts=frozenset({"web-1", "web-2", "web-3"})),)
    house.run(3)
    (alert,) = house.records.alerts
    assert alert.state is AlertState.FIRING
    assert alert.active_since == 1_000_000.0


def test_without_data_nothing_heals_though_its_variant_got_another_name() -> None:
    book = replace(runbook(mode=Mode.SHADOW), hosts=frozenset({"web-1", "web-2"}))
    house = House(book)
    house.breaks("web-1")
    house.run(3)
    house.world.silent.add("web-1")
    house.runbooks = (replace(book, hosts=frozenset({"web-1", "web-2", "web-3"})),)
    house.run(10)
    assert house.incident("web-1").state is IncidentState.OPEN


def test_an_incident_whose_runbook_is_gone_is_not_said_to_have_healed() -> None:
    house = House(runbook(mode=Mode.SHADOW))
    house.breaks("web-1")
    house.run(3)
    house.runbooks = ()
    house.run(10)
    assert house.incident("web-1").state is IncidentState.OPEN
    assert codes(house)[-1] == "no_data"


def test_a_host_that_left_the_inventory_is_unknown_and_not_recovered() -> None:
    house = House(runbook(mode=Mode.SHADOW))
    house.breaks("web-1")
    house.run(3)
    house.fleet = replace(
        house.fleet, targets={name: each for name, each in house.fleet.targets.items() if name != "web-1"}
    )
    house.world.hosts = ("web-2", "web-3")
    house.mended("web-1")
    house.run(10)
    assert house.records.alerts[0].state is AlertState.UNKNOWN
    assert "not in the inventory" in house.records.alerts[0].reason
    assert house.incident("web-1").state is IncidentState.OPEN
    house.run(1)
    house.clock.time += 90_000
    house.run(1)
    assert not house.records.alerts, "it is not remembered for ever"


def test_a_host_that_leaves_while_it_is_mended_goes_to_a_human() -> None:
    house = House(runbook(within=5.0))
    house.breaks("web-1")
    house.run(2)
    house.fleet = replace(
        house.fleet, targets={name: each for name, each in house.fleet.targets.items() if name != "web-1"}
    )
    house.run(20)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    assert house.incident("web-1").code == "blind"
    assert len(house.executor.started) == 1


def test_a_check_of_a_target_that_a_human_has_is_refused_and_the_engine_goes_on() -> None:
    house = House(runbook(remedies=()), runbook("disk", expr="full", resource="disk"))
    house.breaks("web-1")
    house.run(3)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    ask(house, "r1", "run", "disk", "web-1", check=True)
    house.runbooks = (replace(house.runbooks[0], remedies=house.runbooks[1].remedies), house.runbooks[1])
    ask(house, "r2", "run", "web-down", "web-1", check=True)
    house.breaks("web-2", "full")
    house.run(10)
    assert result(house, "r1")["codes"] == ["locked"]
    assert result(house, "r2")["codes"] == ["locked"]
    assert house.incident("web-2").state is IncidentState.RESOLVED


def test_automation_keeps_off_an_escalated_target_though_another_run_gave_its_lock_back() -> None:
    house = House(
        runbook("memory", expr="leak", resource="memory"),
        runbook("disk", expr="full", resource="disk", remedies=()),
        runbook("data", expr="rot", resource="data"),
    )
    house.executor.length = 5
    house.breaks("web-1", "leak")
    house.run(2)
    house.breaks("web-1", "full")
    house.run(15)
    assert {each.resource: each.state for each in house.incidents} == {
        "memory": IncidentState.RESOLVED,
        "disk": IncidentState.ESCALATED,
    }
    house.breaks("web-1", "rot")
    house.run(10)
    assert len(house.executor.started) == 1
    assert "escalated" in codes(house)[-1]


def test_what_may_still_run_is_not_joined_by_a_second_run_when_the_fault_comes_back() -> None:
    house = House(runbook())
    house.executor.contained = False
    house.breaks("web-1")
    house.run(1.5)
    house.executor.lost.update(house.executor.started)
    house.mended("web-1")
    house.run(20)
    assert house.incident("web-1").state is IncidentState.SELF_HEALED
    house.breaks("web-1")
    house.run(20)
    assert house.incident("web-1").reopened == 1
    assert len(house.executor.started) == 1
    assert codes(house)[-1] == "not_contained"
    house.records.release_lock("web-1", "ann", "it is off")
    house.run(2)
    assert len(house.executor.started) == 2


@pytest.mark.parametrize("kind", ["hand_back", "run"])
def test_what_may_still_run_is_handed_back_only_once_its_lock_was_released(kind: str) -> None:
    house = House(runbook())
    house.executor.contained = False
    house.breaks("web-1")
    house.run(1.5)
    house.executor.lost.update(house.executor.started)
    house.run(3)
    incident = house.incident("web-1")
    ask(house, "r1", kind, incident.id if kind == "hand_back" else "web-down", "web-1")
    house.run(3)
    assert result(house, "r1")["codes"] == ["not_contained"]
    house.records.release_lock("web-1", "ann", "it is off")
    ask(house, "r2", kind, incident.id if kind == "hand_back" else "web-down", "web-1")
    house.run(3)
    assert len(house.executor.started) == 2


def test_what_was_handed_back_counts_among_what_is_in_trouble_though_somebody_had_seen_it() -> None:
    house = House(runbook())
    fails(house)
    house.breaks("web-1")
    house.run(10)
    ask(house, "r1", "acknowledge", house.incident("web-1").id)
    house.run(1)
    assert not troubled(house.standing)
    ask(house, "r2", "hand_back", house.incident("web-1").id)
    house.run(0.5)
    assert troubled(house.standing) == {"web-1"}


def test_closing_what_may_still_run_leaves_its_target_locked() -> None:
    house = House(runbook())
    house.executor.contained = False
    house.breaks("web-1")
    house.run(1.5)
    house.executor.lost.update(house.executor.started)
    house.run(3)
    ask(house, "r1", "close", house.incident("web-1").id)
    house.run(1)
    assert set(locked(house)) == {"web-1"}


def test_a_reopened_incident_waits_for_the_cooldown_on_whatever_rung_it_stands() -> None:
    house = House(runbook(remedies=("first", "second"), guards=Guards(cooldown=100.0)))

    def work(execution: object) -> ExecutionState:
        if execution.remedy == "first":  # type: ignore[attr-defined]
            return ExecutionState.FAILED
        house.mended("web-1")
        return ExecutionState.SUCCESSFUL

    house.executor.work = work
    house.breaks("web-1")
    house.run(20)
    assert house.incident("web-1").state is IncidentState.RESOLVED
    house.breaks("web-1")
    house.run(20)
    assert house.incident("web-1").reopened == 1
    assert len(house.executor.started) == 2
    assert codes(house)[-1] == "cooldown"
    house.run(100)
    assert len(house.executor.started) == 3


def test_another_runbook_begins_at_its_own_first_rung() -> None:
    house = House(
        runbook("gentle", expr="slow", resource="cpu", remedies=("wait",)),
        runbook("firm", expr="stuck", resource="cpu", remedies=("restart", "rebuild"), priority=5),
    )
    fails(house)
    house.breaks("web-1", "slow")
    house.run(1)
    house.breaks("web-1", "stuck")
    house.run(30)
    assert [each.remedy for each in house.records.attempts.values()] == ["wait", "restart", "rebuild"]
    assert house.incident("web-1").code == "ladder_exhausted"


def test_a_storm_is_nobodys_to_hand_back_and_closes_when_it_is_over() -> None:
    hosts = [f"web-{number}" for number in range(8)]
    house = House(runbook(), hosts=hosts, limits=Limits(interval=1.0, storm=3, max_targets=1.0))
    for host in hosts:
        house.breaks(host)
    house.run(3)
    storm = next(each for each in house.incidents if each.resource == "storm")
    ask(house, "r1", "hand_back", storm.id)
    house.run(2)
    assert result(house, "r1")["codes"] == ["storm"]
    for host in hosts:
        house.mended(host)
    house.run(3)
    assert house.records.incidents[storm.id].state is IncidentState.SELF_HEALED
    assert not house.standing.locks


def test_an_incident_handed_back_after_a_day_is_tried_anew_and_not_taken_for_its_first_run() -> None:
    house = House(runbook())
    fails(house)
    house.breaks("web-1")
    house.run(10)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    house.run(1)
    house.clock.time += 100_000
    house.run(5)
    ask(house, "r1", "hand_back", house.incident("web-1").id)
    house.run(10)
    assert len(house.executor.started) == 2
    assert len(set(house.executor.started)) == 2


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_a_request_whose_run_ended_while_the_engine_was_down_is_not_run_again(at: int, check: bool) -> None:
    house = House(runbook(mode=Mode.SHADOW))
    house.run(2)
    fails(house)
    house.executor.length = 0.5
    house.records.crash_at, house.records.after = house.records.count + at, True
    ask(house, "r1", "run", "web-down", "web-1", check=check)
    house.run(15)
    assert len(house.executor.started) == 1
    assert "refused" not in result(house, "r1")


def test_an_answer_is_kept_with_what_was_done() -> None:
    for at in range(1, 6):
        house = House(runbook(remedies=()))
        house.breaks("web-1")
        house.run(3)
        ask(house, "r1", "close", house.incident("web-1").id)
        house.records.crash_at, house.records.after = house.records.count + at, True
        house.mended("web-1")
        house.run(5)
        assert "refused" not in result(house, "r1")


def test_an_operators_run_that_failed_goes_to_a_human_and_is_not_called_healed_at_once() -> None:
    house = House(runbook())
    fails(house)
    ask(house, "r1", "run", "web-down", "web-1")
    house.run(4)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    assert house.incident("web-1").code == "failed"
    assert next(iter(house.records.attempts.values())).outcome is Outcome.FAILED


def test_a_symptom_that_shows_late_is_no_harm_done() -> None:
    house = House(
        runbook("hung", expr="hung", resource="service", remedies=("first", "second"), within=5.0),
        runbook("slow", expr="slow", resource="latency", mode=Mode.SHADOW),
    )

    def work(execution: object) -> ExecutionState:
        house.breaks("web-1", "slow")
        if execution.remedy == "second":  # type: ignore[attr-defined]
            house.mended("web-1", "hung")
            house.mended("web-1", "slow")
        return ExecutionState.SUCCESSFUL

    house.executor.work = work
    house.breaks("web-1", "hung")
    house.run(30)
    assert house.incidents[0].outcome is Outcome.RESOLVED
    assert len(house.executor.started) == 2


def test_a_run_whose_directory_vanished_is_lost_and_never_started_again() -> None:
    house = House(runbook())
    house.executor.length = 100
    house.breaks("web-1")
    house.run(4)
    house.executor.begun.clear()
    house.run(10)
    assert len(house.executor.started) == 1
    assert next(iter(house.records.executions.values())).state is ExecutionState.LOST
    assert house.incident("web-1").code == "not_contained"
    assert set(locked(house)) == {"web-1"}


def test_an_intent_that_was_not_begun_is_withdrawn_by_a_pause_and_judged_anew_after_it() -> None:
    house = House(runbook())
    house.breaks("web-1")
    start = house.executor.start

    def die(execution: object) -> None:
        house.executor.start = start  # type: ignore[method-assign]
        house.records.pause(Pause("all", "ann", "restored", house.clock.now()))
        raise Crash

    house.executor.start = die  # type: ignore[method-assign]
    house.run(10)
    assert not house.executor.started
    assert not house.standing.executions
    assert not house.standing.locks
    assert house.incident("web-1").state is IncidentState.OPEN
    house.records.resume("all", "ann", "looked at it")
    house.run(10)
    assert len(house.executor.started) == 1
    assert house.incident("web-1").outcome is Outcome.RESOLVED


@pytest.mark.parametrize("what", ["window", "silence"])
def test_an_intent_that_was_not_begun_is_withdrawn_when_its_window_closed_or_it_was_silenced(what: str) -> None:
    # the clock of these tests begins at 13:46:40
    minute = Hours("13:46-13:47 UTC", frozenset(range(7)), 826, 827, "UTC")
    house = House(runbook(guards=Guards(window=Window(only=(minute,)))))
    house.breaks("web-1")
    start = house.executor.start

    def die(execution: object) -> None:
        house.executor.start = start  # type: ignore[method-assign]
        if what == "window":
            house.clock.time += 60
        else:
            house.records.silence(Silence("s1", '{target="web-1"}', "ann", "looking", 0.0, house.clock.now() + 600))
        raise Crash

    house.executor.start = die  # type: ignore[method-assign]
    house.run(1)
    house.run(5)
    assert not house.executor.started
    assert not house.standing.executions
    assert not house.standing.locks
    assert house.incident("web-1").state is IncidentState.OPEN


def test_an_engine_that_was_down_for_longer_than_for_waits_for_it_again() -> None:
    house = House(runbook(for_=5.0, guards=Guards(cooldown=0.0)))
    house.records.pause(Pause("all", "ann", "", house.clock.now()))
    house.breaks("web-1")
    house.run(10)
    house.records.resume("all", "ann", "")
    house.clock.time += 1000
    house.run(4)
    assert not house.executor.started
    house.run(4)
    assert len(house.executor.started) == 1


def test_a_clock_that_jumped_expires_no_deadline() -> None:
    house = House(runbook(within=30.0))
    house.mends = False
    house.breaks("web-1")
    house.run(6)
    house.clock.shift = -86_400.0
    house.run(10)
    assert house.incident("web-1").state is IncidentState.VERIFYING
    house.clock.shift = 0.0
    house.run(5)
    assert house.incident("web-1").state is IncidentState.VERIFYING


def test_a_released_lock_lets_no_second_run_onto_a_host_where_one_goes_on() -> None:
    house = House(runbook(), runbook("disk", expr="full", resource="disk"), runbook("cpu", expr="hot", resource="cpu"))
    house.executor.length = 20
    house.breaks("web-1", "full")
    house.run(3)
    house.records.release_lock("web-1", "ann", "I know better")
    house.breaks("web-1", "hot")
    house.breaks("web-2", "hot")
    house.run(5)
    assert [each.target for each in house.records.executions.values()] == ["web-1", "web-2"]
    assert not house.controller.tick().lost


def test_an_incident_whose_cause_shows_later_waits_for_it_as_a_symptom() -> None:
    house = House(
        runbook("slow", expr="slow", resource="latency", guards=Guards(cooldown=0.0)),
        runbook("node", mode=Mode.SHADOW),
        hosts=("web-1", "lb"),
        depends_on={"lb": ("web-1",)},
    )
    house.records.pause(Pause("host:lb", "ann", "", house.clock.now(), house.clock.now() + 5.0))
    house.breaks("lb", "slow")
    house.run(2)
    house.breaks("web-1")
    house.run(10)
    assert house.incident("lb").code == "symptom"
    assert "node of web-1" in house.incident("lb").reason
    assert not house.executor.started


def test_what_was_escalated_is_not_over_while_its_trigger_fires_whatever_its_verification_says() -> None:
    house = House(runbook(remedies=(), verify="fine"))
    house.world.true["fine"] = {"web-1"}
    house.breaks("web-1")
    house.run(20)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    assert house.incident("web-1").reopened == 0
    house.mended("web-1")
    house.run(5)
    assert house.incident("web-1").state is IncidentState.SELF_HEALED


def test_a_trigger_that_was_seen_false_may_open_again_before_its_range_has_passed() -> None:
    house = House(runbook(longest_range=100.0))
    house.breaks("web-1")
    house.run(15)
    assert house.incident("web-1").state is IncidentState.RESOLVED
    assert house.incident("web-1").trigger_cleared
    house.breaks("web-1")
    house.run(3)
    assert house.incident("web-1").reopened == 1


def test_a_trigger_that_cannot_be_seen_is_not_taken_for_cleared() -> None:
    house = House(runbook(longest_range=20.0, verify="fine"))
    house.mends = False
    house.world.true["fine"] = {"web-1"}
    house.breaks("web-1")
    while not house.incidents or house.incidents[0].state is not IncidentState.RESOLVED:
        house.run(1)
    house.world.broken.add("down")
    house.run(5)
    assert not house.incident("web-1").trigger_cleared
    house.world.broken.clear()
    house.run(3)
    assert house.incident("web-1").reopened == 0


def test_a_held_incident_keeps_the_culprit_that_was_named_first_until_another_runbook_names_one() -> None:
    house = House(runbook(mode=Mode.SHADOW, localize=Localization("node", "who", "job")))
    house.world.values["who"] = {"web-1": 5.0}
    house.breaks("web-1")
    house.run(2)
    incident = house.incident("web-1")
    assert incident.culprit == "web"
    assert incident.fault is not None
    drifted = replace(incident.fault, suspect=replace(incident.fault.suspect, culprit="logs"))
    assert join(incident, drifted, house.clock.now()) is None
    joined = join(incident, replace(drifted, runbooks=(*drifted.runbooks, "other")), house.clock.now())
    assert joined is not None
    assert joined.incident is not None
    assert joined.incident.culprit == "logs"


def test_a_check_rehearses_with_the_culprit_of_the_open_incident() -> None:
    house = House(runbook(mode=Mode.SHADOW, localize=Localization("node", "who", "job")))
    house.world.values["who"] = {"web-1": 5.0}
    house.breaks("web-1")
    house.run(2)
    seen = []
    whole = house.controller.declared

    def watched() -> Declared:
        told = whole()

        def prepare(book: Runbook, remedy: Remedy, incident: Incident, alert: Alert | None) -> Preparation:
            seen.append(incident.culprit)
            return told.prepare(book, remedy, incident, alert)

        return replace(told, prepare=prepare)

    house.controller.declared = watched
    house.records.request(Request("r1", "run", "ann", "", house.clock.now(), "web-down", ("web-1",), check=True))
    house.run(1)
    assert set(seen) == {"web"}
    assert len(house.incidents) == 1
