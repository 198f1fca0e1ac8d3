"""A store read forward once says what the store says, to readers at different places, whatever they look back on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.labels import Batch, Labels
from engine.promql import STALE, Block, Matcher, MatchOperator
from engine.samples.dumped import Dumped
from engine.samples.reel import LONGEST, SHORTEST, Reel
from engine.samples.store import SampleStore

HOUR = 3_600_000
NAMES = ("free", "used", "up")


def named(name: str, **more: str) -> tuple[Matcher, ...]:
    pairs = {"__name__": name, **more}
    return tuple(Matcher(key, MatchOperator.EQUAL, value) for key, value in pairs.items())


class Counting:
    """A storage that remembers what it was asked."""

    def __init__(self, storage: Dumped | SampleStore) -> None:
        self.storage = storage
        self.asked: list[tuple[tuple[Matcher, ...], int, int]] = []

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        self.asked.append((tuple(matchers), start, end))
        return self.storage.select(matchers, start, end)


def lines(seed: int) -> Iterator[tuple[Labels, int, float]]:
    """Series that come and go over eight hours, each at a pace of its own."""
    dice = random.Random(seed)
    for name in NAMES:
        for host in "abcd":
            time = dice.randrange(0, 5 * HOUR)
            end = dice.randrange(time, 8 * HOUR)
            while time < end:
                yield (
                    Labels({"__name__": name, "instance": host}),
                    time,
                    STALE if dice.random() < 0.02 else dice.random(),
                )
                time += dice.choice((15_000, 15_000, 60_000, 900_000))


def as_known(block: Block) -> dict[Labels, tuple[bytes, bytes]]:
    """Return a block by its series, to the bit."""
    return {
        labels: (block.times[low:high].tobytes(), block.values[low:high].tobytes())
        for labels, low, high in zip(block.series, block.offsets[:-1], block.offsets[1:], strict=True)
    }


WANTED = ((named("free"), 300_000), (named("used"), 3 * HOUR), (named("up", instance="a"), 60_000))


@given(st.integers(0, 10_000), st.sampled_from((1e-4, 900.0, 1e9)), st.data())
@settings(max_examples=25, deadline=None)
def test_readers_get_what_the_store_would_give_them(seed: int, rate: float, data: st.DataObject) -> None:
    store = Dumped(lines(seed))
    reel = Reel(store, rate=rate, behind=HOUR)
    for matchers, reach in WANTED:
        reel.want(matchers, reach)
    at = dict.fromkeys(range(len(WANTED)), 0)
    for _ in range(30):
        reader = data.draw(st.integers(0, len(WANTED) - 1))
        matchers, reach = WANTED[reader]
        if at[reader] > min(at.values()) + HOUR:
            continue
        at[reader] += data.draw(st.sampled_from((15_000, 600_000, HOUR)))
        start = at[reader] - data.draw(st.integers(1, reach))
        assert as_known(reel.select(matchers, start, at[reader])) == as_known(store.select(matchers, start, at[reader]))


def test_each_stretch_is_read_once_for_all() -> None:
    store = Counting(Dumped(lines(1)))
    reel = Reel(store, rate=1e9, behind=HOUR)
    for matchers, reach in WANTED:
        reel.want(matchers, reach)
    for end in range(HOUR, 8 * HOUR, 300_000):
        for matchers, _ in WANTED:
            reel.select(matchers, end - 60_000, end)
    assert all(matchers == () for matchers, _, _ in store.asked)
    spans = [(start, end) for _, start, end in store.asked]
    assert spans == [(start, start + SHORTEST) for start in range(spans[0][0], spans[-1][1], SHORTEST)]


def test_what_has_gone_by_or_was_not_announced_is_read_from_the_store() -> None:
    inner = Dumped(lines(2))
    store = Counting(inner)
    reel = Reel(store, rate=1e9, behind=0)
    reel.want(named("free"), 60_000)
    for end in range(HOUR, 7 * HOUR, HOUR // 2):
        reel.select(named("free"), end - 60_000, end)
    store.asked.clear()
    for matchers, start, end in (
        (named("free"), 0, HOUR),
        (named("used"), 6 * HOUR, 7 * HOUR),
        (named("free"), HOUR, HOUR),
    ):
        assert as_known(reel.select(matchers, start, end)) == as_known(inner.select(matchers, start, end))
        assert store.asked.pop() == (matchers, start, end)


@pytest.mark.parametrize(("rate", "span"), [(1e9, SHORTEST), (0.0, LONGEST), (300.0, 10_000_000)])
def test_the_more_samples_there_are_the_shorter_a_stretch_is(rate: float, span: int) -> None:
    store = Counting(Dumped(lines(3)))
    reel = Reel(store, rate=rate, behind=0)
    reel.want(named("free"), 1)
    reel.select(named("free"), 0, 1)
    assert store.asked == [((), 0, span)]


def test_it_reads_what_a_real_store_has_sealed_and_what_it_has_not(tmp_path: Path) -> None:
    series = tuple(Labels({"__name__": "free", "instance": name}) for name in "abc")
    with SampleStore(tmp_path / "samples") as store:
        for tick in range(3000):
            store.append(Batch(1_795_000_000.0 + 15 * tick, series, (tick, -tick, STALE if tick % 50 == 7 else 1.0)))
        reel = Reel(store, rate=0.2, behind=HOUR)
        reel.want(named("free"), HOUR)
        found = 0
        for end in range(1_795_000_000_000, 1_795_045_000_000, 1_700_000):
            block = reel.select(named("free"), end - HOUR, end)
            assert as_known(block) == as_known(store.select(named("free"), end - HOUR, end))
            found += block.times.size
        assert found > 3 * 3000
        assert np.isnan(block.values).any()
