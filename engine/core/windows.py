"""Times of the week by a zone's clocks: whether a moment lies within them, and when the next one does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from engine.model.runbook import Hours, Window

AHEAD = 15
"""So many days ahead is looked for an opening: a week, and one more whose hour daylight saving may have skipped."""


def permits(window: Window, at: float) -> bool:
    """Return whether the window is open at `at`, in seconds since the epoch by the wall clock."""
    if window.only and not any(inside(hours, at) for hours in window.only):
        return False
    return not any(inside(hours, at) for hours in window.never)


def inside(hours: Hours, at: float) -> bool:
    """Return whether the zone's clocks show a time within the hours; one that is shown twice counts twice."""
    local = dt.datetime.fromtimestamp(at, ZoneInfo(hours.zone))
    minute, day = local.hour * 60 + local.minute, local.weekday()
    if hours.start < hours.end:
        return day in hours.days and hours.start <= minute < hours.end
    return (day in hours.days and minute >= hours.start) or ((day - 1) % 7 in hours.days and minute < hours.end)


def opens(window: Window, at: float) -> float | None:
    """Return the first moment from `at` on at which the window is open; None when there is none within a fortnight."""
    moments = {at}.union(*(edges(hours, at) for hours in (*window.only, *window.never)))
    return next((moment for moment in sorted(moments) if moment >= at and permits(window, moment)), None)


def edges(hours: Hours, at: float) -> Iterator[float]:
    """Yield every moment of the coming days at which `inside` may change: the hours' ends, and where the clocks are changed."""
    zone = ZoneInfo(hours.zone)
    today = dt.datetime.fromtimestamp(at, zone).date() - dt.timedelta(days=1)
    before = at - 2 * 86_400.0
    for number in range(AHEAD + 1):
        midnight = dt.datetime.combine(today + dt.timedelta(days=number), dt.time())
        for minute in (hours.start, hours.end):
            moment = midnight + dt.timedelta(minutes=minute)
            yield from (moment.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
        here = midnight.replace(tzinfo=zone).timestamp()
        if offset(zone, before) != offset(zone, here):
            yield change(zone, before, here)
        before = here


def offset(zone: ZoneInfo, at: float) -> dt.timedelta | None:
    """Return by how much the zone's clocks are ahead of UTC."""
    return dt.datetime.fromtimestamp(at, zone).utcoffset()


def change(zone: ZoneInfo, before: float, after: float) -> float:
    """Return the second between two moments from which on the clocks are another offset ahead than before."""
    low, high, old = int(before), int(after), offset(zone, before)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offset(zone, middle) == old else (low, middle)
    return float(high)
