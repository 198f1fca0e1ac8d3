"""The score of NAB as the benchmark works it out: its ends, what a place is worth, and the best threshold."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from nab_score import FALSE, Stream, at_threshold, optimised, weights

STREAM = Stream(np.arange(1000.0), np.zeros(1000), ((400.0, 499.0), (800.0, 899.0)))
STREAMS = {"one": STREAM}


def alarms(*places: int) -> dict[str, np.ndarray]:
    scores = np.zeros(1000)
    scores[list(places)] = 1.0
    return {"one": scores}


def test_nothing_is_nothing_and_alarms_at_the_begins_are_perfect() -> None:
    assert at_threshold(STREAMS, alarms(), 0.5) == 0
    assert at_threshold(STREAMS, alarms(400, 800), 0.5) == pytest.approx(100)


def test_later_is_worth_less_and_only_the_best_of_a_window_counts() -> None:
    early, late = (at_threshold(STREAMS, alarms(place, 800), 0.5) for place in (410, 490))
    assert early > late
    assert at_threshold(STREAMS, alarms(410, 450, 490, 800), 0.5) == early


def test_a_false_alarm_costs_and_less_so_just_behind_a_window() -> None:
    worth, window = weights(STREAM)
    assert worth[200] == -FALSE
    assert -0.01 < worth[500] < 0
    assert worth[799] == pytest.approx(-FALSE, abs=1e-3)
    assert (window[399], window[400], window[899], window[900]) == (-1, 0, 1, -1)


def test_what_comes_while_it_learns_does_not_count() -> None:
    assert at_threshold(STREAMS, alarms(10, 100, 149), 0.5) == 0
    assert at_threshold(STREAMS, alarms(150), 0.5) < 0


def test_the_best_threshold_is_that_of_the_whole_corpus() -> None:
    scores = alarms(400, 800)
    scores["one"][400] = 3.0
    scores["one"][[200, 300, 600]] = 2.0
    streams = {**STREAMS, "other": Stream(np.arange(1000.0), np.zeros(1000), ((500.0, 599.0),))}
    scores["other"] = np.zeros(1000)
    scores["other"][500] = 2.5
    best, threshold = optimised(streams, scores)
    assert threshold == 1.0
    assert best == pytest.approx(at_threshold(streams, scores, threshold))
    assert all(best >= at_threshold(streams, scores, each) for each in (0.5, 2.0, 2.5, 3.0))
