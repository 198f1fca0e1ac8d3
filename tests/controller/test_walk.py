"""Random walks: hosts break, mend and fall silent, runs end in every way, the engine dies, operators interfere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.records.store import Record
from tests.fakes.walk import ACTIONS, HOSTS, Walk

STEPS = st.tuples(st.sampled_from(ACTIONS), st.sampled_from(HOSTS), st.integers(0, 9), st.integers(0, 7))
WALKS = st.lists(STEPS, min_size=40, max_size=60)
RELAXED = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


def stroll(walk: Walk, steps: list[tuple[str, str, int, int]]) -> None:
    """Let each thing happen and tick on; the rules are checked at every commit."""
    for kind, host, number, ticks in steps:
        walk.act(kind, host, number)
        walk.run(ticks)
    walk.calm()
    assert max(Counter(walk.lucky.started).values(), default=1) == 1, "begun twice"
    assert not walk.standing.executions
    assert not [each for each in walk.incidents if each.state.live], "all is well and something is still open"
    assert all(state == "finished" for state, _ in map(walk.records.request_state, walk.records.requests))
    assert all(each.outcome is not None for each in walk.records.attempts.values())
    stuck = {each.incident for each in walk.records.attempts.values() if each.unproved}
    stuck |= {name for name, fate in walk.lucky.fates.items() if fate == "stuck"}
    assert {lock.owner for lock in walk.standing.locks} <= stuck


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=RELAXED)
@given(WALKS)
def test_no_rule_is_broken_whatever_happens(steps: list[tuple[str, str, int, int]]) -> None:
    stroll(Walk(), steps)


@settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=RELAXED)
@given(st.lists(STEPS, min_size=10, max_size=16))
def test_the_record_on_disk_says_what_the_plan_expected(steps: list[tuple[str, str, int, int]]) -> None:
    with TemporaryDirectory() as folder, Record(Path(folder) / "record.db") as record:
        stroll(Walk(record), steps)
