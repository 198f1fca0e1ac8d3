"""Options of the test run, which pytest takes from here alone, and the servers of other projects that tests share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.lab_tools.postgres_server import PostgresServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", metavar="DIR", help="run the PromQL conformance cases in DIR (promqltest files)")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that runs; for tests marked `lab`."""
    from tests.lab_tools import postgres_server

    if reason := postgres_server.missing():
        pytest.skip(reason)
    server = postgres_server.PostgresServer()
    try:
        yield server.start()
    finally:
        server.close()
