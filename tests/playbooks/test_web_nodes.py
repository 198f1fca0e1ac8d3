"""A web server more, a web server less: the standby takes a place behind the balancer, and a rolling restart loses no request."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes, wait_until

pytestmark = pytest.mark.lab

UP = 'haproxy_server_status{{proxy="web",server="{server}",state="UP"}} 1'
PLACE = {"balancer_wait": 30}
ASKS = """import sys, time, urllib.request as r
bad, until = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    try:
        r.urlopen('http://127.0.0.1:8080/', timeout=5).read()
    except OSError:
        bad += 1
    time.sleep(0.02)
print(bad)
"""


@pytest.fixture
def balancer() -> Node:
    (one,) = nodes("lb")
    return one


@pytest.fixture
def standby(balancer: Node) -> Iterator[Node]:
    """The node that stands by; it does so again when the test ends."""
    (one,) = nodes("standby")
    yield one
    assert balancer.run("lb_drain", node="standby").failed == 0
    assert one.run("replica_remove").failed == 0


def is_up(balancer: Node, server: str) -> bool:
    page = balancer.sh(
        "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8404/metrics').read().decode())\""
    )
    return UP.format(server=server) in page


def test_the_standby_takes_a_place_and_gives_it_up(balancer: Node, standby: Node) -> None:
    wait_until(lambda: is_up(balancer, "web1") and is_up(balancer, "web2"), 60)
    checked, done, again = standby.run_thrice("replica_add")
    assert [run.failed for run in (checked, done, again)] == [0, 0, 0]
    assert (done.changed > 0, again.changed) == (True, 0)
    checked, done, again = balancer.run_thrice("lb_attach", node="standby", **PLACE)
    assert [(run.changed, run.failed) for run in (checked, done, again)] == [(1, 0), (1, 0), (0, 0)]
    assert is_up(balancer, "standby")
    checked, done, again = balancer.run_thrice("lb_drain", node="standby", **PLACE)
    assert [(run.changed, run.failed) for run in (checked, done, again)] == [(1, 0), (1, 0), (0, 0)]
    checked, done, again = standby.run_thrice("replica_remove")
    assert [(run.changed, run.failed) for run in (checked, done, again)] == [(1, 0), (1, 0), (0, 0)]
    assert standby.sh("systemctl is-active ledger.service nginx.service; true") == "inactive\ninactive"


def test_a_server_that_does_not_come_up_is_not_called_attached(balancer: Node, standby: Node) -> None:
    assert standby.run("replica_remove").failed == 0
    refused = balancer.run("lb_attach", node="standby", balancer_wait=4)
    assert refused.failed == 1
    assert "was not found up within 4 s" in refused.output


def test_a_host_that_is_no_server_is_passed_over_only_where_that_is_said(balancer: Node) -> None:
    assert balancer.run("lb_drain", node="db1").failed == 1
    passed = balancer.run("lb_drain", node="db1", balancer_lenient=True)
    assert (passed.changed, passed.failed) == (0, 0)


def test_a_rolling_restart_loses_no_request_and_is_done_once(balancer: Node) -> None:
    wait_until(lambda: is_up(balancer, "web1") and is_up(balancer, "web2"), 60)
    (one,) = nodes("web1")
    known: dict[str, object] = {
        "balancer_host": "lb",
        "service": "ledger.service",
        "mendbook_attempt": str(uuid.uuid4()),
    }
    balancer.sh(
        f"cat >/tmp/asks.py <<'X'\n{ASKS}\nX\n(timeout 90 python3 /tmp/asks.py 20 >/tmp/asks.out 2>&1 &) ; true"
    )
    before = one.sh("systemctl show -p MainPID --value ledger.service")
    assert one.run("service_roll", "--check", **known).failed == 0
    assert one.sh("systemctl show -p MainPID --value ledger.service") == before
    assert one.run("service_roll", **known).failed == 0
    after = one.sh("systemctl show -p MainPID --value ledger.service")
    assert after != before
    again = one.run("service_roll", **known)
    assert (again.changed, again.failed) == (0, 0)
    assert one.sh("systemctl show -p MainPID --value ledger.service") == after
    assert is_up(balancer, "web1")
    wait_until(lambda: balancer.sh("cat /tmp/asks.out") != "", 60)
    assert balancer.sh("cat /tmp/asks.out") == "0"
