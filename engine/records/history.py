"""What commands read: the past of the record, newest last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Column, Select, Table, func, select

from engine.model.decision import Entry, Verdict
from engine.model.execution import Execution, TaskEvent
from engine.model.incident import Alert, AlertState, Attempt, Incident, IncidentState
from engine.records import audit
from engine.records.rows import decode, from_row
from engine.records.schema import alerts, attempts, entries, events, execution_targets, executions, incidents
from engine.records.store import Record, many

T = TypeVar("T")
LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry as it stands in the chain; `decision` is run, hold or escalate, with what each guard said."""

    number: int
    at: float
    version: int
    entry: Entry
    decision: str | None = None
    verdicts: tuple[Verdict, ...] = ()
    hash: str = ""


class AmbiguousError(LookupError):
    """More than one thing has an id that begins so."""

    def __init__(self, prefix: str, ids: Iterable[str]) -> None:
        self.ids = tuple(ids)
        super().__init__(f"{prefix!r} may be {', '.join(self.ids)}")


class History:
    """Reads a record; every method may raise RecordError. Times are seconds since the epoch, limits keep the newest."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def incidents(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        target: str | None = None,
        runbook: str | None = None,
        state: IncidentState | None = None,
        limit: int = LIMIT,
    ) -> tuple[Incident, ...]:
        """Return the incidents that were opened in [since, until), as they stand now."""
        query = between(select(incidents), incidents.c.opened_at, since, until)
        query = equal(query, incidents, target=target, runbook=runbook, state=state)
        return self.newest(Incident, query, limit, incidents.c.opened_at, incidents.c.id)

    def incident(self, prefix: str) -> Incident | None:
        """Return the incident whose id begins so; raises AmbiguousError for more than one."""
        return self.one(Incident, incidents, prefix)

    def executions(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        target: str | None = None,
        runbook: str | None = None,
        incident: str | None = None,
        limit: int = LIMIT,
    ) -> tuple[Execution, ...]:
        """Return the executions that were created in [since, until); `target` is any host that they may touch."""
        query = between(select(executions), executions.c.created_at, since, until)
        query = equal(query, executions, runbook=runbook, incident=incident)
        if target is not None:
            touching = select(execution_targets.c.execution).where(execution_targets.c.target == target)
            query = query.where(executions.c.id.in_(touching))
        return self.newest(Execution, query, limit, executions.c.created_at, executions.c.id)

    def execution(self, prefix: str) -> Execution | None:
        """Return the execution whose id begins so; raises AmbiguousError for more than one."""
        return self.one(Execution, executions, prefix)

    def events_of(self, execution: str, after: int = 0, limit: int | None = None) -> tuple[TaskEvent, ...]:
        """Return the events of an execution with a higher number than `after`, in order, the first `limit` of them."""
        query = select(events).where(events.c.execution == execution, events.c.number > after)
        with self.record.reading() as connection:
            return many(connection, TaskEvent, query.order_by(events.c.number).limit(limit))

    def entries(
        self,
        *,
        incident: str | None = None,
        target: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: int = 0,
        limit: int = LIMIT,
    ) -> tuple[Logged, ...]:
        """Return what was decided and seen to happen in [since, until), with a higher number than `after`."""
        query = between(select(entries), entries.c.at, since, until).where(entries.c.number > after)
        query = equal(query, entries, incident=incident, target=target)
        with self.record.reading() as connection:
            rows = connection.execute(query.order_by(entries.c.number.desc()).limit(limit)).mappings().all()
        return tuple(logged(dict(row)) for row in reversed(rows))

    def alerts(self, *, target: str | None = None, state: AlertState | None = None) -> tuple[Alert, ...]:
        """Return the alerts as of the last tick."""
        query = equal(select(alerts), alerts, target=target, state=state)
        with self.record.reading() as connection:
            return many(connection, Alert, query.order_by(alerts.c.position))

    def attempts(self, since: float | None = None) -> tuple[Attempt, ...]:
        """Return every attempt that was started since: what success rates and recurrence are counted from."""
        query = between(select(attempts), attempts.c.started_at, since, None)
        with self.record.reading() as connection:
            return many(connection, Attempt, query.order_by(attempts.c.started_at, attempts.c.id))

    def verify_chain(self) -> int | audit.Broken:
        """Return how many entries the chain has, or the first that is not what was written."""
        found = self.verify()
        return found if isinstance(found, audit.Broken) else found.head.number

    def verify(self, expect: audit.Head | None = None) -> audit.Whole | audit.Broken:
        """Return whether the chain is what was written, and contains the head that was noted earlier."""
        with self.record.reading() as connection:
            return audit.verify(connection, expect)

    def head(self) -> audit.Head:
        """Return the head of the chain: kept elsewhere, it shows later that nothing before it was changed."""
        with self.record.reading() as connection:
            return audit.head_of(connection)

    def export(self, since: float | None = None) -> Iterator[str]:
        """Yield the chain's entries since then as lines of JSON, from one state of the record."""
        with self.record.reading() as connection:
            yield from audit.export(connection, since)

    def newest(self, kind: type[T], query: Select[Any], limit: int, *order: Column[Any]) -> tuple[T, ...]:
        """Return the newest that a query finds, newest last."""
        query = query.order_by(*(column.desc() for column in order)).limit(limit)
        with self.record.reading() as connection:
            return many(connection, kind, query)[::-1]

    def one(self, kind: type[T], table: Table, prefix: str) -> T | None:
        """Return the one noun whose id is `prefix`, or begins so."""
        query = select(table).where(func.substr(table.c.id, 1, len(prefix)) == prefix)
        with self.record.reading() as connection:
            rows = connection.execute(query.order_by(func.length(table.c.id), table.c.id).limit(5)).mappings().all()
        if not rows or not prefix:
            return None
        if len(rows) > 1 and rows[0]["id"] != prefix:
            raise AmbiguousError(prefix, (row["id"] for row in rows))
        return from_row(kind, dict(rows[0]))


def between(query: Select[Any], column: Column[Any], since: float | None, until: float | None) -> Select[Any]:
    """Return the query narrowed to [since, until)."""
    if since is not None:
        query = query.where(column >= since)
    return query if until is None else query.where(column < until)


def equal(query: Select[Any], table: Table, **wanted: str | None) -> Select[Any]:
    """Return the query narrowed to rows whose columns equal what is wanted; None wants nothing."""
    return query.where(*(table.c[name] == value for name, value in wanted.items() if value is not None))


def logged(row: dict[str, Any]) -> Logged:
    """Return an entry of the chain from its row."""
    verdicts = tuple(decode(Verdict, plain) for plain in row["verdicts"] or ())
    return Logged(
        row["number"], row["at"], row["version"], from_row(Entry, row), row["decision"], verdicts, row["hash"]
    )
