"""What the name of a series says of it by Prometheus's conventions: its unit, which way is worse, what of it can be watched at all.

A unit brings a floor: how small a change is nothing special, whatever series it is. Names of exporters are not known here, but words that they share;
and the tables of the kernel whose counters have no end of the name that would say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt


class Worse(StrEnum):
    """Which way of leaving its usual level a series should worry somebody."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Nature:
    """What is known of a series before its first sample: `floor` in its own unit, `limit` that it cannot exceed (None: none known)."""

    worse: Worse = Worse.BOTH
    floor: float = 0.0
    limit: float | None = None
    counter: bool = False
    relative: bool = True
    """Whether a small part of its level is nothing special. Where nearly all goes well, it is not so: there what fails counts."""


FLOORS: Final = {
    "seconds": 0.01,
    "milliseconds": 10.0,
    "ratio": 0.01,
    "percent": 1.0,
    "bytes": float(1 << 20),
    "celsius": 1.0,
    "volts": 0.05,
}
"""Ten milliseconds, one of a hundred, a mebibyte: less is nothing special."""
FAILURES: Final = 0.5
"""So much of the floor for shares of what failed or went well: three of a hundred that fail, where none did, are something."""
COUNTED: Final = 0.2
"""The floor of events a second; an event every five seconds is nothing special."""
LIMITS: Final = {"ratio": 1.0, "percent": 100.0}
UP: Final = frozenset(
    [
        "cpu",
        "load",
        "load1",
        "load5",
        "load15",
        "latency",
        "lat",
        "duration",
        "delay",
        "rtt",
        "wait",
        "response",
        "error",
        "errors",
        "failure",
        "failures",
        "failed",
        "fail",
        "faults",
        "retransmits",
        "retries",
        "drop",
        "dropped",
        "drops",
        "timeout",
        "timeouts",
        "rejected",
        "usage",
        "used",
        "utilization",
        "utilisation",
        "busy",
        "saturation",
        "pressure",
        "waiting",
        "queue",
        "queued",
        "backlog",
        "lag",
        "rss",
        "resident",
        "heap",
        "swap",
        "memory",
        "mem",
        "fds",
        "descriptors",
        "temperature",
        "temp",
        "blocked",
        "stalled",
        "steal",
        "iowait",
        "oom",
        "restarts",
        "pending",
    ]
)
DOWN: Final = frozenset(
    [
        "availability",
        "avail",
        "available",
        "free",
        "idle",
        "success",
        "succ",
        "successful",
        "up",
        "healthy",
        "remaining",
        "headroom",
        "hits",
        "ready",
    ]
)
PARTS: Final = ("mode", "state")
"""Labels that say which part of a metric a series is about."""
GOODNESS: Final = frozenset(["availability", "success", "succ", "successful"])
UNWATCHED: Final = frozenset(
    ["info", "bucket", "created", "timestamp", "time", "date", "version", "build", "boottime", "expiry", "notafter"]
)
"""Names that end so are moments, parts of a histogram, or constants."""
SPLIT: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+")
LIMITED: Final = (
    ("_avail_bytes", "_size_bytes", True),
    ("_files_free", "_files", True),
    ("MemAvailable", "MemTotal", True),
    ("SwapFree", "SwapTotal", True),
    ("_available_bytes", "_total_bytes", True),
    ("open_fds", "max_fds", False),
    ("_allocated", "_maximum", False),
    ("_current_", "_limit_", False),
    ("_entries", "_entries_limit", False),
    ("_used_bytes", "_total_bytes", False),
    ("_connections", "_connections_max", False),
)
"""How names of what is left (True) or used (False) become those of what there is in all."""
COUNTERS: Final = frozenset({"total", "count", "sum"})
KERNEL: Final = re.compile(
    r"node_(?:netstat_(?!(?:\w+_CurrEstab|\w+_MPCurrEstab|Tcp_MaxConn|Tcp_Rto\w+|Ip6?_Forwarding|Ip_DefaultTTL)$)\w+"
    r"|vmstat_(?:pg|pswp)\w+"
    r"|nf_conntrack_stat_\w+)"
)
"""What the kernel counts since it started, published under its own names. Not `oom_kill`: of what happens so seldom the number says more than the rate."""


def words_of(name: str) -> tuple[str, ...]:
    """Return the words that a name is made of, in lower case."""
    return tuple(word.lower() for word in SPLIT.split(name) if word)


def counted_by_kernel(name: str) -> bool:
    """Return whether a metric is one of the kernel's counters though its name does not end as those of counters do."""
    return KERNEL.fullmatch(name) is not None


def nature_of(name: str, part: str = "") -> Nature | None:
    """Return what the name of a metric says; None for what is not watched: moments, constants, buckets, what this engine writes itself.

    A counter's nature is that of its rate: seconds a second are a share. `part` is which part of it the series is about, such as `idle` of a
    processor's time: more of that is not worse, though more of a processor's time is.
    """
    words = words_of(name)
    if not words or words[0] == "mendbook" or words[-1] in UNWATCHED or words[-2:] == ("timestamp", "seconds"):
        return None
    if words[-2:] in (("time", "seconds"), ("after", "seconds"), ("boot", "seconds")):
        return None
    counter = words[-1] in COUNTERS or counted_by_kernel(name)
    unit = next((word for word in reversed(words) if word in FLOORS), None)
    known = {*words, *words_of(part)}
    worse = Worse.DOWN if known & DOWN else Worse.UP if known & UP else Worse.BOTH
    if counter:
        floor = FLOORS["ratio"] if unit == "seconds" else FLOORS["bytes"] / 60 if unit == "bytes" else COUNTED
        return Nature(worse, floor, None, counter=True)
    floor = FLOORS.get(unit or "", 0.0)
    if unit in LIMITS and (known & (GOODNESS | {"errors", "error", "failures", "failed"})):
        return Nature(worse, FAILURES * floor, relative=False)
    limit = LIMITS.get(unit or "") if worse is Worse.UP else None
    return Nature(worse, floor, limit)


def part_of(labels: Mapping[str, str]) -> str:
    """Return which part of its metric a series is about; "" where it does not say so."""
    return next((labels[name] for name in PARTS if name in labels), "")


def limits_of(name: str) -> Iterator[tuple[str, bool]]:
    """Yield the metrics that may say how much there is in all of what this one is about, and whether this is what is left of it."""
    for own, limit, left in LIMITED:
        if own in name and not (limit in name and limit != own and own in limit):
            yield name.replace(own, limit, 1), left


@dataclass(frozen=True, slots=True)
class Natures:
    """The natures of many series, as arrays (S,).

    `up` and `down` are 1 where that way is worse, `relative` where a part of the level is nothing special. A limit, or how much there is in all (the `whole`)
    of what a series is left of, is NaN where it is not known.
    """

    up: npt.NDArray[np.float32]
    down: npt.NDArray[np.float32]
    floor: npt.NDArray[np.float32]
    limit: npt.NDArray[np.float32]
    relative: npt.NDArray[np.float32]
    whole: npt.NDArray[np.float32]

    @classmethod
    def of(cls, natures: Iterable[Nature]) -> Natures:
        """Return the arrays of these natures, in order."""
        all_of_them = list(natures)
        return cls(
            np.array([nature.worse is not Worse.DOWN for nature in all_of_them], np.float32),
            np.array([nature.worse is not Worse.UP for nature in all_of_them], np.float32),
            np.array([nature.floor for nature in all_of_them], np.float32),
            np.array([np.nan if nature.limit is None else nature.limit for nature in all_of_them], np.float32),
            np.array([nature.relative for nature in all_of_them], np.float32),
            np.full(len(all_of_them), np.nan, np.float32),
        )

    @property
    def size(self) -> int:
        """How many series there are."""
        return self.up.size

    def part(self, rows: slice) -> Natures:
        """Return the natures of some series, as views."""
        return Natures(*(each[rows] for each in self._arrays()))

    def picked(self, rows: npt.NDArray[np.intp]) -> Natures:
        """Return the natures of the series in these rows alone."""
        return Natures(*(each[rows] for each in self._arrays()))

    def joined(self, more: Natures) -> Natures:
        """Return the natures of these series and others behind them."""
        return Natures(*map(np.concatenate, zip(self._arrays(), more._arrays(), strict=True)))

    def _arrays(self) -> tuple[npt.NDArray[np.float32], ...]:
        return self.up, self.down, self.floor, self.limit, self.relative, self.whole
