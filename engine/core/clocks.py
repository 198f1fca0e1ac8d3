"""Moments in words: a verdict is kept while its code stays, so its sentence says when, and never how long ago."""

from __future__ import annotations

import datetime as dt


def told(at: float, now: float) -> str:
    """Return a moment as `14:03:27 UTC`, with its date where that is not today's; both in seconds since the epoch, by the wall."""
    try:
        then, today = (dt.datetime.fromtimestamp(each, dt.UTC) for each in (at, now))
    except (OverflowError, ValueError, OSError):  # a time that no calendar has
        return f"{at:.0f}s after 1970"
    return f"{then:%H:%M:%S} UTC" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M:%S} UTC"
