"""From every schema that was ever released to the current one: nothing is lost, also when a step is cut short."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.model.decision import Entry
from engine.model.incident import IncidentState
from engine.model.standing import Pause, Silence
from engine.records.desk import Desk
from engine.records.errors import RecordError
from engine.records.history import History
from engine.records.schema import HEAD, VERSIONS
from engine.records.store import Record
from tests.records.nouns import NOW, alert, attempt, change, event, execution, incident

RELEASED = Path(__file__).parent.parent / "fixtures" / "records"
"""A record of every released schema, as `sqlite3 .dump` writes it; none is changed once it is there."""
OLDER = VERSIONS[:-1]


def lay(path: Path, version: str) -> Path:
    """Write a record of that schema into a file that knows itself: it is neither a copy nor restored."""
    with sqlite3.connect(path) as connection:
        connection.executescript((RELEASED / f"{version}.sql").read_text("utf-8"))
        connection.execute("UPDATE meta SET inode = ?", (str(path.stat().st_ino),))
    connection.close()
    return path


def content(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table but the schema's version."""
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608  its own tables
            for table in tables
            if table != "alembic_version"
        }


def test_there_is_a_record_of_every_released_schema() -> None:
    assert {file.stem for file in RELEASED.glob("*.sql")} == set(OLDER)


@pytest.mark.parametrize("version", OLDER)
def test_every_value_of_a_released_schema_is_there_in_the_current_one(path: Path, version: str) -> None:
    before = content(lay(path, version))
    Record(path).close()
    after = content(path)
    for table, rows in before.items():
        kept = [{name: row[name] for name in old} for old, row in zip(rows, after[table], strict=True)]
        assert kept == rows, table


@pytest.mark.parametrize("version", OLDER)
def test_a_record_of_a_released_schema_is_read_verified_and_gone_on_with(path: Path, version: str) -> None:
    with Record(lay(path, version)) as record:
        standing, history = record.standing(NOW), History(record)
        first, second = alert(value=float("inf")), alert("HighLoad", "web2", annotations={"summary": "löad"})
        assert standing.alerts == (first, second)
        assert standing.incidents[0] == incident(attempt=attempt())
        assert (standing.incidents[1].id, standing.incidents[1].state) == ("i2", IncidentState.RESOLVED)
        assert standing.executions == (execution(),)
        assert [pause.scope for pause in standing.pauses] == ["host:web1", "runbook:memory"]
        assert [request.id for request in standing.requests] == ["r1"]
        assert standing.requests[0].vars == {"deep": {"$a": (1, None, 2.5)}}
        assert history.events_of("e1") == (event(1, "a"), event(2, "b\x00"))
        assert history.verify_chain() == 5
        assert history.entries()[1].entry == Entry("alert", "odd \x00 \udcff text")
        assert record.commit(change(standing.version, incident=incident("i3", "web3")))
        Desk(record).silence(Silence("s1", "{}", "ann", "x", NOW, NOW + 60))
        Desk(record).pause(Pause("all", "ann", "x", NOW))
        assert history.verify_chain() == 7


CUT_SHORT = """
import os, sys
from alembic import op
from engine.records.store import Record
whole = op.create_index
def cut(*arguments, **more):
    whole(*arguments, **more)
    os.write(1, b"half way")
    os.kill(os.getpid(), 9)
op.create_index = cut
Record(sys.argv[1])
"""


@pytest.mark.parametrize("version", OLDER)
def test_a_step_that_was_killed_half_way_leaves_the_record_as_it_was_and_is_done_the_next_time(
    path: Path, version: str
) -> None:
    before = content(lay(path, version))
    done = subprocess.run([sys.executable, "-c", CUT_SHORT, str(path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("half way", -9), done.stderr
    assert content(path) == before
    with Record(path) as record:
        assert History(record).verify_chain() == 5
    assert content(path)["silences"] == []


def test_an_older_record_is_not_read_before_it_is_brought_up_to_date(path: Path) -> None:
    lay(path, OLDER[0])
    with pytest.raises(RecordError, match=f"schema {OLDER[0]}, {HEAD} is needed; start `mendbook watch` once"):
        Record(path, read_only=True)
