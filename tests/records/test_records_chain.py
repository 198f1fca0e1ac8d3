"""No one changes what was written unseen."""

from __future__ import annotations

import pytest

from engine.model.decision import Entry, Escalate, Hold, Run, Verdict
from engine.records.audit import Broken
from engine.records.chain import GENESIS
from engine.records.history import History
from engine.records.store import Record
from tests.records.nouns import NOW, change, entry, execution

VERDICT = Verdict("cooldown", allowed=False, code="cooling_down", sentence="12 of 30 min have passed", until=NOW + 1080)


@pytest.fixture
def five(record: Record) -> Record:
    assert record.commit(change(0, entries=(entry("one", data={"value": float("nan")}), entry("two"))))
    assert record.commit(change(1, entries=(entry("three \x00 \udcff"), Entry("engine", "four"))))
    assert record.commit(change(2, entries=(entry("five"),), decision=Hold((VERDICT,))))
    return record


def test_every_entry_follows_the_one_before(five: Record) -> None:
    lines = History(five).entries()
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert len({line.hash for line in lines} | {GENESIS}) == 6
    assert [line.version for line in lines] == [1, 1, 2, 2, 3]
    assert lines[2].entry.sentence == "three \x00 \udcff"
    assert History(five).verify_chain() == 5


@pytest.mark.parametrize(
    ("tampering", "number", "reason"),
    [
        ("UPDATE entries SET sentence = 'TWO' WHERE number = 2", 2, "entry 2 was changed"),
        ("UPDATE entries SET data = '{}' WHERE number = 1", 1, "entry 1 was changed"),
        ("UPDATE entries SET at = at + 1 WHERE number = 4", 4, "entry 4 was changed"),
        ("UPDATE entries SET target = NULL WHERE number = 3", 3, "entry 3 was changed"),
        ("UPDATE entries SET verdicts = NULL WHERE number = 5", 5, "entry 5 was changed"),
        ("DELETE FROM entries WHERE number = 2", 2, "entry 2 is missing"),
        ("DELETE FROM entries WHERE number > 3", 4, "the chain ends at entry 3, 5 were written"),
        ("DELETE FROM entries", 1, "the chain ends at entry 0, 5 were written"),
        (
            "UPDATE entries SET previous = (SELECT previous FROM entries WHERE number = 1) WHERE number = 3",
            3,
            "entry 3 does not follow entry 2",
        ),
    ],
)
def test_the_first_entry_that_is_not_what_was_written_is_named(
    five: Record, tampering: str, number: int, reason: str
) -> None:
    with five.writing() as connection:
        connection.exec_driver_sql(tampering)
    assert History(five).verify_chain() == Broken(number, reason)


def test_an_empty_chain_is_whole(record: Record) -> None:
    assert History(record).verify_chain() == 0


@pytest.mark.parametrize(
    ("decision", "name"),
    [
        (Run(execution(), (VERDICT,)), "run"),
        (Hold((VERDICT,)), "hold"),
        (Escalate("storm", "7 targets at once", (VERDICT,)), "escalate"),
    ],
)
def test_a_decision_keeps_what_every_guard_said(record: Record, decision: Run | Hold | Escalate, name: str) -> None:
    assert record.commit(change(0, entries=(Entry("alert", "before"), entry("held")), decision=decision))
    before, line = History(record).entries()
    assert (line.decision, line.verdicts) == (name, (VERDICT,))
    assert (before.decision, before.verdicts) == (None, ())
