"""What was: the record as of a moment, and counted over a span of time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Table, func, select

from engine.model.incident import Incident
from engine.records.history import Logged, logged
from engine.records.schema import alerts, entries, executions, incidents, locks, pauses, requests
from engine.records.store import ACTIVE, LIVE, Record, many

UNTRUSTED = frozenset({"shadow", "held_for_approval"})
"""Codes of the guards that hold for want of trust, and of nothing else."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of what stands in the record; `incidents`, `alerts` and `executions` by their state."""

    incidents: Mapping[str, int] = field(default_factory=dict)
    alerts: Mapping[str, int] = field(default_factory=dict)
    executions: Mapping[str, int] = field(default_factory=dict)
    locks: int = 0
    paused: bool = False
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """What a runbook would have done, or asked to do: nothing held it back but the trust that it has.

    `code` is shadow or held_for_approval; `incident` as it stands now.
    """

    at: float
    runbook: str
    target: str
    code: str
    sentence: str
    incident: Incident


class Past:
    """Reads a record from whatever thread; every method may raise RecordError. Times are seconds since the epoch."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def newest(self) -> int:
        """Return the number of the last entry; 0 for none."""
        with self.record.reading() as connection:
            return connection.execute(select(func.max(entries.c.number))).scalar() or 0

    def entries_after(self, number: int, limit: int) -> tuple[Logged, ...]:
        """Return the first `limit` entries with a higher number, in order."""
        query = select(entries).where(entries.c.number > number).order_by(entries.c.number).limit(limit)
        with self.record.reading() as connection:
            return tuple(logged(dict(row)) for row in connection.execute(query).mappings())

    def acknowledged(self, incidents: Collection[str]) -> dict[str, float]:
        """Return when each of these incidents was acknowledged last; one that never was is left out."""
        seen = (entries.c.kind == "operator") & (entries.c.code == "acknowledge")
        query = select(entries.c.incident, func.max(entries.c.at)).where(seen, entries.c.incident.in_(tuple(incidents)))
        with self.record.reading() as connection:
            rows = connection.execute(query.group_by(entries.c.incident)).all() if incidents else ()
            return {str(incident): float(at) for incident, at in rows}

    def cases(self, since: float) -> tuple[Case, ...]:
        """Return what runbooks would have done since, had they been trusted: once for each incident and runbook, oldest first."""
        held = (entries.c.kind == "decision") & (entries.c.decision == "hold") & (entries.c.at >= since)
        trust = entries.c.code.like("%shadow%") | entries.c.code.like("%held_for_approval%")
        query = select(entries).where(held & trust, entries.c.incident.is_not(None)).order_by(entries.c.number)
        found: dict[tuple[str, str], Logged] = {}
        with self.record.reading() as connection:
            for row in connection.execute(query).mappings():
                each = logged(dict(row))
                if set(each.entry.code.split(",")) <= UNTRUSTED:
                    found.setdefault((each.entry.incident or "", each.entry.runbook or ""), each)
            named = tuple({incident for incident, _ in found})
            known = many(connection, Incident, select(incidents).where(incidents.c.id.in_(named)))
        about = {each.id: each for each in known}
        return tuple(
            Case(
                each.at,
                runbook,
                about[incident].target,
                each.entry.code.split(",")[0],
                each.entry.sentence,
                about[incident],
            )
            for (incident, runbook), each in found.items()
            if incident in about
        )

    def counts(self, now: float) -> Counts:
        """Return how much of what stands in the record now, in one reading."""
        live = incidents.c.state.in_(LIVE)
        active = executions.c.state.in_(ACTIVE)
        holds = (pauses.c.scope == "all") & (pauses.c.until.is_(None) | (pauses.c.until > now))
        with self.record.reading() as connection:

            def by_state(table: Table, *where: ColumnElement[bool]) -> dict[str, int]:
                query = select(table.c.state, func.count()).where(*where).group_by(table.c.state)
                return {str(state): int(count) for state, count in connection.execute(query)}

            def count(table: Table, *where: ColumnElement[bool]) -> int:
                return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())

            return Counts(
                incidents=by_state(incidents, live),
                alerts=by_state(alerts),
                executions=by_state(executions, active),
                locks=count(locks),
                paused=bool(count(pauses, holds)),
                requests=count(requests, requests.c.finished.is_(False)),
            )
