"""Opening a record: the file and its rights, the database behind it, its schema, and whether it is still the same record."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from engine.model.decision import Entry
from engine.model.standing import Pause
from engine.records import chain
from engine.records.errors import RecordError
from engine.records.rows import canonical
from engine.records.schema import HEAD, METADATA, VERSION_TABLE, VERSIONS, meta
from engine.records.writes import put_pause

WAIT = 5.0
"""How long to wait for another process's transaction, in seconds."""
RESTORED = "the record was copied or restored: check that what it says still holds, then `mendbook resume`"


@dataclass(frozen=True, slots=True)
class Database:
    """An open database; `path` is None where it is not a file, `place` is how to name it to people."""

    readers: Engine
    writers: Engine
    place: str
    path: Path | None


def address(where: str | Path) -> URL:
    """Return the database URL of a path or of a URL in text; raises RecordError for one that is neither."""
    if isinstance(where, str) and "://" in where:
        try:
            return make_url(where)
        except ArgumentError as error:
            raise RecordError(f"not a database URL: {error}", path="record", fix="write a path, or a URL") from error
    return URL.create("sqlite", database=str(where))


def connect(url: URL, *, read_only: bool) -> Database:
    """Return the database at that address; nothing of it is read yet, but its file is there with mode 0600."""
    if url.get_backend_name() != "sqlite":
        engine = create_engine(url, json_serializer=canonical, isolation_level="REPEATABLE READ")
        writers = engine.execution_options(isolation_level="READ COMMITTED")
        return Database(engine, writers, url.render_as_string(hide_password=True), None)
    path = Path(url.database or "").absolute()
    if read_only and not path.is_file():
        raise RecordError(
            "there is no record", path=str(path), fix="it begins with the first `mendbook watch` or `audit`"
        )
    if not read_only:
        claim(path)
    query = {"uri": "true", "mode": "ro" if read_only else "rw"}
    engine = create_engine(
        URL.create("sqlite", database=path.as_uri(), query=query),
        json_serializer=canonical,
        connect_args={"timeout": WAIT},
    )
    tune(engine, read_only=read_only)
    return Database(engine, engine.execution_options(writes=True), str(path), path)


def claim(path: Path) -> None:
    """Have the file exist and belong to its owner alone, before anything is written into it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(descriptor)
        if status.st_mode & 0o077 and status.st_uid == os.geteuid():
            os.fchmod(descriptor, 0o600)  # SQLite gives the files beside it the same mode
    finally:
        os.close(descriptor)


def tune(engine: Engine, *, read_only: bool) -> None:
    """Have SQLite write ahead, sync every commit, and take the write lock where a writer begins."""

    @event.listens_for(engine, "connect")
    def opened(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself; `begun` does
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite does not wait for others by itself when several begin a record at once."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def stored_version(connection: Connection, place: str) -> str | None:
    """Return the version of the stored schema, None for an empty database; raises RecordError for one that is not ours."""
    tables = inspect(connection)
    if tables.has_table(VERSION_TABLE) and tables.has_table("meta"):
        return str(connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one())  # noqa: S608  a constant
    if connection.dialect.name == "sqlite" and tables.get_table_names():
        raise RecordError("this database is not a record", path=place, fix="name another file")
    return None


def check(version: str | None, place: str) -> None:
    """Refuse a schema that this version of Mendbook does not know."""
    if version is not None and version not in VERSIONS:
        raise RecordError(f"the record has schema {version}, newer than {HEAD}", path=place, fix="upgrade Mendbook")


def prepare(database: Database) -> None:
    """Have the schema current and the record known as itself; a copied or restored one starts paused."""
    with database.readers.connect() as connection:
        version = stored_version(connection, database.place)
    check(version, database.place)
    if version != HEAD:
        with database.writers.begin() as connection:
            version = stored_version(connection, database.place)  # another process may have been here first
            check(version, database.place)
            if version is None:
                create(connection, database.path)
            elif version != HEAD:
                migrate(connection)
    if database.path is not None:
        recognize(database.writers, database.path)


def require_current(database: Database) -> None:
    """Refuse to read a record whose schema is not the current one."""
    with database.readers.connect() as connection:
        version = stored_version(connection, database.place)
    check(version, database.place)
    if version != HEAD:
        fix = "start `mendbook watch` once, which brings it up to date"
        raise RecordError(f"the record has schema {version or 'none'}, {HEAD} is needed", path=database.place, fix=fix)


def create(connection: Connection, path: Path | None) -> None:
    """Create the tables at the current version without the cost of importing Alembic."""
    METADATA.create_all(connection)
    connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:version)"), {"version": HEAD})  # noqa: S608  a constant
    born(connection)
    if path is not None:
        connection.execute(update(meta).values(inode=inode(path)))
        mark_path(path).unlink(missing_ok=True)  # it was another record's


def born(connection: Connection) -> None:
    """Write the one row of `meta` of a record that begins."""
    row: dict[str, Any] = {"id": 1, "version": 0, "record_id": uuid.uuid4().hex, "entries": 0, "chain": chain.GENESIS}
    connection.execute(insert(meta).values(row))


def migrate(connection: Connection) -> None:
    """Bring the schema up to date, in the caller's transaction."""
    from alembic import command  # noqa: PLC0415  importing it takes more than a second
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def inode(path: Path) -> str:
    """Return the number of the file, which a copy does not share."""
    return str(path.stat().st_ino)


def mark_path(path: Path) -> Path:
    """Return the file beside the record that says how far the record had come."""
    return path.with_name(path.name + ".mark")


def recognize(writers: Engine, path: Path) -> None:
    """Pause a record that is another file than it was, or that went back in time: it was copied or restored.

    The file's number tells a copy; a backup written over the file in place shows in the mark, as versions only grow.
    """
    marked = read_mark(path)
    with writers.connect() as connection:
        identity, version, stored = connection.execute(select(meta.c.record_id, meta.c.version, meta.c.inode)).one()
    back = marked is not None and (marked[0] != identity or version < marked[1])
    if back or stored != inode(path):
        with writers.begin() as connection:
            connection.execute(update(meta).values(version=meta.c.version + 1, inode=inode(path)))
            put_pause(connection, Pause("all", "mendbook", RESTORED, time.time()))
            version = connection.execute(select(meta.c.version)).scalar_one()
            line = Entry("engine", f"Paused: {RESTORED}", code="restored")
            chain.append(connection, time.time(), version, (line,))
    write_mark(path, identity, version)


def read_mark(path: Path) -> tuple[str, int] | None:
    """Return the record's identity and the version that it had at least, None when nothing says so."""
    try:
        identity, version = mark_path(path).read_text("ascii").split()
        return identity, int(version)
    except (OSError, ValueError):
        return None


def write_mark(path: Path, identity: str, version: int) -> None:
    """Note how far the record has come; a note that cannot be written is done without."""
    draft = path.with_name(f"{path.name}.mark.{os.getpid()}")
    with contextlib.suppress(OSError):
        draft.write_text(f"{identity} {version}\n", "ascii")
        draft.chmod(0o600)
        draft.replace(mark_path(path))
