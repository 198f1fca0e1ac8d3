"""A backup is whole or not there, keeps no one waiting, and what is restored from it starts paused."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from engine.records.audit import Head
from engine.records.backup import backup, restore
from engine.records.errors import RecordError
from engine.records.history import History
from engine.records.leader import Leadership
from engine.records.store import Record
from tests.records.nouns import NOW, change, entry, event, incident


def filled(record: Record, count: int = 3) -> Record:
    for version in range(count):
        assert record.commit(change(version, incident=incident(reason=str(version)), entries=(entry(f"{version}"),)))
    record.events("e1", [event(number, "x" * 500) for number in range(1, 200)])
    return record


def test_a_backup_is_one_verified_file_of_its_owners_alone(record: Record, path: Path, tmp_path: Path) -> None:
    done = backup(filled(record), tmp_path / "copies.db")
    assert done.head == History(record).head()
    assert done.path.stat().st_mode & 0o777 == 0o600
    assert {path.name for path in tmp_path.glob("copies*")} == {"copies.db"}
    with Record(done.path, read_only=True) as copied:
        assert copied.standing(NOW) == record.standing(NOW)
        assert History(copied).events_of("e1") == History(record).events_of("e1")


def test_the_record_is_not_touched_by_its_backup(record: Record, tmp_path: Path, path: Path) -> None:
    filled(record)
    before = record.standing(NOW)
    backup(record, tmp_path / "copy.db")
    assert record.standing(NOW) == before
    with Record(path) as again:
        assert again.standing(NOW).pauses == ()


def test_a_restored_record_starts_paused_even_in_the_file_of_the_one_it_was_taken_of(
    record: Record, path: Path, tmp_path: Path
) -> None:
    copy = backup(filled(record), tmp_path / "copy.db").path
    record.close()
    path.with_name("record.db.mark").unlink()
    path.write_bytes(copy.read_bytes())  # the same file as before, by its number
    with Record(path) as restored:
        assert [pause.by for pause in restored.standing(NOW).pauses] == ["mendbook"]
        assert History(restored).verify_chain() == 4


def test_writers_go_on_while_a_backup_is_written_and_it_is_of_one_moment(
    record: Record, path: Path, tmp_path: Path
) -> None:
    filled(record)
    over, versions = threading.Event(), []

    def write() -> None:
        with Record(path) as writer:
            while not over.is_set():
                version = writer.standing(NOW).version
                assert writer.commit(
                    change(version, incident=incident(reason=str(version)), entries=(entry(f"{version}"),))
                )
                versions.append(version)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for turn in range(5):
            before = len(versions)
            done = backup(record, tmp_path / f"{turn}.db")
            with Record(done.path, read_only=True) as copied:
                standing = copied.standing(NOW)
                assert standing.incidents[0].reason == str(standing.version - 1)
                assert History(copied).verify_chain() == standing.version == done.head.number
            while len(versions) == before:
                over.wait(0.01)
    finally:
        over.set()
        thread.join()


def test_what_is_there_is_replaced_only_when_told_to(record: Record, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("mine")
    with pytest.raises(RecordError, match="something is there already; name another file, or say --replace"):
        backup(record, target)
    assert target.read_text() == "mine"
    assert backup(record, target, replace=True).head.number == 0
    with pytest.raises(RecordError, match="something is there already; name another file"):
        backup(record, tmp_path, replace=True)
    for itself in (path, path.with_name("record.db-wal")):
        with pytest.raises(RecordError, match="this is the record itself"):
            backup(record, itself, replace=True)


def test_a_record_with_a_broken_chain_is_not_backed_up_as_if_it_were_whole(
    record: Record, path: Path, tmp_path: Path
) -> None:
    filled(record)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET sentence = 'x' WHERE number = 2")
    with pytest.raises(RecordError, match="the chain is broken: entry 2 was changed"):
        backup(record, tmp_path / "copy.db")
    assert list(tmp_path.glob("copy*")) == []


def test_a_place_that_takes_nothing_is_an_error_and_nothing_stays(record: Record, path: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="No such file or directory"):
        backup(record, tmp_path / "nowhere" / "copy.db")


def test_restoring_keeps_the_old_record_aside_with_what_lies_beside_it(
    record: Record, path: Path, tmp_path: Path
) -> None:
    copy = backup(filled(record), tmp_path / "copy.db").path
    assert record.commit(change(3, entries=(entry("later"),)))
    head, aside = restore(copy, path)
    assert head.number == 3
    assert aside is not None
    with Record(path) as restored:
        assert History(restored).entries()[-1].entry.code == "restored"
        assert [pause.scope for pause in restored.standing(NOW).pauses] == ["all"]
    with Record(aside, read_only=True) as old:
        assert History(old).entries()[-1].entry.sentence == "later"
        assert History(old).verify_chain() == 4


def test_a_record_is_restored_where_there_was_none(record: Record, path: Path, tmp_path: Path) -> None:
    copy = backup(filled(record), tmp_path / "copy.db").path
    place = tmp_path / "new" / "record.db"
    assert restore(copy, place) == (History(record).head(), None)
    assert copy.exists()


def test_what_is_no_backup_is_not_restored_and_the_record_stays(record: Record, path: Path, tmp_path: Path) -> None:
    filled(record)
    (tmp_path / "letter").write_text("dear all\n" * 500)
    broken = tmp_path / "broken.db"
    shutil.copy(backup(record, tmp_path / "copy.db").path, broken)
    with sqlite3.connect(broken) as connection:
        connection.execute("DELETE FROM entries WHERE number = 2")
    connection.close()
    for wrong, message in (("letter", "damaged"), ("nothing", "no such file"), ("broken.db", "entry 2 is missing")):
        with pytest.raises(RecordError, match=message):
            restore(tmp_path / wrong, path)
        assert History(record).verify_chain() == 3


def test_nothing_is_restored_below_an_engine_that_runs(record: Record, path: Path, tmp_path: Path) -> None:
    copy = backup(filled(record), tmp_path / "copy.db").path
    with Leadership(path) as leadership:
        assert leadership.acquire()
        with pytest.raises(RecordError, match=r"an engine works on it: process \d+ on .*; stop it first"):
            restore(copy, path)
    assert isinstance(History(record).head(), Head)
