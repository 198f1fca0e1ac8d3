"""Localization over an engine's samples: who needs whom is taken from where it is known, and puts causes before symptoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from engine.app.localization import ROWS, of_store
from engine.core.rca.inquiry import Finding, inquire
from engine.core.rca.relations import peers_of
from engine.model.labels import Labels
from engine.model.target import Fleet, Target
from engine.promql import Block, Matcher

STEP = 15.0
END = 1_700_000_000.0
TROUBLE = 5


@dataclass(frozen=True)
class Samples:
    """A store of one block."""

    block: Block

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        return self.block


def stored(courses: Mapping[Labels, np.ndarray]) -> Samples:
    times = np.round(1000 * (END - STEP * np.arange(ROWS - 1, -1, -1))).astype(np.int64)
    offsets = np.arange(len(courses) + 1) * ROWS
    return Samples(Block(tuple(courses), offsets, np.tile(times, len(courses)), np.concatenate([*courses.values()])))


def located(store: Samples, fleet: Fleet) -> Finding:
    evidence = of_store(store, fleet, END, STEP)
    return inquire(evidence.frame, evidence.topology, alarms=evidence.alarms, peers=evidence.peers)


def fleet(*targets: Target) -> Fleet:
    return Fleet({target.name: target for target in targets})


def calls(host: str, usual: float, rng: np.random.Generator) -> dict[Labels, np.ndarray]:
    """What a host's exporter counts of 1,500 calls a step, each of which takes as usual, and 0.3 s longer in the end."""
    count = np.cumsum(rng.normal(1500, 15, ROWS))
    each = rng.normal(usual, 0.02 * usual, ROWS)
    each[-TROUBLE:] += 0.3
    labels = {"instance": f"{host}:9100", "job": "app"}
    return {
        Labels({"__name__": "http_request_duration_seconds_count", **labels}): count,
        Labels({"__name__": "http_request_duration_seconds_sum", **labels}): np.cumsum(
            each * np.diff(count, prepend=0.0)
        ),
    }


def said(name: str, host: str, **labels: str) -> dict[Labels, np.ndarray]:
    return {Labels({"__name__": name, "instance": f"{host}:9100", **labels}): np.ones(ROWS)}


FRONT, BACK = Target("front", instances=frozenset({"front"})), Target("back", instances=frozenset({"back", "10.0.0.2"}))


@pytest.mark.parametrize(
    ("front", "more"),
    [
        (Target("front", instances=FRONT.instances, depends_on=("back",)), {}),
        (FRONT, said("haproxy_server_status", "front", proxy="web", server="back", state="UP")),
        (FRONT, said("pg_stat_replication_pg_wal_lsn_diff", "front", application_name="back", sync_state="sync")),
        (FRONT, said("pg_stat_replication_pg_wal_lsn_diff", "back", application_name="front", state="streaming")),
        (FRONT, said("pg_stat_wal_receiver_status", "front", upstream_host="10.0.0.2", upstream_port="5432")),
        (FRONT, said("mendbook_postgres_member_streaming", "back", member="front")),
    ],
    ids=["depends_on", "haproxy", "synchronous replica", "replica", "receiver", "member"],
)
def test_who_needs_a_slow_host_ranks_below_it(front: Target, more: dict[Labels, np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    slow = {**calls("front", 0.02, rng), **calls("back", 1.0, rng)}
    unrelated = [each.node for each in located(stored(slow), fleet(FRONT, BACK)).suspects]
    assert unrelated[0] == "front"  # by itself it is the more unusual one
    related = located(stored({**slow, **more}), fleet(front, BACK))
    assert related.suspects[0].node == "back"
    assert [
        each for each in related.suspects[1:] if each.node == "front" and each.score > related.suspects[0].score
    ] == []


def memory(host: str, gone: bool, rng: np.random.Generator) -> dict[Labels, np.ndarray]:
    left = rng.normal(8e9, 1e7, ROWS)
    left[-TROUBLE:] -= 6e9 * gone
    return {Labels({"__name__": "node_memory_MemAvailable_bytes", "instance": f"{host}:9100"}): left}


def host(name: str, *groups: str) -> Target:
    return Target(name, groups=frozenset(groups), instances=frozenset({name}))


WEB = [host(f"web-{number}", "web", "all-of-it") for number in range(4)]
OTHER = host("db", "all-of-it")


@pytest.mark.parametrize(
    ("troubled", "words"),
    [
        ({"web-1"}, "none of its 3 peers does the same"),
        ({"web-1", "web-2", "web-3"}, "2 of its 3 peers do the same at the same time"),
    ],
)
def test_what_the_others_of_a_group_do_is_evidence(troubled: set[str], words: str) -> None:
    rng = np.random.default_rng(2)
    courses: dict[Labels, np.ndarray] = {}
    for target in (*WEB, OTHER):
        courses |= memory(target.name, target.name in troubled, rng)
    found = located(stored(courses), fleet(*WEB, OTHER))
    assert {each.node for each in found.suspects} == troubled
    assert all(any(words in sentence for sentence in each.evidence) for each in found.suspects)


def test_what_one_host_does_alone_stands_before_what_all_of_a_group_do() -> None:
    rng = np.random.default_rng(3)
    courses: dict[Labels, np.ndarray] = {}
    for target in (*WEB, OTHER):
        courses |= memory(target.name, True, rng)
    assert located(stored(courses), fleet(*WEB, OTHER)).suspects[0].node == "db"


def test_peers_are_those_of_the_smallest_group_that_has_a_majority() -> None:
    pair = [host(name, "pair", "all-of-it") for name in ("a", "b")]
    peers = peers_of(fleet(*WEB, *pair))
    assert peers["web-0"] == ("web-1", "web-2", "web-3")
    assert "a" not in peers  # of two nobody is in the majority, and all hosts are there for different things


def stepped(back: int) -> Finding:
    """What is found where the kernel counted six errors so many rows ago, and none before or since."""
    labels = Labels({"__name__": "node_netstat_Icmp_InErrors", "instance": "back:9100", "job": "node"})
    course = np.zeros(ROWS)
    course[-back:] = 6.0
    return located(stored({labels: course}), fleet(BACK))


@pytest.mark.parametrize("back", [4, 20, 200])
def test_errors_that_the_kernel_counted_once_are_no_errors_ever_after(back: int) -> None:
    assert stepped(back).suspects == ()


def test_errors_that_the_kernel_goes_on_counting_are_seen() -> None:
    labels = Labels({"__name__": "node_netstat_Udp_InErrors", "instance": "back:9100", "job": "node"})
    course = np.zeros(ROWS)
    course[-TROUBLE:] = 300.0 * np.arange(1, TROUBLE + 1)
    found = located(stored({labels: course}), fleet(BACK))
    assert (found.suspects[0].node, found.suspects[0].resource, found.stands_out) == ("back", "errors", True)
