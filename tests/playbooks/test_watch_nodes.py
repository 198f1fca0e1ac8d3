"""What nodes say of themselves, put in place on real nodes: it runs after the first run, and later runs leave it alone."""

from __future__ import annotations

import pytest
from lab_nodes import Node, nodes, wait_until

pytestmark = pytest.mark.lab

FIGURES = "/var/lib/prometheus/node-exporter"
WATCHES = {
    "config_watch": ("mendbook-config.service", "mendbook_config_differs"),
    "host_watch": ("mendbook-watch.service", "mendbook_deleted_open_bytes"),
    "node_witness": ("mendbook-witness.service", "mendbook_peer_up"),
}


@pytest.fixture
def node() -> Node:
    """A web node, which has all of them."""
    (one,) = nodes("web1")
    return one


@pytest.mark.parametrize("playbook", list(WATCHES))
def test_a_watch_is_put_in_place_once_and_tells_its_figures(node: Node, playbook: str) -> None:
    unit, figure = WATCHES[playbook]
    node.sh(f"systemctl disable --now {unit}; rm -f /etc/systemd/system/{unit} $(grep -l {figure} {FIGURES}/*.prom)")
    checked, done, again = node.run_thrice(playbook)
    assert (checked.failed, done.failed, again.failed) == (0, 0, 0), checked.output + done.output + again.output
    assert checked.changed == done.changed == 1, checked.output + done.output
    assert again.changed == 0, again.output
    assert node.sh(f"systemctl is-active {unit}") == "active"
    assert node.sh(f"systemctl is-enabled {unit}") == "enabled"
    wait_until(lambda: node.sh(f"grep -l {figure} {FIGURES}/*.prom", check=False) != "", 30)


def test_check_mode_leaves_a_watch_as_it_is(node: Node) -> None:
    unit, _ = WATCHES["node_witness"]
    node.sh(f"systemctl stop {unit}")
    checked = node.run("node_witness", "--check")
    assert checked.changed == 1, checked.output
    assert node.sh(f"systemctl is-active {unit}", check=False) == "inactive"
    assert node.run("node_witness").changed == 1
    assert node.sh(f"systemctl is-active {unit}") == "active"
