"""Windows that are moved on hold exactly what reading them anew gives."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import batch, named

from engine.model.labels import Batch
from engine.model.truth import Query
from engine.promql.block import STALE, Block, Matcher, MatchOperator
from engine.samples import recent
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.recent import Recent
from engine.samples.store import SampleStore

CPU = [Matcher("__name__", MatchOperator.EQUAL, "cpu")]
HOSTS = tuple(named("cpu", instance=name) for name in "abcd")
START = 1_700_000_000.0


@pytest.fixture(autouse=True)
def even_small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "LEAST", 1)


def same(one: Block, other: Block) -> bool:
    bits = np.array_equal(one.values.view(np.uint64), other.values.view(np.uint64))
    return (
        one.series == other.series
        and np.array_equal(one.offsets, other.offsets)
        and np.array_equal(one.times, other.times)
        and bits
    )


STEPS = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 15, 40]),  # seconds on
        st.sampled_from([HOSTS[:3], HOSTS[:3], HOSTS[:3], HOSTS, HOSTS[:1], HOSTS[2:], ()]),
        st.sampled_from([0, 0, 0, -20, 5]),  # early or late
        st.sampled_from([1.0, 2.0, STALE]),
        st.booleans(),  # asked for between two batches, or not
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([60, 200]))
def test_a_window_moved_on_is_the_window_read_anew(steps: list[tuple], retention: int) -> None:
    with tempfile.TemporaryDirectory() as folder, SampleStore(Path(folder), retention=retention) as store:
        moving, now = Recent(store), START
        for ahead, hosts, shift, value, asked in steps:
            now += ahead
            if hosts:
                store.append(Batch(now + shift, hosts, tuple(value + place for place in range(len(hosts)))))
            if asked:
                end = int(now * 1000)
                for span in (30_000, 45_000):
                    assert same(moving.select(CPU, end - span, end), store.select(CPU, end - span, end))


def test_a_window_is_moved_and_not_read(tmp_path, monkeypatch):
    with SampleStore(tmp_path) as store:
        moving = Recent(store)
        asked: list[tuple[int, int]] = []
        select = store.select
        monkeypatch.setattr(
            store, "select", lambda matchers, start, end: asked.append((start, end)) or select(matchers, start, end)
        )
        for tick in range(40):
            store.append(batch(START + 15 * tick, dict.fromkeys(HOSTS, float(tick))))
            end = int(START + 15 * tick) * 1000
            found = moving.select(CPU, end - 300_000, end)
        assert found.times.size == 20 * len(HOSTS)
        assert [end - start for start, end in asked] == [300_000, *[15_000] * 39]


def test_answers_are_the_same_with_and_without_windows(tmp_path):
    queries = [Query("avg_over_time(cpu[5m]) > 3"), Query("stddev_over_time(cpu[10m])"), Query("rate(cpu[2m])")]
    with SampleStore(tmp_path) as store:
        keeping = EmbeddedEvaluator(store, fresh=45.0)
        for tick in range(60):
            hosts = HOSTS[:3] if tick < 30 else HOSTS
            store.append(batch(START + 15 * tick, {host: float(tick % 7 * place) for place, host in enumerate(hosts)}))
            forgetting = EmbeddedEvaluator(store, fresh=45.0, windows=False)
            at = START + 15 * tick + 1
            assert keeping.answer(queries, at) == forgetting.answer(queries, at)
