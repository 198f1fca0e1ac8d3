"""What the last tick saw is read once and written where it changed: nobody can tell."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.incident import Alert, AlertState
from engine.model.labels import Labels
from engine.model.standing import Pause
from engine.records.desk import Desk
from engine.records.store import Record
from tests.records.nouns import NOW, alert, change, incident

ALERTS = st.lists(
    st.builds(
        lambda host, **more: alert(target=host, **more),
        st.sampled_from(["web1", "web2", "web3", "lb"]),
        value=st.sampled_from([1.0, 2.5, math.nan, math.inf]),
        last_true=st.sampled_from([NOW, NOW + 15]),
        last_seen=st.sampled_from([NOW, NOW + 15]),
        condition=st.sampled_from(["", "memory = 3, limit > 2"]),
        reason=st.sampled_from(["", "no fresh sample of memory"]),
        fired_at=st.sampled_from([None, NOW]),
        annotations=st.sampled_from([{}, {"summary": "web1 is full"}]),
    ),
    max_size=5,
).map(tuple)


def shown(alerts: tuple[Alert, ...]) -> list[str]:
    return [repr(each) for each in alerts]  # NaN is NaN


@settings(max_examples=40, deadline=None)
@given(st.lists(ALERTS | st.none() | st.sampled_from(["desk", "other"]), max_size=6))
def test_a_record_that_remembers_what_stands_has_written_what_it_remembers(steps: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder, Record(Path(folder) / "record.db") as record:
        for step in steps:
            version = record.standing(NOW).version
            match step:
                case "desk":
                    Desk(record).pause(Pause("all", "ann", "", NOW))
                case "other":
                    with Record(Path(folder) / "record.db") as other:
                        assert other.commit(change(version, alerts=(alert(target="lb", value=9.0),)))
                case tuple():
                    assert record.commit(change(version, alerts=step))
                    assert shown(record.standing(NOW).alerts) == shown(step)
                case None:
                    assert record.commit(change(version, incident=incident()))
            with Record(Path(folder) / "record.db", read_only=True) as fresh:
                assert shown(fresh.standing(NOW).alerts) == shown(record.standing(NOW).alerts)


def test_what_was_lost_is_not_remembered(path: Path) -> None:
    with Record(path) as record, Record(path) as rival:
        assert record.commit(change(0, alerts=(alert(value=1.0),)))
        assert rival.commit(change(1, alerts=(alert(value=2.0), alert(target="web2"))))
        assert not record.commit(change(1, alerts=(alert(value=3.0),)))
        assert record.standing(NOW).alerts == (alert(value=2.0), alert(target="web2"))
        assert record.commit(change(2, alerts=(alert(value=2.0), alert(target="web2", reason="silent"))))
        assert rival.standing(NOW).alerts[1].reason == "silent"


def test_an_alert_that_changes_its_state_is_written_among_those_that_do_not(path: Path) -> None:
    before = tuple(alert(target=f"web{number}") for number in range(5))
    after = tuple(
        alert(target=each.target, value=7.0, last_seen=NOW + 15)
        if place != 2
        else alert(target=each.target, ended_at=NOW)
        for place, each in enumerate(before)
    )
    with Record(path) as record:
        assert record.commit(change(0, alerts=before))
        assert record.commit(change(1, alerts=after))
    with Record(path) as again:
        assert again.standing(NOW).alerts == after
        assert {each.state for each in again.standing(NOW).alerts} == {AlertState.FIRING}


OTHERS = {
    "fingerprint": "f2", "runbook": "disk", "name": "Other", "labels": Labels({"a": "b"}), "target": None,
    "state": AlertState.PENDING, "value": 9.5, "active_since": 1.0, "last_true": 2.0, "last_seen": 3.0, "fired_at": 4.0,
    "ended_at": 5.0, "annotations": {"summary": "x"}, "condition": "c", "reason": "r", "held": "h",
}  # fmt: skip


def test_every_field_has_another_value_to_be_told_by() -> None:
    assert OTHERS.keys() == {each.name for each in dataclasses.fields(Alert)}


@pytest.mark.parametrize("name", OTHERS)
def test_a_field_that_alone_has_changed_is_stored_whether_it_has_a_column_or_not(
    path: Path, record: Record, name: str
) -> None:
    assert record.commit(change(0, alerts=(alert(), alert("Second"))))
    record.standing(NOW)  # from here on it writes what differs
    changed = replace(alert(), **{name: OTHERS[name]})
    assert record.commit(change(1, alerts=(changed, alert("Second"))))
    with Record(path, read_only=True) as fresh:
        assert fresh.standing(NOW).alerts == (changed, alert("Second"))
