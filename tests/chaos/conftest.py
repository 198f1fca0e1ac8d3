"""Nodes of a lab to be broken: those of an inventory that the environment names."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.chaos.inject import Injector
from engine.chaos.journal import Journal
from engine.chaos.place import Node, nodes_of
from engine.chaos.probes import Shell, answers_ssh
from engine.config.inventory import load_inventory

NAMED = "MENDBOOK_LAB_INVENTORY"


@pytest.fixture(scope="session")
def inventory() -> Path:
    """The inventory of a lab that runs; a skip says how to get one."""
    named = os.environ.get(NAMED)
    if named is None:
        pytest.skip(f"needs a lab: `mendbook lab up`, then {NAMED}=FILE with the inventory that it names")
    return Path(named)


@pytest.fixture(scope="session")
def nodes(inventory: Path) -> dict[str, Node]:
    """The lab's nodes, all of which answer."""
    found = nodes_of(load_inventory([inventory]))
    silent = [node.name for node in found.values() if not answers_ssh(node)]
    assert not silent, f"{silent} do not answer: `mendbook lab status`"
    return found


@pytest.fixture(scope="session")
def shell() -> Iterator[Shell]:
    """Lines of shell on nodes."""
    with tempfile.TemporaryDirectory(prefix="mb-") as folder:
        yield Shell(Path(folder))


@pytest.fixture
def injector(tmp_path: Path) -> Iterator[Injector]:
    """What injects; whatever is left is taken back at the end."""
    injector = Injector(Journal(tmp_path / "journal"), tmp_path, lambda _: None)
    yield injector
    injector.undo_all()
