"""What a series is about, so that one method ranks whatever people measure: whom it describes, which resource, and which way is worse.

A name says what kind of thing it measures in words that exporters share (cpu, memory, latency, errors, requests, …); nothing here
knows any single exporter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np


class Kind(StrEnum):
    """What a series measures. The first four are resources, which can be a cause; the others are what users notice."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    NETWORK = "network"
    LATENCY = "latency"
    ERRORS = "errors"
    TRAFFIC = "traffic"
    OTHER = "other"


RESOURCES = (Kind.CPU, Kind.MEMORY, Kind.DISK)
WORDS: tuple[tuple[Kind, frozenset[str]], ...] = (
    (Kind.LATENCY, frozenset({"latency", "lat", "duration", "delay", "rtt", "wait", "response"})),
    (
        Kind.ERRORS,
        frozenset({"availability", "errors", "error", "failures", "failed", "succ", "success", "faults", "up"}),
    ),
    (Kind.TRAFFIC, frozenset({"requests", "request", "ops", "rps", "qps", "count", "calls", "throughput", "sessions"})),
    (Kind.CPU, frozenset({"cpu", "load", "load1", "load5"})),
    (Kind.MEMORY, frozenset({"mem", "memory", "rss", "heap", "swap"})),
    (Kind.DISK, frozenset({"disk", "filesystem", "fs", "iops", "inodes", "files", "directory"})),
    (Kind.NETWORK, frozenset({"net", "network", "netrx", "nettx", "rx", "tx", "receive", "transmit", "retrans"})),
)
"""Tried in this order: a latency of a disk is a latency."""
LESS_IS_WORSE = frozenset({"availability", "avail", "available", "free", "succ", "success", "idle", "up", "health"})
KNOWN = frozenset().union(*(words for _, words in WORDS))
SPLIT = re.compile(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+|(?<=[A-Za-z])(?=\d)")


class Side(StrEnum):
    """Who measured a call: the one who made it, or the one who answered. A difference is the way between them."""

    CLIENT = "client"
    SERVER = "server"


PREFIXES = (
    ("client", Side.CLIENT),
    ("server", Side.SERVER),
    ("entry", Side.SERVER),
    ("c", Side.CLIENT),
    ("s", Side.SERVER),
)
"""Before a word that says what is measured, these say who measured it: `clat` is a latency as clients see it. What is seen at
the entry of a system is what its first node answers."""
CALLS = {"edges": Side.CLIENT, "edged": Side.SERVER}
"""`callee|edges<caller` is how long a caller waits, as the source of the call saw it, `edged<` as its destination did."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the name of a metric says of it."""

    kind: Kind
    side: Side
    sign: int


@lru_cache(maxsize=1 << 14)
def meaning(name: str) -> Meaning:
    """Return what a name says; a name that says nothing is of another kind, seen by the node itself, and more is worse."""
    words, side = set(), Side.SERVER
    for word in (each.lower() for each in SPLIT.split(name) if each):
        if word in ("client", "server"):
            side = Side(word)
        rest, seen = stem(word)
        words.add(rest)
        side = seen or side
    kind = next((kind for kind, known in WORDS if words & known), Kind.OTHER)
    return Meaning(kind, side, -1 if words & LESS_IS_WORSE else 1)


def stem(word: str) -> tuple[str, Side | None]:
    """Return a word without what says who measured it, and who did; the word itself where it says nothing of that."""
    if word not in KNOWN:
        for prefix, side in PREFIXES:
            if word.startswith(prefix) and word.removeprefix(prefix) in KNOWN:
                return word.removeprefix(prefix), side
    return word, None


@dataclass(frozen=True, slots=True)
class Signal:
    """One series: `node` is whom it describes, `peer` who calls it where it is about the calls of one caller, as `side` measured."""

    node: str
    name: str
    kind: Kind
    peer: str | None = None
    side: Side = Side.SERVER
    sign: int = 1
    """1 where more is worse, -1 where less is."""
    culprit: str | None = None
    """The process, mount, device or table of the node that it is about, where it is not about the whole node."""
    counted: bool = False
    """Whether it counts what fails (a second, or an interval); otherwise it is a share, or a time, of each call."""
    floor: float = 0.0
    """A change of less is nothing special whatever the series, in its own unit, where that is known."""

    @classmethod
    def named(cls, node: str, name: str, peer: str | None = None, culprit: str | None = None) -> Signal:
        """Return the signal whose name tells its kind."""
        said = meaning(name)
        return cls(node, name, said.kind, peer, said.side, said.sign, culprit)

    @classmethod
    def of_column(cls, text: str) -> Signal:
        """Return the signal of a column `node|metric` or `node|metric<caller`. Raises ValueError for a text that is neither."""
        node, bar, name = text.partition("|")
        if not bar or not node or not name:
            raise ValueError(f"{text!r} is not of the form node|metric")
        name, _, peer = name.partition("<")
        if peer and name in CALLS:
            return cls(node, "latency", Kind.LATENCY, peer, CALLS[name])
        return cls.named(node, name, peer or None)


@dataclass(frozen=True, slots=True)
class Frame:
    """Series on common times: `times` (T,) seconds ascending, `values` (T, S), NaN where there is no sample."""

    times: np.ndarray
    values: np.ndarray
    signals: tuple[Signal, ...]

    def rows(self, start: float, end: float) -> Frame:
        """Return the rows with start <= time <= end."""
        chosen = (self.times >= start) & (self.times <= end)
        return Frame(self.times[chosen], self.values[chosen], self.signals)

    def from_row(self, first: int, end: int | None = None) -> Frame:
        """Return the rows from the one with that number on, to the one before `end`."""
        return Frame(self.times[first:end], self.values[first:end], self.signals)

    def with_columns(self, signals: Sequence[Signal], values: np.ndarray) -> Frame:
        """Return the same rows with more series."""
        return Frame(self.times, np.column_stack([self.values, values]), (*self.signals, *signals)) if signals else self


class Topology:
    """Who calls whom."""

    def __init__(self, edges: Iterable[tuple[str, str]]) -> None:
        """Take (caller, callee) pairs."""
        callees: dict[str, list[str]] = {}
        callers: dict[str, list[str]] = {}
        for caller, callee in dict.fromkeys(edges):
            callees.setdefault(caller, []).append(callee)
            callers.setdefault(callee, []).append(caller)
        self.callees: Mapping[str, list[str]] = callees
        self.callers: Mapping[str, list[str]] = callers
        self.nodes = tuple(dict.fromkeys((*callees, *callers)))

    def below(self, start: str) -> dict[str, int]:
        """Return every node that `start` reaches through calls, itself too, with the number of calls to it."""
        found = {start: 0}
        for node in (todo := [start]):
            for callee in self.callees.get(node, ()):
                if callee not in found:
                    found[callee] = found[node] + 1
                    todo.append(callee)
        return found
