"""Every injection has a real effect that the nodes' own figures show, and an undo."""

from __future__ import annotations

import socket
import time

import pytest
from lab_waiting import eventually

from engine.lab import control, data, inject, process, traffic
from engine.lab.cluster import Cluster
from engine.lab.inject import Injection, Name
from engine.lab.settings import LEAK_BYTES_PER_SECOND

e2e = pytest.mark.e2e


def injection(name: Name) -> Injection:
    return next(one for one in inject.choose(7) if one.name is name)


def value(cluster: Cluster, node: str, metric: str) -> float:
    return sum(cluster.figures(node, metric).values())


def in_rotation(cluster: Cluster, node: str) -> bool:
    return cluster.figures("lb", "haproxy_server_status")[f'proxy="web",server="{node}"'] == 1


def test_a_seed_chooses_the_same_injections_and_seeds_differ() -> None:
    assert inject.choose(5) == inject.choose(5)
    assert len({inject.choose(seed) for seed in range(20)}) > 5
    for seed in range(20):
        chosen = inject.choose(seed)
        assert [one.name for one in chosen] == list(Name)
        assert len({one.node for one in chosen if one.name in (Name.KILLED, Name.HUNG, Name.LEAK)}) == 3


@e2e
def test_a_killed_node_is_dead_refuses_connections_and_stays_dead(cluster: Cluster) -> None:
    one = injection(Name.KILLED)
    inject.inject(cluster, one)
    port = cluster.node(one.node)["port"]
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
        pass
    eventually(lambda: not in_rotation(cluster, one.node), 3)
    assert cluster.node(one.node)["state"] == "dead"
    inject.undo(cluster, one)
    assert cluster.node(one.node)["state"] == "running"
    eventually(lambda: in_rotation(cluster, one.node), 3)


@e2e
def test_a_hung_node_takes_connections_answers_nothing_and_leaves_the_rotation(cluster: Cluster) -> None:
    one = injection(Name.HUNG)
    since = inject.inject(cluster, one)
    known = cluster.node(one.node)
    assert known["state"] == "running"
    with socket.create_connection(("127.0.0.1", known["port"]), timeout=1) as connection:
        connection.settimeout(0.3)
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)
    eventually(lambda: not in_rotation(cluster, one.node), 3)
    assert traffic.answered(cluster.directory, since, time.time()) > 0
    restarted = control.command(cluster.directory, "restart", node=one.node, once="hung")
    assert restarted["changed"] is True
    assert not process.stopped(restarted["pid"])
    inject.undo(cluster, one)
    eventually(lambda: in_rotation(cluster, one.node), 3)


@e2e
def test_a_leak_really_takes_memory_until_the_node_is_killed_for_it(cluster: Cluster) -> None:
    one = injection(Name.LEAK)
    before = value(cluster, one.node, "node_memory_MemAvailable_bytes")
    since = inject.inject(cluster, one)
    eventually(lambda: value(cluster, one.node, "node_memory_MemAvailable_bytes") < before - LEAK_BYTES_PER_SECOND, 4)
    taken = before - value(cluster, one.node, "node_memory_MemAvailable_bytes")
    assert taken == pytest.approx((time.time() - since) * LEAK_BYTES_PER_SECOND, rel=0.5)
    eventually(lambda: cluster.node(one.node)["state"] == "dead", 20)
    assert cluster.node(one.node)["reason"] == "out of memory"
    inject.undo(cluster, one)
    assert value(cluster, one.node, "node_memory_MemAvailable_bytes") > 0.9 * before
    eventually(lambda: in_rotation(cluster, one.node), 3)


@e2e
def test_a_leak_undone_gives_the_memory_back(cluster: Cluster) -> None:
    one = injection(Name.LEAK)
    before = value(cluster, one.node, "node_memory_MemAvailable_bytes")
    inject.inject(cluster, one)
    eventually(lambda: value(cluster, one.node, "node_memory_MemAvailable_bytes") < before - LEAK_BYTES_PER_SECOND, 4)
    inject.undo(cluster, one)
    eventually(lambda: value(cluster, one.node, "node_memory_MemAvailable_bytes") > before - LEAK_BYTES_PER_SECOND, 4)
    assert cluster.node(one.node)["state"] == "running"


@e2e
def test_flipped_bits_show_within_a_second_stop_snapshots_and_end_with_the_restore(cluster: Cluster) -> None:
    one = injection(Name.CORRUPT)
    directory = cluster.layout.node(one.node)
    assert value(cluster, one.node, "mendbook_data_checksum_failures") == 0
    assert value(cluster, one.node, "mendbook_snapshot_valid") == 1
    since = inject.inject(cluster, one)
    eventually(lambda: value(cluster, one.node, "mendbook_data_checksum_failures") == 12, 1.2)
    eventually(lambda: traffic.lost(cluster.directory, since, time.time()) > 0, 10)
    assert all(snapshot.valid for snapshot in data.snapshots(directory))
    assert value(cluster, one.node, "mendbook_snapshot_timestamp_seconds") <= since
    assert value(cluster, one.node, "mendbook_snapshot_valid") == 1
    assert data.restore(directory) is not None
    eventually(lambda: value(cluster, one.node, "mendbook_data_checksum_failures") == 0, 1.2)
    inject.undo(cluster, one)
    assert value(cluster, one.node, "mendbook_data_checksum_failures") == 0


@e2e
def test_a_filled_directory_stops_at_its_limit_fails_requests_and_heals_when_cleared(cluster: Cluster) -> None:
    one = injection(Name.FILL)
    inject.inject(cluster, one)
    eventually(lambda: value(cluster, one.node, "node_filesystem_avail_bytes") < 4096, 20)
    size = value(cluster, one.node, "node_filesystem_size_bytes")
    assert cluster.figures(one.node, "mendbook_directory_bytes")['path="cache"'] > 0.9 * size
    eventually(lambda: cluster.figures(one.node, "http_requests_total").get('code="507"', 0) > 0)
    inject.undo(cluster, one)
    assert value(cluster, one.node, "node_filesystem_avail_bytes") > 0.9 * size
    failed = cluster.figures(one.node, "http_requests_total")
    eventually(lambda: cluster.figures(one.node, "http_requests_total")['code="200"'] > failed['code="200"'] + 5)


@e2e
def test_the_writer_of_junk_ends_when_the_cache_is_cleared_under_it(cluster: Cluster) -> None:
    one = injection(Name.FILL)
    inject.inject(cluster, one)
    writer = control.inject(cluster.directory, "fill", node=one.node)
    assert writer["changed"] is False
    for junk in (cluster.layout.node(one.node) / "cache").iterdir():
        junk.unlink(missing_ok=True)
    eventually(lambda: process.identify(writer["pid"]) is None)
    inject.undo(cluster, one)


@e2e
def test_an_overload_fills_the_queue_of_three_nodes_and_a_fourth_carries_it(cluster: Cluster) -> None:
    one = injection(Name.OVERLOAD)
    inject.inject(cluster, one)
    eventually(lambda: value(cluster, "lb", "haproxy_backend_current_queue") > 20, 8)
    assert value(cluster, "lb", "haproxy_backend_limit_sessions") == 24
    assert value(cluster, "lb", "haproxy_backend_current_sessions") > 24
    added = control.command(cluster.directory, "add", role="web")["node"]
    control.command(cluster.directory, "attach", node=added)
    eventually(lambda: value(cluster, "lb", "haproxy_backend_current_queue") == 0, 15)
    inject.undo(cluster, one)
    assert added not in cluster.status()
    eventually(lambda: traffic.rate(cluster.directory) == 25)
    healed = time.time()
    eventually(lambda: traffic.answered(cluster.directory, healed + 0.5, time.time()) > 20)
    assert traffic.lost(cluster.directory, healed + 0.5, time.time()) == 0
