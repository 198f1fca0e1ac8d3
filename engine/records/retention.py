"""What is forgotten, and when: the output of tasks and the alerts' comings and goings; never incidents, decisions or acts.

A little at a time, each in a transaction of its own, so that no tick waits long. Entries leave the chain with a later entry that
vouches for them: it names each range with the hashes at both of its ends, so that the chain can be verified as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, tuple_, update

from engine.model.decision import Entry
from engine.model.execution import ExecutionState
from engine.model.runbook import Value
from engine.records import chain
from engine.records.audit import Range
from engine.records.schema import entries, events, executions, meta
from engine.records.store import Record

ACTIVE = tuple(state.value for state in ExecutionState if state.active)
BATCH = 500
"""So many rows go in one transaction: some milliseconds."""
WORTH = 100
"""So many alerts at least are pruned at once: the entry that vouches for them has a price of its own."""


@dataclass(frozen=True, slots=True)
class Keep:
    """For how long what is kept, in seconds."""

    events: float = 30 * 86_400.0
    """The output of tasks."""
    alerts: float = 180 * 86_400.0
    """Entries that say that an alert came or went."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went; `more` says that there is more to go at once."""

    events: int = 0
    alerts: int = 0
    more: bool = False


def prune(record: Record, keep: Keep, now: float, *, batch: int = BATCH, worth: int = WORTH) -> Pruned:
    """Forget at most `batch` events and as many alerts that are older than they are kept. Raises RecordError."""
    gone = prune_events(record, now - keep.events, batch)
    due = alerts_before(record, now - keep.alerts, batch)
    if len(due) < worth:
        return Pruned(gone, 0, gone == batch)
    with record.writing() as connection:
        took = take_out(connection, due, now)
    return Pruned(gone, took, batch in (gone, took))


def prune_events(record: Record, before: float, most: int) -> int:
    """Delete the oldest events, those of executions that have not ended excepted; return how many."""
    running = select(executions.c.id).where(executions.c.state.in_(ACTIVE))
    key = (events.c.execution, events.c.number)
    oldest = (
        select(*key).where(events.c.at < before, events.c.execution.not_in(running)).order_by(events.c.at).limit(most)
    )
    with record.reading() as connection:  # most often there is nothing: then no one is kept waiting
        due = [tuple(row) for row in connection.execute(oldest)]
    if due:
        with record.writing() as connection:
            for start in range(0, len(due), 100):  # databases bound how many parameters a statement has
                connection.execute(delete(events).where(tuple_(*key).in_(due[start : start + 100])))
    return len(due)


def alerts_before(record: Record, before: float, most: int) -> list[Any]:
    """Return the first entries of alerts that are older, without a lock held: what is in the chain does not change."""
    query = select(entries.c.number, entries.c.previous, entries.c.hash)
    query = query.where(entries.c.kind == "alert", entries.c.at < before).order_by(entries.c.number).limit(most)
    with record.reading() as connection:
        return list(connection.execute(query))


def take_out(connection: Connection, due: Iterable[Any], now: float) -> int:
    """Delete entries and append the one that vouches for them; return how many went."""
    version = connection.execute(  # no one else appends from here on; nor does a plan become wrong: its version stays
        update(meta).values(version=meta.c.version).returning(meta.c.version)
    ).scalar_one()
    there = set(
        connection.execute(select(entries.c.number).where(entries.c.number.in_([row.number for row in due]))).scalars()
    )
    found = [row for row in due if row.number in there]  # another process may have been here first
    if not found:
        return 0
    gone: Value = tuple((each.first, each.last, each.previous, each.hash) for each in joined(found))
    connection.execute(delete(entries).where(entries.c.number.in_([row.number for row in found])))
    sentence = f"Pruned {len(found)} entries of alerts, from {found[0].number} to {found[-1].number}"
    chain.append(connection, now, version, (Entry("engine", sentence, code=chain.PRUNED, data={"ranges": gone}),))
    return len(found)


def joined(rows: Iterable[Any]) -> list[Range]:
    """Return the ranges that entries make, in order of their numbers."""
    found: list[Range] = []
    for row in rows:
        if found and found[-1].last + 1 == row.number:
            found[-1] = Range(found[-1].first, row.number, found[-1].previous, row.hash)
        else:
            found.append(Range(row.number, row.number, row.previous, row.hash))
    return found
