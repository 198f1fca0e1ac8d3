"""Grace after one run does not hide a second fault for as long as runs go on."""

from __future__ import annotations

from engine.model.runbook import Guards, Limits
from tests.fakes.world import House, runbook


def test_what_began_with_a_run_ends_its_ladder_and_is_an_incident_when_the_grace_is_over() -> None:
    many = tuple(f"try-{number}" for number in range(20))
    leak = runbook("leak", expr="leaks", resource="memory", remedies=many, within=3.0, guards=Guards(max_attempts=100))
    full = runbook("full", expr="full", resource="disk")
    house = House(leak, full, limits=Limits(interval=1.0, max_targets=1.0, grace=30.0))
    house.mends = False
    house.breaks("web-1", "leaks")
    house.run(2)
    house.breaks("web-1", "full")
    house.run(10)
    (first,) = house.incidents
    assert first.code == "harmful", "it may be what the run did"
    house.run(30)
    assert [each.resource for each in house.incidents] == ["memory", "disk"]
    assert len(house.executor.started) == 1


def test_a_fault_that_comes_and_goes_is_held_for_no_longer_than_the_last_grace() -> None:
    leak = runbook("leak", expr="leaks", resource="memory", within=3.0, guards=Guards(max_attempts=100))
    full = runbook("full", expr="full", resource="disk")
    house = House(leak, full, limits=Limits(interval=1.0, max_targets=1.0, grace=20.0))
    for _ in range(10):
        house.breaks("web-1", "leaks")
        house.run(2)
        house.breaks("web-1", "full")
        house.run(8)
        house.mended("web-1", "full")
        house.run(1)
    house.breaks("web-1", "full")
    house.run(25)
    assert "disk" in {each.resource for each in house.incidents}
