"""What each command of the node manager promises, on a running cluster."""

from __future__ import annotations

import json
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from lab_waiting import command_lines, eventually

from engine.lab import control, process
from engine.lab.cluster import Cluster

pytestmark = pytest.mark.e2e


def say(cluster: Cluster, *sent: bytes) -> list[dict[str, object]]:
    """Send raw bytes to the control socket and return the replies to them."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(cluster.layout.socket))
        for part in sent:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in connection.makefile("rb")]


def command(cluster: Cluster, name: str, **arguments: str) -> dict[str, object]:
    return control.command(cluster.directory, name, **arguments)


def test_status_names_every_node_with_its_process(cluster: Cluster) -> None:
    nodes = cluster.status()
    assert sorted(nodes) == ["lb", "store-1", "store-2", "web-1", "web-2", "web-3"]
    assert {node["state"] for node in nodes.values()} == {"running"}
    assert all(process.identify(node["pid"]) for node in nodes.values())
    assert [name for name, node in nodes.items() if node["attached"]] == ["web-1", "web-2", "web-3"]
    assert all(Path(node["directory"]).is_dir() for node in nodes.values())


def test_stop_and_start_converge(cluster: Cluster) -> None:
    port = cluster.node("web-1")["port"]
    assert command(cluster, "stop", node="web-1")["changed"] is True
    assert command(cluster, "stop", node="web-1")["changed"] is False
    assert cluster.node("web-1")["state"] == "stopped"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=1):
        pass
    assert command(cluster, "start", node="web-1")["changed"] is True
    assert command(cluster, "start", node="web-1")["changed"] is False
    assert cluster.node("web-1")["port"] == port
    assert cluster.figures("web-1", "node_boot_time_seconds")


def test_a_restart_is_done_once_per_id(cluster: Cluster) -> None:
    before = cluster.node("web-2")["pid"]
    assert command(cluster, "restart", node="web-2", once="attempt-1")["changed"] is True
    after = cluster.node("web-2")["pid"]
    assert after != before
    assert command(cluster, "restart", node="web-2", once="attempt-1")["changed"] is False
    assert cluster.node("web-2")["pid"] == after
    assert command(cluster, "restart", node="web-3", once="attempt-1")["changed"] is True
    assert command(cluster, "restart", node="web-2", once="attempt-2")["changed"] is True
    assert command(cluster, "restart", node="web-2")["changed"] is True


def test_simultaneous_restarts_with_one_id_are_one_restart(cluster: Cluster) -> None:
    with ThreadPoolExecutor() as pool:
        replies = list(pool.map(lambda _: command(cluster, "restart", node="web-1", once="twins"), range(4)))
    assert sorted(reply["changed"] for reply in replies) == [False, False, False, True]
    assert len({reply["pid"] for reply in replies}) == 1


def test_an_added_node_serves_once_attached_and_vanishes_when_removed(cluster: Cluster) -> None:
    added = command(cluster, "add", role="web", once="more")
    assert (added["node"], added["changed"]) == ("web-4", True)
    assert command(cluster, "add", role="web", once="more") == {**added, "changed": False}
    hosts = yaml.safe_load(cluster.layout.inventory.read_text())["all"]["children"]
    assert hosts["web"]["hosts"]["web-4"]["mendbook_address"] == f"127.0.0.1:{added['port']}"
    assert hosts["balancer"]["hosts"]["lb"]["depends_on"][-1] == "web-4"
    assert not any("web-4" in labels for labels in cluster.figures("lb", "haproxy_server_status"))

    assert command(cluster, "attach", node="web-4")["changed"] is True
    assert command(cluster, "attach", node="web-4")["changed"] is False
    eventually(lambda: cluster.figures("lb", "haproxy_backend_active_servers") == {'proxy="web"': 4.0})
    eventually(lambda: cluster.figures("web-4", "http_requests_total")['code="200"'] > 0)

    assert command(cluster, "remove", node="web-4")["changed"] is True
    assert command(cluster, "remove", node="web-4")["changed"] is False
    assert "web-4" not in cluster.status()
    assert "web-4" not in cluster.layout.inventory.read_text()
    assert not cluster.layout.node("web-4").exists()
    eventually(lambda: cluster.figures("lb", "haproxy_backend_active_servers") == {'proxy="web"': 3.0})


def test_a_node_removed_while_a_start_waits_for_it_is_not_started(cluster: Cluster) -> None:
    added = str(command(cluster, "add", role="web")["node"])
    command(cluster, "attach", node=added)

    def start() -> bool:
        try:
            return bool(command(cluster, "start", node=added)["changed"])
        except control.ControlError:
            return False

    with ThreadPoolExecutor() as pool:
        removed = pool.submit(command, cluster, "remove", node=added)
        eventually(lambda: not cluster.status().get(added, {}).get("attached"))  # the removal has begun
        assert list(pool.map(lambda _: start(), range(3))) == [False] * 3
        assert removed.result()["changed"] is True
    assert command_lines(f"{cluster.layout.private}/{added}.json") == []


def test_the_number_of_added_nodes_is_bounded(cluster: Cluster) -> None:
    added = [str(command(cluster, "add", role="web")["node"]) for _ in range(5)]
    assert added == ["web-4", "web-5", "web-6", "web-7", "web-8"]
    with pytest.raises(control.ControlError, match="8 web nodes already"):
        command(cluster, "add", role="web")
    for name in added:
        command(cluster, "remove", node=name)
    assert len(cluster.status()) == 6


def test_a_detached_node_gets_no_requests(cluster: Cluster) -> None:
    assert command(cluster, "detach", node="web-3")["changed"] is True
    assert command(cluster, "detach", node="web-3")["changed"] is False
    eventually(lambda: len(cluster.figures("lb", "haproxy_server_status")) == 2)
    eventually(lambda: cluster.figures("web-3", "http_requests_in_flight") == {"": 0.0})
    served = cluster.figures("web-3", "http_requests_total")
    others = cluster.figures("web-1", "http_requests_total")['code="200"']
    eventually(lambda: cluster.figures("web-1", "http_requests_total")['code="200"'] > others + 3)
    assert cluster.figures("web-3", "http_requests_total") == served
    assert command(cluster, "attach", node="web-3")["changed"] is True
    eventually(lambda: len(cluster.figures("lb", "haproxy_server_status")) == 3)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{",
        b"[" * 15_000,
        b'{"command": "explode"}',
        b'{"command": ["status"]}',
        b'{"command": {"a": 1}, "node": 3}',
        b'{"command": "start"}',
        b'{"command": "start", "node": null}',
        b'{"command": "start", "node": ["web-1"]}',
        b'{"command": "start", "node": "../../etc"}',
        b'{"command": "start", "node": "web-99"}',
        b'{"command": "restart", "node": "web-1", "once": 5}',
        b'{"command": "restart", "node": "web-1", "once": "' + b"x" * 300 + b'"}',
        b'{"command": "attach", "node": "store-1"}',
        b'{"command": "add", "role": "store"}',
        b'{"command": "add", "role": ["web"]}',
        b'{"command": "remove", "node": "web-1"}',
        b'{"command": "remove", "node": "lb"}',
        b'{"command": "remove", "node": "web-99"}',
        b'{"command": "remove", "node": ["web-4"]}',
        b'{"command": "fill", "node": "web-1"}',
    ],
)
def test_a_request_that_makes_no_sense_is_refused_and_the_next_is_served(cluster: Cluster, line: bytes) -> None:
    refused, status = say(cluster, line + b"\n", b'{"command": "status"}\n')
    assert refused["ok"] is False
    assert isinstance(refused["error"], str)
    assert len(refused["error"]) < 300
    assert status["ok"] is True
    assert len(status["nodes"]) == 6


def test_an_oversized_line_is_refused_and_others_are_served(cluster: Cluster) -> None:
    reply = say(cluster, b'{"command": "' + b"x" * 20_000 + b'"}\n')
    assert [answer["ok"] for answer in reply] == [False]
    assert "bytes at most" in str(reply[0]["error"])
    assert cluster.status()


def test_an_endless_line_without_end_is_refused(cluster: Cluster) -> None:
    assert say(cluster, b"x" * 20_000)[0]["ok"] is False
    assert cluster.status()


def test_a_client_that_says_nothing_keeps_nobody_waiting(cluster: Cluster) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(cluster.layout.socket))
        assert cluster.status()


def test_the_sockets_are_for_their_owner_alone(cluster: Cluster) -> None:
    for path in (cluster.layout.socket, cluster.layout.private_socket):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert str(cluster.layout.private_socket) not in cluster.layout.inventory.read_text()


def test_the_inventory_tells_how_to_reach_each_host(cluster: Cluster) -> None:
    inventory = yaml.safe_load(cluster.layout.inventory.read_text())["all"]
    assert inventory["vars"]["service_manager"] == "lab"
    assert inventory["vars"]["lab_socket"] == str(cluster.layout.socket)
    assert {group: sorted(part["hosts"]) for group, part in inventory["children"].items()} == {
        "web": ["web-1", "web-2", "web-3"],
        "store": ["store-1", "store-2"],
        "balancer": ["lb"],
    }
    assert inventory["children"]["web"]["hosts"]["web-2"]["depends_on"] == ["store-1", "store-2"]
    assert inventory["children"]["balancer"]["hosts"]["lb"]["depends_on"] == ["web-1", "web-2", "web-3"]
    for part in inventory["children"].values():
        for name, host in part["hosts"].items():
            assert host["mendbook_instance"] == name
            assert host["mendbook_http_url"] == f"http://{host['mendbook_address']}/healthz"
            assert host["mendbook_metrics_url"] == f"http://{host['mendbook_address']}/metrics"
