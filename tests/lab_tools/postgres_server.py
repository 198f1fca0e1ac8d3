"""A PostgreSQL server of our own: its files in a temporary folder, a socket in the file system, no port."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import pytest
from sqlalchemy.engine import make_url

SUPERUSER = "mendbook"
GIVEN = os.environ.pop("MENDBOOK_DATABASE_URL", None)
"""A database that people name for the tests: each test gets one of its own beside it. No test may take it for the record."""

POSTGRESQL = pytest.param("postgresql", marks=() if GIVEN else pytest.mark.lab)
"""What a suite that every database passes is run with: at once where a database is named, else with `-m lab`."""


def missing() -> str:
    """Return what keeps a server from being started here, and how to install it; empty when nothing does."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "PostgreSQL's driver is missing: pip install 'mendbook[postgres]'"
    if binaries() is None:
        return "PostgreSQL is missing: apt-get install postgresql"
    if os.geteuid() == 0 and owner() is None:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return ""


def binaries() -> Path | None:
    """Return the folder of the newest server that is installed."""
    folders = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: float(each.parent.name), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def owner() -> str | None:
    """Return the user whose the server is when root starts it."""
    return "postgres" if any(each.pw_name == "postgres" for each in pwd.getpwall()) else None


class GivenServer:
    """The server of the database that people name; `url()` names a new, empty database in it, which `close` drops."""

    def __init__(self, address: str) -> None:
        self.base = make_url(address).set(drivername="postgresql")
        self.made: list[str] = []

    def url(self) -> str:
        """Return the address of a new database."""
        name = f"mendbook_test_{os.getpid()}_{len(self.made)}"
        self.run(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        self.made.append(name)
        return self.base.set(database=name).render_as_string(hide_password=False)

    def run(self, statement: str) -> None:
        """Execute a statement in the database that was named."""
        import psycopg

        with psycopg.connect(self.base.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(statement.encode())

    def close(self) -> None:
        """Drop what was made."""
        for name in self.made:
            self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class PostgresServer:
    """A server that is started, stopped and killed by tests; `url()` names a new, empty database in it."""

    def __init__(self) -> None:
        found = binaries()
        assert found is not None, missing()
        self.binaries = found
        self.folder = Path(tempfile.mkdtemp(prefix="mendbook-pg-"))
        self.data = self.folder / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self.numbers = itertools.count(1)
        if os.geteuid() == 0:
            entry = pwd.getpwnam(owner() or "")
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            self.user: dict[str, Any] = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        else:
            self.user = {}
        subprocess.run(
            [
                str(self.binaries / "initdb"), "-D", str(self.data), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8",
                "--locale=C", "--no-sync",
            ],
            check=True, capture_output=True, cwd=self.folder, **self.user,
        )  # fmt: skip

    def start(self) -> Self:
        """Start the server; return when it answers."""
        self.process = subprocess.Popen(
            [
                str(self.binaries / "postgres"), "-D", str(self.data), "-k", str(self.folder), "-c", "listen_addresses=",
                "-c", "fsync=off", "-c", "max_connections=50", "-c", "logging_collector=off",
            ],
            cwd=self.folder, stdout=subprocess.DEVNULL, stderr=(self.folder / "log").open("ab"), **self.user,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)
        return self

    def answers(self) -> bool:
        """Return whether the server takes connections."""
        import psycopg

        try:
            psycopg.connect(f"host={self.folder} user={SUPERUSER} dbname=postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server at once, those who are connected or not (SIGQUIT: without a last word); return when it is gone."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def url(self) -> str:
        """Return the address of a new database."""
        name = f"record{next(self.numbers)}"
        self.run(f"CREATE DATABASE {name}")
        return self.address(name)

    def address(self, name: str) -> str:
        """Return the address of a database."""
        return f"postgresql://{SUPERUSER}@/{name}?host={self.folder}"

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Execute a statement as the superuser; return its rows."""
        import psycopg

        with psycopg.connect(f"host={self.folder} user={SUPERUSER} dbname={database}", autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Stop the server and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
