"""What the default watch was alarmed by, as evidence: a sentence, a time, and a suspect only where nothing else shows one."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.rca.inquiry import Finding, inquire
from engine.core.rca.signals import Frame, Kind, Signal, Topology
from engine.core.rca.watched import Watched, last_spell, watched
from engine.core.watching.roster import ANOMALY
from engine.core.watching.roster import Kind as Alert
from engine.model.labels import Labels
from engine.model.target import Fleet, Target
from engine.promql import STALE, Block

STEP = 15.0
ROWS = 200
NOW = STEP * (ROWS - 1)
FLEET = Fleet({name: Target(name) for name in ("shop", "store")})
EDGES = Topology([("shop", "store")])


def frame(cpu: np.ndarray | None = None, latency: np.ndarray | None = None) -> Frame:
    """Two hosts that are well, but for what is given of the store."""
    rng = np.random.default_rng(3)
    columns = {
        Signal.named("shop", "cpu"): rng.normal(0.3, 0.01, ROWS),
        Signal.named("shop", "latency_mean"): rng.normal(0.05, 0.001, ROWS),
        Signal.named("store", "cpu"): rng.normal(0.3, 0.01, ROWS) if cpu is None else cpu,
        Signal.named("store", "latency_mean"): rng.normal(0.02, 0.001, ROWS) if latency is None else latency,
    }
    return Frame(STEP * np.arange(ROWS), np.column_stack(list(columns.values())), tuple(columns))


def jumped(rows: int, to: float = 0.95) -> np.ndarray:
    course = np.random.default_rng(4).normal(0.3, 0.01, ROWS)
    course[ROWS - rows :] = to
    return course


def alarm(kind: Kind = Kind.MEMORY, *, lasted: float = 600.0, ended: float = 0.0, score: float = 8.0) -> Watched:
    until = NOW - ended
    return Watched("store", kind, f"{kind} of it", "leaky", Alert.DRIFT, score, until - lasted, until, worse=True)


def accused(found: Finding) -> list[tuple[str, str]]:
    return [(each.node, each.resource) for each in found.suspects]


def test_an_alarm_adds_its_sentence_and_changes_no_rank() -> None:
    seen = frame(cpu=jumped(5))
    without, with_ = (inquire(seen, EDGES, alarms=each) for each in ((), (alarm(Kind.CPU, lasted=45, score=700.0),)))
    assert [(each.node, each.score) for each in with_.suspects] == [
        (each.node, each.score) for each in without.suspects
    ]
    first = with_.suspects[0]
    assert first.evidence[:-1] == without.suspects[0].evidence
    assert first.evidence[-1].startswith(
        "the watch has been in alarm for 45 s: cpu of it is up to 700 of its usual spreads"
    )
    assert (first.culprit, first.onset) == ("leaky", without.suspects[0].onset)


def test_what_came_too_slowly_to_be_seen_is_a_suspect_by_its_alarm() -> None:
    quiet = frame()
    assert inquire(quiet, EDGES).suspects == ()
    found = inquire(quiet, EDGES, alarms=(alarm(lasted=900.0),))
    assert accused(found) == [("store", Kind.MEMORY)]
    assert (found.suspects[0].onset, found.onset) == (NOW - 900.0, NOW - 900.0)
    assert "15 min" in found.suspects[0].evidence[0]


def test_an_alarm_alone_stands_behind_what_is_seen_to_have_happened() -> None:
    seen = frame(cpu=jumped(5))
    found = inquire(seen, EDGES, alarms=(alarm(Kind.DISK, score=1000.0),))
    assert accused(found)[0] == ("store", Kind.CPU)
    assert ("store", Kind.DISK) in accused(found)


def test_what_was_used_up_first_stands_before_the_slowness_of_its_node() -> None:
    slow = frame(latency=jumped(5, to=0.5))
    assert accused(inquire(slow, EDGES))[0] == ("store", Kind.LATENCY)
    found = inquire(slow, EDGES, alarms=(alarm(lasted=1200.0),))
    assert accused(found)[:2] == [("store", Kind.MEMORY), ("store", Kind.LATENCY)]
    assert any("beyond the usual" in sentence for sentence in found.suspects[0].evidence)


def test_when_it_was_off_before_what_is_looked_at_the_alarm_says_since_when() -> None:
    seen = frame(cpu=jumped(45))
    without, with_ = (inquire(seen, EDGES, alarms=each) for each in ((), (alarm(Kind.CPU, lasted=44 * STEP),)))
    assert accused(without)[0] == accused(with_)[0] == ("store", Kind.CPU)
    assert with_.suspects[0].onset == NOW - 44 * STEP
    assert without.suspects[0].onset is None or without.suspects[0].onset > NOW - 44 * STEP


def test_an_alarm_that_is_over_accuses_nobody() -> None:
    over = alarm(ended=120.0)
    assert inquire(frame(), EDGES, alarms=(over,)).suspects == ()
    found = inquire(frame(cpu=jumped(5)), EDGES, alarms=(alarm(Kind.CPU, lasted=45, ended=240.0),))
    assert "the watch was in alarm for 45 s, until 4 min before" in found.suspects[0].evidence[-1]


def test_what_is_not_known_to_be_worse_accuses_nobody() -> None:
    either = Watched("store", Kind.DISK, "reads", None, Alert.LEVEL, 9.0, 0.0, NOW, worse=False)
    calls = Watched("store", Kind.TRAFFIC, "calls", None, Alert.LEVEL, 9.0, 0.0, NOW, worse=True)
    assert inquire(frame(), EDGES, alarms=(either, calls)).suspects == ()


def block(series: dict[Labels, list[tuple[float, float]]]) -> Block:
    samples = list(series.values())
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in samples])])
    flat = [pair for each in samples for pair in each]
    times = np.array([round(1000 * at) for at, _ in flat], np.int64)
    return Block(tuple(series), offsets, times, np.array([value for _, value in flat]))


def told(metric: str, instance: str = "store", **labels: str) -> Labels:
    return Labels({"__name__": ANOMALY, "metric": metric, "instance": instance, "kind": "level", **labels})


def test_alarms_are_read_from_the_series_that_tell_of_them() -> None:
    memory = told("process_resident_memory_bytes", groupname="leaky")
    samples = [(0.0, 6.0), (15.0, STALE), (600.0, 7.0), (615.0, 9.0), (630.0, 8.0)]
    (found,) = watched(block({memory: samples}), FLEET, 630.0, STEP, 300.0)
    assert (found.node, found.kind, found.culprit, found.alert) == ("store", Kind.MEMORY, "leaky", Alert.LEVEL)
    assert (found.since, found.until, found.score, found.worse) == (600.0, 630.0, 9.0, True)
    assert watched(block({memory: samples}), FLEET, 1000.0, STEP, 300.0) == ()


@pytest.mark.parametrize(
    "series",
    [
        told("node_cpu_seconds_total", mode="idle"),
        told("node_memory_Cached_bytes"),
        told("request_duration_seconds_sum"),
        Labels({"__name__": "process_resident_memory_bytes", "instance": "store"}),
        Labels({"__name__": ANOMALY, "metric": "process_resident_memory_bytes"}),
    ],
)
def test_what_says_nothing_of_a_node_is_passed_over(series: Labels) -> None:
    assert watched(block({series: [(0.0, 9.0)]}), FLEET, 0.0, STEP, 300.0) == ()


def test_a_gap_ends_a_spell() -> None:
    times = np.array([0.0, 15.0, 120.0, 135.0])
    assert last_spell(times, np.array([9.0, 9.0, 5.0, 6.0]), 45.0) == (120.0, 135.0, 6.0)
    assert last_spell(times, np.array([1.0, 2.0, np.nan, 3.0]), 500.0) == (135.0, 135.0, 3.0)
    assert last_spell(times, np.full(4, np.nan), 45.0) is None
