"""What commands read of the past."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.model.execution import ExecutionState
from engine.model.incident import AlertState, IncidentState
from engine.records.history import AmbiguousError, History
from engine.records.store import Record
from tests.records.nouns import NOW, alert, attempt, change, entry, event, execution, incident


@pytest.fixture
def history(record: Record) -> History:
    for i in range(6):
        state = IncidentState.RESOLVED if i < 4 else IncidentState.OPEN
        tried = attempt(f"a{i}", f"i{i}", NOW + i)
        found = incident(
            f"i{i}", f"web{i % 2}", state, opened_at=NOW + i, attempt=tried, runbook="disk" if i == 2 else "memory"
        )
        assert record.commit(
            change(i, incident=found, at=NOW + i, entries=(replace(entry(f"n{i}"), incident=f"i{i}"),))
        )
    return History(record)


def ids(found: tuple[object, ...]) -> list[str]:
    return [one.id for one in found]  # type: ignore[attr-defined]


def test_incidents_come_newest_last_and_a_limit_keeps_the_newest(history: History) -> None:
    assert ids(history.incidents()) == ["i0", "i1", "i2", "i3", "i4", "i5"]
    assert ids(history.incidents(limit=2)) == ["i4", "i5"]


def test_incidents_are_narrowed_by_time_target_runbook_and_state(history: History) -> None:
    assert ids(history.incidents(since=NOW + 1, until=NOW + 3)) == ["i1", "i2"]
    assert ids(history.incidents(target="web1")) == ["i1", "i3", "i5"]
    assert ids(history.incidents(runbook="disk")) == ["i2"]
    assert ids(history.incidents(state=IncidentState.OPEN, target="web0")) == ["i4"]


def test_an_incident_is_found_by_the_beginning_of_its_id(history: History) -> None:
    found = history.incident("i3")
    assert found is not None
    assert found.id == "i3"
    assert history.incident("I3") is None
    assert history.incident("%") is None
    assert history.incident("") is None
    with pytest.raises(AmbiguousError, match="'i' may be i0, i1"):
        history.incident("i")


def test_a_whole_id_is_found_even_when_others_begin_with_it(record: Record) -> None:
    assert record.commit(change(0, execution=execution("e1", "web1")))
    assert record.commit(change(1, execution=execution("e12", "web2")))
    history = History(record)
    assert history.execution("e1") == execution("e1", "web1")
    assert history.execution("e12") == execution("e12", "web2")


def test_executions_are_found_by_any_host_they_may_touch(record: Record) -> None:
    done = execution("e1", "web1", ExecutionState.SUCCESSFUL, hosts=("lb",))
    now = execution("e2", "web2", hosts=("lb",), created_at=NOW + 5)
    assert record.commit(change(0, execution=done))
    assert record.commit(change(1, execution=replace(now, incident="i2")))
    history = History(record)
    assert ids(history.executions(target="lb")) == ["e1", "e2"]
    assert ids(history.executions(target="web2")) == ["e2"]
    assert ids(history.executions(incident="i2")) == ["e2"]
    assert ids(history.executions(until=NOW + 5)) == ["e1"]
    assert history.executions(runbook="disk") == ()


def test_events_are_followed_from_where_one_was(record: Record) -> None:
    record.events("e1", [event(3), event(1), event(2)])
    history = History(record)
    assert history.events_of("e1") == (event(1), event(2), event(3))
    assert history.events_of("e1", after=1, limit=1) == (event(2),)
    assert history.events_of("e2") == ()


def test_entries_are_narrowed_and_the_newest_are_kept(history: History) -> None:
    assert [one.entry.sentence for one in history.entries(incident="i2")] == ["n2"]
    assert [one.entry.sentence for one in history.entries(limit=2)] == ["n4", "n5"]
    assert [one.entry.sentence for one in history.entries(since=NOW + 4, until=NOW + 5)] == ["n4"]
    assert [one.number for one in history.entries(target="web1", after=4)] == [5, 6]
    assert history.entries(target="web9") == ()


def test_alerts_are_those_of_the_last_tick(record: Record) -> None:
    firing, pending = alert("A"), replace(alert("B", "web2"), state=AlertState.PENDING)
    assert record.commit(change(0, alerts=(firing, pending)))
    history = History(record)
    assert history.alerts() == (firing, pending)
    assert history.alerts(target="web2") == (pending,)
    assert history.alerts(state=AlertState.FIRING) == (firing,)


def test_every_attempt_since_is_there_however_old(history: History) -> None:
    assert ids(history.attempts()) == ["a0", "a1", "a2", "a3", "a4", "a5"]
    assert ids(history.attempts(since=NOW + 4)) == ["a4", "a5"]
