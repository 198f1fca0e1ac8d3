"""What of the past is learned from: faults that were opened, what was tried, what ran, and for how long somebody looked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

HOUR = 3600.0
DAY = 24 * HOUR
BREATH = HOUR
"""A fault that comes back sooner after its end is the same one still."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One incident as it is counted: times in seconds since the epoch, None for what has not been."""

    id: str
    target: str
    resource: str
    opened_at: float
    began_at: float
    culprit: str | None = None
    runbook: str | None = None
    localized_at: float | None = None
    ended_at: float | None = None
    state: str = "open"
    outcome: str | None = None
    reopened: int = 0
    asked: bool = False
    """An operator asked for it: nothing was wrong by itself."""
    runbooks: frozenset[str] = frozenset()
    """Those whose triggers fired on it, and those that were tried."""

    @property
    def place(self) -> tuple[str, str]:
        """Return the host and the resource."""
        return (self.target, self.resource)

    @property
    def measured(self) -> bool:
        """Return whether its recovery was measured, and not declared by a person."""
        return self.outcome in ("resolved", "self_healed")


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt that ended; `outcome` is what verification said."""

    incident: str
    runbook: str
    remedy: str
    rung: int
    target: str
    culprit: str | None
    started_at: float
    ended_at: float | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Ran:
    """One execution on one host: what somebody, or the engine, changed there."""

    incident: str
    runbook: str
    target: str
    at: float
    by: str
    successful: bool


@dataclass(frozen=True, slots=True)
class Held:
    """One decision not to act yet: which guard said so, of which incident."""

    at: float
    code: str
    runbook: str
    incident: str
    target: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Warned:
    """One alert of a prevention that fired: the fault was seen coming."""

    runbook: str
    target: str
    at: float


@dataclass(frozen=True, slots=True)
class Watched:
    """For how long each host was looked at: seconds with data, by days since the epoch; before `measured` it is assumed.

    The assumption is that from `since` on somebody looked whenever nothing says otherwise.
    """

    since: float
    until: float
    measured: float
    days: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def exposure(self, target: str, start: float, end: float) -> float:
        """Return the seconds in [start, end) in which a host was looked at; of a day that is cut, the share that is within."""
        start, end = max(start, self.since), min(end, self.until)
        if end <= start:
            return 0.0
        total = max(0.0, min(end, self.measured) - start)
        begin = max(start, self.measured)
        if begin >= end:
            return total
        known = self.days.get(target, {})
        day = int(begin // DAY)
        while begin < end:
            stop = min(end, (day + 1) * DAY)
            total += known.get(day, 0.0) * (stop - begin) / self.span(day)
            begin, day = stop, day + 1
        return total

    def span(self, day: int) -> float:
        """Return how many seconds of a day could have been measured."""
        return max(1.0, min((day + 1) * DAY, self.until) - max(day * DAY, self.measured))


@dataclass(frozen=True, slots=True)
class Past:
    """Everything that is learned from, as of `now`; `purposes` and `resources` are what runbooks declare today."""

    now: float
    happened: tuple[Happened, ...] = ()
    tried: tuple[Tried, ...] = ()
    ran: tuple[Ran, ...] = ()
    held: tuple[Held, ...] = ()
    warned_of: tuple[Warned, ...] = ()
    watched: Watched = field(default_factory=lambda: Watched(0.0, 0.0, 0.0))
    preventing: Mapping[str, str] = field(default_factory=dict)
    """Runbooks that prevent, with the resource that they are about."""
    targets: frozenset[str] = frozenset()

    def faults(self) -> tuple[Happened, ...]:
        """Return what went wrong by itself: no request of a person, no mere warning, no storm."""
        return tuple(
            each for each in self.happened if not each.asked and each.resource != "storm" and not self.warned(each)
        )

    def warned(self, each: Happened) -> bool:
        """Return whether nothing but a prevention saw it: a warning, which became no fault."""
        about = each.runbooks or frozenset({each.runbook} if each.runbook else ())
        return bool(about) and about <= self.preventing.keys()


KIN = {"unit": frozenset({"service"})}
"""Resources of preventions, and the resources of faults that they are about though they go by another name."""


def fits(prevention: str, fault: str) -> bool:
    """Return whether a prevention of one resource is about faults of another."""
    return prevention == fault or fault in KIN.get(prevention, ())


def episodes(faults: Iterable[Happened], breath: float = BREATH) -> tuple[Happened, ...]:
    """Return the faults of one place in order, without those that came back before they had been gone for `breath` seconds."""
    kept: list[Happened] = []
    end = float("-inf")
    for each in sorted(faults, key=lambda each: each.opened_at):
        if each.began_at >= end + breath:
            kept.append(each)
        end = max(end, each.ended_at if each.ended_at is not None else each.opened_at)
    return tuple(kept)


def grouped(faults: Iterable[Happened]) -> dict[tuple[str, str], list[Happened]]:
    """Return the faults of each host and resource."""
    groups: dict[tuple[str, str], list[Happened]] = {}
    for each in faults:
        groups.setdefault(each.place, []).append(each)
    return groups


def gaps(times: Sequence[float]) -> tuple[float, ...]:
    """Return the time between one and the next."""
    return tuple(later - earlier for earlier, later in pairwise(times))


def median(values: Sequence[float]) -> float | None:
    """Return the middle value; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2.0


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value that this share of them does not exceed; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def since_last(moments: Sequence[float], at: float) -> float:
    """Return the time since the last of some moments in order; infinity when there is none."""
    place = bisect_right(moments, at)
    return at - moments[place - 1] if place else float("inf")
