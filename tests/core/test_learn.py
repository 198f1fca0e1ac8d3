"""What came back, and which remedies work."""

from __future__ import annotations

from dataclasses import replace

from engine.core.learn import recurrence, success
from engine.model.incident import Outcome
from tests.core.cases_of import attempt_of


def test_what_comes_back_is_counted_by_incidents_and_their_mean_distance() -> None:
    tries = [attempt_of(number, "web-1", ago) for number, ago in ((1, 900.0), (2, 600.0), (3, 0.0))]
    rung = replace(attempt_of(4, "web-1", 890.0), incident="old-1")
    other = attempt_of(5, "web-2", 10.0)
    first, second = recurrence([other, rung, *tries])
    assert (first.target, first.incidents, first.attempts, first.mean_interval) == ("web-1", 3, 4, 450.0)
    assert (second.target, second.incidents, second.attempts, second.mean_interval) == ("web-2", 1, 1, None)


def test_a_remedys_rate_is_of_what_ended_and_its_time_of_what_healed() -> None:
    outcomes = [Outcome.RESOLVED, Outcome.RESOLVED, Outcome.FAILED, Outcome.UNKNOWN]
    tries = [attempt_of(number, "web-1", 100.0, outcome=outcome) for number, outcome in enumerate(outcomes)]
    running = replace(attempt_of(9, "web-1", 1.0), outcome=None, ended_at=None)
    (row,) = success([*tries, running])
    assert (row.runbook, row.remedy, row.attempts, row.healed, row.rate) == ("web-down", "restart", 4, 2, 0.5)
    assert row.mean_seconds == 1.0


def test_nothing_tried_is_nothing_known() -> None:
    assert recurrence([]) == ()
    assert success([]) == ()
    assert success([replace(attempt_of(1, "web-1", 1.0), outcome=None)]) == ()
