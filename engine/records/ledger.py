"""What is learned from, read at once: faults, attempts, executions and holds, as few columns as will do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from engine.core.learning.facts import Happened, Held, Ran, Tried, Warned
from engine.records.schema import attempts, entries, execution_targets, executions, fleet, incidents, meta
from engine.records.store import Record


@dataclass(frozen=True, slots=True)
class Told:
    """Everything that the record has to learn from; `began` and `last` are the moments between which it was written."""

    happened: tuple[Happened, ...]
    tried: tuple[Tried, ...]
    ran: tuple[Ran, ...]
    held: tuple[Held, ...]
    warned_of: tuple[Warned, ...]
    targets: frozenset[str]
    began: float | None
    last: float | None


def tell(record: Record, held_since: float, preventing: Collection[str] = ()) -> Told:
    """Return what the record holds, as of one moment; decisions to hold since then alone, alerts of what prevents alone.

    May raise RecordError.
    """
    with record.reading() as connection:
        tried = tuple(attempts_of(connection))
        by_incident: dict[str, set[str]] = {}
        for each in tried:
            by_incident.setdefault(each.incident, set()).add(each.runbook)
        last_tick = connection.execute(select(meta.c.last_tick)).scalar()
        began, last = connection.execute(select(func.min(entries.c.at), func.max(entries.c.at))).one()
        return Told(
            tuple(incidents_of(connection, by_incident)),
            tried,
            tuple(executions_of(connection)),
            tuple(holds_of(connection, held_since)),
            tuple(warnings_of(connection, preventing)),
            frozenset(str(name) for (name,) in connection.execute(select(fleet.c.name))),
            began,
            max((at for at in (last, last_tick) if at is not None), default=None),
        )


def incidents_of(connection: Connection, tried: Mapping[str, set[str]]) -> list[Happened]:
    """Return every incident."""
    own = incidents.c
    query = select(
        own.id, own.target, own.resource, own.opened_at, own.first_active, own.culprit, own.runbook, own.localized_at,
        own.ended_at, own.state, own.outcome, own.reopened, own.triggered_by, own.fault,
    ).order_by(own.opened_at, own.id)  # fmt: skip
    return [
        Happened(
            row.id,
            row.target,
            row.resource,
            row.opened_at,
            row.first_active or row.opened_at,
            row.culprit,
            row.runbook,
            row.localized_at,
            row.ended_at,
            row.state,
            row.outcome,
            row.reopened,
            row.triggered_by != "engine",
            frozenset(tried.get(row.id, ())) | named(row.fault),
        )
        for row in connection.execute(query)
    ]


def named(fault: Any) -> frozenset[str]:
    """Return the runbooks whose triggers fired on a fault, by their files' names."""
    own = fault.get("runbooks") if isinstance(fault, Mapping) else None
    return frozenset(str(name).partition("@")[0] for name in own or ())


def attempts_of(connection: Connection) -> list[Tried]:
    """Return every attempt."""
    own = attempts.c
    query = select(
        own.incident, own.runbook, own.remedy, own.rung, own.target, own.culprit, own.started_at, own.ended_at, own.outcome
    ).order_by(own.started_at, own.id)  # fmt: skip
    return [Tried(*row) for row in connection.execute(query)]


def executions_of(connection: Connection) -> list[Ran]:
    """Return every execution on every host that it touched; checks change nothing, and are none."""
    own = executions.c
    query = (
        select(
            own.incident, own.runbook, execution_targets.c.target, own.created_at, own.started_at, own.triggered_by,
            own.state,
        )
        .join(execution_targets, execution_targets.c.execution == own.id)
        .where(own.check.is_(False))
        .order_by(own.created_at, own.id)
    )  # fmt: skip
    return [
        Ran(row.incident, row.runbook, row.target, row.started_at or row.created_at, row.triggered_by, row.state == "successful")
        for row in connection.execute(query)
    ]  # fmt: skip


def holds_of(connection: Connection, since: float) -> list[Held]:
    """Return every decision since then to hold."""
    own = entries.c
    query = select(own.at, own.code, own.runbook, own.incident, own.target, own.sentence).where(
        own.kind == "decision", own.decision == "hold", own.at >= since
    )
    return [
        Held(row.at, row.code, row.runbook or "", row.incident or "", row.target or "", row.sentence)
        for row in connection.execute(query.order_by(own.number))
    ]


def warnings_of(connection: Connection, preventing: Collection[str]) -> list[Warned]:
    """Return when alerts of these runbooks began to fire."""
    own = entries.c
    if not preventing:
        return []
    query = select(own.runbook, own.target, own.at).where(own.kind == "alert", own.code == "firing")
    rows = connection.execute(query.order_by(own.number))
    return [
        Warned(name, row.target, row.at)
        for row in rows
        if row.target is not None and (name := (row.runbook or "").partition("@")[0]) in preventing
    ]
