"""The rescue: what is done when every remedy failed, before a human is called; it never delays the call, and heals nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.execution import ExecutionState
from engine.model.incident import IncidentState, Outcome
from engine.model.runbook import Guards, Mode, Runbook, Step
from tests.fakes.world import House, runbook

CORDON = (Step("cordon.yml"),)


def ladder_of(house: House) -> list[str]:
    return [attempt.remedy for attempt in house.records.attempts.values()]


def with_rescue(remedies: tuple[str, ...] = ("restart", "reboot"), guards: Guards | None = None) -> Runbook:
    return replace(runbook(remedies=remedies, within=5.0, guards=guards), rescue=CORDON)


@settings(max_examples=40, deadline=None)
@given(remedies=st.integers(1, 4), spare=st.integers(0, 2), fails=st.booleans())
def test_after_every_remedy_the_rescue_runs_once_and_then_a_human_is_called(
    *, remedies: int, spare: int, fails: bool
) -> None:
    names = tuple(f"remedy-{number}" for number in range(remedies))
    house = House(with_rescue(names, Guards(max_attempts=remedies + spare)))
    house.mends = False
    if fails:
        house.executor.work = lambda _: ExecutionState.FAILED
    house.breaks("web-1")
    house.run(30 * (remedies + 1))
    assert ladder_of(house) == [*names, "Rescue"]
    incident = house.incident("web-1")
    assert (incident.state, incident.code) == (IncidentState.ESCALATED, "ladder_exhausted")
    assert list(house.records.attempts.values())[-1].outcome in (Outcome.INEFFECTIVE, Outcome.FAILED)
    assert {lock.target for lock in house.standing.locks} == {"web-1"}


def test_a_remedy_that_heals_needs_no_rescue() -> None:
    house = House(with_rescue())
    house.breaks("web-1")
    house.run(30)
    assert house.incident("web-1").outcome is Outcome.RESOLVED
    assert ladder_of(house) == ["restart"]


def test_the_human_is_called_as_soon_as_the_rescue_has_run_and_not_once_it_was_verified() -> None:
    book = with_rescue(("restart",))
    house = House(replace(book, verify=replace(book.verify, within=500.0)))
    house.executor.work = lambda _: ExecutionState.FAILED if len(ladder_of(house)) == 1 else ExecutionState.SUCCESSFUL
    house.breaks("web-1")
    house.run(60)
    assert ladder_of(house) == ["restart", "Rescue"]
    calls = [entry for entry in house.records.entries if entry.code == "ladder_exhausted"]
    assert ["its rescue has run" in entry.sentence for entry in calls] == [True]
    rescue = list(house.records.attempts.values())[-1]
    assert rescue.ran_until is not None
    assert rescue.ended_at is not None
    assert rescue.ended_at - rescue.ran_until <= 2.0


@pytest.mark.parametrize("held", ["shadowed", "refused"])
def test_a_rescue_that_is_held_calls_the_human_at_once(held: str) -> None:
    house = House(with_rescue(("restart",)))
    house.mends = False
    house.breaks("web-1")
    while not ladder_of(house):
        house.run(1)
    if held == "shadowed":
        house.runbooks = (replace(house.runbooks[0], mode=Mode.SHADOW),)
    else:
        house.runbooks = (replace(house.runbooks[0], rescue=(Step("cordon.yml", hosts="nobody"),)),)
    house.controller = house.boot()
    house.run(30)
    incident = house.incident("web-1")
    assert (incident.state, incident.code) == (IncidentState.ESCALATED, "ladder_exhausted")
    assert "its rescue was held" in incident.reason
    assert ladder_of(house) == ["restart"]


def test_what_the_rescue_left_is_closed_by_measured_recovery() -> None:
    house = House(with_rescue(("restart",)))
    house.mends = False
    house.breaks("web-1")
    house.run(40)
    assert house.incident("web-1").state is IncidentState.ESCALATED
    house.mended("web-1")
    house.run(10)
    assert not house.incident("web-1").state.live
    assert not house.standing.locks
