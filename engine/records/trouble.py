"""Every error of the database, its driver and its files, as one typed error with a fix."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from engine.records.errors import ReadOnlyError, RecordError, RecordUnavailableError
from engine.records.rows import RowError

FULL = ("the disk under the record is full", "free space there; nothing of this change was stored")
DAMAGED = ("this is not a record, or it is damaged", "name another file, or restore a backup")
REASONS = {
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_IOERR: ("the disk under the record does not take writes", "check its free space and its health"),
    sqlite3.SQLITE_BUSY: ("another process keeps the record locked", "try again; see who has it open with `fuser`"),
    sqlite3.SQLITE_READONLY: (
        "the record may not be written",
        "check the owner and mode of the file and its directory",
    ),
    sqlite3.SQLITE_CANTOPEN: ("the record cannot be opened", "check that its directory exists and is yours"),
    sqlite3.SQLITE_PERM: ("the record may not be used", "check the owner and mode of the file and its directory"),
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}


LET_IN = (
    "see whether it runs, and check user, password (~/.pgpass) and database (`createdb --encoding UTF8 NAME` makes one)"
)
AWAY = ("there is no connection to its server", LET_IN)
BUSY = ("someone else keeps the record locked", "try again; `SELECT * FROM pg_stat_activity` says who is at it")
STATES = {
    "08": AWAY,
    "57P": AWAY,
    "28": AWAY,
    "3D": AWAY,
    "42501": ("the record may not be used", "make the user the owner of the database"),
    "53100": FULL,
    "53300": ("its server takes no more connections", "raise max_connections there"),
    "25006": ("its server takes no writes now", "name the primary, not a standby"),
    "40": BUSY,
    "55P03": BUSY,
    "57014": BUSY,
}
"""PostgreSQL's codes, by how they begin; the longest that fits counts."""
PASSING = ("08", "28", "3D", "40", "53", "55P03", "57", "25006")


KINDS = {
    sqlite3.SQLITE_BUSY: RecordUnavailableError,
    sqlite3.SQLITE_READONLY: ReadOnlyError,
    sqlite3.SQLITE_CANTOPEN: ReadOnlyError,
    sqlite3.SQLITE_PERM: ReadOnlyError,
}


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """Turn every error of the database, its driver and its files into a RecordError about `path`."""
    try:
        yield
    except DBAPIError as error:
        raise explained(error.orig, path) from error
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except RowError as error:
        raise RecordError(f"a value does not fit: {error}", path=path, fix="report it, with this line") from error
    except SQLAlchemyError as error:
        raise RecordError(str(error), path=path, fix="check the record's address") from error
    except ImportError as error:
        fix = "install the driver of this database: `pip install 'mendbook[postgres]'`"
        raise RecordError(str(error), path=path, fix=fix) from error
    except OSError as error:
        kind = ReadOnlyError if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else RecordError
        raise kind(error.strerror or str(error), path=path, fix="check the path and its rights") from error


def explained(error: BaseException | None, path: str) -> RecordError:
    """Return the error in words, with the fix that fits its code."""
    name = getattr(error, "sqlite_errorname", "")
    if not name:
        return told_by_server(error, path)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the rest the details
    message, fix = REASONS.get(code, (str(error), "see the message of the database"))
    kind = KINDS.get(code, RecordError)
    return kind(f"{message} ({name}: {error})", path=path, fix=fix)


def told_by_server(error: BaseException | None, path: str) -> RecordError:
    """Return an error of a database server, or of the way there, in words."""
    state = getattr(error, "sqlstate", None)
    said = " ".join(str(error).split()).rstrip(".")
    if state is None and type(error).__name__ != "OperationalError":
        return RecordError(said, path=path, fix="see the message of the database")
    state = state or "08"  # no connection, or it broke: why a server lets no one in it says in words alone
    known = [begin for begin in STATES if state.startswith(begin)]
    message, fix = STATES[max(known, key=len)] if known else (said, "see the message of the database")
    kind = RecordUnavailableError if state.startswith(PASSING) else RecordError
    return kind(message if message == said else f"{message} ({said})", path=path, fix=fix)
