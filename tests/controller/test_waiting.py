"""What waits, and for how long: grace after a run, reminders, storms that were closed, hosts that left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.model.execution import Execution, ExecutionState
from engine.model.incident import IncidentState, Outcome
from engine.model.runbook import Guards, Limits, Mode
from engine.model.standing import Request
from tests.fakes.world import House, runbook

HOUR = 3600.0


def rebooting(grace: float = 20.0, own: float | None = None) -> House:
    """Return a house whose first remedy makes its host slow for a while."""
    house = House(
        runbook("leak", expr="leak", resource="memory", guards=Guards(grace=own)),
        runbook("full", expr="full", resource="disk"),
        limits=Limits(interval=1.0, max_targets=1.0, grace=grace),
    )
    mend = house.executor.work

    def work(execution: Execution) -> ExecutionState:
        if execution.runbook == "leak":
            house.breaks(execution.target, "full")
        return mend(execution)

    house.executor.work = work
    house.breaks("web-1", "leak")
    return house


def resources(house: House) -> set[str]:
    return {each.resource for each in house.incidents}


def held(house: House) -> list[str]:
    return [entry.sentence for entry in house.records.entries if entry.code == "grace"]


def test_a_side_effect_that_passes_opens_nothing() -> None:
    house = rebooting()
    house.run(10)
    house.mended("web-1", "full")
    house.run(60)
    assert resources(house) == {"memory"}
    assert len(house.executor.started) == 1
    (said,) = held(house)
    assert "run-" in said
    assert "20s" in said


def test_what_is_still_there_after_the_grace_is_a_fault_like_any_other() -> None:
    house = rebooting()
    house.run(15)
    assert resources(house) == {"memory"}
    (alert,) = [each for each in house.records.alerts if each.target == "web-1"]
    assert "touched this host" in alert.held
    house.run(20)
    assert resources(house) == {"memory", "disk"}
    disk = next(each for each in house.incidents if each.resource == "disk")
    assert disk.outcome is Outcome.RESOLVED
    assert disk.opened_at - disk.first_active == pytest.approx(20, abs=2)
    assert len(held(house)) == 1, "it is said once"


def test_a_runbook_says_how_long_its_own_side_effects_last() -> None:
    house = rebooting(grace=500.0, own=5.0)
    house.run(20)
    assert resources(house) == {"memory", "disk"}


def test_what_was_wrong_before_the_run_is_no_side_effect_of_it() -> None:
    house = rebooting()
    house.breaks("web-1", "full")
    house.run(4)
    assert resources(house) == {"memory", "disk"}


def test_other_hosts_and_the_same_fault_come_back_have_no_grace() -> None:
    house = rebooting()
    house.run(10)
    house.mended("web-1", "full")
    house.breaks("web-2", "full")
    house.breaks("web-1", "leak")
    house.run(3)
    assert {(each.target, each.resource) for each in house.incidents} == {("web-1", "memory"), ("web-2", "disk")}
    assert house.incident("web-1").reopened == 1


def test_a_check_has_no_side_effects() -> None:
    house = rebooting()
    house.mended("web-1", "leak")
    house.records.request(Request("r1", "run", "ann", "", house.clock.now(), "leak", ("web-1",), check=True))
    house.executor.length = 10.0
    house.run(2)
    house.breaks("web-1", "full")
    house.run(2)
    assert resources(house) == {"disk"}


def reminders(house: House) -> list[str]:
    return [entry.sentence for entry in house.records.entries if entry.kind == "reminder"]


def test_an_escalated_incident_is_told_of_again_until_somebody_acknowledges_it() -> None:
    limits = Limits(interval=1.0, max_targets=1.0, grace=0.0, remind=2 * HOUR)
    house = House(runbook(remedies=()), limits=limits)
    house.breaks("web-1")
    house.run(2)
    for _ in range(13):
        house.clock.time += HOUR
        house.run(1)
    assert len(reminders(house)) == 6
    assert "2.0h" in reminders(house)[0]
    assert "it declares no remedy" in reminders(house)[0]
    house.records.request(Request("r1", "acknowledge", "ann", "", house.clock.now(), house.incident("web-1").id))
    house.run(1)
    for _ in range(5):
        house.clock.time += HOUR
        house.run(1)
    assert len(reminders(house)) == 6


def test_nobody_is_reminded_of_what_waits_for_nobody() -> None:
    house = House(runbook(mode=Mode.SHADOW), limits=Limits(interval=1.0, max_targets=1.0, remind=60.0))
    house.breaks("web-1")
    house.run(200)
    assert not reminders(house)


def stormy() -> House:
    hosts = [f"web-{number}" for number in range(8)]
    limits = Limits(interval=1.0, storm=3, max_targets=1.0, grace=0.0, remind=HOUR)
    house = House(runbook(), hosts=hosts, limits=limits)
    for host in hosts:
        house.breaks(host)
    house.run(3)
    (storm,) = storms(house)
    house.records.request(Request("r1", "close", "ann", "known", house.clock.now(), storm))
    house.run(1)
    return house


def storms(house: House) -> list[str]:
    return [each.id for each in house.incidents if each.resource == "storm"]


def test_a_storm_that_was_closed_and_goes_on_is_not_opened_again_at_once() -> None:
    house = stormy()
    house.run(60)
    assert len(storms(house)) == 1
    assert not house.executor.started, "it holds everything back all the same"
    house.clock.time += HOUR
    house.run(2)
    assert len(storms(house)) == 2, "after a while people are told again"


def test_a_storm_that_comes_back_after_it_was_over_is_a_new_one() -> None:
    house = stormy()
    for number in range(8):
        house.mended(f"web-{number}")
    house.run(5)
    for number in range(8):
        house.breaks(f"web-{number}")
    house.run(3)
    assert len(storms(house)) == 2


def test_a_host_that_left_on_purpose_takes_its_incident_along() -> None:
    house = House(runbook("one", remedies=()), runbook("two", expr="full", resource="disk", mode=Mode.SHADOW))
    house.breaks("web-1")
    house.breaks("web-2", "full")
    house.run(3)
    house.fleet = replace(house.fleet, targets={"web-3": house.fleet.targets["web-3"]})
    house.world.hosts = ("web-3",)
    house.run(5)
    assert all(each.state.live for each in house.incidents)
    house.records.request(Request("r1", "accept_inventory", "ann", "retired", house.clock.now()))
    house.run(5)
    for each in house.incidents:
        assert (each.state, each.outcome, each.code) == (IncidentState.RESOLVED, Outcome.UNKNOWN, "left")
        assert each.reason == f"{each.target} left the inventory, which was accepted by ann: retired; not measured"
    assert not house.standing.locks
