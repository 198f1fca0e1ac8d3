"""Whoever may not write a record may look at it, and is told what cannot be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.app.housekeeping import Housekeeper
from engine.app.wiring import SteadyClock
from engine.model.decision import Entry
from engine.model.execution import ExecutionState
from engine.records.errors import ReadOnlyError, RecordError, RecordUnavailableError
from engine.records.history import History
from engine.records.opening import readable
from engine.records.retention import Keep
from engine.records.store import Record
from tests.records.nouns import NOW, change, entry, event, execution, incident

LOOK = """
import os, sys
from pathlib import Path
from engine.records.errors import ReadOnlyError, RecordError
from engine.records.store import Record
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    Record(Path(sys.argv[1]))
except ReadOnlyError as error:
    print("not to be written:", error.message)
try:
    with Record(Path(sys.argv[1]), read_only=True) as record:
        print("incidents:", len(record.standing(1.8e9).incidents))
except RecordError as error:
    print("not to be read:", error.message)
"""


def looked_at_by_another(path: Path) -> str:
    """Return what a user without rights finds."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    if "ModuleNotFoundError" in done.stderr or "Permission" in done.stderr:
        pytest.skip("another user cannot run this interpreter")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that others may look into and not change."""
    folder = Path("/tmp") / f"mendbook-look-{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o755)
    yield folder  # type: ignore[misc]
    shutil.rmtree(folder)


def test_a_closed_record_is_read_where_nothing_can_be_written(shared: Path) -> None:
    path = shared / "record.db"
    with Record(path) as record:
        assert record.commit(change(0, incident=incident()))
    path.chmod(0o644)
    told = looked_at_by_another(path)
    assert "not to be written: Permission denied" in told
    assert "incidents: 1" in told


def test_a_record_whose_log_cannot_be_opened_is_not_shown_without_its_last_entries(shared: Path) -> None:
    path = shared / "record.db"
    with Record(path) as record:
        assert record.commit(change(0, incident=incident()))
        for file in (path, path.with_name("record.db-wal")):
            shutil.copy(file, shared / file.name.replace("record", "copy"))
    for file in shared.glob("copy*"):
        file.chmod(0o644)
    told = looked_at_by_another(shared / "copy.db")
    assert "not to be read: its last entries lie in a log that cannot be opened" in told


def test_a_record_that_may_be_written_is_opened_with_its_log(path: Path) -> None:
    with Record(path) as record:
        assert record.commit(change(0))
        assert readable(path) == {"mode": "ro"}


def test_what_may_not_be_written_and_what_is_away_are_told_apart() -> None:
    assert issubclass(ReadOnlyError, RecordError)
    assert issubclass(RecordUnavailableError, RecordError)
    assert not issubclass(RecordUnavailableError, ReadOnlyError)


def test_the_housekeeper_forgets_until_nothing_old_is_left_and_notes_how_far_it_is(record: Record, path: Path) -> None:
    ended = execution(state=ExecutionState.SUCCESSFUL)
    assert record.commit(change(0, execution=ended, at=NOW - 1e9, entries=(entry("kept"),)))
    old = tuple(Entry("alert", f"{number}") for number in range(700))
    assert record.commit(change(1, entries=old, at=NOW - 1e9))
    record.events("e1", [event(number) for number in range(1, 701)])
    clock = SteadyClock()
    clock.now = lambda: NOW + 86_400.0  # type: ignore[method-assign]
    keeper = Housekeeper(record, Keep(events=3600.0, alerts=3600.0), clock)
    assert [keeper.once(), keeper.once(), keeper.once()] == [True, False, False]
    assert History(record).events_of("e1") == ()
    assert [line.entry.kind for line in History(record).entries()] == ["decision", "engine", "engine"]
    assert History(record).verify_chain() == 703
    assert path.with_name("record.db.mark").read_text().endswith(" 2\n")


def test_a_housekeeper_that_cannot_write_says_so_once_and_goes_on(
    record: Record, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record.commit(change(0, execution=execution(state=ExecutionState.SUCCESSFUL)))
    record.events("e1", [event(1)])
    monkeypatch.setattr("engine.records.opening.WAIT", 0.05)
    clock = SteadyClock()
    clock.now = lambda: NOW + 86_400.0  # type: ignore[method-assign]
    with Record(path) as impatient:
        keeper = Housekeeper(impatient, Keep(events=3600.0), clock)
        with record.writing():
            assert not keeper.once()
            assert not keeper.once()
        assert History(record).events_of("e1") != ()
        assert not keeper.once()
    assert History(record).events_of("e1") == ()
