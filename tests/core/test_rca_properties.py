"""What must hold of localization whatever the numbers are."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.rca.inquiry import Finding, inquire
from engine.core.rca.live import gridded, live_frame, rate
from engine.core.rca.rank import Alarm
from engine.core.rca.reference import median, reference, sustained
from engine.core.rca.relations import topology_of
from engine.core.rca.signals import Frame, Kind, Side, Signal, Topology, meaning
from engine.model.labels import Labels
from engine.model.target import Fleet, Target
from engine.promql import Block

NAMES = ("cpu", "memory_bytes", "disk_io", "requests", "latency_mean", "errors", "temperature")
NODES = ("a", "b", "c", "d")
EDGES = (("a", "b"), ("b", "c"), ("a", "d"))
ROWS = 60
cells = st.one_of(st.floats(-1e12, 1e12), st.just(math.nan), st.just(math.inf), st.just(0.0))


def system(seed: int, rows: int = ROWS, broken: str | None = None, name: str = "cpu") -> Frame:
    """A system of four nodes that is well, or of which one figure is off in its last four rows."""
    rng = np.random.default_rng(seed)
    signals = tuple(Signal.named(node, each) for node in NODES for each in NAMES)
    values = rng.normal(50, 2, (rows, len(signals)))
    for column, signal in enumerate(signals):
        if (signal.node, signal.name) == (broken, name):
            values[-4:, column] = 500
    return Frame(1000.0 + 60.0 * np.arange(rows), values, signals)


def told(found: Finding) -> list[tuple[str, str, float]]:
    return [(each.node, each.resource, each.score) for each in found.suspects]


@given(
    st.integers(1, 40).flatmap(
        lambda rows: st.lists(st.lists(cells, min_size=8, max_size=8), min_size=rows, max_size=rows)
    ),
    st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_samples_are_the_answer_is_well_formed(table: list[list[float]], shape: int) -> None:
    signals = (
        *(Signal.named(node, name) for node in ("a", "b") for name in ("cpu", "requests", "latency")),
        Signal("b", "latency", Kind.LATENCY, "a", Side.CLIENT),
        Signal("b", "latency", Kind.LATENCY, "a", Side.SERVER),
    )
    topology = Topology((("a", "b"), ("b", "a"), ("b", "c"), ("c", "c"))[:shape])
    frame = Frame(np.arange(len(table), dtype=float), np.array(table), signals)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = inquire(frame, topology, alarm=Alarm("a", Kind.LATENCY) if shape else None)
    scores = [each.score for each in found.suspects]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert sum(scores) <= 1 + 1e-3 * len(scores)
    assert 0 <= found.margin <= 1
    assert found.onset is None or frame.times[0] <= found.onset <= found.at
    assert len({(each.node, each.resource) for each in found.suspects}) == len(found.suspects)
    assert all(each.evidence for each in found.suspects)


@given(st.integers(0, 2**32 - 1), st.sampled_from(NODES), st.sampled_from(("cpu", "memory_bytes", "disk_io")))
@settings(max_examples=40, deadline=None)
def test_what_is_used_up_is_found_with_its_onset(seed: int, node: str, name: str) -> None:
    found = inquire(system(seed, broken=node, name=name), Topology(EDGES))
    assert (found.suspects[0].node, found.suspects[0].resource) == (node, meaning(name).kind)
    assert found.onset is not None
    assert abs(found.onset - (1000.0 + 60.0 * (ROWS - 4))) <= 60.0
    assert found.margin > 0.2


@given(st.integers(0, 2**32 - 1), st.sampled_from(NODES), st.permutations(range(len(NODES) * len(NAMES))))
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_series_means_nothing(seed: int, node: str, order: list[int]) -> None:
    frame = system(seed, broken=node)
    other = Frame(frame.times, frame.values[:, order], tuple(frame.signals[place] for place in order))
    assert sorted(told(inquire(frame, Topology(EDGES)))) == sorted(told(inquire(other, Topology(EDGES))))


@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e9))
@settings(max_examples=30, deadline=None)
def test_the_clock_means_nothing_but_when(seed: int, ahead: float) -> None:
    frame = system(seed, broken="b")
    later = Frame(frame.times + ahead, frame.values, frame.signals)
    first, second = inquire(frame, Topology(EDGES)), inquire(later, Topology(EDGES))
    assert told(first) == told(second)
    assert first.onset is not None
    assert second.onset == pytest.approx(first.onset + ahead)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e6))
@settings(max_examples=30, deadline=None)
def test_the_unit_of_a_resource_means_nothing(seed: int, unit: float) -> None:
    frame = system(seed, broken="c")
    scaled = frame.values.copy()
    for column, signal in enumerate(frame.signals):
        if signal.kind in (Kind.CPU, Kind.MEMORY, Kind.DISK):
            scaled[:, column] *= unit
    first, second = (
        inquire(Frame(frame.times, each, frame.signals), Topology(EDGES)) for each in (frame.values, scaled)
    )
    assert [(node, what) for node, what, _ in told(first)] == [(node, what) for node, what, _ in told(second)]
    assert [score for *_, score in told(first)] == pytest.approx([score for *_, score in told(second)], abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_series_without_samples_mean_nothing(seed: int, count: int) -> None:
    frame = system(seed, broken="d")
    empty = tuple(Signal.named(node, f"cpu_{place}") for place, node in enumerate(NODES[:count]))
    more = Frame(
        frame.times, np.column_stack([frame.values, np.full((ROWS, len(empty)), np.nan)]), (*frame.signals, *empty)
    )
    assert told(inquire(frame, Topology(EDGES))) == told(inquire(more, Topology(EDGES)))


@given(st.integers(0, 2**32 - 1), st.integers(5, 40))
@settings(max_examples=30, deadline=None)
def test_earlier_trouble_does_not_hide_the_same_trouble_now(seed: int, when: int) -> None:
    frame = system(seed, broken="a")
    column = next(place for place, each in enumerate(frame.signals) if (each.node, each.name) == ("a", "cpu"))
    frame.values[when : when + 4, column] = 500
    assert inquire(frame, Topology(EDGES)).suspects[0].node == "a"


@given(st.integers(0, 2**32 - 1), st.integers(0, ROWS - 1))
@settings(max_examples=30, deadline=None)
def test_a_single_peak_accuses_no_one_of_using_up_a_resource(seed: int, when: int) -> None:
    frame = system(seed)
    calm = np.repeat(np.median(frame.values, axis=0)[None, :], ROWS, axis=0)
    calm[when, 0] = 1e6
    found = inquire(Frame(frame.times, calm, frame.signals), Topology(EDGES))
    assert all(each.resource not in ("cpu", "memory", "disk") for each in found.suspects)


@given(st.lists(st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(math.nan)), min_size=3, max_size=3), max_size=20))
def test_what_lasts_is_the_running_median_of_three(table: list[list[float]]) -> None:
    values = np.array(table).reshape(len(table), 3)
    found = sustained(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in range(min(len(table), 2), len(table)):
            expected = np.nanmedian(values[row - 2 : row + 1], axis=0)
            assert found[row] == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(math.nan)), min_size=1, max_size=30))
@settings(deadline=None)
def test_medians_are_those_of_the_samples_that_are_there(row: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.nanmedian(np.array(row))
    assert median(np.array([row]))[0] == pytest.approx(expected, nan_ok=True)


@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
@settings(max_examples=40, deadline=None)
def test_a_reference_moves_and_stretches_with_its_series(seed: int, move: float, stretch: float) -> None:
    values = np.random.default_rng(seed).normal(0, 1, (40, 2))
    plain, other = reference(values), reference(values * stretch)
    assert other.level == pytest.approx(plain.level * stretch, rel=1e-6, abs=1e-6)
    assert other.scale == pytest.approx(plain.scale * stretch, rel=1e-6, abs=1e-6)
    assert reference(values + move).level == pytest.approx(plain.level + move, rel=1e-6, abs=1e-6)


samples_ = st.lists(
    st.tuples(st.integers(0, 100_000), st.floats(-1e6, 1e6)), max_size=30, unique_by=lambda each: each[0]
)


@given(st.lists(samples_, min_size=1, max_size=4), st.sampled_from([1.0, 5.0, 15.0]))
@settings(deadline=None)
def test_a_step_has_the_last_of_its_samples(series: list[list[tuple[int, float]]], step: float) -> None:
    ordered = [sorted(each) for each in series]
    block = Block(
        tuple(Labels({"__name__": f"m{place}", "instance": "a"}) for place in range(len(series))),
        np.cumsum([0, *(len(each) for each in ordered)]),
        np.array([at for each in ordered for at, _ in each], dtype=np.int64),
        np.array([value for each in ordered for _, value in each], dtype=float),
    )
    end, rows = 100.0, 8
    found = gridded(block, end, step, rows)
    for column, each in enumerate(ordered):
        for row in range(rows):
            low, high = end - step * (rows - row), end - step * (rows - 1 - row)
            inside = [value for at, value in each if low < at / 1000 <= high]
            assert found[row, column] == (inside[-1] if inside else pytest.approx(math.nan, nan_ok=True))


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=30), st.floats(0.1, 60))
def test_a_counter_never_grows_by_less_than_nothing(course: list[float], step: float) -> None:
    grown = rate(np.array(course), step)
    assert math.isnan(grown[0])
    assert (grown[1:] >= 0).all()


def block_of(rows: int, courses: dict[Labels, np.ndarray], step: float = 15.0) -> Block:
    times = (np.arange(rows) * step * 1000).astype(np.int64)
    return Block(
        tuple(courses),
        np.arange(len(courses) + 1) * rows,
        np.tile(times, len(courses)),
        np.concatenate([*courses.values()]),
    )


FLEET = Fleet(
    {
        "lb-1": Target("lb-1", instances=frozenset({"10.0.0.1:9100"})),
        "web-1": Target("web-1", instances=frozenset({"10.0.0.2:9100"}), depends_on=("db-1",)),
        "db-1": Target("db-1", instances=frozenset({"10.0.0.3:9100"})),
        "db-2": Target("db-2", instances=frozenset({"10.0.0.4:9100", "10.0.0.4"})),
    }
)


def test_a_process_that_takes_the_machine_is_the_culprit_of_its_host() -> None:
    rows = 80
    busy = np.where(np.arange(rows) >= rows - 5, 0.95, 0.05)
    rng = np.random.default_rng(1)

    def counted(rates: np.ndarray) -> np.ndarray:
        return np.cumsum(15.0 * rates * rng.uniform(0.9, 1.1, rows))

    courses = {}
    for host, share in (("10.0.0.2:9100", busy), ("10.0.0.3:9100", np.full(rows, 0.05))):
        courses[Labels({"__name__": "node_cpu_seconds_total", "instance": host, "mode": "user", "cpu": "0"})] = counted(
            share
        )
        courses[Labels({"__name__": "node_cpu_seconds_total", "instance": host, "mode": "idle", "cpu": "0"})] = counted(
            1 - share
        )
        for name, part in (("backup", share - 0.04), ("nginx", np.full(rows, 0.04))):
            labels = {"__name__": "namedprocess_namegroup_cpu_seconds_total", "instance": host, "groupname": name}
            courses[Labels(labels)] = counted(part)
    block = block_of(rows, courses)
    frame = live_frame(block, FLEET, end=15.0 * (rows - 1), step=15.0, rows=rows)
    found = inquire(frame, topology_of(block.series, FLEET))
    assert (found.suspects[0].node, found.suspects[0].resource, found.suspects[0].culprit) == ("web-1", "cpu", "backup")
    assert found.onset is not None
    assert abs(found.onset - 15.0 * (rows - 5)) <= 30.0


def test_sums_and_counts_are_told_as_means() -> None:
    rows = 40
    labels = {"instance": "10.0.0.2:9100", "handler": "/"}
    courses = {
        Labels({"__name__": "http_request_duration_seconds_sum", **labels}): np.cumsum(np.full(rows, 6.0)),
        Labels({"__name__": "http_request_duration_seconds_count", **labels}): np.cumsum(np.full(rows, 30.0)),
    }
    frame = live_frame(block_of(rows, courses), FLEET, end=15.0 * (rows - 1), step=15.0, rows=rows)
    mean = next(place for place, each in enumerate(frame.signals) if each.name.startswith("mean"))
    assert frame.signals[mean].kind is Kind.LATENCY
    assert frame.values[1:, mean] == pytest.approx(0.2)
    calls = next(place for place, each in enumerate(frame.signals) if each.kind is Kind.TRAFFIC)
    assert frame.values[1:, calls] == pytest.approx(2.0)


def test_what_the_engine_concluded_is_no_evidence() -> None:
    rows = 40
    names = (
        "mendbook_anomaly_score",
        "mendbook_forecast_error_ratio",
        "http_request_seconds_bucket",
        "node_memory_Cached_bytes",
    )
    own = {Labels({"__name__": name, "instance": "10.0.0.2:9100"}): np.ones(rows) for name in names}
    own[Labels({"__name__": "up", "instance": "10.0.0.2:9100", "job": "mendbook"})] = np.ones(rows)
    assert live_frame(block_of(rows, own), FLEET, end=15.0 * (rows - 1), step=15.0, rows=rows).signals == ()


def test_who_needs_whom_comes_from_declarations_and_from_series() -> None:
    series = (
        Labels({"__name__": "haproxy_server_status", "instance": "10.0.0.1:9100", "proxy": "web", "server": "web-1"}),
        Labels({"__name__": "haproxy_server_status", "instance": "10.0.0.1:9100", "proxy": "web", "server": "spare"}),
        Labels({"__name__": "pg_stat_replication_lag", "instance": "10.0.0.3:9100", "client_addr": "10.0.0.4"}),
    )
    assert dict(topology_of(series, FLEET).callees) == {"web-1": ["db-1"], "lb-1": ["web-1"], "db-2": ["db-1"]}


def test_a_primary_needs_the_replicas_that_it_waits_for() -> None:
    waits = Labels(
        {
            "__name__": "pg_stat_replication_lag",
            "instance": "10.0.0.3:9100",
            "application_name": "db-2",
            "sync_state": "sync",
        }
    )
    assert dict(topology_of([waits], FLEET).callees)["db-1"] == ["db-2"]
