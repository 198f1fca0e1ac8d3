"""What the last tick saw, in the record: read once, and written where it changed.

Every tick replaces all alerts, and most are as they were but for their value and when they were seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Update, bindparam, delete, insert, select, update

from engine.model.decision import Change
from engine.model.incident import Alert
from engine.records.rows import from_row, number_out, to_row
from engine.records.schema import alerts, fleet

COLUMNS = tuple(alerts.columns.keys())
MOVING = ("value", "last_true", "last_seen", "condition")
"""What changes from tick to tick while nothing else does."""
steady = attrgetter(*(each.name for each in fields(Alert) if each.name not in MOVING))
moving = attrgetter(*MOVING)

WRITE_MOVING = (
    update(alerts)
    .where(alerts.c.position == bindparam("at"))
    .values({name: bindparam(f"new_{name}") for name in MOVING})
)
DELETE_ONE = delete(alerts).where(alerts.c.position == bindparam("at"))


@dataclass(frozen=True, slots=True)
class Seen:
    """The alerts, and the names of the hosts, as of a version of the record."""

    version: int
    alerts: tuple[Alert, ...]
    fleet: frozenset[str]


class LastSeen:
    """What the last tick saw, for the process that wrote or read it last.

    Whatever changes it counts the record's version on: what is remembered holds as long as the version does.
    """

    def __init__(self) -> None:
        self._known: Seen | None = None

    def read(self, connection: Connection, version: int) -> Seen:
        """Return what the last tick saw, the record being at that version in this transaction."""
        known = self._known
        if known is None or known.version != version:
            rows = connection.execute(select(alerts).order_by(alerts.c.position)).mappings()
            found = tuple(from_row(Alert, dict(row)) for row in rows)
            known = Seen(version, found, frozenset(connection.execute(select(fleet.c.name)).scalars()))
            self._known = known
        return known

    def write(self, connection: Connection, change: Change) -> None:
        """Have the table hold the alerts of a change; the caller's transaction has found the record at its version."""
        if change.alerts is None:
            return
        known = self._known
        if known is None or known.version != change.version:
            rewrite(connection, change.alerts)
        else:
            amend(connection, known.alerts, change.alerts)

    def committed(self, change: Change) -> None:
        """Take note that a change was stored."""
        known = self._known
        if known is not None and known.version == change.version:
            seen = known.alerts if change.alerts is None else change.alerts
            self._known = Seen(change.version + 1, seen, known.fleet if change.fleet is None else change.fleet)


def amend(connection: Connection, before: Sequence[Alert], after: Sequence[Alert]) -> None:
    """Write what differs."""
    moved: list[dict[str, Any]] = []
    changed: list[int] = []
    same = 0
    for old, new in zip(before, after, strict=False):
        if old.fingerprint != new.fingerprint:
            break
        if steady(old) != steady(new):
            changed.append(same)
        elif moving(old) != moving(new):
            number = {"new_value": number_out(new.value), "new_condition": new.condition}
            moved.append({"at": same, **number, "new_last_true": new.last_true, "new_last_seen": new.last_seen})
        same += 1
    if moved:
        many(connection, WRITE_MOVING, moved)
    if changed:
        connection.execute(DELETE_ONE, [{"at": place} for place in changed])
        put(connection, after, changed)
    if same < len(before) or same < len(after):
        rewrite(connection, after, same)


def many(connection: Connection, statement: Update, rows: Sequence[Mapping[str, Any]]) -> None:
    """Execute a statement for each row: as the toolkit does, with what is the same for all rows done once."""
    compiled = statement.compile(dialect=connection.dialect)
    if not compiled.positional:
        connection.execute(statement, rows)
        return
    names = compiled.positiontup or ()
    writers = [
        compiled.binds[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect) for name in names
    ]
    columns = [
        [row[name] for row in rows] if write is None else [write(row[name]) for row in rows]
        for name, write in zip(names, writers, strict=True)
    ]
    connection.exec_driver_sql(str(compiled), list(zip(*columns, strict=True)))


def rewrite(connection: Connection, after: Sequence[Alert], first: int = 0) -> None:
    """Write the alerts from place `first` on anew."""
    connection.execute(delete(alerts).where(alerts.c.position >= first))
    put(connection, after, range(first, len(after)))


def put(connection: Connection, after: Sequence[Alert], places: Sequence[int]) -> None:
    """Write the alerts in those places, which are free."""
    if places:
        connection.execute(insert(alerts), [{"position": place, **to_row(after[place], COLUMNS)} for place in places])
