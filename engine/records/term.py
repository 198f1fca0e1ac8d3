"""Who ticks, where the record is in a PostgreSQL database: one engine, by an advisory lock of a connection that only keeps it.

The lock ends with the connection, which the server may miss before its holder does. So each leader writes a term of its own into
the record, and a plan is taken only from the term that stands there: when another leads, the one before can commit nothing.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Sequence
from typing import Self

from sqlalchemy import Connection, text, update
from sqlalchemy.exc import SQLAlchemyError

from engine.model.decision import Change
from engine.model.execution import TaskEvent
from engine.model.standing import Standing
from engine.records.errors import RecordUnavailableError
from engine.records.leader import Holder
from engine.records.schema import meta
from engine.records.store import Record
from engine.records.trouble import guarded

LOCK = "hashtext('mendbook leads'), CAST(CAST(CAST('meta' AS regclass) AS oid) AS int)"
"""Which lock: there may be several records in one database, each with a `meta` of its own."""
HOLDER = """
    SELECT coalesce(application_name, ''), extract(epoch FROM coalesce(backend_start, now()))
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND CAST(classid AS bigint) = (CAST(hashtext('mendbook leads') AS bigint) & 4294967295)
      AND objid = CAST(CAST('meta' AS regclass) AS oid)
"""
NAME = re.compile(r"mendbook (\d+)@(.+)")


class Term:
    """The right to tick on a record in a database, with the interface of `Leadership`."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._keeper: Connection | None = None
        self._process = 0

    @property
    def held(self) -> bool:
        """Whether this process leads, as far as it knows without asking."""
        return self._keeper is not None

    def acquire(self) -> bool:
        """Take the lock if no other engine has it; return whether it is ours. Raises RecordError."""
        if self.confirm():
            return True
        with guarded(self.record.place):
            keeper = self.record.database.writers.connect().execution_options(isolation_level="AUTOCOMMIT")
            try:
                keeper.detach()  # for as long as it lives it keeps the lock, and nothing else
                if not keeper.execute(text(f"SELECT pg_try_advisory_lock({LOCK})")).scalar_one():
                    keeper.close()
                    return False
                process = keeper.execute(text("SELECT pg_backend_pid()")).scalar_one()
                term = uuid.uuid4().hex
                keeper.execute(update(meta).values(leader=term))  # waits for a commit of the one before
            except BaseException:
                keeper.close()
                raise
        self._keeper, self._process, self.record.term = keeper, process, term
        return True

    def confirm(self) -> bool:
        """Return whether this process still leads: the connection that keeps the lock answers, and is the one that took it."""
        if self._keeper is None:
            return False
        try:
            if self._keeper.execute(text("SELECT pg_backend_pid()")).scalar_one() == self._process:
                return True
        except SQLAlchemyError:
            pass
        self.forget()
        return False

    def holder(self) -> Holder | None:
        """Return who ticks on the record; None when no one does."""
        with self.record.reading() as connection:
            found = connection.execute(text(HOLDER)).first()
        if found is None:
            return None
        name = NAME.fullmatch(found[0])
        return Holder(int(name[1]), name[2], float(found[1])) if name else Holder(0, "unknown", float(found[1]))

    def release(self) -> None:
        """Give the lock up: it is free when this returns, not only once the server has noticed that a connection ended."""
        if self._keeper is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._keeper.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
        self.forget()

    def forget(self) -> None:
        """Close the connection, with which the lock ends."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            with contextlib.suppress(SQLAlchemyError):
                keeper.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Led:
    """The record for an engine that leads (`engine.ports.Records`): a tick begins only while it does, or does again.

    One whose connection broke leads again as soon as the server answers, unless another has taken over: then it stands by.
    """

    def __init__(self, record: Record, term: Term) -> None:
        self.record = record
        self.term = term

    def standing(self, now: float) -> Standing:
        """Return one consistent reading; raises RecordUnavailableError when another engine leads."""
        if not self.term.acquire():
            fix = "this one stands by, and goes on when that one ends"
            raise RecordUnavailableError(f"another engine leads: {self.term.holder()}", path=self.record.place, fix=fix)
        return self.record.standing(now)

    def commit(self, change: Change) -> bool:
        """Store the change if the record is at its version and of this engine's term."""
        return self.record.commit(change)

    def follow(self, execution: str) -> int:
        """Return the number of the last event stored of this execution (0 for none)."""
        return self.record.follow(execution)

    def events(self, execution: str, events: Sequence[TaskEvent]) -> None:
        """Store events of an execution; one that is stored already is not stored again."""
        self.record.events(execution, events)
