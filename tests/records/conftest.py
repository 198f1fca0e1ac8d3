"""A record in a file of its own; with `-m lab` also in a PostgreSQL database of its own, where a test asks for no file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.records.store import Record
from tests.lab_tools.postgres_server import POSTGRESQL


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "record" in metafunc.fixturenames and "path" not in metafunc.fixturenames:
        metafunc.parametrize("record", ["sqlite", POSTGRESQL], indirect=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.db"


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    kind = getattr(request, "param", "sqlite")
    where = request.getfixturevalue("path") if kind == "sqlite" else request.getfixturevalue("new_database")()
    with Record(where) as opened:
        yield opened
