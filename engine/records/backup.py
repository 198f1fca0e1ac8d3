"""A copy of the record while an engine works on it, and the way back.

A backup knows that it is one: the record that is made of it starts paused, wherever it is put.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.records import audit, opening
from engine.records.errors import RecordError
from engine.records.history import History
from engine.records.leader import Leadership
from engine.records.store import Record
from engine.records.trouble import guarded

BACKUP = "backup"
"""What stands in a backup where a record has the number of its file."""
PAGES = 256
"""So many pages are copied before others have their turn with the disk."""
BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; left beside another one, it would damage it."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A verified copy: as of which entry, and how large."""

    path: Path
    head: audit.Head
    bytes: int


def backup(record: Record, target: Path, *, replace: bool = False) -> Backup:
    """Write the record as it is now into a file, verified, whole or not at all. Raises RecordError; no one is kept waiting."""
    source = record.database.path
    if source is None:
        fix = "use its own means, such as `pg_dump --format=custom`; what is restored from that starts paused, too"
        raise RecordError("a record in a database server is not backed up by Mendbook", path=record.place, fix=fix)
    target = target.absolute()
    refuse(target, source, replace=replace)
    with guarded(str(target)), draft_of(target) as draft:
        copy(source, draft)
        head = verified(draft)
        settle(draft, target)
        return Backup(target, head, target.stat().st_size)


def refuse(target: Path, source: Path, *, replace: bool) -> None:
    """Refuse to write over the record, or over what is there already."""
    if target.resolve() == source.resolve() or target.name in {source.name + end for end in BESIDE}:
        raise RecordError("this is the record itself", path=str(target), fix="name another file")
    if target.exists() and not (replace and target.is_file()):
        fix = "name another file" if target.is_dir() else "name another file, or say --replace"
        raise RecordError("something is there already", path=str(target), fix=fix)


@contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """Give an empty file beside the target, its owner's alone; nothing of it stays but what was moved."""
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield draft
    finally:
        for end in ("", *BESIDE):
            with contextlib.suppress(OSError):
                draft.with_name(draft.name + end).unlink(missing_ok=True)


def copy(source: Path, draft: Path) -> None:
    """Copy one state of a database, however much is written meanwhile: a reader of a write-ahead log keeps no one waiting."""
    with closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=opening.WAIT)) as reader:
        reader.isolation_level = None
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()  # from here on it sees this state alone
        with closing(sqlite3.connect(draft)) as writer:
            reader.backup(writer, pages=PAGES, sleep=0)
            writer.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read where nothing can be written
            writer.execute("UPDATE meta SET inode = ?", (BACKUP,))
            writer.commit()


def verified(path: Path) -> audit.Head:
    """Return the head of a copy whose pages and whose chain are whole."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if said != "ok":
        raise RecordError(f"the database is damaged: {said}", path=str(path), fix="take another backup")
    with Record(path, read_only=True) as copied:
        found = History(copied).verify()
    if isinstance(found, audit.Broken):
        fix = "see `mendbook audit-log verify`; the file can be copied by hand"
        raise RecordError(f"the chain is broken: {found.reason}", path=str(path), fix=fix)
    return found.head


def settle(draft: Path, target: Path) -> None:
    """Move a file to its place, so that it is there after a loss of power."""
    descriptor = os.open(draft, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def restore(source: Path, place: Path) -> tuple[audit.Head, Path | None]:
    """Put a verified backup in the record's place, whole or not at all; return its head, and where the old record is now.

    No engine may lead meanwhile. Raises RecordError.
    """
    source, place = source.absolute(), place.absolute()
    if not source.is_file():
        raise RecordError("there is no such file", path=str(source), fix="name a backup")
    with Leadership(place) as leadership:
        if not leadership.acquire():
            holder = leadership.holder()
            raise RecordError(f"an engine works on it: {holder}", path=str(place), fix="stop it first")
        with guarded(str(place)), draft_of(place) as draft:
            copy(source, draft)
            head = verified(draft)
            aside = move_aside(place)
            settle(draft, place)
            return head, aside


def move_aside(place: Path) -> Path | None:
    """Move a record with all that lies beside it out of the way; return where it is, None when there was none."""
    if not place.exists():
        return None
    aside = place.with_name(f"{place.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    for end in (*BESIDE, ""):  # the database last: without it what lies beside is nothing
        with contextlib.suppress(FileNotFoundError):
            place.with_name(place.name + end).rename(aside.with_name(aside.name + end))
    return aside
