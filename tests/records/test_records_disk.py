"""A disk without room: the commit is refused in words, the record stays readable, and later commits work."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.records.errors import RecordError
from engine.records.history import History
from engine.records.store import Record
from tests.records.nouns import NOW, change, entry, event, incident

Room = Callable[[Record, Path], Iterator[None]]


@contextmanager
def few_pages(record: Record, path: Path) -> Iterator[None]:
    """Allow the database no page more than it has (SQLITE_FULL)."""
    with record.database.readers.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    yield
    with record.database.readers.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")


@contextmanager
def short_files(record: Record, path: Path) -> Iterator[None]:
    """Have the kernel refuse to let any file grow (an error of the disk)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size + 4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refuse(record: Record, path: Path, full: Callable[[Record, Path], object], message: str) -> None:
    big = "x" * 200_000
    assert record.commit(change(0, incident=incident(), entries=(entry("kept"),)))
    before = record.standing(NOW)
    with full(record, path):  # type: ignore[attr-defined]
        with pytest.raises(RecordError, match=message) as caught:
            record.commit(change(1, incident=incident(reason=big), entries=(entry(big),)))
        with pytest.raises(RecordError, match=message):
            record.events("e1", [event(1, big)])
        assert caught.value.path == str(path)
        assert caught.value.fix
        assert record.standing(NOW) == before
    assert record.follow("e1") == 0
    assert record.commit(change(1, incident=incident(reason=big), entries=(entry(big),)))
    record.events("e1", [event(1, big)])
    assert record.follow("e1") == 1
    assert History(record).verify_chain() == 2


def test_a_full_database_refuses_a_commit_and_takes_the_next(record: Record, path: Path) -> None:
    refuse(record, path, few_pages, "the disk under the record is full .*free space there")


def test_a_disk_that_takes_no_writes_refuses_a_commit_and_what_was_acknowledged_stays(
    record: Record, path: Path
) -> None:
    refuse(record, path, short_files, "the disk under the record (does not take writes|is full)")


@pytest.mark.e2e
def test_a_file_system_that_is_full_refuses_a_commit_and_takes_the_next_when_there_is_room(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root and mount(8)")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small tmpfs is not allowed here: {mounted.stderr.strip()}")
    path = folder / "record.db"

    @contextmanager
    def no_room(record: Record, path: Path) -> Iterator[None]:
        ballast = folder / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        yield
        ballast.unlink()

    try:
        with Record(path) as record:
            refuse(record, path, no_room, "the disk under the record")
        with Record(path) as record:
            assert History(record).verify_chain() == 2
    finally:
        subprocess.run(["umount", str(folder)], check=True)
