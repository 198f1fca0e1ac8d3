"""Opening a record: the file and its rights, the database behind it, its schema, and whether it is still the same record."""

from __future__ import annotations

import contextlib
import os
import socket
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
from engine.model.secrecy import looks_secret
from engine.model.standing import Pause
from engine.records import chain
from engine.records.errors import RecordError
from engine.records.rows import canonical
from engine.records.schema import HEAD, METADATA, VERSION_TABLE, VERSIONS, meta
from engine.records.writes import put_pause

WAIT = 5.0
"""How long to wait for another process's transaction, in seconds."""
DRIVER = "postgresql+psycopg"
SESSION = f"-c lock_timeout={int(WAIT * 1000)} -c statement_timeout=60000 -c idle_in_transaction_session_timeout=60000"
SESSION += " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000"
"""No one waits for ever, neither for another's lock nor behind an engine that was stopped in the middle."""
ALIVE = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""A server that vanished is missed within seconds."""
WHICH = """
    SELECT CASE WHEN has_function_privilege('pg_control_system()', 'execute')
                THEN (SELECT system_identifier FROM pg_control_system()) END,
           (SELECT oid FROM pg_database WHERE datname = current_database()),
           CAST(CAST('meta' AS regclass) AS oid)
"""
RESTORED = "the record was copied or restored: check that what it says still holds, then `mendbook resume`"


@dataclass(frozen=True, slots=True)
class Database:
    """An open database; `path` is None where it is not a file, `place` is how to name it to people.

    `mark` is the file that says how far the record had come; None when there is none.
    """

    readers: Engine
    writers: Engine
    place: str
    path: Path | None
    mark: Path | None = None


def address(where: str | Path) -> URL:
    """Return the database URL of a path or of a URL in text; raises RecordError for one that is neither."""
    if isinstance(where, str) and "://" in where:
        try:
            url = make_url(where)
        except (ArgumentError, ValueError) as error:  # a port that is no number
            raise RecordError(f"not a database URL: {error}", path="record", fix="write a path, or a URL") from error
        return url.set(drivername=DRIVER) if url.drivername in ("postgres", "postgresql") else url
    return URL.create("sqlite", database=str(where))


def shown(url: URL) -> str:
    """Return a database URL as people are told of it: without a password, wherever in it that stands."""
    hidden = [name for name in url.query if looks_secret(name)]
    return url.difference_update_query(hidden).render_as_string(hide_password=True)


def connect(url: URL, *, read_only: bool, mark: Path | None = None) -> Database:
    """Return the database at that address; nothing of it is read yet, but its file is there with mode 0600."""
    if url.get_backend_name() != "sqlite":
        return connect_server(url, read_only=read_only, mark=mark)
    path = Path(url.database or "").absolute()
    if read_only and not path.is_file():
        raise RecordError(
            "there is no record", path=str(path), fix="it begins with the first `mendbook watch` or `audit`"
        )
    if not read_only:
        claim(path)
    query = {"uri": "true", "mode": "rw"} if not read_only else {"uri": "true", **readable(path)}
    engine = create_engine(
        URL.create("sqlite", database=path.as_uri(), query=query),
        json_serializer=canonical,
        connect_args={"timeout": WAIT},
    )
    tune(engine, read_only=read_only)
    return Database(engine, engine.execution_options(writes=True), str(path), path, mark_path(path))


def connect_server(url: URL, *, read_only: bool, mark: Path | None) -> Database:
    """Return the database behind a server; a connection that broke meanwhile is replaced by a new one.

    A reader sees one state of the record; a writer sees what was committed when it came to be its turn.
    """
    more = {}
    if url.get_backend_name() == "postgresql":
        settings = f"{url.query.get('options', '')} {SESSION}".strip()
        more = {"connect_timeout": int(WAIT), "client_encoding": "utf8", "options": settings, **ALIVE}
        more.setdefault("application_name", f"mendbook {os.getpid()}@{socket.gethostname()}"[:63])
    engine = create_engine(url, json_serializer=canonical, pool_pre_ping=True, connect_args=more)
    readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    writers = engine.execution_options(isolation_level="READ COMMITTED", postgresql_readonly=read_only)
    return Database(readers, writers, shown(url), None, mark)


def readable(path: Path) -> dict[str, str]:
    """Return how to open a file for reading: as one that no one writes, where its write-ahead log cannot be opened."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=WAIT)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return {"mode": "ro"}
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            fix = "copy it, with what lies beside it, to where you may write, or look with a user that may"
            raise RecordError("its last entries lie in a log that cannot be opened", path=str(path), fix=fix) from error
        return {"mode": "ro", "immutable": "1"}
    return {"mode": "ro"}


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
            alone(connection, database.place)
            version = stored_version(connection, database.place)  # another process may have been here first
            check(version, database.place)
            if version is None:
                create(connection, database)
            elif version != HEAD:
                migrate(connection)
    recognize(database)


def require_current(database: Database) -> None:
    """Refuse to read a record whose schema is not the current one."""
    with database.readers.connect() as connection:
        version = stored_version(connection, database.place)
    check(version, database.place)
    if version != HEAD:
        fix = "start `mendbook watch` once, which brings it up to date"
        raise RecordError(f"the record has schema {version or 'none'}, {HEAD} is needed", path=database.place, fix=fix)


def alone(connection: Connection, place: str) -> None:
    """Have no one else begin or change the schema until this transaction ends; SQLite locks the file for any writer."""
    if connection.dialect.name == "postgresql":
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            fix = "create the database anew: `createdb --encoding UTF8 --template template0 NAME`"
            raise RecordError(f"its encoding is {encoding}, which cannot hold every text", path=place, fix=fix)
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('mendbook schema'))"))


def create(connection: Connection, database: Database) -> None:
    """Create the tables at the current version without the cost of importing Alembic."""
    METADATA.create_all(connection)
    connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:version)"), {"version": HEAD})  # noqa: S608  a constant
    born(connection)
    connection.execute(update(meta).values(inode=identity_of(connection, database.path)))
    if database.mark is not None:
        database.mark.unlink(missing_ok=True)  # it was another record's


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


def identity_of(connection: Connection, path: Path | None) -> str:
    """Return what a copy does not share: the number of the file, or those of the server, the database and the table."""
    if path is not None:
        return str(path.stat().st_ino)
    if connection.dialect.name == "postgresql":
        return "/".join(str(each) for each in connection.execute(text(WHICH)).one())
    return ""


def mark_path(path: Path) -> Path:
    """Return the file beside the record that says how far the record had come."""
    return path.with_name(path.name + ".mark")


def recognize(database: Database, least: int = 0) -> None:
    """Pause a record that is another one than it was, or that went back in time: it was copied or restored.

    Its identity tells a copy; a backup written over it in place shows in the mark, as versions only grow. `least` is a version
    that it was seen to have.
    """
    marked = read_mark(database.mark)
    with database.writers.connect() as connection:
        own = identity_of(connection, database.path)
        identity, version, stored = connection.execute(select(meta.c.record_id, meta.c.version, meta.c.inode)).one()
    back = marked is not None and (marked[0] != identity or version < marked[1])
    if back or version < least or stored != own:
        with database.writers.begin() as connection:
            moved = update(meta).values(version=meta.c.version + 1, inode=own).returning(meta.c.version)
            version = connection.execute(moved).scalar_one()
            put_pause(connection, Pause("all", "mendbook", RESTORED, time.time()))
            line = Entry("engine", f"Paused: {RESTORED}", code="restored")
            chain.append(connection, time.time(), version, (line,))
    write_mark(database.mark, identity, version)


def read_mark(mark: Path | None) -> tuple[str, int] | None:
    """Return the record's identity and the version that it had at least, None when nothing says so."""
    if mark is None:
        return None
    try:
        identity, version = mark.read_text("ascii").split()
        return identity, int(version)
    except (OSError, ValueError):
        return None


def write_mark(mark: Path | None, identity: str, version: int) -> None:
    """Note how far the record has come; a note that cannot be written is done without."""
    if mark is None:
        return
    draft = mark.with_name(f"{mark.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        draft.write_text(f"{identity} {version}\n", "ascii")
        draft.chmod(0o600)
        draft.replace(mark)
