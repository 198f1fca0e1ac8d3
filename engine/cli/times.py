"""Times and spans of time as people type them."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    Seconds = click.ParamType[float]
else:
    Seconds = click.ParamType  # which says its type only from click 8.2 on

SPAN = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d|w|y))+"
PARTS = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w|y)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
LONGEST = 366 * 86_400.0
CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
LATEST = 253_402_300_799.0
"""The last second of the year 9999."""


class Span(Seconds):
    """A span of time with its unit, such as 90s, 5m or 1h30m; seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip()
        seconds = span(text)
        if seconds is None:
            hint = f"; did you mean '{text}s'?" if text.isdecimal() else "; write it like 90s, 5m or 1h30m"
            self.fail(f"'{text}' is no duration{hint}", param, ctx)
        if not 0 < seconds <= LONGEST:
            self.fail(f"'{text}' is not between nothing and a year", param, ctx)
        return seconds


class Moment(Seconds):
    """A moment: a local date and time, `14:05`, `yesterday 03:00`, seconds since the epoch, or `10m` for ten minutes ago."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds since the epoch."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip()
        found = moment_of(text)
        if found is None or not 0 <= found <= LATEST:
            self.fail(f"'{text}' is no time; write '2026-01-31 14:05', 14:05, or 10m for ten minutes ago", param, ctx)
        return found


def span(text: str) -> float | None:
    """Return the seconds of a duration; None for what is none."""
    if not re.fullmatch(SPAN, text):
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in PARTS.findall(text))


def moment_of(text: str) -> float | None:
    """Return seconds since the epoch; None for what is no time."""
    ago = text.removesuffix("ago").strip().removeprefix("-")
    back = span(ago)
    if back is not None:
        return time.time() - back
    if text == "now":
        return time.time()
    if re.fullmatch(r"[0-9]{9,11}(?:\.[0-9]+)?", text):
        return float(text)
    return written(text)


def written(text: str) -> float | None:
    """Return the seconds since the epoch of a written date and time; without an offset it is local."""
    import datetime as dt

    day, _, rest = text.partition(" ")
    back = {"today": 0, "yesterday": 1}.get(day)
    clock = CLOCK.fullmatch(text if back is None else rest.strip())
    try:
        if clock is not None:
            hour, minute, second = (int(each or 0) for each in clock.groups())
            date = dt.datetime.now().astimezone().date() - dt.timedelta(days=back or 0)
            return dt.datetime(date.year, date.month, date.day, hour, minute, second).astimezone().timestamp()
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


SPAN_TYPE = Span()
MOMENT = Moment()

since_option = click.option("--since", type=MOMENT, help="Only what began since then, as in 2h or '2026-01-31 14:05'.")
