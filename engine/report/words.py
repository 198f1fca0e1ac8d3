"""How single things of a report read, whatever it is told in."""

from __future__ import annotations

from collections.abc import Sequence

from engine.core.learning.facts import DAY
from engine.core.learning.recurrence import Recurring
from engine.core.learning.remedies import Guarded, Success, Times
from engine.report.period import Report
from engine.report.sheet import counted, span

BLOCKS = "▁▂▃▄▅▆▇█"
ROOM = 60
"""Columns of a small plot in a terminal, at most."""
TENTHS = 10
"""Fewer times have no tenth."""
CODES = {
    "shadow": "in shadow",
    "held_for_approval": "waits for approval",
    "cooldown": "cooldown",
    "max_attempts": "attempts used up",
    "max_per_hour": "enough for this hour",
    "max_concurrent": "enough at a time",
    "min_healthy": "too few healthy",
    "storm": "storm",
    "paused": "paused",
    "silenced": "silenced",
    "window": "outside its hours",
}
"""Codes of guards that read better in words."""


def guard(row: Guarded) -> str:
    """Return what held."""
    return CODES.get(row.code, row.code.replace("_", " "))


def plot(counts: Sequence[int]) -> str:
    """Return counts as a row of blocks, as many to a block as there is no room for; nothing is a dot."""
    width = max(1, -(-len(counts) // ROOM))
    sums = [sum(counts[at : at + width]) for at in range(0, len(counts), width)]
    most = max(sums, default=0)
    return "".join("·" if not each else BLOCKS[min(7, (8 * each - 1) // most)] for each in sums)


def times(row: Times) -> str:
    """Return a distribution in words."""
    if not row.count:
        return "-"
    if row.count == 1:
        return span(row.median)
    if row.count < TENTHS:
        return f"{span(row.median)} in the middle, {span(row.worst)} at worst"
    return f"{span(row.median)} in the middle, {span(row.tenth)} for nine in ten, {span(row.worst)} at worst"


def rate(row: Recurring) -> str:
    """Return a rate with its interval: faults in 30 days."""
    if row.exposure < 2 * DAY:  # a month is not told from hours
        return "-"
    return f"{row.rate:.1f} ({row.interval.low:.1f} to {row.interval.high:.1f})"


def healing(row: Success) -> str:
    """Return how often a remedy healed, with its interval."""
    low, high = row.interval.low, row.interval.high
    return f"{row.rate:.0%} of {row.attempts} ({low:.0%} to {high:.0%})"


def every(row: Recurring) -> str:
    """Return the time between two faults, as a rule."""
    if row.median_gap is None:
        return "-"
    return length(row.median_gap)


def length(seconds: float) -> str:
    """Return a span of time that may be days."""
    return f"{seconds / DAY:.1f} d" if seconds >= 2 * DAY else span(seconds)


def causes(row: Recurring) -> str:
    """Return what was at fault, the most frequent first."""
    return ", ".join(f"{name} {count}x" if count > 1 else name for name, count in list(row.culprits.items())[:3]) or "-"


def headline(report: Report) -> str:
    """Return the period in one line."""
    own = report.measures
    if report.began is None:
        return "The record is empty: no engine has written to it yet."
    if report.empty:
        return f"Nothing happened in the last {days(report)}: no fault, no remedy, nothing held."
    endings = ", ".join(f"{count} {name}" for name, count in own.endings.items())
    return f"{counted(own.faults, 'fault')} in the last {days(report)}" + (f": {endings}." if endings else ".")


def days(report: Report) -> str:
    """Return how long the period is."""
    return span(report.days * DAY) if report.days < 2 else f"{report.days:.0f} days"  # noqa: PLR2004  hours below


def effect(report: Report) -> str:
    """Return what all preventions did together, in one line."""
    own = report.prevented
    parts = [
        (own.harmful, "harmful"),
        (own.none, "without an effect that could be seen"),
        (own.works, "proved to work"),
        (own.early, "too early to tell"),
    ]
    said = ", ".join(f"{count} {what}" for count, what in parts if count)
    spared = f"; they spared about {counted(round(own.spared), 'fault')}" if own.works else ""
    return (said + spared) or "no prevention is in force"


def notes(report: Report) -> tuple[str, ...]:
    """Return what has to be known to read the numbers rightly."""
    found = []
    if report.began is None:
        return ()
    if report.began > report.since + DAY:
        found.append(f"the record began {span_days(report.until - report.began)} ago, after what was asked for")
    if report.measured is None:
        if not report.empty:
            found.append("it is assumed that somebody looked all the time: no engine has measured it")
    elif report.measured > report.since + DAY:
        found.append(
            f"hosts are known to have been looked at for {span_days(report.until - report.measured)}; before, it is assumed"
        )
    return tuple(found)


def span_days(seconds: float) -> str:
    """Return a span of days, or hours."""
    return f"{seconds / DAY:.0f} days" if seconds >= 2 * DAY else span(seconds)
