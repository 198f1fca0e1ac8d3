"""Several processes and threads on one record; and the SQL that another database would be given."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import create_mock_engine
from sqlalchemy.dialects import postgresql

from engine.model.standing import Pause
from engine.records.desk import Desk
from engine.records.errors import RecordError
from engine.records.history import History
from engine.records.schema import METADATA
from engine.records.store import Record
from tests.records.nouns import NOW, change, entry, event, execution, incident


def test_of_rivals_that_plan_from_one_version_exactly_one_wins(path: Path) -> None:
    Record(path).close()
    start, won = threading.Barrier(4, timeout=10), []

    def rival(name: str) -> None:
        with Record(path) as record:
            for turn in range(15):
                version = record.standing(NOW).version
                start.wait()
                plan = change(version, execution=execution(f"{name}{turn}", f"web{turn}"), entries=(entry(name),))
                if record.commit(plan):
                    won.append((turn, name))
                start.wait()

    rivals = [threading.Thread(target=rival, args=(name,)) for name in "abcd"]
    for each in rivals:
        each.start()
    for each in rivals:
        each.join()
    assert [turn for turn, _ in won] == list(range(15))
    with Record(path) as record:
        assert record.standing(NOW).version == 15
        assert [one.entry.sentence for one in History(record).entries()] == [name for _, name in won]
        assert History(record).verify_chain() == 15


def test_threads_may_share_one_open_record(record: Record) -> None:
    def note(name: str) -> None:
        for number in range(1, 21):
            record.events(name, [event(number)])

    threads = [threading.Thread(target=note, args=(name,)) for name in "abcd"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [record.follow(name) for name in "abcd"] == [20] * 4


def test_a_record_that_another_process_keeps_locked_is_an_error_with_a_fix(
    path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.records.opening.WAIT", 0.05)
    with Record(path) as impatient, record.writing():
        with pytest.raises(RecordError, match="another process keeps the record locked"):
            impatient.commit(change(0))
        assert impatient.standing(NOW).version == 0
    with Record(path) as impatient:
        assert impatient.commit(change(0))


def test_one_reading_sees_one_state_however_much_is_written_meanwhile(path: Path, record: Record) -> None:
    with record.reading() as connection:
        first = connection.exec_driver_sql("SELECT version FROM meta").scalar_one()
        with Record(path) as other:
            assert other.commit(change(0, incident=incident()))
        assert connection.exec_driver_sql("SELECT version FROM meta").scalar_one() == first
        assert connection.exec_driver_sql("SELECT count(*) FROM incidents").scalar_one() == 0
    assert record.standing(NOW).incidents == (incident(),)


def test_a_row_that_was_damaged_is_an_error_that_names_what_does_not_fit(record: Record) -> None:
    Desk(record).pause(Pause("all", "ann", "x", NOW))
    with record.writing() as connection:
        connection.exec_driver_sql("UPDATE pauses SET rest = '{\"color\": 3}'")
    with pytest.raises(RecordError, match="Pause has no field color"):
        record.standing(NOW)


def test_a_value_that_cannot_be_stored_is_an_error_and_nothing_stays(record: Record) -> None:
    with pytest.raises(RecordError, match="not a YAML value"):
        record.commit(change(0, incident=incident(), entries=(entry("x", data={"a": object()}),)))
    assert record.standing(NOW).version == 0
    assert record.commit(change(0))


def test_the_schema_can_be_said_to_postgresql() -> None:
    said: list[str] = []
    engine = create_mock_engine(
        "postgresql+psycopg2://", lambda sql, *_: said.append(str(sql.compile(dialect=postgresql.dialect())))
    )
    METADATA.create_all(engine, checkfirst=False)
    assert sum("CREATE TABLE" in sql for sql in said) == len(METADATA.tables)
    assert any("UNIQUE INDEX" in sql and sql.endswith("WHERE active") for sql in said)


def test_several_that_begin_a_record_at_once_begin_one(tmp_path: Path) -> None:
    start, seen = threading.Barrier(6, timeout=10), []

    def begin() -> None:
        for turn in range(8):
            start.wait()
            with Record(tmp_path / f"{turn}.db") as record:
                seen.append((turn, record.standing(NOW).pauses, identity(record)))

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(seen) == 48
    assert len({(turn, name) for turn, _, name in seen}) == 8
    assert all(pauses == () for _, pauses, _ in seen)


def identity(record: Record) -> str:
    with record.reading() as connection:
        return str(connection.exec_driver_sql("SELECT record_id FROM meta").scalar_one())
