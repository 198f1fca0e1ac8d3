"""The file: its rights, its schema, what is no record, and a record that is not the one it was."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.records import opening
from engine.records.desk import Desk
from engine.records.errors import RecordError
from engine.records.history import History
from engine.records.schema import HEAD, METADATA, VERSIONS
from engine.records.store import Record
from tests.records.nouns import NOW, change, entry, incident


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_only_its_owner_reads_a_record(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with Record(tmp_path / "deep" / "state" / "record.db") as record:
            assert record.commit(change(0, incident=incident()))
            folder = tmp_path / "deep" / "state"
            assert mode(folder) == 0o700
            assert {mode(file) for file in folder.iterdir()} == {0o600}
            assert {file.name for file in folder.iterdir()} >= {"record.db", "record.db-wal", "record.db-shm"}
    finally:
        os.umask(umask)


def test_a_record_that_others_may_read_is_closed_to_them(path: Path) -> None:
    Record(path).close()
    path.chmod(0o644)
    Record(path).close()
    assert mode(path) == 0o600


def test_what_was_committed_is_there_when_the_record_is_opened_again(path: Path) -> None:
    with Record(path) as record:
        assert record.commit(change(0, incident=incident(), entries=(entry("x"),)))
        before = record.standing(NOW)
    with Record(f"sqlite:///{path}") as record:
        assert record.standing(NOW) == before
        assert record.standing(NOW).pauses == ()


def test_two_open_records_see_each_others_commits_and_one_of_two_plans_loses(path: Path) -> None:
    with Record(path) as one, Record(path) as other:
        assert one.commit(change(0, incident=incident()))
        assert not other.commit(change(0, incident=incident("i2")))
        assert other.standing(NOW).incidents == (incident(),)


def test_a_reader_sees_the_record_and_cannot_write(path: Path, record: Record) -> None:
    assert record.commit(change(0, incident=incident()))
    with Record(path, read_only=True) as reader:
        assert reader.standing(NOW).incidents == (incident(),)
        with pytest.raises(RecordError, match="opened for reading"):
            reader.commit(change(1))
        assert record.commit(change(1))
        assert reader.standing(NOW).version == 2


def test_a_reader_sees_a_record_that_no_one_has_open(path: Path) -> None:
    with Record(path) as record:
        assert record.commit(change(0, incident=incident()))
    before = path.read_bytes()
    with Record(path, read_only=True) as reader:
        assert reader.standing(NOW).incidents == (incident(),)
    assert path.read_bytes() == before


def test_a_reader_does_not_begin_a_record(path: Path) -> None:
    with pytest.raises(RecordError, match="there is no record; it begins with the first"):
        Record(path, read_only=True)
    assert not path.exists()


def write_text(path: Path) -> None:
    path.write_text("this is a letter, not a database\n" * 100)


def write_other(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title)")


def write_newer(path: Path) -> None:
    Record(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize("read_only", [False, True], ids=["writer", "reader"])
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_text, "this is not a record, or it is damaged"),
        (write_other, "this database is not a record; name another file"),
        (write_newer, f"the record has schema 9999, newer than {HEAD}; upgrade Mendbook"),
    ],
)
def test_what_is_not_a_record_is_refused_and_left_as_it_is(
    path: Path, write: Callable[[Path], None], message: str, read_only: bool
) -> None:
    write(path)
    before = path.read_bytes()
    with pytest.raises(RecordError, match=message) as caught:
        Record(path, read_only=read_only)
    assert caught.value.path == str(path)
    if write is write_text:
        assert path.read_bytes() == before


def test_a_folder_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="Is a directory; check the path and its rights"):
        Record(tmp_path)


@pytest.mark.parametrize("url", ["nodatabase://x", "://", "postgresql+nodriver://x/y"])
def test_an_address_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(RecordError):
        Record(url)


def test_a_copied_record_starts_paused_and_the_original_does_not(path: Path, tmp_path: Path) -> None:
    with Record(path) as record:
        assert record.commit(change(0, entries=(entry("x"),)))
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    with Record(copy) as record:
        standing = record.standing(NOW)
        assert [(pause.scope, pause.by) for pause in standing.pauses] == [("all", "mendbook")]
        assert "copied or restored" in standing.pauses[0].reason
        assert not record.commit(change(1))
        assert History(record).entries()[-1].entry.code == "restored"
        assert History(record).verify_chain() == 2
        assert Desk(record).resume("all", "ann", "checked")
    with Record(copy) as record:
        assert record.standing(NOW).pauses == ()
    with Record(path) as record:
        assert record.standing(NOW).pauses == ()


def test_a_backup_written_over_the_record_in_place_starts_paused(path: Path, tmp_path: Path) -> None:
    with Record(path) as record:
        assert record.commit(change(0))
    backup = tmp_path / "backup.db"
    shutil.copy(path, backup)
    with Record(path) as record:
        assert record.commit(change(1))
    path.write_bytes(backup.read_bytes())
    with Record(path) as record:
        assert [pause.by for pause in record.standing(NOW).pauses] == ["mendbook"]


def test_a_new_record_in_the_place_of_one_that_was_removed_is_not_paused(path: Path) -> None:
    with Record(path) as record:
        assert record.commit(change(0))
    for file in path.parent.glob("record.db*"):
        if file.suffix != ".mark":
            file.unlink()
    with Record(path) as record:
        assert record.standing(NOW).pauses == ()


def schema(path: Path) -> dict[str, object]:
    """Return every table's columns and indexes as SQLite knows them."""
    with sqlite3.connect(path) as connection:
        found: dict[str, object] = {}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            found[table] = {(name, kind, null, key) for _, name, kind, null, _, key in columns}
            found[f"{table} to"] = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
            for _, name, unique, origin, partial in connection.execute(f"PRAGMA index_list({table})").fetchall():
                found[name] = (unique, origin, partial, connection.execute(f"PRAGMA index_info({name})").fetchall())
    return found


def test_the_steps_of_alembic_lead_to_the_schema_that_a_new_record_has(path: Path, tmp_path: Path) -> None:
    Record(path).close()
    stepped = tmp_path / "stepped.db"
    database = opening.connect(opening.address(stepped), read_only=False)
    with database.writers.begin() as connection:
        opening.migrate(connection)
        opening.born(connection)
    database.readers.dispose()
    assert schema(stepped) == schema(path)
    with Record(stepped) as record:
        assert record.commit(change(1, incident=incident()))  # 0 was counted on: the file is not the one it was made as


def test_the_schema_knows_the_names_of_all_steps() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(opening.__file__).parent / "migrations"))
    assert tuple(reversed([step.revision for step in scripts.walk_revisions()])) == VERSIONS
    assert all(table.primary_key.columns for table in METADATA.tables.values())


def test_neither_a_new_record_nor_one_that_is_current_costs_the_import_of_alembic(path: Path) -> None:
    code = (
        "import sys; import engine.records.errors, engine.records.leader; assert 'sqlalchemy' not in sys.modules\n"
        "from engine.records.store import Record\n"
        "[Record(sys.argv[1]).close() for _ in range(2)]; assert 'alembic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("instead", [None, "empty", "copy"])
def test_a_record_whose_file_was_removed_or_replaced_takes_nothing_more_and_says_so(
    instead: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "record.sqlite3"
    with Record(path) as record:
        assert record.commit(change(0))
        copy = path.read_bytes()
        path.rename(tmp_path / "away")
        if instead is not None:
            path.write_bytes(copy if instead == "copy" else b"")
        for act in (lambda: record.standing(2.0), lambda: record.commit(change(1)), lambda: record.follow("x")):
            with pytest.raises(RecordError, match="removed, or another file"):
                act()
        path.unlink(missing_ok=True)
        (tmp_path / "away").rename(path)
        assert record.standing(3.0).version == 1, "it was put back"
        assert record.commit(change(1))
