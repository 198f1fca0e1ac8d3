"""What must not matter to an answer: where samples are kept, when that was opened, what was asked before, when it all was."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from promql_memory import Memory
from promql_questions import questions
from promql_random import SPAN, random_memory

from engine.model.labels import Batch, Labels
from engine.model.truth import Answer, Query
from engine.promql import (
    EvaluationError,
    Matrix,
    ParseError,
    Scalar,
    Storage,
    Text,
    Vector,
    evaluate,
    evaluate_range,
    parse,
)
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore

BEGIN = 1_790_000_007_000
SHIFT = 7_140_000 * 6
"""Milliseconds: a multiple of every step that a random question's subqueries have."""
MOMENTS = st.sampled_from(range(BEGIN - 60_000, BEGIN + SPAN * 1000 + 200_000, 12_345))
LOOKING = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

Outcome = dict[Labels, float] | str


def outcome(text: str, storage: Storage, at: int, *, names_last: bool = False) -> Outcome:
    """Return what `text` says, or "error" (texts are told apart from errors by their quotes)."""
    try:
        result = evaluate(parse(text), storage, at, names_last=names_last)
    except (EvaluationError, ParseError):
        return "error"
    match result:
        case Scalar(value=value):
            return {Labels(): value}
        case Vector(series=series, values=values):
            return dict(zip(series, values.tolist(), strict=True))
        case Text(value=value):
            return repr(value)
        case Matrix():
            raise AssertionError(text)


def alike(one: Outcome, other: Outcome, floor: float = 1e-9) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return one.keys() == other.keys() and all(near(value, other[labels], floor) for labels, value in one.items())


def near(one: float, other: float, floor: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-9, abs_tol=floor)


def batches(memory: Memory) -> list[Batch]:
    """Return the samples as they would have been collected, moment by moment."""
    moments: dict[int, dict[Labels, float]] = {}
    for labels, samples in memory.series.items():
        for time, value in samples.items():
            moments.setdefault(time, {})[labels] = value
    return [Batch(time / 1000, tuple(found), tuple(found.values())) for time, found in sorted(moments.items())]


@pytest.fixture(scope="module")
def memory() -> Memory:
    return random_memory(3, BEGIN)


@pytest.fixture(scope="module")
def stores(memory: Memory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[SampleStore]]:
    """Yield a store of `memory`'s samples that was never closed, and one that was closed in the middle and at the end."""
    collected = batches(memory)
    half = len(collected) // 2
    whole, torn = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("torn")
    with SampleStore(whole) as store:
        for batch in collected:
            store.append(batch)
        for part in (collected[:half], collected[half:]):
            with SampleStore(torn) as opened:
                for batch in part:
                    opened.append(batch)
        with SampleStore(torn) as reopened:
            yield [store, reopened]


@LOOKING
@given(text=questions(BEGIN), at=MOMENTS)
def test_reopening_a_store_changes_no_answer(memory: Memory, stores: list[SampleStore], text: str, at: int) -> None:
    expected = outcome(text, memory, at)
    for store in stores:
        assert alike(outcome(text, store, at), expected)


TIMED = re.compile(r"time|@ \d|ts_of|hour|minute|month|year|day")


@LOOKING
@given(text=questions(BEGIN), at=MOMENTS)
def test_what_happens_later_is_judged_alike(memory: Memory, text: str, at: int) -> None:
    assume(not TIMED.search(text))
    later = Memory(
        {
            labels: [(time + SHIFT, value) for time, value in samples.items()]
            for labels, samples in memory.series.items()
        }
    )
    assert alike(outcome(text, later, at + SHIFT), outcome(text, memory, at))


@LOOKING
@given(text=questions(BEGIN), at=MOMENTS)
def test_removing_names_last_refuses_no_more_and_counts_the_same(memory: Memory, text: str, at: int) -> None:
    assume("__name__" not in text and "group_" not in text and "label_" not in text)
    assume("limit_ratio" not in text)  # which chooses by all labels there are, the name with them
    at_once, at_last = outcome(text, memory, at), outcome(text, memory, at, names_last=True)
    if at_once != "error" and at_last != "error":
        assert not isinstance(at_once, str)
        assert not isinstance(at_last, str)
        bare = {labels.without("__name__"): value for labels, value in at_last.items()}
        assert alike({labels.without("__name__"): value for labels, value in at_once.items()}, bare)


@LOOKING
@given(text=questions(BEGIN), start=MOMENTS, step=st.sampled_from((7_000, 60_000)), names_last=st.booleans())
def test_a_range_query_says_what_each_instant_says(
    memory: Memory, text: str, start: int, step: int, names_last: bool
) -> None:
    assume("start()" not in text and "end()" not in text and "limit" not in text)
    moments = [start + step * place for place in range(4)]
    singles = [outcome(text, memory, at, names_last=names_last) for at in moments]
    assume("error" not in singles)
    course: list[dict[Labels, float]] = [{} for _ in moments]
    result = evaluate_range(parse(text), memory, moments[0], moments[-1], step, names_last=names_last)
    for row in result.series:
        for at, value in zip(row.times.tolist(), row.values.tolist(), strict=True):
            course[(at - start) // step][row.labels] = value
    assert all(alike(one, other) for one, other in zip(course, singles, strict=True))


def said(answer: Answer) -> Outcome:
    return "error" if answer.error is not None else {sample.labels: sample.value for sample in answer.samples}


@settings(LOOKING, max_examples=25)
@given(
    texts=st.lists(questions(BEGIN), min_size=2, max_size=8), first=st.integers(0, SPAN - 400), ticks=st.integers(2, 8)
)
def test_asking_at_every_tick_says_what_asking_once_says(
    memory: Memory, tmp_path_factory: pytest.TempPathFactory, texts: list[str], first: int, ticks: int
) -> None:
    queries = tuple(map(Query, texts))
    waiting = [batch for batch in batches(memory) if batch.time >= BEGIN / 1000 + first - 600]
    with SampleStore(Path(tmp_path_factory.mktemp("ticks"))) as store:
        asked = EmbeddedEvaluator(store, fresh=600)
        for tick in range(ticks):
            at = BEGIN + (first + 30 * tick) * 1000
            while waiting and waiting[0].time * 1000 <= at:
                store.append(waiting.pop(0))
            for answer in asked.answer(queries, at / 1000):
                assert alike(said(answer), outcome(answer.query.expr, store, at))


NEWER = (
    "odd smoothed",
    "odd smoothed offset 45s",
    "increase(odd[50s] smoothed)",
    "increase(odd[50s] anchored)",
    "g + fill(0) k",
    "odd[1m] anchored",
)


def test_what_newer_servers_know_is_planned_as_well(stores: list[SampleStore]) -> None:
    at = BEGIN + 75_000
    answers = EmbeddedEvaluator(stores[0], fresh=600).answer(tuple(map(Query, NEWER)), at / 1000)
    for text, answer in zip(NEWER[:-1], answers, strict=False):
        assert alike(said(answer), outcome(text, stores[0], at))
    assert answers[-1].error == "the expression is a range vector, which says nothing about an instant"
