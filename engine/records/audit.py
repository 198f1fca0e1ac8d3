"""Follows the chain of entries from its first link to its last, and says whether it is what was written.

What retention took out is vouched for by later entries of the same chain (code `pruned`), which name each range with the hashes
before it and at its end. Whoever can write the database can also write a new chain from any entry on: against that only a head
that is kept elsewhere helps, which every later chain must contain.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import Connection, Text, cast, select, type_coerce

from engine.records.chain import GENESIS, PRUNED, digest
from engine.records.rows import RowError, canonical
from engine.records.schema import JSON_COLUMNS, Words, entries, meta, unmarked

FORMAT = "mendbook-audit-log-1"
SHORT = 12
"""So many digits of a hash tell people which one is meant."""
TEXTS = tuple(column.name for column in entries.columns if isinstance(column.type, Words))


@dataclass(frozen=True, slots=True)
class Head:
    """An entry's number and hash: the entry, and everything before it."""

    number: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `str()` wrote; raises ValueError."""
        digits, mark, number = text.strip().partition("@")
        if not mark or not number.isdecimal() or len(digits) != len(GENESIS) or set(digits) - set("0123456789abcdef"):
            raise ValueError(f"{text!r} is no head: it has the form HASH@NUMBER")
        return cls(int(number), digits)

    def __str__(self) -> str:
        return f"{self.hash}@{self.number}"


@dataclass(frozen=True, slots=True)
class Range:
    """Entries that retention took out: from `first` to `last`; `previous` is the hash before them, `hash` that of the last."""

    first: int
    last: int
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The first entry of the chain that is not what was written, and why."""

    number: int
    reason: str
    detail: str = field(default="", compare=False)
    """What is there, and what should be."""


@dataclass(frozen=True, slots=True)
class Whole:
    """The chain is what was written, from entry `first` to its head."""

    head: Head
    first: int = 1
    kept: int = 0
    pruned: int = 0


@dataclass(slots=True)
class Walk:
    """Goes from entry to entry, in order, and keeps the first thing that is wrong."""

    before: Head = field(default_factory=lambda: Head(0, GENESIS))
    """The entry before the first one that is followed."""
    expect: Head | None = None
    """A head that was noted earlier: the chain must contain it."""
    last: Head = field(init=False)
    kept: int = 0
    gaps: list[Range] = field(default_factory=list)
    vouched: dict[int, Range] = field(default_factory=dict)
    broken: Broken | None = None

    def __post_init__(self) -> None:
        self.last = self.before

    def follow(self, row: Mapping[str, Any] | Unreadable) -> None:
        """Take the next entry."""
        if isinstance(row, Unreadable):
            number = row.number if row.number is not None else self.last.number + 1
            self.fail(Broken(number, f"entry {number} cannot be read", row.reason))
            return
        self.kept += 1
        if row.get("code") == PRUNED and row.get("kind") == "engine":
            self.vouched.update((each.first, each) for each in ranges(row))
        if self.broken is not None:
            return  # only what later entries vouch for is still of interest
        number = row["number"]
        if number <= self.last.number:
            self.fail(Broken(self.last.number + 1, f"entry {number} stands where {self.last.number + 1} belongs"))
            return
        if number > self.last.number + 1:
            self.gaps.append(Range(self.last.number + 1, number - 1, self.last.hash, row["previous"]))
        elif row["previous"] != self.last.hash:
            what = f"it follows {row['previous'][:SHORT]}, entry {self.last.number} is {self.last.hash[:SHORT]}"
            self.fail(Broken(number, f"entry {number} does not follow entry {self.last.number}", what))
            return
        found = content_hash(row)
        if found != row["hash"]:
            what = f"what it says hashes to {found[:SHORT]}, its hash is {str(row['hash'])[:SHORT]}"
            self.fail(Broken(number, f"entry {number} was changed", what))
            return
        self.last = Head(number, found)
        if self.expect is not None and self.expect.number == number and self.expect.hash != found:
            what = f"it is {found[:SHORT]}, {self.expect.hash[:SHORT]} was noted"
            self.fail(Broken(number, f"entry {number} is not the one that was noted: the chain was written anew", what))

    def fail(self, broken: Broken) -> None:
        """Keep what is wrong if it is the first thing."""
        if self.broken is None:
            self.broken = broken

    def end(self, head: Head) -> Whole | Broken:
        """Return what came of it, the chain being said to end at `head`."""
        wrong = [found for gap in self.gaps if (found := unvouched(gap, self.vouched)) is not None]
        wrong = ([self.broken] if self.broken is not None else []) + wrong
        if wrong:
            return min(wrong, key=lambda broken: broken.number)
        pruned = sum(gap.last - gap.first + 1 for gap in self.gaps)
        end = self.last.number
        if self.last != head:
            what = f"it ends with {self.last.hash[:SHORT]}, {head.hash[:SHORT]} was written last"
            return Broken(end + 1, f"the chain ends at entry {end}, {head.number} were written", what)
        return self.noted(Whole(head, self.before.number + 1, self.kept, pruned))

    def noted(self, whole: Whole) -> Whole | Broken:
        """Return a chain that is whole, unless it does not contain the head that was noted."""
        expect = self.expect
        if expect is None:
            return whole
        if expect.number > whole.head.number:
            reason = f"the chain ends at entry {whole.head.number}, {expect.number} had been written"
            return Broken(whole.head.number + 1, reason, "entries were cut off, or the record is another one")
        if expect.number == self.before.number:
            same = expect.hash == self.before.hash
            return whole if same else Broken(expect.number, f"entry {expect.number} is not the one that was noted")
        gap = next((each for each in self.gaps if each.first <= expect.number <= each.last), None)
        known = {each.last: each.hash for each in self.vouched.values()}
        if gap is not None and known.get(expect.number) != expect.hash:
            what = "note the head again after a pruning"
            return Broken(expect.number, f"entry {expect.number} was pruned: what was noted cannot be compared", what)
        if expect.number < self.before.number:
            return Broken(expect.number, f"entry {expect.number} is not in what was read: it cannot be compared")
        return whole


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is no entry."""

    number: int | None
    reason: str


def content_hash(row: Mapping[str, Any]) -> str:
    """Return the hash of what an entry says; a text that is none for what no entry could say."""
    try:
        return digest(row)
    except (ValueError, TypeError):
        return "nothing that was ever written"


def ranges(row: Mapping[str, Any]) -> Iterator[Range]:
    """Yield the ranges that an entry vouches for."""
    data = row.get("data")
    for each in data.get("ranges") or () if isinstance(data, Mapping) else ():
        try:
            first, last, previous, end = each
            yield Range(int(first), int(last), str(previous), str(end))
        except (ValueError, TypeError):  # an entry that was changed, which shows at itself
            continue


def unvouched(gap: Range, vouched: Mapping[int, Range]) -> Broken | None:
    """Return the first entry of a gap that no entry vouches for; None when all of it was pruned."""
    at, previous = gap.first, gap.previous
    while at <= gap.last:
        found = vouched.get(at)
        if found is None or found.previous != previous or not at <= found.last <= gap.last:
            what = f"{gap.last - at + 1} in a row are missing, and no later entry says that they were pruned"
            return Broken(at, f"entry {at} is missing", what)
        at, previous = found.last + 1, found.hash
    if previous == gap.hash:
        return None
    return Broken(at, f"entry {at} does not follow what was pruned before it")


def head_of(connection: Connection) -> Head:
    """Return the head of the chain."""
    number, last = connection.execute(select(meta.c.entries, meta.c.chain)).one()
    return Head(number, last)


def verify(connection: Connection, expect: Head | None = None) -> Whole | Broken:
    """Return whether the chain in the record is what was written, or the first entry that is not."""
    walk = Walk(expect=expect)
    for row in stored(connection):
        walk.follow(row)
    return walk.end(head_of(connection))


def stored(connection: Connection, after: int = 0) -> Iterator[dict[str, Any] | Unreadable]:
    """Yield the entries behind that number in order, each as plain JSON, whatever was done to the row."""
    columns = [
        (cast if connection.dialect.name == "postgresql" else type_coerce)(column, Text).label(column.name)
        if column.name in JSON_COLUMNS
        else type_coerce(column, Text).label(column.name)
        if column.name in TEXTS
        else column
        for column in entries.columns
    ]
    query = select(*columns).where(entries.c.number > after).order_by(entries.c.number)
    for row in connection.execution_options(yield_per=1000).execute(query).mappings():
        yield read(dict(row))


def read(row: dict[str, Any]) -> dict[str, Any] | Unreadable:
    """Return a row with its texts and its JSON decoded."""
    try:
        for name in TEXTS:
            row[name] = unmarked(row[name])
        for name in JSON_COLUMNS:
            row[name] = None if row[name] is None else json.loads(row[name])
    except (ValueError, TypeError, AttributeError) as error:
        number = row.get("number")
        return Unreadable(number if isinstance(number, int) else None, f"{error}")
    return row


def export(connection: Connection, since: float | None = None) -> Iterator[str]:
    """Yield the entries since then as lines of JSON that are verified alone; the first line says what they are."""
    head, before = head_of(connection), Head(0, GENESIS)
    if since is not None:
        query = select(entries.c.number, entries.c.previous).where(entries.c.at >= since).order_by(entries.c.number)
        first = connection.execute(query.limit(1)).one_or_none()
        before = head if first is None else Head(first.number - 1, first.previous)
    record = connection.execute(select(meta.c.record_id)).scalar_one()
    yield canonical({"format": FORMAT, "record": record, "after": str(before), "head": str(head)})
    for row in stored(connection, before.number):
        if isinstance(row, Unreadable):
            raise RowError(f"entry {row.number} cannot be read: {row.reason}")
        yield canonical({name: value for name, value in row.items() if value is not None})


def verify_lines(lines: Iterable[str], expect: Head | None = None) -> Whole | Broken:
    """Return whether exported lines are what was written; raises ValueError for what is no export."""
    rest = iter(lines)
    try:
        about = json.loads(next(rest, ""))
        before, head = Head.parse(about["after"]), Head.parse(about["head"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError("this is no exported audit log: its first line does not say what it is") from error
    if about.get("format") != FORMAT:
        raise ValueError(f"this audit log has the format {about.get('format')!r}, {FORMAT} is known")
    walk = Walk(before, expect)
    for line in rest:
        walk.follow(from_line(line.rstrip("\n")))
    return walk.end(head)


def from_line(line: str) -> dict[str, Any] | Unreadable:
    """Return the entry that a line holds; the line must be the one way to write it, so that not a blank can be changed."""
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or canonical(row) != line:
            return Unreadable(row.get("number") if isinstance(row, dict) else None, "the line was changed")
        if not isinstance(row["number"], int) or not isinstance(row["previous"], str) or "hash" not in row:
            return Unreadable(None, "a part of it is missing")
    except (ValueError, KeyError, RecursionError) as error:
        return Unreadable(None, f"not a line of an audit log: {error}")
    return row
