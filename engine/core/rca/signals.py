"""What a series is about, so that one method ranks whatever people measure: whom it describes, which resource, and which way is worse.

A name says what kind of thing it measures in words that exporters share (cpu, memory, latency, errors, requests, …); nothing here
knows any single exporter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

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
    (Kind.ERRORS, frozenset({"availability", "errors", "error", "failures", "failed", "succ", "success", "faults"})),
    (Kind.TRAFFIC, frozenset({"requests", "request", "ops", "rps", "qps", "count", "calls", "throughput", "sessions"})),
    (Kind.CPU, frozenset({"cpu", "load", "load1", "load5"})),
    (Kind.MEMORY, frozenset({"mem", "memory", "rss", "heap", "swap"})),
    (Kind.DISK, frozenset({"disk", "filesystem", "fs", "iops", "inodes", "files"})),
    (Kind.NETWORK, frozenset({"net", "network", "netrx", "nettx", "rx", "tx", "receive", "transmit", "retrans"})),
)
"""Tried in this order: a latency of a disk is a latency."""
LESS_IS_WORSE = frozenset({"availability", "avail", "available", "free", "succ", "success", "idle"})
SPLIT = re.compile(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+|(?<=[A-Za-z])(?=\d)")


class Side(StrEnum):
    """Who measured a call: the one who made it, or the one who answered. A difference is the way between them."""

    CLIENT = "client"
    SERVER = "server"


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

    @classmethod
    def named(cls, node: str, name: str, peer: str | None = None, side: Side = Side.SERVER) -> Signal:
        """Return the signal whose name tells its kind."""
        words = {word.lower() for word in SPLIT.split(name) if word}
        kind = next((kind for kind, known in WORDS if words & known), Kind.OTHER)
        return cls(node, name, kind, peer, side, -1 if words & LESS_IS_WORSE else 1)


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

    def below(self, start: str) -> dict[str, int]:
        """Return every node that `start` reaches through calls, itself too, with the number of calls to it."""
        found = {start: 0}
        for node in (todo := [start]):
            for callee in self.callees.get(node, ()):
                if callee not in found:
                    found[callee] = found[node] + 1
                    todo.append(callee)
        return found
