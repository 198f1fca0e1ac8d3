"""A record in a file of its own; with `-m lab` also in a PostgreSQL database of its own, where a test asks for no file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.records.store import Record


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "record" in metafunc.fixturenames and "path" not in metafunc.fixturenames:
        databases = ["sqlite", pytest.param("postgresql", marks=pytest.mark.lab)]
        metafunc.parametrize("record", databases, indirect=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.db"


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    kind = getattr(request, "param", "sqlite")
    where = request.getfixturevalue("path") if kind == "sqlite" else request.getfixturevalue("postgres").url()
    with Record(where) as opened:
        yield opened
