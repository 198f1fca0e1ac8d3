"""The lab that the tests of this folder look at, and where its programs lie."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab_services.nodes import Node, read_nodes, until

ROLES = Path(__file__).resolve().parents[2] / "playbooks" / "roles"
sys.path[:0] = [str(ROLES / "lab_ledger" / "files"), str(ROLES / "lab_files" / "files")]


@pytest.fixture(scope="session")
def lab_inventory() -> Path:
    """The inventory of a lab that is up."""
    named = os.environ.get("MENDBOOK_LAB_INVENTORY")
    if not named:
        pytest.skip("needs a lab: `mendbook lab up`, then MENDBOOK_LAB_INVENTORY=FILE with the inventory that it names")
    return Path(named)


@pytest.fixture(scope="session")
def nodes(lab_inventory: Path) -> dict[str, Node]:
    """The nodes of the lab, by their names."""
    return read_nodes(lab_inventory)


@pytest.fixture
def healthy(nodes: dict[str, Node]) -> Iterator[dict[str, Node]]:
    """The nodes of a lab whose ledger answers, and whose balancer knows that, before a test and after it."""
    until(lambda: serving(nodes), 60)
    yield nodes
    until(lambda: serving(nodes), 60)


def serving(nodes: dict[str, Node]) -> bool:
    """Return whether all of the ledger is there: to whoever asks, and to the balancer, which looks once in a while."""
    up = {"proxy": "web", "state": "UP"}
    return all(nodes[name].ask("/healthz").status == 200 for name in ("lb", "web1", "web2")) and all(
        nodes["lb"].value("haproxy_server_status", 8404, server=name, **up) == 1 for name in ("web1", "web2")
    )
