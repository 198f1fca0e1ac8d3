"""An emergency stop is carried out by every tick, for whatever runs: also for what an engine begins that had hung meanwhile."""

from __future__ import annotations

from engine.model.execution import ExecutionState
from engine.model.incident import IncidentState
from engine.model.standing import Pause
from tests.fakes.world import House, runbook


def stop(house: House, until: float | None = None) -> None:
    house.records.pause(Pause("all", "ann", "wrong rack", house.clock.now(), until, stop=True))


def test_what_runs_is_ended_and_a_human_is_asked() -> None:
    house = House(runbook())
    house.executor.length = 1000.0
    house.breaks("web-1")
    house.run(2)
    assert len(house.standing.executions) == 1
    stop(house)
    house.run(3)
    assert house.executor.canceled == set(house.executor.started)
    assert house.standing.executions == ()
    assert house.incident("web-1").state is IncidentState.ESCALATED


def test_what_is_begun_by_one_that_had_not_heard_of_it_is_ended_too() -> None:
    house = House(runbook())
    house.executor.length = 1000.0
    stop(house)
    house.breaks("web-1")
    house.run(3)
    assert house.executor.started == []
    house.records.pauses.clear()
    house.run(2)
    (begun,) = house.executor.started
    stop(house)  # it was ordered while the engine stood between its commit and the start
    house.run(2)
    assert house.executor.report(begun, 0).state is ExecutionState.CANCELED


def test_a_pause_that_is_no_stop_lets_what_runs_come_to_its_end() -> None:
    house = House(runbook())
    house.executor.length = 10.0
    house.breaks("web-1")
    house.run(2)
    house.records.pause(Pause("all", "ann", "racks", house.clock.now()))
    house.run(20)
    assert house.executor.canceled == set()
    assert house.executor.ended


def test_a_stop_whose_time_is_over_ends_nothing() -> None:
    house = House(runbook())
    house.executor.length = 20.0
    stop(house, until=house.clock.now() + 1)
    house.clock.time += 5
    house.breaks("web-1")
    house.run(10)
    assert house.executor.started
    assert house.executor.canceled == set()
