from __future__ import annotations

import pytest
from stored import batch, named

from engine.model.truth import Query, Truth
from engine.promql.block import STALE
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore

A, B = named("cpu", instance="a"), named("cpu", instance="b")


@pytest.fixture
def store(tmp_path):
    with SampleStore(tmp_path) as store:
        for number in range(61):
            store.append(batch(1000 + 15 * number, {A: 50.0 + number, B: 10.0}))
        yield store


def truths(store: SampleStore, expr: str, at: float = 1900.0) -> tuple[Truth, Truth]:
    (answer,) = EmbeddedEvaluator(store, fresh=45.0).answer([Query(expr)], at)
    return answer.truth({"a"}), answer.truth({"b"})


def test_true_false_and_unknown_are_told_apart(store):
    assert truths(store, "cpu > 90") == (Truth.TRUE, Truth.FALSE)
    assert truths(store, "avg_over_time(cpu[5m]) > 90") == (Truth.TRUE, Truth.FALSE)
    assert truths(store, "cpu > 90", 1946.0) == (Truth.UNKNOWN, Truth.UNKNOWN)
    assert truths(store, "memory > 90") == (Truth.UNKNOWN, Truth.UNKNOWN)
    assert truths(store, "avg_over_time(cpu[6h]) > 90") == (Truth.UNKNOWN, Truth.UNKNOWN)


def test_a_series_that_ended_is_unknown_at_once(store):
    store.append(batch(1901, {A: STALE}))
    assert truths(store, "cpu > 90", 1902.0) == (Truth.UNKNOWN, Truth.FALSE)


def test_answers_come_in_the_order_of_the_queries_and_errors_are_answers(store):
    queries = [Query("cpu >"), Query("cpu"), Query("cpu + on() cpu"), Query("cpu >")]
    first, second, third, fourth = EmbeddedEvaluator(store, fresh=45.0).answer(queries, 1900.0)
    assert first.error is not None
    assert first.error.startswith("does not parse: ")
    assert first == fourth
    assert [(sample.labels, sample.value) for sample in second.samples] == [(A, 110.0), (B, 10.0)]
    assert third.error is not None
    assert [answer.query for answer in (first, second, third)] == queries[:3]


def test_samples_read_again_after_a_restart_give_the_same_answers(tmp_path, store):
    queries = [Query("rate(cpu[5m])"), Query("sum by (instance) (cpu) > 90"), Query("predict_linear(cpu[10m], 3600)")]
    before = EmbeddedEvaluator(store, fresh=45.0).answer(queries, 1900.0)
    store.close()
    with SampleStore(tmp_path) as again:
        assert EmbeddedEvaluator(again, fresh=45.0).answer(queries, 1900.0) == before
    assert all(answer.samples for answer in before)
