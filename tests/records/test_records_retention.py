"""What is old goes, a little at a time; incidents, decisions and acts stay, and the chain says what went."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from engine.model.decision import Entry
from engine.model.execution import ExecutionState
from engine.model.incident import IncidentState
from engine.model.standing import Pause
from engine.records.audit import Broken, Whole
from engine.records.desk import Desk
from engine.records.history import History
from engine.records.retention import Keep, Pruned, prune
from engine.records.store import Record
from tests.records.nouns import NOW, change, entry, event, execution, incident

DAY = 86_400.0
KEEP = Keep(events=30 * DAY, alerts=180 * DAY)
LATER = NOW + 200 * DAY


def seen(number: int) -> Entry:
    return Entry("alert", f"HighMemory on web1 firing ({number})", target="web1", code="firing")


def filled(record: Record) -> Record:
    """Two old stretches of alerts around a decision and an act, and one alert of yesterday."""
    over = incident(state=IncidentState.RESOLVED, ended_at=NOW)
    assert record.commit(change(0, incident=over, entries=(seen(1), seen(2), entry("decided"), seen(4))))
    Desk(record, lambda: NOW).pause(Pause("all", "ann", "x", NOW, NOW + 60))
    assert record.commit(change(2, entries=(seen(6), seen(7)), at=NOW + 5))
    assert record.commit(change(3, entries=(seen(8), entry("last")), at=LATER - DAY))
    return record


def test_alerts_go_and_everything_else_stays_in_a_chain_that_still_holds(record: Record) -> None:
    filled(record)
    assert prune(record, KEEP, LATER, worth=1) == Pruned(0, 5, more=False)
    lines = History(record).entries()
    assert [line.number for line in lines] == [3, 5, 8, 9, 10]
    assert [line.entry.kind for line in lines] == ["decision", "operator", "alert", "decision", "engine"]
    assert lines[-1].entry.sentence == "Pruned 5 entries of alerts, from 1 to 7"
    found = History(record).verify()
    assert isinstance(found, Whole)
    assert (found.head.number, found.first, found.kept, found.pruned) == (10, 1, 5, 5)
    assert History(record).verify_chain() == 10
    assert [one.id for one in record.standing(LATER).incidents] == []
    assert [one.id for one in History(record).incidents()] == ["i1"]


def test_pruning_takes_small_bites_and_says_when_there_is_more(record: Record) -> None:
    filled(record)
    bites = [prune(record, KEEP, LATER, batch=2, worth=1) for _ in range(4)]
    assert [(bite.alerts, bite.more) for bite in bites] == [(2, True), (2, True), (1, False), (0, False)]
    assert History(record).verify_chain() == 12
    found = History(record).verify()
    assert isinstance(found, Whole)
    assert (found.kept, found.pruned) == (7, 5)


def test_what_is_hardly_worth_an_entry_waits(record: Record) -> None:
    filled(record)
    assert prune(record, KEEP, LATER, worth=6) == Pruned()
    assert len(History(record).entries()) == 9


def test_what_is_young_stays(record: Record) -> None:
    filled(record)
    assert prune(record, KEEP, NOW + 10 * DAY, worth=1) == Pruned()


def test_pruning_leaves_the_version_alone_so_that_no_plan_is_lost(record: Record) -> None:
    filled(record)
    before = record.standing(LATER).version
    prune(record, KEEP, LATER, worth=1)
    assert record.commit(change(before, entries=(entry("planned before"),), at=LATER))


@pytest.mark.parametrize("number", [3, 5, 8, 9])
def test_an_entry_that_was_deleted_beside_the_pruned_ones_is_missed(record: Record, path: Path, number: int) -> None:
    filled(record)
    prune(record, KEEP, LATER, worth=1)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM entries WHERE number = ?", (number,))
    assert History(record).verify() == Broken(number, f"entry {number} is missing")


def test_a_pruning_that_claims_more_than_went_is_found(record: Record, path: Path) -> None:
    filled(record)
    prune(record, KEEP, LATER, worth=1)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM entries WHERE number = 5")
        connection.execute("UPDATE entries SET data = replace(data, '[4,4,', '[4,5,') WHERE number = 10")
    assert isinstance(History(record).verify(), Broken)


def test_the_output_of_executions_goes_when_it_is_old_and_of_none_that_runs(record: Record) -> None:
    assert record.commit(change(0, execution=execution("e1", "web1", ExecutionState.SUCCESSFUL)))
    assert record.commit(change(1, execution=execution("e2", "web2", ExecutionState.RUNNING)))
    for name in ("e1", "e2"):
        record.events(name, [event(number) for number in range(1, 251)])
    later = NOW + 30 * DAY + 200
    assert prune(record, KEEP, later, batch=150) == Pruned(150, 0, more=True)
    assert prune(record, KEEP, later, batch=150) == Pruned(49, 0, more=False)
    history = History(record)
    assert [one.number for one in history.events_of("e1")] == list(range(200, 251))
    assert len(history.events_of("e2")) == 250
    assert history.execution("e1") is not None
    assert record.follow("e2") == 250


def test_a_writer_never_waits_long_for_a_pruning(record: Record, path: Path) -> None:
    assert record.commit(change(0, execution=execution(state=ExecutionState.SUCCESSFUL)))
    record.events("e1", [event(number, "x" * 200) for number in range(1, 5_001)])
    assert record.commit(change(1, entries=tuple(seen(number) for number in range(5_000))))
    longest, bites = 0.0, 0
    while True:
        start = time.monotonic()
        bite = prune(record, KEEP, LATER)
        longest, bites = max(longest, time.monotonic() - start), bites + 1
        if not bite.more:
            break
    assert bites >= 10
    assert longest < 0.5  # far more than it takes, on a machine with much else to do
    assert History(record).verify_chain() == 5_000 + 10
