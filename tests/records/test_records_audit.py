"""Whatever is done to any row or column of the chain, in the record or in an export of it, is found."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.model.decision import Entry, Hold, Verdict
from engine.records.audit import Broken, Head, Whole, ranges, stored, verify_lines
from engine.records.history import History
from engine.records.retention import Keep, prune
from engine.records.schema import entries
from engine.records.store import Record
from tests.records.nouns import NOW, change, entry

COLUMNS = tuple(entries.columns.keys())
VERDICT = Verdict("cooldown", allowed=False, code="cooling_down", sentence="12 of 30 min have passed", until=NOW)


def written(path: Path) -> Record:
    """Return a record with twelve entries of all kinds, three of which were pruned."""
    record = Record(path)
    odd = {"value": float("nan"), "deep": {"$a": (1, None, True)}}
    for version in range(3):
        alerts = (Entry("alert", f"HighMemory firing {version}", code="firing", data={"value": 0.5}),)
        lines = (entry("held \x00 \udcff", data=odd), *alerts, Entry("engine", "x", code="y", runbook="memory"))
        assert record.commit(change(version, entries=lines, decision=Hold((VERDICT,)), at=NOW + version))
    prune(record, Keep(alerts=10), NOW + 60, worth=1)
    assert record.commit(change(3, entries=(entry("last"), Entry("operator", "ann did", data={"by": "ann"}))))
    return record


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    with written(tmp_path_factory.mktemp("chain") / "record.db") as record:
        yield record


@pytest.fixture(scope="module")
def source(kept: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "record.db"
    with sqlite3.connect(kept.place) as connection:
        path.write_bytes(connection.serialize())
    return path


VOUCHING = 10
NUMBERS = (1, 3, 4, 6, 7, 9, 10, 11, 12)


def test_the_chain_that_is_to_be_tampered_with_is_whole(kept: Record) -> None:
    found = History(kept).verify()
    assert isinstance(found, Whole)
    assert (found.head.number, found.kept, found.pruned) == (12, 9, 3)
    assert tuple(line.number for line in History(kept).entries()) == NUMBERS


def looked_at(path: Path) -> list[str]:
    """Return the entries as they are read, with the type of every value."""
    with Record(path, read_only=True) as record, record.reading() as connection:
        return [repr(row) for row in stored(connection)]


def tampered(source: Path, *statements: tuple[str, tuple[Any, ...]], expect: Head | None = None) -> Any:
    """Return what is found after that was done to the record, and whether it changed what is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.db"
        path.write_bytes(source.read_bytes())
        before = looked_at(path)
        with sqlite3.connect(path) as connection:
            for statement, values in statements:
                with contextlib.suppress(sqlite3.IntegrityError):  # the schema has refused it
                    connection.execute(statement, values)
        connection.close()
        with Record(path, read_only=True) as record:
            return History(record).verify(expect), looked_at(path) != before


ANY = st.none() | st.integers(-5, 20) | st.floats() | st.text(max_size=5) | st.binary(max_size=3)
JSONS = st.sampled_from(
    ["{}", "[]", "null", '""', "{", '{"by":"eve"}', '{"ranges":[[1,12,"a","b"]]}', "NaN", "1", "\x01"]
)


@settings(max_examples=250, deadline=None)
@given(
    number=st.sampled_from(NUMBERS),
    column=st.sampled_from(COLUMNS),
    value=ANY
    | JSONS
    | st.sampled_from(NUMBERS).map(lambda other: ("of", other))
    | st.integers(0, 400).map(lambda at: ("flip", at)),
)
def test_any_change_of_any_column_of_any_entry_is_found(source: Path, number: int, column: str, value: Any) -> None:
    values: tuple[Any, ...] = (value, number)
    new = "?"
    match value:
        case ("of", other):  # what stands in another entry
            new, values = "(SELECT COLUMN FROM entries WHERE number = ?)", (other, number)
        case ("flip", at):  # one character for another, where the text is as long
            flipped = "CASE substr(COLUMN, ? + 1, 1) WHEN 'a' THEN 'b' ELSE 'a' END"
            new = f"iif(length(COLUMN) > ?, substr(COLUMN, 1, ?) || {flipped} || substr(COLUMN, ? + 2), COLUMN)"
            values = (at, at, at, at, number)
    change_ = f"UPDATE entries SET COLUMN = {new} WHERE number = ?".replace("COLUMN", column)  # noqa: S608  the schema's
    found, differs = tampered(source, (change_, values))
    assert isinstance(found, Broken) == differs
    if differs and column != "number" and number != VOUCHING:
        assert found.number in (number, number + 1)  # its hash is what the next one rests on


@pytest.mark.parametrize("number", NUMBERS)
def test_any_entry_that_was_deleted_is_missed(source: Path, number: int) -> None:
    found, _ = tampered(source, ("DELETE FROM entries WHERE number = ?", (number,)))
    first = 2 if number == VOUCHING else number  # without it no one says why that one is not there
    reason = "the chain ends at entry 11, 12 were written" if number == 12 else f"entry {first} is missing"
    assert found == Broken(first, reason)


@pytest.mark.parametrize(("one", "other"), [(1, 3), (6, 7), (9, 12), (11, 12)])
def test_two_entries_that_changed_places_are_found(source: Path, one: int, other: int) -> None:
    swap = "UPDATE entries SET number = ? WHERE number = ?"
    found, _ = tampered(source, (swap, (99, one)), (swap, (one, other)), (swap, (other, 99)))
    assert isinstance(found, Broken)
    assert found.number == one


def cut_off(number: int) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Return what someone does who takes the end off a chain and knows where its length is kept."""
    return (
        ("DELETE FROM entries WHERE number > ?", (number,)),
        ("UPDATE meta SET entries = ?, chain = (SELECT hash FROM entries WHERE number = ?)", (number, number)),
    )


def test_an_end_that_was_cut_off_with_its_length_is_found_by_a_head_that_was_noted(source: Path, kept: Record) -> None:
    noted = History(kept).head()
    assert tampered(source, expect=noted)[0] == History(kept).verify()
    found, _ = tampered(source, *cut_off(11), expect=noted)
    assert found == Broken(12, "the chain ends at entry 11, 12 had been written")
    assert isinstance(
        tampered(source, *cut_off(11))[0], Whole
    )  # nothing within it could tell: that is what heads are for
    assert tampered(source, *cut_off(9))[0] == Broken(2, "entry 2 is missing")


def test_a_chain_that_was_written_anew_is_found_by_a_head_that_was_noted(kept: Record, tmp_path: Path) -> None:
    noted = Head(3, "ab" * 32)
    assert History(kept).verify(noted) == Broken(3, "entry 3 is not the one that was noted: the chain was written anew")
    assert isinstance(History(kept).verify(Head(99, "ab" * 32)), Broken)
    assert isinstance(History(kept).verify(History(kept).head()), Whole)


def test_a_head_within_what_was_pruned_since_cannot_be_compared_unless_it_was_its_end(kept: Record) -> None:
    with kept.reading() as connection:
        ranges_ = [each for row in stored(connection) if isinstance(row, dict) for each in ranges(row)]
    assert [(each.first, each.last) for each in ranges_] == [(2, 2), (5, 5), (8, 8)]
    assert isinstance(History(kept).verify(Head(5, ranges_[1].hash)), Whole)
    found = History(kept).verify(Head(5, "ab" * 32))
    assert found == Broken(5, "entry 5 was pruned: what was noted cannot be compared")


def test_a_head_is_text_and_back() -> None:
    head = Head(17, "0f" * 32)
    assert Head.parse(f" {head}\n") == head
    for wrong in ("", "17", "x@17", f"{'0f' * 32}@", f"{'0F' * 32}@1", f"{'0f' * 32}@-1"):
        with pytest.raises(ValueError, match="HASH@NUMBER"):
            Head.parse(wrong)


def test_an_export_is_verified_alone(kept: Record) -> None:
    lines = list(History(kept).export())
    assert len(lines) == 1 + len(NUMBERS)
    assert verify_lines(lines) == History(kept).verify()
    assert json.loads(lines[1])["sentence"] == "held \x00 \udcff"


def test_an_export_may_begin_later_and_says_where(kept: Record) -> None:
    lines = list(History(kept).export(since=NOW + 1))
    found = verify_lines(lines)
    assert isinstance(found, Whole)
    assert (found.first, found.kept, found.head.number) == (4, 7, 12)
    nothing = verify_lines(History(kept).export(since=NOW + 999))
    assert isinstance(nothing, Whole)
    assert (nothing.first, nothing.kept) == (13, 0)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_change_of_any_line_of_an_export_is_found(kept: Record, data: st.DataObject) -> None:
    lines = list(History(kept).export())
    kind = data.draw(st.sampled_from(["delete", "swap", "repeat", "character", "blank", "cut"]))
    place = data.draw(st.integers(1, len(lines) - 1))
    match kind:
        case "delete":
            del lines[place]
        case "swap":
            other = data.draw(st.integers(1, len(lines) - 1).filter(lambda at: at != place))
            lines[place], lines[other] = lines[other], lines[place]
        case "repeat":
            lines.insert(place, lines[place])
        case "character":
            at = data.draw(st.integers(0, len(lines[place]) - 1))
            new = data.draw(st.sampled_from('a1 "{}').filter(lambda char: char != lines[place][at]))
            lines[place] = lines[place][:at] + new + lines[place][at + 1 :]
        case "blank":
            lines.insert(place, "")
        case "cut":
            del lines[place:]
    assert isinstance(verify_lines(lines), Broken)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"after":"x","head":"y"}', "not json"])
def test_what_is_no_export_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no exported audit log"):
        verify_lines([text])
