"""Localization from series alone: who is to blame in small systems whose cause is known by construction."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.rca.onset import onset
from engine.core.rca.rank import SERVICE, Alarm, rank
from engine.core.rca.reference import reference, sustained
from engine.core.rca.signals import Frame, Kind, Side, Signal, Topology

ROWS, TROUBLE = 120, 8


def frame(columns: dict[Signal, np.ndarray], start: float = 0.0) -> Frame:
    values = np.column_stack(list(columns.values()))
    return Frame(start + 60.0 * np.arange(len(values)), values, tuple(columns))


def system(slow: dict[str, float], seed: int = 1) -> tuple[Frame, Frame, Topology]:
    """A chain front -> shop -> store, with a busy bystander: latencies add up along calls."""
    rng = np.random.default_rng(seed)
    topology = Topology([("front", "shop"), ("shop", "store"), ("front", "ads")])
    own = {"front": 0.01, "shop": 0.02, "store": 0.05, "ads": 0.002}
    frames = []
    for rows, extra in ((ROWS, {}), (TROUBLE, slow)):
        columns: dict[Signal, np.ndarray] = {}
        spent = {node: (base + extra.get(node, 0.0)) * rng.normal(1, 0.05, rows) for node, base in own.items()}
        spent["shop"] = spent["shop"] + spent["store"]
        spent["front"] = spent["front"] + spent["shop"] + spent["ads"]
        for node, latency in spent.items():
            columns[Signal.named(node, "latency_average")] = latency
            columns[Signal.named(node, "requests")] = rng.normal(100, 3, rows)
            columns[Signal.named(node, "cpu")] = rng.normal(0.3, 0.02, rows)
        frames.append(frame(columns, start=0.0 if not extra else 60.0 * ROWS))
    return frames[0], frames[1], topology


@pytest.mark.parametrize("culprit", ["front", "shop", "store", "ads"])
def test_the_deepest_node_that_carries_the_cost_is_to_blame(culprit: str) -> None:
    past, now, topology = system({culprit: 0.2})
    best = rank(past, now, topology, Alarm("front", Kind.LATENCY))[0]
    assert best.node == culprit
    assert best.resource in {Kind.LATENCY, Kind.CPU}
    assert "beyond the usual" in best.evidence[-1]


def test_a_resource_stands_before_the_slowness_that_it_causes() -> None:
    past, now, topology = system({"store": 0.2})
    column = next(i for i, s in enumerate(now.signals) if s.node == "store" and s.kind is Kind.CPU)
    now.values[:, column] = 0.97
    ranking = rank(past, now, topology)
    assert [(each.node, each.resource) for each in ranking[:2]] == [("store", Kind.CPU), ("store", Kind.LATENCY)]


def test_a_caller_that_waits_for_a_node_that_answers_in_time_blames_the_way() -> None:
    rng = np.random.default_rng(2)
    waits = Signal("store", "latency", Kind.LATENCY, "shop", Side.CLIENT)
    answers = Signal("store", "latency", Kind.LATENCY, "shop", Side.SERVER)
    past = frame({waits: rng.normal(0.02, 0.001, ROWS), answers: rng.normal(0.015, 0.001, ROWS)})
    now = frame({waits: rng.normal(0.32, 0.001, TROUBLE), answers: rng.normal(0.015, 0.001, TROUBLE)})
    best = rank(past, now, Topology([("shop", "store")]))[0]
    assert (best.node, best.resource) == ("store", Kind.NETWORK)


def test_rare_calls_that_got_much_slower_do_not_outweigh_what_people_wait_for() -> None:
    past, now, topology = system({"store": 0.1})
    rare = next(i for i, s in enumerate(now.signals) if s.node == "ads" and s.kind is Kind.LATENCY)
    calls = next(i for i, s in enumerate(now.signals) if s.node == "ads" and s.kind is Kind.TRAFFIC)
    for each in (past, now):
        each.values[:, calls] = 0.01
    now.values[:, rare] = 20.0
    assert rank(past, now, topology, Alarm("front", Kind.LATENCY))[0].node == "store"


def test_who_calls_no_more_is_to_blame_for_the_silence_below_it() -> None:
    past, now, topology = system({})
    calls = next(i for i, s in enumerate(now.signals) if s.node == "store" and s.kind is Kind.TRAFFIC)
    now.values[:, calls] = 20.0
    cpu = next(i for i, s in enumerate(now.signals) if s.node == "store" and s.kind is Kind.CPU)
    now.values[:, cpu] = 0.05
    best = rank(past, now, topology)[0]
    assert (best.node, best.resource) == ("shop", SERVICE)


def test_when_all_that_is_seen_is_well_the_unseen_is_named() -> None:
    past, now, _ = system({}, seed=3)
    unseen = Topology([("front", "shop"), ("shop", "store"), ("front", "dark")])
    calm = Frame(now.times, np.repeat(np.median(past.values, axis=0)[None, :], TROUBLE, axis=0), now.signals)
    assert rank(past, calm, unseen)[0].node == "dark"


def test_nothing_unusual_names_no_one() -> None:
    past, _, topology = system({})
    calm = Frame(past.times[:5], np.repeat(np.median(past.values, axis=0)[None, :], 5, axis=0), past.signals)
    assert rank(past, calm, topology) == ()


def test_the_onset_is_the_row_where_the_level_changed() -> None:
    past, _, _ = system({})
    quiet = past.values[:30].copy()
    column = next(i for i, s in enumerate(past.signals) if s.node == "shop" and s.kind is Kind.CPU)
    quiet[20:, column] = 0.95
    recent = Frame(1000.0 + 60.0 * np.arange(30), quiet, past.signals)
    assert onset(reference(past.values), recent) == 1000.0 + 60.0 * 20


def test_one_peak_is_not_sustained() -> None:
    column = np.zeros((20, 1))
    column[10] = 100.0
    assert float(np.nanmax(sustained(column))) == 0.0


@pytest.mark.parametrize(
    ("name", "kind", "sign"),
    [
        ("node_cpu_seconds_total", Kind.CPU, 1),
        ("node_memory_MemAvailable_bytes", Kind.MEMORY, -1),
        ("http_request_duration_seconds", Kind.LATENCY, 1),
        ("availability_Average", Kind.ERRORS, -1),
        ("haproxy_backend_http_requests_total", Kind.TRAFFIC, 1),
        ("node_filesystem_avail_bytes", Kind.DISK, -1),
        ("node_network_receive_bytes_total", Kind.NETWORK, 1),
        ("something_else", Kind.OTHER, 1),
    ],
)
def test_names_that_exporters_share_tell_what_is_measured(name: str, kind: Kind, sign: int) -> None:
    signal = Signal.named("n", name)
    assert (signal.kind, signal.sign) == (kind, sign)
