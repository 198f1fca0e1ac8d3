"""Plans in files that were forged, damaged, kept too long, made elsewhere or run before: refused in words, and nothing begins twice."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cli.exits import Exit, Failure
from engine.cli.output import plain
from engine.cli.plans import digest, read_plan
from engine.core.orders import digest_of, orders, row_of
from engine.model.execution import PlannedStep
from engine.model.incident import Proposal
from engine.model.runbook import Limits
from engine.model.standing import Request
from tests.core.cases_of import attempt_of
from tests.fakes.world import House, runbook

DAY = 86_400.0
BARE = Proposal("", "book", "d", "restart", 0, 1, "web-1", "node", None, (PlannedStep("a.yml", ("web-1",)),), 0.0, 0.0)
WHOLE = replace(BARE, digest=digest_of(BARE))


def written(path: Path, **more: object) -> Path:
    """Write a plan whose digest fits, whatever it says."""
    content: dict[str, Any] = {
        "version": 1, "created": time.time(), "age_limit": 60.0, "environment": "", "runs": [plain(row_of(WHOLE))], **more,
    }  # fmt: skip
    path.write_text(json.dumps({**content, "digest": digest(content)}))
    return path


def test_a_plan_that_was_written_here_and_now_is_read(tmp_path: Path) -> None:
    assert [run.digest for run in read_plan(written(tmp_path / "plan"), time.time()).runs] == [WHOLE.digest]


@pytest.mark.parametrize(
    ("more", "code", "word"),
    [
        ({"created": time.time() + 1e7}, Exit.REFUSED, "yet to come"),
        ({"created": float("nan")}, Exit.REFUSED, "not as it was written"),
        ({"created": 1e300}, Exit.REFUSED, "not as it was written"),
        ({"created": -1e300}, Exit.REFUSED, "not as it was written"),
        ({"created": 10**400}, Exit.REFUSED, "not as it was written"),
        ({"age_limit": float("inf")}, Exit.REFUSED, "not as it was written"),
        ({"age_limit": True}, Exit.REFUSED, "not as it was written"),
        ({"created": time.time() - DAY, "age_limit": 1e9}, Exit.DENIED, "plan anew"),
        ({"environment": "staging"}, Exit.REFUSED, "for the environment staging"),
        ({"environment": None}, Exit.REFUSED, "environment"),
        ({"environment": "\x1b[2J\nthis one"}, Exit.REFUSED, "environment"),
    ],
)
def test_a_plan_of_another_time_or_place_is_refused(
    more: dict[str, object], code: Exit, word: str, tmp_path: Path
) -> None:
    with pytest.raises(Failure, match=word) as failure:
        read_plan(written(tmp_path / "plan", **more), time.time())
    assert failure.value.exit_code == code
    assert failure.value.message.isprintable()


@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"version": 1, "runs": [' * 5000, '{"version": 1, "runs": [], "x": ' + "[" * 900 + "]" * 900 + "}"]
)  # fmt: skip
def test_a_plan_that_is_nested_without_end_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "plan"
    path.write_text(text)
    with pytest.raises(Failure) as failure:
        read_plan(path, time.time())
    assert failure.value.exit_code == Exit.REFUSED


def keeping() -> tuple[House, Any]:
    """Return a house with one fault that had an attempt almost a day ago, and the plan of the next one."""
    house = House(runbook(), limits=Limits(interval=1.0, max_targets=1.0, grace=0.0), automatic=False)
    old = replace(attempt_of(1, "web-1", 0.0), started_at=house.clock.now() - DAY + 30)
    house.records.attempts[old.id] = replace(old, ended_at=old.started_at + 1)
    house.breaks("web-1")
    house.controller.automatic = True
    look = house.controller.look()
    house.controller.automatic = False
    rows = [row_of(each.proposal) for each in orders(look.changes, look.standing, look.scene.catalog, look.scene.now)]
    now = house.clock.wall()
    assert rows[0]["number"] == 2
    return house, {"created": now, "expires_at": now + 30 * DAY, "runs": json.loads(json.dumps(rows))}


def asked(house: House, plan: Any, name: str) -> dict[str, Any]:
    house.records.request(Request(name, "run_plan", "ann", "seen", house.clock.wall(), vars=plan))
    house.run(1)
    state, text = house.records.request_state(name) or ("", "[]")
    assert state == "finished"
    found: dict[str, Any] = json.loads(text)[0]
    return found


@pytest.mark.parametrize("jump", [0.0, -7200.0, 7200.0])
def test_a_plan_is_not_run_again_when_the_count_of_attempts_has_gone_down_meanwhile(jump: float) -> None:
    house, plan = keeping()
    assert "execution" in asked(house, plan, "once")
    house.run(60)
    house.clock.shift = jump
    house.breaks("web-1")
    house.run(5)
    again = asked(house, plan, "twice")
    assert again["codes"] == ["changed"]
    assert len(house.executor.started) == 1


def test_a_plan_does_not_outlive_the_day_over_which_attempts_are_counted() -> None:
    house, plan = keeping()
    assert "execution" in asked(house, plan, "once")
    house.run(10)
    house.clock.time += 2 * DAY
    house.breaks("web-1")
    house.run(1)
    assert asked(house, plan, "late")["codes"] == ["expired"]
    assert len(house.executor.started) == 1
