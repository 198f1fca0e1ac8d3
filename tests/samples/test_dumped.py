"""Samples held in memory: in whatever order they came, they are selected as a store selects them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.labels import Labels
from engine.promql import Matcher, MatchOperator
from engine.samples.dumped import Dumped

A, B, C = (Labels({"__name__": "free", "instance": name}) for name in "abc")
LINES = st.lists(
    st.tuples(st.sampled_from((A, B, C)), st.integers(-5, 30).map(lambda each: each * 500), st.floats(-9, 9)),
    max_size=40,
)
ALL = (Matcher("__name__", MatchOperator.EQUAL, "free"),)


@given(LINES, st.integers(-3_000, 16_000), st.integers(-3_000, 16_000))
@settings(deadline=None)
def test_what_is_selected_is_what_came_within_that_time(
    lines: list[tuple[Labels, int, float]], start: int, end: int
) -> None:
    first: dict[Labels, dict[int, float]] = {}
    for labels, time, value in lines:
        first.setdefault(labels, {}).setdefault(time, value)
    block = Dumped(iter(lines)).select(ALL, start, end)
    found = {
        labels: list(zip(block.times[low:high].tolist(), block.values[low:high].tolist(), strict=True))
        for labels, low, high in zip(block.series, block.offsets[:-1], block.offsets[1:], strict=True)
    }
    within = {
        labels: sorted((time, value) for time, value in samples.items() if start < time <= end)
        for labels, samples in first.items()
    }
    assert found == {labels: samples for labels, samples in within.items() if samples}
    assert len(block.series) == len(set(block.series))


def test_only_what_is_admitted_is_selected() -> None:
    dumped = Dumped([(each, 1000, 1.0) for each in (A, B, C)])
    block = dumped.select((*ALL, Matcher("instance", MatchOperator.REGEX, "a|c")), 0, 5000)
    assert set(block.series) == {A, C}
    assert dumped.select((Matcher("__name__", MatchOperator.EQUAL, "used"),), 0, 5000).series == ()


def test_it_knows_its_ends_and_how_far_apart_samples_are() -> None:
    slow = [(A, 15_000 * each, 1.0) for each in range(10)]
    some = [(B, 60_000 * each + 2_500, 1.0) for each in range(10)]
    quick = [(C, 1_000 * each, 1.0) for each in range(10)]
    dumped = Dumped(reversed(slow + some + quick))
    assert (dumped.oldest(), dumped.newest(), dumped.pace()) == (0.0, 542.5, 15.0)


def test_nothing_has_no_ends() -> None:
    nothing = Dumped([])
    assert (nothing.oldest(), nothing.newest(), nothing.pace()) == (None, None, 0.0)
    assert nothing.select(ALL, 0, 9).offsets.tolist() == [0]
    alone = Dumped([(A, 2000, 1.0)])
    assert (alone.oldest(), alone.newest(), alone.pace()) == (2.0, 2.0, 0.0)
    assert np.array_equal(alone.select(ALL, 0, 2000).values, [1.0])
