"""Labs for the tests of this folder: small ones, with indexes that people rarely take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab_machines.machines_lab import Machines, missing


@pytest.fixture(scope="session")
def able() -> None:
    """Whether labs can be made here; a skip says what is missing."""
    if lacking := missing():
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def machines(able: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A lab of two nodes that runs."""
    lab = Machines(tmp_path_factory.mktemp("machines") / "lab", 8, ("web1", "web2"))
    try:
        lab.make()
        yield lab
    finally:
        ended = lab.call("down")
    assert ended.returncode == 0, ended.stderr
    assert lab.traces() == {}


@pytest.fixture
def other(able: None, tmp_path: Path) -> Iterator[Machines]:
    """A second lab, not made yet; it is taken away whatever happens."""
    lab = Machines(tmp_path / "other", 9, ("db1", "db2"))
    yield lab
    lab.call("down")
    assert lab.traces() == {}
