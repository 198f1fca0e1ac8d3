"""What every evaluator promises: the same samples, the same truth, the same reasons, from our own store and from Prometheus."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.labels import METRIC_NAME, Batch, Labels, Sample
from engine.model.truth import Answer, Query, Truth
from engine.ports import Evaluator
from engine.promql import STALE, Explanation, explain, parse
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore
from engine.sources.prometheus import PrometheusEvaluator
from engine.sources.query_api import Abilities
from tests.lab_tools.prometheus_server import PrometheusServer, find_prometheus

NOW = 1_760_000_000.0
FRESH = 45.0
STEP = 15
HOSTS = ("a", "b:9100", "late", "ended", "gone", "quiet", "young", "gap", "back", "")


def value(host: str, metric: str, age: int) -> float | None:
    """Return what a host has at that age; None for no sample. Ages are multiples of a step, the newest is 5 s."""
    if metric == "flags" and host == "b:9100":
        return None
    match host:
        case "late" if age < 60:
            return None  # its last sample is 65 s old: within the lookback, and not fresh
        case "ended" if age == 35:
            return STALE
        case "ended" if age < 35:
            return None
        case "gone" if age < 330:
            return None  # longer ago than the lookback
        case "young" if age > 200:
            return None
        case "gap" if 30 < age < 700:
            return None
        case "back" if age > 100 and age < 400:
            return STALE if age == 395 else None
        case "quiet" if age % 60 != 5:
            return None
        case _:
            pass
    base = {"cpu": 50.0, "mem": 20.0, "jobs_total": 0.0, "flags": 1.0}[metric]
    if metric == "jobs_total":
        return float(10_000 - age * (2 if host == "a" else 3))
    if metric == "flags":
        return math.nan if host == "gap" else math.inf if host == "young" else 1.0
    return base + (ord(host[0]) % 7 if host else 40.0) + (age // STEP) % 5


def batches() -> Iterator[Batch]:
    """Yield what was collected in the last hour, oldest first."""
    for age in range(3605, 0, -STEP):
        found = {}
        for host in HOSTS:
            for metric in ("cpu", "mem", "jobs_total", "flags"):
                if (sample := value(host, metric, age)) is not None:
                    found[Labels({METRIC_NAME: metric, "instance": host, "job": "node"})] = sample
        if age == 5:
            found[Labels({METRIC_NAME: "cpu", "instance": "a", "job": "other"})] = 99.0
        yield Batch(NOW - age, tuple(found), tuple(found.values()))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SampleStore]:
    with SampleStore(tmp_path_factory.mktemp("samples"), retention=1e9) as store:
        for batch in batches():
            store.append(batch)
        yield store


@pytest.fixture(scope="module")
def embedded(store: SampleStore) -> EmbeddedEvaluator:
    return EmbeddedEvaluator(store, fresh=FRESH)


@pytest.fixture(scope="module")
def server() -> Iterator[PrometheusServer]:
    try:
        binary = find_prometheus()
    except (OSError, subprocess.CalledProcessError) as wrong:
        pytest.skip(f"Prometheus 3 cannot be had ({wrong}): put its path into PROMETHEUS, or see get_prometheus.sh")
    with PrometheusServer(binary) as running:
        for batch in batches():
            running.write(batch.series, [round(batch.time * 1000)], np.array([batch.values]).T)
        yield running


@pytest.fixture(scope="module")
def remote(server: PrometheusServer) -> Iterator[PrometheusEvaluator]:
    evaluator = PrometheusEvaluator(server.address, fresh=FRESH, timeout=20)
    yield evaluator
    evaluator.close()


def truths(answer: Answer) -> dict[str, tuple[Truth, tuple[str, ...]]]:
    hosts = {host: (answer.truth({host}), answer.missing({host})) for host in (*HOSTS, "b", "nobody")}
    return {**hosts, "<fleet>": (answer.fleet_truth(), answer.fleet_missing())}


def told(samples: Sequence[Sample]) -> list[tuple[str, str]]:
    return sorted((str(sample.labels), f"{sample.value:.9g}") for sample in samples)


EXPRESSIONS = (
    "cpu > 52",
    "cpu",
    "cpu > 52 and mem > 20",
    "cpu > 1e9",
    "nothing > 1",
    "rate(jobs_total[5m]) > 2",
    "avg_over_time(cpu[30m]) > 0",
    "avg_over_time(cpu[1m]) > 0",
    "avg_over_time(cpu[20s]) > 0",
    "avg_over_time(cpu[2h]) > 0",
    "avg_over_time(cpu[7m1s1ms]) > 0",
    "last_over_time(cpu[10m] offset 0s)",
    "max_over_time(cpu[10m:1m]) > 0",
    "max_over_time(rate(jobs_total[2m])[10m:30s]) > 0",
    "max_over_time(deriv(cpu[2m])[6m:30s] offset 3m) > 0",
    "cpu offset 5m > 0",
    "cpu offset 330s",
    "cpu offset -1m",
    "rate(jobs_total[3m] offset 10m)",
    f"cpu @ {NOW - 600:.0f} > 0",
    "cpu @ end() > 0",
    f"avg_over_time(cpu[5m] @ {NOW - 60:.0f}) > 0",
    "absent(cpu)",
    "absent(nothing)",
    "cpu unless mem > 25",
    "cpu or mem",
    "count by (job) (cpu)",
    "sum(cpu)",
    "topk(3, cpu)",
    "sort_desc(mem)",
    "scalar(sum(cpu))",
    "vector(time())",
    "1 + 1",
    "flags",
    "flags == flags",
    "{__name__=~'cpu|mem'} > 0",
    "{job='node'}",
    "avg by (instance) (last_over_time({__name__=~'cpu|mem'}[20m])) > 0",
    "avg by (instance) (last_over_time({__name__=~'cpu|mem'}[4m])) > 0",
    "cpu{instance=''}",
    "cpu{instance!~'a|b.*'}",
    "label_replace(cpu, 'host', '$1', 'instance', '(.*):.*')",
    "predict_linear(mem[30m], 3600) < 0",
    "(avg_over_time(cpu[5m]) - avg_over_time(cpu[30m])) / stddev_over_time(cpu[30m]) > 1",
)


@pytest.mark.lab
@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_the_server_is_told_from_the_store_by_nothing(
    embedded: EmbeddedEvaluator, remote: PrometheusEvaluator, expr: str
) -> None:
    (mine,), (theirs,) = embedded.answer([Query(expr)], NOW), remote.answer([Query(expr)], NOW)
    assert mine.error is None
    assert theirs.error is None
    assert told(theirs.samples) == told(mine.samples)
    assert truths(theirs) == truths(mine)
    assert [(need.selector, need.instances, need.short, need.reach, need.old) for need in theirs.needs] == [
        (need.selector, need.instances, need.short, need.reach, need.old) for need in mine.needs
    ]


@pytest.mark.lab
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["cpu", "mem{job='node'}", "{__name__=~'cpu|mem'}"]),
    st.integers(1, 4000_000),
    st.one_of(st.just(0), st.integers(-60_000, 2000_000)),
    st.integers(0, 600_000),
    st.booleans(),
)
def test_whatever_the_range_and_the_moment_the_same_hosts_are_known(
    embedded: EmbeddedEvaluator,
    remote: PrometheusEvaluator,
    selector: str,
    reach: int,
    offset: int,
    ago: int,
    sub: bool,
) -> None:
    expr = f"count_over_time({selector}[{reach}ms{':13s' if sub else ''}] offset {offset}ms)"
    at = NOW - ago / 1000
    (mine,), (theirs,) = embedded.answer([Query(expr)], at), remote.answer([Query(expr)], at)
    if "__name__" in selector:  # several metrics become the same series: both refuse, each in its words
        assert (mine.error is None) == (theirs.error is None)
    else:
        assert told(theirs.samples) == told(mine.samples)
    for one, other in zip(mine.needs, theirs.needs, strict=mine.error is None):
        assert (other.selector, other.instances) == (one.selector, one.instances)
        assert (other.short, other.old) == (one.short, one.old)


@pytest.mark.lab
def test_many_expressions_at_once_are_what_each_is_alone(remote: PrometheusEvaluator) -> None:
    queries = [Query(expr) for expr in (*EXPRESSIONS, *EXPRESSIONS[:5])]
    together = remote.answer(queries, NOW)
    assert [answer.query for answer in together] == queries
    for answer in together:
        (alone,) = remote.answer([answer.query], NOW)
        assert told(alone.samples) == told(answer.samples)
        assert alone.needs == answer.needs


@pytest.mark.lab
def test_prometheus_says_what_it_is_and_that_it_knows_a_lookback_of_ours(
    server: PrometheusServer, remote: PrometheusEvaluator
) -> None:
    abilities = remote.abilities()
    assert isinstance(abilities, Abilities)
    assert abilities.product == "Prometheus"
    assert abilities.version.startswith("3.")
    assert abilities.lookback


@pytest.mark.lab
@pytest.mark.parametrize(
    "expr", [*EXPRESSIONS[:16], "cpu + nothing", "-cpu{instance='a'} ^ 2", "max_over_time(cpu[3m:1m])"]
)
def test_an_expression_is_explained_in_the_same_parts(
    store: SampleStore, remote: PrometheusEvaluator, expr: str
) -> None:
    tree = parse(expr)
    mine, theirs = explain(tree, store, round(NOW * 1000)), remote.explain(tree, NOW)
    assert shape(theirs) == shape(mine)


def shape(part: Explanation) -> object:
    """Return texts and parts, and how many series each has: which of many come first is nobody's promise."""
    return part.text, part.value.partition(" series:")[0], tuple(map(shape, part.parts))


WRONG = {
    "cpu{": "does not parse",
    "cpu + on (job) group_left mem": "match",
    "'text'": "the expression is a string, which says nothing about an instant",
    "cpu[5m]": "the expression is a range vector, which says nothing about an instant",
    "label_replace(cpu, 'instance', 'x', '', '')": "same",
}


@pytest.fixture(params=["embedded", pytest.param("remote", marks=pytest.mark.lab)])
def evaluator(request: pytest.FixtureRequest) -> Evaluator:
    found: Evaluator = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("expr", WRONG)
def test_an_expression_that_errs_is_unknown_and_says_why(evaluator: Evaluator, expr: str) -> None:
    good, bad = evaluator.answer([Query("cpu"), Query(expr)], NOW)
    assert good.error is None
    assert bad.error is not None
    assert WRONG[expr] in bad.error
    assert bad.truth({"a"}) is bad.fleet_truth() is Truth.UNKNOWN
    assert not bad.samples
    assert not bad.needs


def test_answers_come_in_the_order_of_the_questions_each_as_often_as_it_is_asked(evaluator: Evaluator) -> None:
    queries = [Query("mem"), Query("cpu"), Query("mem")]
    first, second, third = evaluator.answer(queries, NOW)
    assert [answer.query for answer in (first, second, third)] == queries
    assert first == third
    assert evaluator.answer([], NOW) == ()


def test_order_is_the_languages_where_the_language_has_one(evaluator: Evaluator) -> None:
    for expr, descending in (("sort(mem)", False), ("sort_desc(mem)", True), ("topk(4, mem)", True)):
        (answer,) = evaluator.answer([Query(expr)], NOW)
        values = [sample.value for sample in answer.samples]
        assert values == sorted(values, reverse=descending)


def test_a_host_on_a_port_is_the_host(evaluator: Evaluator) -> None:
    (answer,) = evaluator.answer([Query("cpu > 0")], NOW)
    assert answer.truth({"b"}) is Truth.TRUE
    assert [sample.labels["instance"] for sample in answer.about({"b", "10.0.0.7"})] == ["b:9100"]
