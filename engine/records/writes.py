"""What is written in one transaction; every function here works in its caller's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Table, delete, insert, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

from engine.model.decision import Change
from engine.model.execution import Execution, TaskEvent
from engine.model.standing import Lock, Pause, Request, Silence
from engine.records import chain
from engine.records.rows import to_row
from engine.records.schema import (
    attempts,
    events,
    execution_targets,
    executions,
    fleet,
    incidents,
    locks,
    meta,
    pauses,
    requests,
    silences,
)
from engine.records.seen import LastSeen


class LostError(Exception):
    """The record moved on, or a target is another's: nothing of the change may stay."""


def store(connection: Connection, change: Change, seen: LastSeen, term: str | None = None) -> None:
    """Write all of a change; raises LostError when the record is not at its version or a target is not free.

    A `term` of leadership that is over loses, too, whatever the version.
    """
    moved = update(meta).where(meta.c.version == change.version).values(version=change.version + 1)
    if term is not None:
        moved = moved.where(meta.c.leader == term)
    if connection.execute(moved).rowcount != 1:
        raise LostError
    if change.alerts is not None:
        seen.write(connection, change)
        connection.execute(update(meta).values(last_tick=float(change.at)))
    if change.incident is not None:
        upsert(connection, incidents, row(change.incident, incidents), "id")
        if change.incident.attempt is not None:
            upsert(connection, attempts, row(change.incident.attempt, attempts), "id")
    if change.execution is not None:
        put_execution(connection, change.execution)
    if change.unlock:  # before new locks: a target may pass from one owner to the next in one change
        connection.execute(delete(locks).where(locks.c.target.in_(sorted(change.unlock))))
    if change.locks:
        take_locks(connection, change)
    if change.finished_request is not None:
        finished = update(requests).where(requests.c.id == change.finished_request, requests.c.finished.is_(False))
        connection.execute(finished.values(finished=True, result=change.request_result))
    if change.fleet is not None:
        replace(connection, fleet, [{"name": name} for name in sorted(change.fleet)])
    chain.append(connection, change.at, change.version + 1, change.entries, change.decision)


def row(noun: object, table: Table) -> dict[str, Any]:
    """Return a noun as a row of its table."""
    return to_row(noun, tuple(table.columns.keys()))


def replace(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Have the table hold these rows and no others."""
    connection.execute(delete(table))
    if rows:
        connection.execute(insert(table), rows)


def upsert(connection: Connection, table: Table, values: dict[str, Any], key: str) -> None:
    """Write a row in place of the one with the same key."""
    there = update(table).where(table.c[key] == values[key]).values(values)
    if connection.execute(there).rowcount == 0:
        connection.execute(insert(table).values(values))


def put_execution(connection: Connection, execution: Execution) -> None:
    """Write an execution and which targets it holds; raises LostError when one of them has an active execution already."""
    upsert(connection, executions, row(execution, executions), "id")
    targets = [
        {"execution": execution.id, "target": target, "active": execution.state.active}
        for target in sorted(execution.targets)
    ]
    try:
        connection.execute(delete(execution_targets).where(execution_targets.c.execution == execution.id))
        connection.execute(insert(execution_targets), targets)
    except IntegrityError as error:
        raise LostError from error


def take_locks(connection: Connection, change: Change) -> None:
    """Lock the targets of a change; what its owner holds already stays as it is. Raises LostError when one is another's."""
    name, reason = change.owner, change.why
    mine = set(connection.execute(select(locks.c.target).where(locks.c.owner == name)).scalars())
    wanted = [row(Lock(target, name, change.at, reason), locks) for target in sorted(change.locks - mine)]
    try:
        if wanted:
            connection.execute(insert(locks), wanted)
    except IntegrityError as error:
        raise LostError from error


def put_events(connection: Connection, execution: str, lines: Sequence[TaskEvent]) -> None:
    """Write events of an execution; one with a number that is there already is left out."""
    rows = [{"execution": execution, **row(line, events)} for line in lines]
    connection.execute(insert_new(connection, events), rows)


def insert_new(connection: Connection, table: Table) -> Insert:
    """Return the statement that inserts rows and leaves out those that are there already."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415  a tenth of a second that SQLite has no use for

        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def put_request(connection: Connection, request: Request) -> None:
    """Write an operator's request, open; one that is there already stays as it is."""
    values = {**row(request, requests), "finished": False, "result": ""}
    connection.execute(insert_new(connection, requests), [values])


def put_pause(connection: Connection, pause: Pause) -> None:
    """Write a pause in place of one with the same scope."""
    upsert(connection, pauses, row(pause, pauses), "scope")


def put_silence(connection: Connection, silence: Silence) -> None:
    """Write a silence in place of one with the same id."""
    upsert(connection, silences, row(silence, silences), "id")
