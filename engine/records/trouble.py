"""Every error of the database, its driver and its files, as one typed error with a fix."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from engine.records.errors import RecordError
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
        raise RecordError(str(error), path=path, fix="install the driver of this database") from error
    except OSError as error:
        raise RecordError(error.strerror or str(error), path=path, fix="check the path and its rights") from error


def explained(error: BaseException | None, path: str) -> RecordError:
    """Return the error in words, with the fix that fits its code."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind, the rest the details
    message, fix = REASONS.get(code, (str(error), "see the message of the database"))
    name = getattr(error, "sqlite_errorname", "")
    return RecordError(f"{message} ({name}: {error})" if name else message, path=path, fix=fix)
