"""Small drawings of a report: days, moments, shares and ratios with their intervals, as SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.core.learning.chances import Interval
from engine.core.learning.remedies import Times
from engine.report.sheet import day, span, svg

WIDE, HIGH = 1000.0, 124.0
FOOT, HEAD = 30.0, 24.0
"""Room for the dates below the days, and for the scale above them."""
MARGIN = 36.0
"""Half a date."""
STRIP, LINE = 250.0, 26.0
EDGE = 4.0
LEAST, MOST = 1 / 16, 16.0
"""Ratios beyond these stand at the edge."""
DECADES = ((1.0, "1 s"), (60.0, "1 min"), (3600.0, "1 h"), (86_400.0, "1 d"))


def days(counts: Sequence[int], since: float) -> str:
    """Return the faults of each day as bars, with the dates below."""
    most = max([*counts, 1])
    each, floor = WIDE / len(counts), HIGH - FOOT
    room = floor - HEAD
    bars = "".join(
        f'<rect class="ill" x="{number * each + 1:.1f}" y="{floor - room * count / most:.1f}" width="{max(1.0, each - 2):.1f}"'
        f' height="{room * count / most:.1f}" rx="2"><title>{day(since + (number + 0.5) * 86_400)}: {count}</title></rect>'
        for number, count in enumerate(counts)
        if count
    )
    step = max(1, -(-len(counts) // 8))
    dates = "".join(
        dated((number + 0.5) * each, day(since + (number + 0.5) * 86_400)[5:]) for number in range(0, len(counts), step)
    )
    base = f'<line class="base" x1="0" x2="{WIDE:g}" y1="{floor:g}" y2="{floor:g}"/>'
    scale = f'<text class="tick" x="2" y="18" style="text-anchor:start">{most} a day at most</text>'
    return f'<div class="figure fits">{svg(WIDE, HIGH, "faults by day", base + bars + dates + scale)}</div>'


def dated(x: float, text: str) -> str:
    """Return a date below its day; at an edge it stands beside it, so that all of it is there."""
    anchor = "start" if x < MARGIN else "end" if x > WIDE - MARGIN else "middle"
    x = {"start": 2.0, "end": WIDE - 2.0}.get(anchor, x)
    return f'<text class="tick" x="{x:.1f}" y="{HIGH - 6:g}" style="text-anchor:{anchor}">{text}</text>'


def strip(times: Sequence[float], since: float, until: float, mark: float | None = None) -> str:
    """Return moments on a line, with another one marked."""
    width = max(1.0, until - since)

    def x(at: float) -> float:
        return EDGE + (STRIP - 2 * EDGE) * (min(max(at, since), until) - since) / width

    parts = [f'<line class="rail" x1="{EDGE}" x2="{STRIP - EDGE}" y1="13" y2="13"/>']
    parts += [
        f'<line class="zero" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="6" y2="20"><title>{day(at)}</title></line>'
        for at in times
        if since <= at <= until
    ]
    if mark is not None:
        parts.append(
            f'<path class="mark decision" d="M-5,-4 L5,-4 L0,5 Z" transform="translate({x(mark):.1f},5)"><title>began {day(mark)}</title></path>'
        )
    return svg(STRIP, LINE, f"{len(times)} moments", "".join(parts), "spread")


def share(rate: float, interval: Interval, good: bool) -> str:
    """Return a share of all with its interval, from nothing on the left to all on the right."""
    room = STRIP - 2 * EDGE
    kind = "well" if good else "ailing"
    parts = (
        f'<line class="rail" x1="{EDGE}" x2="{STRIP - EDGE}" y1="13" y2="13"/>',
        f'<rect class="{kind}" x="{EDGE + room * interval.low:.1f}" y="8" width="{max(2.0, room * (interval.high - interval.low)):.1f}" height="10" rx="4"/>',
        f'<circle class="pin{"" if good else " ill"}" cx="{EDGE + room * rate:.1f}" cy="13" r="4.5"/>',
    )
    return svg(STRIP, LINE, f"{rate:.0%}, between {interval.low:.0%} and {interval.high:.0%}", "".join(parts), "spread")


def ratio(value: float | None, interval: Interval, kind: str) -> str:
    """Return a rate ratio with its interval on a scale of doublings; the line in the middle is no effect, left of it is better."""
    middle = STRIP / 2

    def x(at: float) -> float:
        at = min(max(at, LEAST), MOST)
        return middle + (middle - EDGE) * math.log(at) / math.log(MOST)

    left, right = x(interval.low), x(interval.high)
    parts = [
        f'<line class="rail" x1="{EDGE}" x2="{STRIP - EDGE}" y1="13" y2="13"/>',
        f'<rect class="{kind}" x="{left:.1f}" y="8" width="{max(2.0, right - left):.1f}" height="10" rx="4"/>',
        f'<line class="end" x1="{middle}" x2="{middle}" y1="0" y2="{LINE}"/>',
    ]
    if value is not None:
        parts.append(f'<circle class="pin" cx="{x(value):.1f}" cy="13" r="4.5"/>')
    return svg(STRIP, LINE, "rate since by rate before", "".join(parts), "spread")


def spread(rows: Sequence[tuple[str, Times]]) -> str:
    """Return the times of each kind as points on one scale of seconds to days, the middle one marked."""
    told = [(name, row) for name, row in rows if row.count]
    if not told:
        return ""
    top = max(max(row.values) for _, row in told)
    end = math.log10(max(10.0, top) * 1.2)
    start = -1.0
    left, height = 120.0, 34.0 * len(told) + 30

    def x(seconds: float) -> float:
        return left + (WIDE - left - 20) * (math.log10(max(0.1, seconds)) - start) / (end - start)

    parts = [
        f'<line class="grid" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="0" y2="{height - 26:g}"/><text class="tick" x="{x(at):.1f}" y="{height - 5:g}">{name}</text>'
        for at, name in DECADES
        if math.log10(at) < end
    ]
    for number, (name, row) in enumerate(told):
        y = 34.0 * number + 18
        parts.append(f'<text class="lane" x="{left - 14}" y="{y + 4:g}">{name}</text>')
        some = sorted(row.values)[:: max(1, row.count // 300)]
        parts += [f'<circle class="pin" opacity=".35" cx="{x(each):.1f}" cy="{y:g}" r="4"/>' for each in some]
        parts.append(
            f'<line class="zero" x1="{x(row.median or 0):.1f}" x2="{x(row.median or 0):.1f}" y1="{y - 10:g}" y2="{y + 10:g}"><title>{span(row.median)} in the middle</title></line>'
        )
    return (
        f'<div class="figure fits">{svg(WIDE, height, "times to detect, localize and recover", "".join(parts))}</div>'
    )
