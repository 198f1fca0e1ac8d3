"""Clocks that are set, and ticks that take long."""

from __future__ import annotations

import pytest

from engine.controller import Collector, Paced
from engine.model.labels import Batch
from engine.model.standing import Pause
from tests.fakes.world import FakeClock, House, runbook

DAY = 86_400.0


@pytest.mark.parametrize("shift", [-DAY, DAY])
def test_a_pause_holds_for_as_long_as_people_said_whatever_was_done_to_the_clock(shift: float) -> None:
    house = House(runbook())
    house.run(3)
    house.clock.shift = shift
    house.run(5)
    wall = house.clock.wall()
    house.records.pause(Pause("all", "ann", "maintenance", wall, wall + 60))
    house.breaks("web-1")
    house.run(55)
    assert not house.executor.started


def test_a_pause_ends_when_people_said_though_the_clock_was_set_back() -> None:
    house = House(runbook())
    house.run(3)
    house.clock.shift = -DAY
    house.run(5)
    wall = house.clock.wall()
    house.records.pause(Pause("all", "ann", "maintenance", wall, wall + 60))
    house.breaks("web-1")
    house.run(65)
    assert len(house.executor.started) == 1


def test_a_tick_that_takes_long_is_no_jump_of_the_clock() -> None:
    house = House(runbook())
    house.run(3)
    answer = house.world.answer

    def slow(queries: object, at: float) -> object:
        house.clock.sleep(1.5)
        return answer(queries, at)  # type: ignore[arg-type]

    house.controller.evaluator.answer = slow  # type: ignore[method-assign, assignment]
    house.controller.look()
    assert house.controller.look().scene.jump == 0.0


class Broken:
    """A source that cannot be collected from, until it can."""

    def __init__(self) -> None:
        self.works = False

    def collect(self, at: float) -> Batch:
        if not self.works:
            raise OSError(28, "No space left on device")
        return Batch(at, (), ())


class Kept:
    """Samples that are counted."""

    def __init__(self) -> None:
        self.batches = 0

    def append(self, _: Batch) -> None:
        self.batches += 1


def test_a_collection_that_fails_is_told_once_and_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    source, kept = Broken(), Kept()
    collector = Collector((Paced(source, 1.0),), kept, FakeClock())
    collector.once()
    collector.once()
    source.works = True
    collector.once()
    told = "".join(capsys.readouterr())
    assert (told.count("No space left"), told.count("collecting again"), kept.batches) == (1, 1, 1)
    assert "Traceback" not in told
