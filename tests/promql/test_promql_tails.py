"""Windows that share their samples, and keep them from tick to tick, say what each of them says when read by itself."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promql_corners import FAR_OFF, FAR_OFF_LINES
from promql_memory import Memory

from engine.model.labels import Batch, Labels
from engine.model.truth import Answer, Query
from engine.promql import STALE, Plan, Storage, answer, parse, track
from engine.promql.folds import STRIDE, Total
from engine.samples import recent
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore

NOW = 1_700_000_000_000
FRESH = 60_000
RANGES = (20, 45, 60, 61, 300, 301, 600)
FUNCTIONS = (
    "avg_over_time({})",
    "sum_over_time({})",
    "min_over_time({})",
    "max_over_time({})",
    "count_over_time({})",
    "present_over_time({})",
    "stddev_over_time({})",
    "stdvar_over_time({})",
    "last_over_time({})",
    "first_over_time({})",
    "ts_of_first_over_time({})",
    "ts_of_last_over_time({})",
    "ts_of_max_over_time({})",
    "quantile_over_time(0.3, {})",
    "mad_over_time({})",
    "changes({})",
    "resets({})",
    "rate({})",
    "increase({})",
    "delta({})",
    "irate({})",
    "idelta({})",
    "deriv({})",
    "predict_linear({}, 60)",
    "absent_over_time({})",
)
TEXTS = (
    *(function.format(f"x[{seconds}s]") for function in FUNCTIONS for seconds in RANGES),
    "x - avg_over_time(x[5m] offset 1m)",
    "max_over_time(rate(x[45s])[2m:20s])",
    "sum(avg_over_time(x[1m] @ 1700000100))",
)
VALUES = st.one_of(
    st.integers(-8, 8).map(lambda quarter: quarter / 4),
    st.floats(-1e3, 1e3),
    st.sampled_from((math.nan, math.inf, -math.inf, STALE, 1e300, -1e300, 1e16, -1e16, 0.1, 1e-300)),
)


@pytest.fixture(autouse=True)
def even_few_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "FEW", 1)
    monkeypatch.setattr(track, "WIDEST", 1000)
    monkeypatch.setattr(recent, "LEAST", 1)


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-9)


def check(answers: Iterable[Answer], storage: Storage, at: int) -> None:
    """Assert that what is evaluated together has the answers that each expression has alone."""
    for together in answers:
        query = together.query
        alone = answer(parse(query.expr), query, storage, at, FRESH)
        assert (together.error, together.needs) == (alone.error, alone.needs), query
        assert [sample.labels for sample in together.samples] == [sample.labels for sample in alone.samples], query
        for got, wanted in zip(together.samples, alone.samples, strict=True):
            assert same(got.value, wanted.value), (query, got, wanted)


QUERIES = st.lists(st.sampled_from(TEXTS).map(Query), min_size=8, max_size=20, unique=True).map(tuple)


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    """Series that are all collected together, or each at times of its own; with gaps, or without."""
    ticks = draw(st.lists(st.integers(-50, 2), min_size=1, max_size=50, unique=True).map(sorted))
    memory = Memory()
    together = draw(st.booleans())
    for host in range(draw(st.integers(1, 4))):
        mine = ticks if together else draw(st.lists(st.sampled_from(ticks), unique=True).map(sorted))
        shift = 0 if together else draw(st.integers(0, 4_000))
        kind = draw(st.sampled_from((VALUES, st.integers(0, 40).map(float), st.just(7.3))))
        values = draw(st.lists(kind, min_size=len(mine), max_size=len(mine)))
        labels = Labels({"__name__": "x", "instance": f"h{host}"})
        memory.add(labels, [(NOW + 15_000 * tick + shift, value) for tick, value in zip(mine, values, strict=True)])
    return memory


@given(memories(), QUERIES)
@settings(max_examples=150, deadline=None)
def test_windows_cut_from_one_say_what_each_says_alone(memory: Memory, queries: tuple[Query, ...]) -> None:
    check(Plan(queries).answers(memory, NOW, FRESH).values(), memory, NOW)


HOSTS = tuple(Labels({"__name__": "x", "instance": f"h{host}"}) for host in range(4))
STEP = st.tuples(
    st.sampled_from((15, 15, 15, 15, 1, 7, 40, 200)),  # seconds on
    st.sampled_from((HOSTS[:3], HOSTS[:3], HOSTS[:3], HOSTS[:1], HOSTS[1:], HOSTS, ())),
    st.sampled_from((0, 0, 0, -1, -20, -70, 5)),  # early or late
    st.lists(VALUES, min_size=4, max_size=4),
    st.booleans(),  # asked at this tick, or not
)


@given(st.lists(STEP, min_size=3, max_size=40), QUERIES, st.sampled_from((100, 900, 9000)))
@settings(max_examples=50, deadline=None)
def test_asking_tick_by_tick_says_what_asking_once_says(
    steps: list[tuple], queries: tuple[Query, ...], retention: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, SampleStore(Path(folder), retention=retention) as store:
        keeping, now = EmbeddedEvaluator(store, fresh=FRESH / 1000), NOW
        for ahead, hosts, shift, values, asked in steps:
            now += ahead * 1000
            if hosts:
                store.append(Batch(now / 1000 + shift, hosts, tuple(values[: len(hosts)])))
            if asked:
                check(keeping.answer(queries, now / 1000), store, now)


def test_a_tick_reads_and_adds_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = tuple(map(Query, ("avg_over_time(x[10m]) > 3", "stddev_over_time(x[9m]) > 3", "rate(x[5m]) > 3")))
    with SampleStore(tmp_path) as store:
        for tick in range(-40, 1):
            store.append(Batch(NOW / 1000 + 15 * tick, HOSTS, (1.0, 2.0, 3.0, tick % 3)))
        keeping = EmbeddedEvaluator(store, fresh=FRESH / 1000)
        spans, added = [], []
        select, add = store.select, Total.add
        monkeypatch.setattr(
            store, "select", lambda matchers, start, end: spans.append(end - start) or select(matchers, start, end)
        )
        monkeypatch.setattr(Total, "add", lambda *given: added.append(1) or add(*given))
        for tick in range(10):
            store.append(Batch(NOW / 1000 + 15 * (tick + 1), HOSTS, (1.0, 2.0, 3.0, 4.0)))
            keeping.answer(queries, NOW / 1000 + 15 * (tick + 1))
        assert spans == [600_000] + [15_000] * 9
        assert len(added) <= 40 + 9 * (1 + STRIDE)


def test_a_series_that_was_over_when_first_asked_has_the_slope_of_what_it_begins_with_again(tmp_path: Path) -> None:
    queries = (Query("deriv(x[1m])"), Query("predict_linear(x[1m], 60)"), Query("stddev_over_time(x[1m])"))
    with SampleStore(tmp_path) as store:
        keeping, now = EmbeddedEvaluator(store, fresh=FRESH / 1000), NOW / 1000
        store.append(Batch(now - 2, HOSTS[2:], (1.0, 2.0)))
        store.append(Batch(now - 1, HOSTS, (STALE, STALE, 1.0, 2.0)))
        check(keeping.answer(queries, now), store, NOW)
        for second in range(1, 8):
            store.append(Batch(now + second, HOSTS, (7.0, 5e9 + second, 3.0 * second, 2.0)))
            check(keeping.answer(queries, now + second), store, NOW + 1000 * second)


def test_numbers_whose_squares_overflow_spread_as_they_do_alone() -> None:
    memory, queries = (
        Memory(),
        tuple(
            Query(f"{name}(x[{reach}s])")
            for name in ("stdvar_over_time", "stddev_over_time", "deriv")
            for reach in (30, 61, 300)
        ),
    )
    for host, (old, new) in zip(HOSTS, ((0.0, 1e200), (1e200, 0.0), (-1e240, 1e240), (1e160, 1e160)), strict=True):
        memory.add(host, [(NOW - 15_000 * tick, new if tick < 4 else old) for tick in range(15, -1, -1)])
    check(Plan(queries).answers(memory, NOW, FRESH).values(), memory, NOW)
    with tempfile.TemporaryDirectory() as folder, SampleStore(Path(folder)) as store:
        keeping = EmbeddedEvaluator(store, fresh=FRESH / 1000)
        for tick in range(-10, 10):
            store.append(
                Batch(
                    NOW / 1000 + 15 * tick,
                    HOSTS,
                    (0.0, 1e200, -1e240, 1e160) if tick < 0 else (1e200, 0.0, 1e240, 1e160),
                )
            )
            check(keeping.answer(queries, NOW / 1000 + 15 * tick), store, NOW + 15_000 * tick)


def test_numbers_next_to_which_the_ones_before_are_far_off_are_told_apart_tick_by_tick(tmp_path: Path) -> None:
    with SampleStore(tmp_path) as store:
        keeping = EmbeddedEvaluator(store, fresh=FRESH / 1000)
        for tick, values in enumerate(zip(*FAR_OFF, strict=True)):
            store.append(Batch(NOW / 1000 + 15 * tick, HOSTS, values))
            check(keeping.answer(tuple(map(Query, FAR_OFF_LINES)), NOW / 1000 + 15 * tick), store, NOW + 15_000 * tick)
