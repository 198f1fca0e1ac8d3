"""The network of real nodes: a neighbour waits until it is good, and gives up when it does not become so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes

pytestmark = pytest.mark.lab

LOSE = (
    "nft 'table inet mb_test {{ chain input {{ type filter hook input priority -300; "
    "icmp type echo-request numgen random mod 100 < {percent} drop; }}; }}'"
)


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node]]:
    """The balancer, and a web node that can be made to lose packets."""
    balancer, web = nodes("lb", "web1")
    yield balancer, web
    web.sh("nft delete table inet mb_test 2>/dev/null; true")


def test_a_good_network_is_waited_for_as_long_as_was_said(pair: tuple[Node, Node]) -> None:
    balancer, _ = pair
    known = {"node": "web1", "watch_address": "lab_address", "network_stable": 5}
    assert [(run.changed, run.failed) for run in balancer.run_thrice("network_settle", **known)] == [(0, 0)] * 3


def test_a_network_that_does_not_become_good_is_given_up(pair: tuple[Node, Node]) -> None:
    balancer, web = pair
    web.sh(LOSE.format(percent=50))
    given_up = balancer.run(
        "network_settle", node="web1", watch_address="lab_address", network_stable=10, network_limit=15
    )
    assert (given_up.changed, given_up.failed) == (0, 1)
    assert "has still lost" in given_up.output


def test_what_host_watch_leaves_changes_only_once(pair: tuple[Node, Node]) -> None:
    balancer, _ = pair
    known = {"watch_peers": "web", "watch_address": "lab_address"}
    assert [run.failed for run in balancer.run_thrice("host_watch", **known)] == [0, 0, 0]
    assert balancer.run("host_watch", **known).changed == 0
    assert balancer.sh("systemctl is-active mendbook-watch.service") == "active"
