"""Answers with coverage: what could be known, of whom, and why not."""

from __future__ import annotations

import numpy as np
import pytest
from promql_memory import Memory

from engine.model.labels import Labels
from engine.model.truth import Answer, Query, Truth
from engine.promql import STALE, answer, explain, parse

NOW = 1_700_000_000_000
FRESH = 30_000


def series(name: str, instance: str | None, **more: str) -> Labels:
    return Labels({"__name__": name, "instance": instance or "", **more})


def course(minutes: float, value: float = 1.0, *, end: int = NOW, every: int = 15_000) -> list[tuple[int, float]]:
    """Samples over the last so many minutes, up to and including `end`."""
    return [(end - every * place, value) for place in range(int(minutes * 60_000 / every))]


@pytest.fixture
def memory() -> Memory:
    return Memory(
        {
            series("cpu", "a"): course(40, 95.0),
            series("cpu", "b"): course(40, 5.0),
            series("cpu", "late"): course(5, 95.0),
            series("cpu", "silent"): course(10, 95.0, end=NOW - 60_000),
            series("cpu", "ended"): [*course(40, 95.0, end=NOW - 15_000), (NOW, STALE)],
            series("disk", "a", mount="/"): course(40),
            series("disk", "a", mount="/new"): course(1),
            series("total", None): course(40, 7.0),
        }
    )


def ask(memory: Memory, text: str, at: int = NOW) -> Answer:
    return answer(parse(text), Query(text), memory, at, FRESH)


@pytest.mark.parametrize(
    ("text", "instance", "truth"),
    [
        ("cpu > 90", "a", Truth.TRUE),
        ("cpu > 90", "b", Truth.FALSE),
        ("cpu > 90", "silent", Truth.UNKNOWN),
        ("cpu > 90", "ended", Truth.UNKNOWN),
        ("cpu > 90", "never", Truth.UNKNOWN),
        ("memory > 90", "a", Truth.UNKNOWN),
        ("avg_over_time(cpu[30m]) > 90", "a", Truth.TRUE),
        ("avg_over_time(cpu[30m]) > 90", "b", Truth.FALSE),
        # five minutes of samples are too few to judge half an hour by, but enough for eight minutes
        ("avg_over_time(cpu[30m]) > 90", "late", Truth.UNKNOWN),
        ("avg_over_time(cpu[8m]) > 90", "late", Truth.TRUE),
        ("avg_over_time(cpu[30m]) > 90", "silent", Truth.UNKNOWN),
        ("max_over_time(avg_over_time(cpu[1m])[30m:1m]) > 90", "late", Truth.UNKNOWN),
        ("max_over_time(avg_over_time(cpu[1m])[30m:1m]) > 90", "a", Truth.TRUE),
        # a new file system on an old host does not make the host new
        ("sum by (instance) (count_over_time(disk[30m])) > 0", "a", Truth.TRUE),
        ("cpu and on () total == 7", "a", Truth.TRUE),
        ("cpu > 90 unless on (instance) maintenance", "a", Truth.TRUE),
        ("cpu > 90 and absent(maintenance)", "b", Truth.FALSE),
        ("cpu offset 10m > 90", "silent", Truth.TRUE),
        ("cpu offset 10m > 90", "late", Truth.UNKNOWN),
        ("cpu offset 10m > 90", "a", Truth.TRUE),
    ],
)
def test_an_answer_is_true_false_or_unknown(memory: Memory, text: str, instance: str, truth: Truth) -> None:
    assert ask(memory, text).truth({instance}) is truth


def test_coverage_names_each_needed_selector_with_its_data(memory: Memory) -> None:
    needs = ask(memory, "avg_over_time(cpu[30m]) > 2 * total").needs
    assert [need.selector for need in needs] == ["cpu[30m]", "total"]
    cpu, total = needs
    assert cpu.instances == {"a", "b", "late"}
    assert cpu.short == {"late"}
    assert cpu.reach == 1800
    assert cpu.oldest == 285  # the oldest of those that fall short
    assert total.instances == {""}
    assert not total.short
    assert total.reach == 0


def test_a_selector_that_finds_nothing_is_still_needed(memory: Memory) -> None:
    (need,) = ask(memory, "rate(nothing[5m]) > 0").needs
    assert (need.selector, need.instances, need.oldest) == ("nothing[5m]", frozenset(), None)


@pytest.mark.parametrize("text", ["absent(cpu)", "absent_over_time(cpu[5m])", "vector(1) unless cpu", "1 > bool 0"])
def test_what_an_expression_can_do_without_is_not_needed(memory: Memory, text: str) -> None:
    assert ask(memory, text).needs == ()


def test_both_sides_of_and_and_or_are_needed(memory: Memory) -> None:
    assert [need.selector for need in ask(memory, "cpu or total and cpu").needs] == ["cpu", "total"]


def test_the_absence_of_a_series_is_an_answer(memory: Memory) -> None:
    found = ask(memory, 'absent(cpu{instance="c"})')
    assert [dict(sample.labels) for sample in found.samples] == [{"instance": "c"}]
    assert found.truth({"c"}) is Truth.TRUE
    assert ask(memory, "absent(cpu)").samples == ()


def test_a_scalar_is_one_sample_without_labels(memory: Memory) -> None:
    (sample,) = ask(memory, "1 > bool 0").samples
    assert (sample.labels, sample.value) == (Labels(), 1.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cpu + on (job) cpu", "many-to-many"),
        ('"text"', "a string"),
        ("cpu[5m]", "a range vector"),
        ("histogram_sum(cpu)", "native histograms"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error_and_unknown(memory: Memory, text: str, says: str) -> None:
    found = ask(memory, text)
    assert found.error is not None
    assert says in found.error
    assert (found.samples, found.needs) == ((), ())
    assert found.truth({"a"}) is Truth.UNKNOWN


def test_a_selector_pinned_to_a_time_is_judged_there(memory: Memory) -> None:
    (need,) = ask(memory, f"cpu @ {NOW / 1000:.0f} > 90", at=NOW + 3_600_000).needs
    assert need.instances == {"a", "b", "late"}


def test_freshness_has_a_sharp_edge() -> None:
    memory = Memory({series("cpu", "edge"): [(NOW - FRESH, 1.0)], series("cpu", "past"): [(NOW - FRESH - 1, 1.0)]})
    (need,) = ask(memory, "cpu").needs
    assert need.instances == {"edge"}


def test_samples_come_in_the_language_s_order(memory: Memory) -> None:
    values = [sample.value for sample in ask(memory, "sort_desc(cpu)").samples]
    assert values == sorted(values, reverse=True)
    assert len(values) > 2


def test_an_explanation_shows_each_part_with_its_value(memory: Memory) -> None:
    text = 'avg_over_time(cpu{instance="a"}[1m]) > on () group_left () total * 2'
    found = explain(parse(text), memory, NOW)
    assert found.text == 'avg_over_time(cpu{instance="a"}[1m]) > on () group_left () total * 2'
    assert found.value == '1 series: {instance="a"} 95'
    left, right = found.parts
    assert text[slice(*left.span)] == 'avg_over_time(cpu{instance="a"}[1m])'
    assert left.parts[0].value == '1 series: cpu{instance="a"} 4 samples, last 95'
    assert (right.text, right.value) == ("total * 2", "1 series: {} 14")
    assert [part.text for part in right.parts] == ["total"]


def test_an_explanation_says_where_an_error_is(memory: Memory) -> None:
    found = explain(parse("sum(cpu + on (job) cpu)"), memory, NOW)
    assert found.value.startswith("error: found duplicate series")
    assert found.parts[0].parts[0].value.startswith("4 series: ")
    assert found.parts[0].parts[0].value.endswith("and 1 more")


def test_nothing_is_explained_as_nothing() -> None:
    found = explain(parse("cpu > 1"), Memory(), NOW)
    assert (found.value, [part.value for part in found.parts]) == ("nothing", ["nothing"])


def test_a_history_of_ten_values_averages_as_the_article_says() -> None:
    history = np.arange(70, 120, 5).astype(float).tolist()
    memory = Memory({series("cpu", "node"): [(NOW - 1000 * (9 - place), value) for place, value in enumerate(history)]})
    (sample,) = ask(memory, "avg_over_time(cpu[10s]) > 90").samples
    assert sample.value == 92.5
