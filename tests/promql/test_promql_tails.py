"""Windows that share their samples say what each of them says when it is read by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from promql_memory import Memory

from engine.model.labels import Labels
from engine.model.truth import Query
from engine.promql import STALE, EvaluationError, Plan, Storage, Vector, answer, evaluate, parse, track

NOW = 1_700_000_000_000
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
TEXTS = tuple(function.format(f"x[{seconds}s]") for function in FUNCTIONS for seconds in RANGES) + (
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


def same(one: float, other: float, floor: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-9, abs_tol=floor)


def check(plan: Plan, storage: Storage, at: int, floor: float = 0.0) -> None:
    """Assert that what is planned together gets the answers that each expression gets alone."""
    for query, together in plan.answers(storage, at, 60_000).items():
        alone = answer(parse(query.expr), query, storage, at, 60_000)
        assert together.error == alone.error, query
        assert together.needs == alone.needs, query
        got = {sample.labels: sample.value for sample in together.samples}
        wanted = {sample.labels: sample.value for sample in alone.samples}
        assert [sample.labels for sample in together.samples] == [sample.labels for sample in alone.samples], query
        for labels, value in wanted.items():
            assert same(got[labels], value, floor), (query, labels, got[labels], value)


PLAN = Plan(map(Query, TEXTS))


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


@given(memories())
@settings(max_examples=150, deadline=None)
def test_windows_cut_from_one_say_what_each_says_alone(memory: Memory) -> None:
    check(PLAN, memory, NOW)
