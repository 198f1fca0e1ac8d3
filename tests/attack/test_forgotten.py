"""What somebody asked for and did not live to see: it is not done out of the blue by an engine that is started later."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.model.runbook import Limits
from engine.model.standing import Request
from tests.fakes.world import House, runbook

HOUR = 3600.0


def asked(house: House, at: float) -> dict[str, Any]:
    house.records.request(Request("r1", "run", "ann", "try", at, "web-down", ("web-1",)))
    house.run(1)
    state, text = house.records.request_state("r1") or ("", "[]")
    assert state == "finished"
    found: dict[str, Any] = json.loads(text)[0]
    return found


@pytest.mark.parametrize("turned", [0.0, -2 * HOUR, 2 * HOUR])
@pytest.mark.parametrize(("ago", "done"), [(0.0, True), (599.0, True), (601.0, False), (5 * HOUR, False)])
def test_a_run_is_begun_while_somebody_may_still_wait_for_it(ago: float, done: bool, turned: float) -> None:
    house = House(runbook(), limits=Limits(interval=1.0, max_targets=1.0, approval=600.0), automatic=False)
    house.clock.shift = turned
    answer = asked(house, house.clock.wall() - ago)
    assert ("execution" in answer) is done
    assert len(house.executor.started) == done
    if not done:
        assert answer["codes"] == ["expired"]
        assert "ask again" in answer["refused"][0]
        assert any(entry.sentence.startswith("Refused to ann") for entry in house.records.entries)


def test_a_run_that_was_begun_in_time_is_told_though_the_answer_was_lost() -> None:
    house = House(runbook(), limits=Limits(interval=1.0, max_targets=1.0, approval=600.0), automatic=False)
    begun = asked(house, house.clock.wall())
    house.run(30)
    house.records.requests["r1"] = Request("r1", "run", "ann", "try", house.clock.wall() - HOUR, "web-down", ("web-1",))
    house.records.results.pop("r1")
    house.run(1)
    assert json.loads(house.records.request_state("r1")[1])[0]["execution"] == begun["execution"]  # type: ignore[index]
    assert len(house.executor.started) == 1
