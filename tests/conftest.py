"""Options of the test run, which pytest takes from here alone, and the servers of other projects that tests share."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import hypothesis
import pytest
import structlog

from tests.lab_tools import postgres_server
from tests.lab_tools.postgres_server import GivenServer, PostgresServer


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", metavar="DIR", help="run the PromQL conformance cases in DIR (promqltest files)")


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start, also where the tests themselves run in the background of a shell that has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes is the machine's affair; what is slow shows in benchmarks.
    hypothesis.settings.register_profile(
        "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command that ran in this process said about logging."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that runs; for tests marked `lab`."""
    if reason := postgres_server.missing():
        pytest.skip(reason)
    server = postgres_server.PostgresServer()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """What makes a new, empty database and returns its address: beside the one that MENDBOOK_DATABASE_URL names, or in our server."""
    if postgres_server.GIVEN is None:
        yield request.getfixturevalue("postgres").url
        return
    server = GivenServer(postgres_server.GIVEN)
    yield server.url
    server.close()
