"""The record: `engine.ports.Records` over SQLite, or another database by its URL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Select, func, select

from engine.model.decision import Change
from engine.model.execution import Execution, ExecutionState, TaskEvent
from engine.model.incident import Attempt, Incident, IncidentState
from engine.model.standing import Lock, Pause, Request, Silence, Standing
from engine.records import opening, writes
from engine.records.errors import RecordError, RecordUnavailableError
from engine.records.rows import from_row
from engine.records.schema import attempts, events, executions, incidents, locks, meta, pauses, requests, silences
from engine.records.seen import LastSeen
from engine.records.trouble import guarded

DAY = 86_400.0
RECENT = 1_000
"""How many ended incidents a tick looks back at, at most."""
LIVE = tuple(state.value for state in IncidentState if state.live)
ACTIVE = tuple(state.value for state in ExecutionState if state.active)

T = TypeVar("T")


class Record:
    """What is remembered, in one database; every method may raise RecordError, and then nothing was stored.

    A path that does not exist begins a record, mode 0600, unless `read_only`. One that was copied or restored begins paused.
    """

    def __init__(self, where: str | Path, *, read_only: bool = False, mark: Path | None = None) -> None:
        url = opening.address(where)
        self.read_only = read_only
        self.seen = LastSeen()
        self.term: str | None = None
        """The term of leadership that commits belong to, where leadership can be lost."""
        self.newest = 0
        """The highest version that was seen."""
        self.place = opening.shown(url)
        with guarded(url.database or self.place):
            self.database = opening.connect(url, read_only=read_only, mark=mark)
            self.place = self.database.place
            if read_only:
                opening.require_current(self.database)
            else:
                opening.prepare(self.database)
        self._file = self.file_number()

    def close(self) -> None:
        """Let go of the database; what was stored stays."""
        try:
            if self.file_number() == self._file:  # else it would be a note about another record
                self.note_progress()
        except RecordUnavailableError:  # a server that is away: what was stored is stored
            if self.database.path is not None:
                raise
        finally:
            self.database.readers.dispose()

    def note_progress(self) -> None:
        """Note beside the record how far it has come, by which one that goes back in time is known."""
        if self.database.mark is not None and not self.read_only:
            with self.reading() as connection:
                identity, version = connection.execute(select(meta.c.record_id, meta.c.version)).one()
            opening.write_mark(self.database.mark, identity, version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def file_number(self) -> int | None:
        """Return the number of the record's file; None where there is none."""
        try:
            return None if self.database.path is None else self.database.path.stat().st_ino
        except OSError:
            return None

    def require_file(self) -> None:
        """Refuse to go on with a file that was removed or replaced: it can still be written, and nobody would ever read it."""
        if self._file is not None and self.file_number() != self._file:
            fix = "put it back, or a backup of it with `mendbook restore`, and start whatever has it open again"
            raise RecordError("the record was removed, or another file was put in its place", path=self.place, fix=fix)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that sees one state of the record."""
        self.require_file()
        with guarded(self.place), self.database.readers.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give the transaction that may write; it is durable when the block has ended, or nothing of it is there."""
        if self.read_only:
            raise RecordError("the record was opened for reading", path=self.place, fix="open it for writing")
        self.require_file()
        with guarded(self.place), self.database.writers.begin() as connection:
            if (
                self.database.path is None
            ):  # one writer after the other, as SQLite has it: no deadlocks, nothing to try again
                connection.execute(select(meta.c.id).with_for_update())
            yield connection

    def standing(self, now: float) -> Standing:
        """Return one consistent reading of everything a tick needs; a record that went back in time is paused first."""
        standing = self.read_standing(now)
        if standing.version < self.newest and not self.read_only:
            with guarded(self.place):
                opening.recognize(self.database, self.newest)
            standing = self.read_standing(now)
        self.newest = standing.version
        return standing

    def read_standing(self, now: float) -> Standing:
        """Return one consistent reading."""
        with self.reading() as connection:
            version, last_tick = connection.execute(select(meta.c.version, meta.c.last_tick)).one()
            seen = self.seen.read(connection, version)
            return Standing(
                version=version,
                alerts=seen.alerts,
                incidents=recent(connection, now),
                attempts=many(
                    connection,
                    Attempt,
                    select(attempts)
                    .where(attempts.c.started_at >= now - DAY)
                    .order_by(attempts.c.started_at, attempts.c.id),
                ),
                executions=many(
                    connection,
                    Execution,
                    select(executions)
                    .where(executions.c.state.in_(ACTIVE))
                    .order_by(executions.c.created_at, executions.c.id),
                ),
                locks=many(connection, Lock, select(locks).order_by(locks.c.target)),
                pauses=many(
                    connection,
                    Pause,
                    select(pauses).where(pauses.c.until.is_(None) | (pauses.c.until > now)).order_by(pauses.c.scope),
                ),
                silences=many(
                    connection,
                    Silence,
                    select(silences).where(silences.c.until > now).order_by(silences.c.since, silences.c.id),
                ),
                requests=many(
                    connection,
                    Request,
                    select(requests).where(requests.c.finished.is_(False)).order_by(requests.c.at, requests.c.id),
                ),
                last_tick=last_tick,
                fleet=seen.fleet,
            )

    def commit(self, change: Change) -> bool:
        """Store the change durably if the record still is at its version and its targets are free; return whether it was."""
        try:
            with self.writing() as connection:
                writes.store(connection, change, self.seen, self.term)
        except writes.LostError:
            return False
        self.seen.committed(change)
        return True

    def follow(self, execution: str) -> int:
        """Return the number of the last event stored of this execution (0 for none)."""
        with self.reading() as connection:
            last = connection.execute(select(func.max(events.c.number)).where(events.c.execution == execution)).scalar()
            return last or 0

    def events(self, execution: str, events: Sequence[TaskEvent]) -> None:
        """Store events of an execution durably; one that is stored already is not stored again."""
        if events:
            with self.writing() as connection:
                writes.put_events(connection, execution, events)


def recent(connection: Connection, now: float) -> tuple[Incident, ...]:
    """Return the live incidents, and the newest of those that ended within a day."""
    live = many(connection, Incident, select(incidents).where(incidents.c.state.in_(LIVE)))
    end = func.coalesce(incidents.c.ended_at, incidents.c.changed_at)
    ended = many(
        connection,
        Incident,
        select(incidents)
        .where(incidents.c.state.not_in(LIVE), end >= now - DAY)
        .order_by(end.desc(), incidents.c.id.desc())
        .limit(RECENT),
    )
    return tuple(sorted(live + ended, key=lambda one: (one.opened_at, one.id)))


def many(connection: Connection, kind: type[T], query: Select[Any]) -> tuple[T, ...]:
    """Return the nouns that a query over their table finds."""
    return tuple(from_row(kind, dict(row)) for row in connection.execute(query).mappings())
