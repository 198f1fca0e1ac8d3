"""What is worked out for many instants at once says at each of them what it says asked alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, reject, settings
from hypothesis import strategies as st
from promql_corners import FAR_OFF, FAR_OFF_LINES
from promql_memory import Memory
from promql_questions import over_ranges, questions
from promql_random import random_memory

from engine.model.labels import Labels
from engine.model.truth import Answer, Coverage, Query
from engine.promql import STALE, ParseError, answer, parse
from engine.promql.sweep import Instants, Sweep

BEGIN = 1_700_000_000_000
FRESH = 60_000
STEP = 15_000
MEMORIES = [random_memory(seed, BEGIN) for seed in range(6)]


def alone(text: str, memory: Memory, moment: int) -> Answer:
    return answer(parse(text), Query(text), memory, moment, FRESH)


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def told(needs: Sequence[Coverage]) -> list[Coverage]:
    """Return coverage without what no sentence says: how far samples reach back where that is far enough."""
    return [each if each.short else replace(each, oldest=None) for each in needs]


def check(got: Answer, wanted: Answer, moment: int) -> None:
    text = got.query.expr
    assert got.error == wanted.error, (text, moment)
    assert told(got.needs) == told(wanted.needs), (text, moment)
    by_labels = (
        sorted(got.samples, key=lambda each: str(each.labels)),
        sorted(wanted.samples, key=lambda each: str(each.labels)),
    )
    assert [each.labels for each in by_labels[0]] == [each.labels for each in by_labels[1]], (text, moment)
    for one, other in zip(*by_labels, strict=True):
        assert same(one.value, other.value), (text, moment, one, other)


@given(st.sampled_from(MEMORIES), st.one_of(questions(BEGIN), over_ranges(BEGIN)), st.integers(-4, 200))
@settings(max_examples=100, deadline=None)
def test_an_instant_of_a_sweep_says_what_it_says_alone(memory: Memory, text: str, first: int) -> None:
    try:
        parse(text)
    except ParseError:
        reject()
    instants = Instants(BEGIN + first * STEP, STEP, 9)
    sweep = Sweep(memory, instants, FRESH)
    for moment in instants.times(0, instants.count).tolist():
        check(sweep.answers((Query(text),), moment)[0], alone(text, memory, moment), moment)


TICKS = st.lists(st.integers(0, 60), max_size=50, unique=True).map(sorted)


@st.composite
def fleets(draw: st.DrawFn) -> Memory:
    """Series of a few hosts with gaps and ends, one or two of each host."""
    memory = Memory()
    for host in range(draw(st.integers(1, 3))):
        for disk in range(draw(st.integers(1, 2))):
            values = st.sampled_from((0.0, 1.0, 1.0, 2.0, 5.0, STALE))
            samples = [(BEGIN + STEP * tick + 40 * host, draw(values)) for tick in draw(TICKS)]
            memory.add(Labels({"__name__": "x", "instance": f"h{host}", "disk": f"{disk}"}), samples)
    return memory


@given(
    fleets(),
    st.sampled_from(("x > 1", "avg_over_time(x[3m]) > 1", "x unless x offset 2m", "absent(x)", "rate(x[1m]) > 0")),
)
@settings(max_examples=60, deadline=None)
def test_a_walk_skips_only_instants_without_a_result_and_accounts_for_the_data_of_all(
    memory: Memory, text: str
) -> None:
    instants, query = Instants(BEGIN - 4 * STEP, STEP, 90), Query(text)
    sweep, runs = Sweep(memory, instants, FRESH), []
    sweep.account(query, lambda first, beyond, answer: runs.append((first, beyond, answer)))
    said, number = [], sweep.next_said((query,), 0)
    while number is not None:
        said.append(number)
        moment = instants.start + STEP * number
        check(sweep.answers((query,), moment)[0], alone(text, memory, moment), moment)
        number = sweep.next_said((query,), number + 1)
    moments = instants.times(0, instants.count).tolist()
    assert said == [number for number, moment in enumerate(moments) if alone(text, memory, moment).samples]
    assert [(first, beyond) for first, beyond, _ in runs] == [
        (first, beyond) for (first, _, _), beyond in zip(runs, [*(first for first, _, _ in runs[1:]), 90], strict=True)
    ]
    assert runs[0][0] == 0
    for first, beyond, answer_ in runs:
        for number in range(first, beyond):
            assert told(answer_.needs) == told(alone(text, memory, moments[number]).needs)


def test_an_error_at_one_instant_is_an_error_there_alone() -> None:
    memory = Memory({Labels({"__name__": "x", "instance": host}): [(BEGIN, 1.0)] for host in "ab"})
    memory.add(Labels({"__name__": "x", "instance": "a"}), [(BEGIN + 9 * STEP, 1.0)])
    memory.add(Labels({"__name__": "y", "instance": "a", "z": "1"}), [(BEGIN + 9 * STEP, 1.0)])
    memory.add(Labels({"__name__": "y", "instance": "a", "z": "2"}), [(BEGIN + 11 * STEP, 1.0)])
    instants, text = Instants(BEGIN, STEP, 40), "x * on (instance) y"
    sweep = Sweep(memory, instants, FRESH)
    errors = []
    for moment in instants.times(0, instants.count).tolist():
        got = sweep.answers((Query(text),), moment)[0]
        check(got, alone(text, memory, moment), moment)
        errors.append(got.error)
    assert any(errors)
    assert not all(errors)


def test_what_does_not_parse_says_so_at_every_instant() -> None:
    sweep = Sweep(Memory(), Instants(BEGIN, STEP, 3), FRESH)
    assert sweep.next_said((Query("x >"),), 0) is None
    assert "does not parse" in (sweep.answers((Query("x >"),), BEGIN)[0].error or "")


def test_numbers_next_to_which_the_ones_before_are_far_off_are_told_apart() -> None:
    memory, queries = Memory(), tuple(map(Query, FAR_OFF_LINES))
    for host, values in enumerate(FAR_OFF):
        samples = [(BEGIN + STEP * tick, value) for tick, value in enumerate(values)]
        memory.add(Labels({"__name__": "x", "instance": f"h{host}"}), samples)
    sweep = Sweep(memory, Instants(BEGIN, STEP, 15), FRESH)
    for moment in sweep.instants.times(0, 15).tolist():
        for got in sweep.answers(queries, moment):
            wanted = {each.labels: each.value for each in alone(got.query.expr, memory, moment).samples}
            assert {each.labels for each in got.samples} == set(wanted)
            for each in got.samples:  # however small they are
                assert math.isclose(each.value, wanted[each.labels], rel_tol=1e-9), (got.query, moment, each, wanted)
