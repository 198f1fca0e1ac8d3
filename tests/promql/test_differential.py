"""The evaluator beside the real Prometheus: the same samples, thousands of random questions, the same answers.

`pytest -m lab tests/promql/test_differential.py` takes about a minute; MENDBOOK_DIFFERENTIAL is the number of questions of
either kind (3,000 unless told), MENDBOOK_DIFFERENTIAL_SEED chooses other series and other questions.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from promql_corners import ORDERED, add_corners, corners
from promql_memory import Memory
from promql_questions import questions
from promql_random import SPAN, random_memory

from engine.model.labels import Labels
from engine.promql import EvaluationError, Matrix, ParseError, Scalar, Text, Vector, evaluate, evaluate_range, parse
from engine.promql.syntax import Expression, Selector, Subquery, children
from tests.lab_tools.prometheus_server import PrometheusServer, find_prometheus

pytestmark = pytest.mark.lab

QUESTIONS = int(os.environ.get("MENDBOOK_DIFFERENTIAL", "3000"))
SEED = int(os.environ.get("MENDBOOK_DIFFERENTIAL_SEED", "1"))
BEGIN = 1_790_000_000_000 + 7_000
RELATIVE = 1e-9
FLOOR = 1e-9
"""So far from zero may a sum be that ought to be zero."""
DEFAULT_STEP = 1000
"""The server's evaluation interval, which is the step of a subquery that names none."""

Answer = dict[Labels, dict[int, float]] | str


@dataclass(frozen=True)
class Known:
    """A difference that is meant: why, a question that shows it (at BEGIN + 2 min), and how to tell it in others."""

    reason: str
    example: str
    shows: Callable[[str, Answer, Answer], bool] = lambda *_: False


def refuses_matches(_: str, mine: Answer, other: Answer) -> bool:
    return isinstance(mine, str) and "multiple matches" in mine and not isinstance(other, str)


def shifts_timestamp(text: str, *_: Answer) -> bool:
    return re.search(r"timestamp\([^()]*@ ?(start\(\)|end\(\)|[\d.]+) offset", text) is not None


def pins_thrice(text: str, *_: Answer) -> bool:
    """Return whether a pinned selector stands in a pinned subquery in a pinned subquery."""

    def depth(node: Expression, pinned: int) -> int:
        here = pinned + (isinstance(node, Selector | Subquery) and node.at is not None)
        return max((depth(child, here) for child in children(node)), default=here)

    return depth(parse(text), 0) > 2


def in_first_bucket(text: str, mine: Answer, other: Answer) -> bool:
    """Return whether all that differs is a fraction that has an end in the first bucket, which 3.5 does not know."""
    if "histogram_fraction" not in text or isinstance(mine, str) or isinstance(other, str):
        return False
    pairs = [
        (mine[labels].get(at), value)
        for labels, samples in other.items()
        for at, value in samples.items()
        if labels in mine
    ]
    return all(math.isnan(value) or (own is not None and same(own, value, RELATIVE)) for own, value in pairs)


def chooses_nothing(text: str, mine: Answer, _: Answer) -> bool:
    said = isinstance(mine, str) and ("Parameter value is NaN" in mine or "the number is out of range" in mine)
    return said and re.search("topk|bottomk|limitk", text) is not None


def rounds_spread(text: str, mine: Answer, other: Answer) -> bool:
    spread = re.search("stddev|stdvar|deriv|predict_linear", text) is not None
    return spread and difference(mine, other, relative=1e-6) is None


KNOWN = (
    Known(
        "the calendar has no place for NaN and the infinities; Prometheus converts them as the processor happens to",
        "month(vector(NaN))",
    ),
    Known(
        "mad_over_time of a NaN is NaN since Prometheus 3.9 or so; 3.5 takes it for the least value",
        "mad_over_time(odd[2m])",
    ),
    Known(
        "a comparison refuses several partners whether or not they pass it, as newer Prometheus does; 3.5 looks at those that do",
        "(odd or label_replace(odd, 'a', '1', '', '')) == on () vector(-7)",
        refuses_matches,
    ),
    Known(
        "timestamp() over a selector with @ forgets its offset in Prometheus (the offset takes the place that @ needs)",
        f"timestamp(odd @ {BEGIN / 1000 + 60} offset -1m)",
        shifts_timestamp,
    ),
    Known(
        "a pinned selector in a pinned subquery in a pinned subquery: Prometheus selects beside the data and finds nothing",
        "count_over_time((last_over_time((odd @ end())[7m30s:30s] @ end()))[7m30s:30s] @ end())",
        pins_thrice,
    ),
    Known(
        "an end of histogram_fraction in the first bucket gives NaN in 3.5, and what newer Prometheus says here",
        "histogram_fraction(0, 0.5, falling_bucket)",
        in_first_bucket,
    ),
    Known(
        "topk and its kin refuse a number that is none also where there is nothing to choose from, as newer Prometheus does",
        "topk(NaN, missing)",
        chooses_nothing,
    ),
    Known(
        "the spread and the slope of large numbers that lie close together: Prometheus keeps running sums, which round more",
        "stddev(vector(1.79e9 + 0.1) or label_replace(vector(1.79e9 + 3.3), 'a', '1', '', '')"
        " or label_replace(vector(1.79e9 + 4.7), 'a', '2', '', ''))",
        rounds_spread,
    ),
)


@dataclass
class Told:
    """What became of the comparisons, for the last line of the run."""

    counts: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def memory() -> Memory:
    memory = random_memory(SEED, BEGIN)
    add_corners(memory, BEGIN)
    return memory


@pytest.fixture(scope="module")
def server(memory: Memory) -> Iterator[PrometheusServer]:
    try:
        binary = find_prometheus()
    except (OSError, subprocess.CalledProcessError) as wrong:
        pytest.skip(f"Prometheus 3 cannot be had ({wrong}): put its path into PROMETHEUS, or see get_prometheus.sh")
    with PrometheusServer(binary) as running:
        for labels, samples in memory.series.items():
            times, values = zip(*sorted(samples.items()), strict=True)
            running.write((labels,), times, np.array([values]))
        yield running


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[Told]:
    result = Told()
    yield result
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        told = ", ".join(f"{count} {what}" for what, count in result.counts.items())
        print(f"\nbeside Prometheus: {told}")


def theirs(server: PrometheusServer, text: str, start: int, end: int, step: int) -> Answer:
    """Return what Prometheus says; "error" where it refuses."""
    if step:
        found = server.query("/api/v1/query_range", query=text, start=start / 1000, end=end / 1000, step=step / 1000)
    else:
        found = server.query("/api/v1/query", query=text, time=start / 1000)
    if found["status"] != "success":
        return f"error: {found['error']}"
    kind, result = found["data"]["resultType"], found["data"]["result"]
    if kind == "string":
        return str(result[1])
    if kind == "scalar":
        return {Labels(): points([result])}
    return {Labels(row["metric"]): points(row.get("values") or [row["value"]]) for row in result}


def points(rows: list[Any]) -> dict[int, float]:
    return {round(float(at) * 1000): float(value) for at, value in rows}


def ours(memory: Memory, text: str, start: int, end: int, step: int) -> Answer:
    """Return what the evaluator says; "error" where it refuses."""
    try:
        tree = parse(text)
        if step:
            result = evaluate_range(tree, memory, start, end, step, default_step=DEFAULT_STEP)
        else:
            result = evaluate(tree, memory, start, default_step=DEFAULT_STEP)
    except (ParseError, EvaluationError) as wrong:
        return f"error: {wrong}"
    match result:
        case Text(value=value):
            return value
        case Scalar(value=value):
            return {Labels(): {start: value}}
        case Vector(series=series, values=values):
            return {labels: {start: value} for labels, value in zip(series, values.tolist(), strict=True)}
        case Matrix(series=rows):
            return {row.labels: dict(zip(row.times.tolist(), row.values.tolist(), strict=True)) for row in rows}


def difference(mine: Answer, other: Answer, relative: float = RELATIVE) -> str | None:
    """Return in words where two answers differ; None where they do not (errors may say it in other words)."""
    if isinstance(mine, str) or isinstance(other, str):
        both = (
            isinstance(mine, str) and isinstance(other, str) and mine.startswith("error:") == other.startswith("error:")
        )
        return (
            None if both and (mine == other or other.startswith("error:")) else f"{summary(mine)} for {summary(other)}"
        )
    if mine.keys() != other.keys():
        return f"series {sorted(map(str, mine))} for {sorted(map(str, other))}"
    for labels, samples in other.items():
        if mine[labels].keys() != samples.keys():
            return f"{labels}: samples at {sorted(mine[labels])} for {sorted(samples)}"
        for at, value in samples.items():
            if not same(mine[labels][at], value, relative):
                return f"{labels} at {at}: {mine[labels][at]!r} for {value!r}"
    return None


def summary(answer: Answer) -> str:
    return answer if isinstance(answer, str) else f"{len(answer)} series"


def same(mine: float, other: float, relative: float) -> bool:
    if math.isnan(mine) or math.isnan(other):
        return math.isnan(mine) and math.isnan(other)
    return mine == other or math.isclose(mine, other, rel_tol=relative, abs_tol=FLOOR)


def compare(memory: Memory, server: PrometheusServer, told: Told, question: tuple[str, int, int, int]) -> None:
    """Ask both; raise AssertionError where they differ in a way that is not known."""
    text, start, end, step = question
    mine, other = ours(memory, text, start, end, step), theirs(server, text, start, end, step)
    told.counts[
        "errors" if isinstance(other, str) and other.startswith("error:") else "answers" if other else "empty"
    ] += 1
    found = difference(mine, other)
    if found is None:
        return
    known = [known.reason for known in KNOWN if known.shows(text, mine, other)]
    assert known, f"{text}\n    at {start}, to {end}, step {step}: {found}"
    told.counts[f"known: {known[0]}"] += 1


MOMENTS = st.sampled_from(range(BEGIN - 60_000, BEGIN + SPAN * 1000 + 200_000, 12_345))
COMPARING = settings(
    max_examples=QUESTIONS,
    deadline=None,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@seed(SEED)
@COMPARING
@given(text=questions(BEGIN), at=MOMENTS)
def test_an_instant_query_says_what_prometheus_says(
    memory: Memory, server: PrometheusServer, told: Told, text: str, at: int
) -> None:
    compare(memory, server, told, (text, at, at, 0))


@seed(SEED)
@COMPARING
@given(
    text=questions(BEGIN),
    start=MOMENTS,
    step=st.sampled_from((7_000, 15_000, 30_000, 60_000, 61_000)),
    steps=st.integers(0, 12),
    rest=st.sampled_from((0, 3)),
)
def test_a_range_query_says_what_prometheus_says(
    memory: Memory, server: PrometheusServer, told: Told, text: str, start: int, step: int, steps: int, rest: int
) -> None:
    compare(memory, server, told, (text, start, start + steps * step + rest, step))


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.example)
def test_a_known_difference_is_still_one(memory: Memory, server: PrometheusServer, known: Known) -> None:
    at = BEGIN + 120_000
    assert difference(ours(memory, known.example, at, at, 0), theirs(server, known.example, at, at, 0)) is not None


KEYWORDS = (
    *[
        "sum",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
        "offset",
        "and",
        "or",
        "unless",
        "atan2",
        "start",
        "end",
        "inf",
        "nan",
        "step",
    ],
    *[
        "range",
        "anchored",
        "smoothed",
        "fill",
        "fill_left",
        "fill_right",
        "min_of",
        "limitk",
        "topk",
        "count_values",
        "quantile",
        "avg",
        "info",
        "stale",
    ],
)
SHAPES = (
    *(
        "{0}",
        "{0}{{}}",
        '{0}{{a="b"}}',
        'g{{{0}="a"}}',
        "sum by ({0}) (g)",
        "g + on ({0}) g",
        "{0}[5m]",
        "g + {0}",
        "{0} + g",
    ),
    *(
        "-{0}",
        '{{{0}="a"}}',
        '{{"{0}"}}',
        "sum({0})",
        "{0}:x",
        "({0})",
        "g * on (host) group_left ({0}) g",
        "{0} offset 5m",
    ),
)


def test_the_small_print_is_read_as_prometheus_reads_it(memory: Memory, server: PrometheusServer, told: Told) -> None:
    lines = (Path(__file__).parent / "cases" / "small_print.jsonl").read_text().splitlines()
    texts = [*map(json.loads, lines), *(shape.format(word) for shape in SHAPES for word in KEYWORDS)]
    at = BEGIN + 1_500_000
    differ = []
    for text in texts:
        told.counts["small print"] += 1
        found = difference(ours(memory, text, at, at, 0), theirs(server, text, at, at, 0))
        differ += [f"{text}: {found}"] if found else []
    assert not differ, "\n".join(differ)


def test_the_corners_are_what_prometheus_makes_of_them(memory: Memory, server: PrometheusServer, told: Told) -> None:
    at = BEGIN + 1_500_000
    differ = []
    for text in corners():
        for question in ((text, at, at, 0), (text, at, at + 180_000, 60_000)):
            try:
                compare(memory, server, told, question)
            except AssertionError as wrong:
                differ.append(str(wrong))
                break
    assert not differ, "\n".join(differ)


@pytest.mark.parametrize("text", ORDERED)
def test_what_is_ordered_stands_in_prometheuss_order(memory: Memory, server: PrometheusServer, text: str) -> None:
    at = BEGIN + 1_500_000
    mine = evaluate(parse(text), memory, at, default_step=DEFAULT_STEP)
    found = server.query("/api/v1/query", query=text, time=at / 1000)["data"]["result"]
    assert isinstance(mine, Vector)
    assert len(found) > 1
    assert list(mine.series) == [Labels(row["metric"]) for row in found]


def test_few_differences_are_known() -> None:
    assert len(KNOWN) <= 10
