"""The evaluator beside the real Prometheus: the same samples, thousands of random questions, the same answers.

`pytest -m lab tests/promql/test_differential.py` takes about a minute; MENDBOOK_DIFFERENTIAL is the number of questions of
either kind (3,000 unless told), MENDBOOK_DIFFERENTIAL_SEED chooses other series and other questions. As many again are asked
as rules are: many planned together, at consecutive ticks, from windows that are kept.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from promql_beside import BEGIN, DEFAULT_STEP, KNOWN, Known, Told, answered, compare, difference, ours, theirs
from promql_corners import ORDERED, add_corners, corners
from promql_memory import Memory
from promql_questions import every_range, over_ranges, questions
from promql_random import SPAN, batches, random_memory

from engine.model.labels import Labels
from engine.model.truth import Query
from engine.promql import Vector, evaluate, parse, plan, track
from engine.samples import recent
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore
from tests.lab_tools.prometheus_server import PrometheusServer, find_prometheus

pytestmark = pytest.mark.lab

QUESTIONS = int(os.environ.get("MENDBOOK_DIFFERENTIAL", "3000"))
SEED = int(os.environ.get("MENDBOOK_DIFFERENTIAL_SEED", "1"))


@pytest.fixture(scope="module")
def memory() -> Memory:
    memory = random_memory(SEED, BEGIN)
    add_corners(memory, BEGIN)
    return memory


def started() -> PrometheusServer:
    """Return a server without samples; skip where there is none to be had."""
    try:
        return PrometheusServer(find_prometheus())
    except (OSError, subprocess.CalledProcessError) as wrong:
        pytest.skip(f"Prometheus 3 cannot be had ({wrong}): put its path into PROMETHEUS, or see get_prometheus.sh")


@pytest.fixture(scope="module")
def server(memory: Memory) -> Iterator[PrometheusServer]:
    with started() as running:
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


@pytest.fixture(scope="module")
def every_range_is_tracked() -> Iterator[None]:
    """Have few series, and such as were collected at times of their own, go the way of large fleets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(track, "FEW", 1)
        patch.setattr(track, "WIDEST", 1_000_000)
        patch.setattr(recent, "LEAST", 1)
        patch.setattr(plan, "DEFAULT_STEP", DEFAULT_STEP)
        yield


@pytest.fixture(scope="module")
def store(memory: Memory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleStore]:
    with SampleStore(tmp_path_factory.mktemp("samples")) as store:
        for batch in batches(memory):
            store.append(batch)
        yield store


def together(
    evaluator: EmbeddedEvaluator, server: PrometheusServer, told: Told, texts: Iterable[str], at: int
) -> list[str]:
    """Ask all at once, as the rules of a tick are asked, and Prometheus one by one; return what differs."""
    differ = []
    for answer in evaluator.answer(tuple(map(Query, texts)), at / 1000):
        text = answer.query.expr
        other = theirs(server, text, at, at, 0)
        if not isinstance(other, str) or other.startswith("error:"):  # a string says nothing about an instant
            found = told.judge(text, answered(answer, at), other)
            differ += [f"{text}\n    at {at}: {found}"] if found else []
    return differ


@seed(SEED)
@settings(COMPARING, max_examples=max(QUESTIONS // 60, 1), phases=(Phase.generate,))
@given(
    texts=st.lists(st.one_of(questions(BEGIN), over_ranges(BEGIN)), min_size=15, max_size=40, unique=True),
    start=MOMENTS,
    steps=st.lists(st.sampled_from((15_000, 15_000, 15_000, 1_000, 7_123, 45_000, 310_000)), max_size=5),
)
@pytest.mark.usefixtures("every_range_is_tracked")
def test_rules_planned_together_say_at_every_tick_what_prometheus_says(
    store: SampleStore, server: PrometheusServer, told: Told, texts: list[str], start: int, steps: list[int]
) -> None:
    keeping = EmbeddedEvaluator(store, fresh=60)
    for at in accumulate(steps, initial=start):
        differ = together(keeping, server, told, texts, at)
        assert not differ, "\n".join(differ)


@pytest.mark.usefixtures("every_range_is_tracked")
def test_ticks_beside_samples_that_come_say_what_prometheus_says(tmp_path: Path, told: Told) -> None:
    memory, texts = random_memory(SEED + 1, BEGIN), tuple(every_range())
    with SampleStore(tmp_path) as store, started() as server:
        keeping, coming = EmbeddedEvaluator(store, fresh=60), deque(batches(memory))
        for at in range(BEGIN + 7_000, BEGIN + SPAN * 1000, 45_000):
            while coming and coming[0].time * 1000 <= at:
                batch = coming.popleft()
                store.append(batch)
                server.write(batch.series, (round(batch.time * 1000),), np.array(batch.values)[:, np.newaxis])
            differ = together(keeping, server, told, texts, at)
            assert not differ, "\n".join(differ)


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
