"""Functions of time: when a query is asked, when a sample was taken, and what the calendar says (UTC)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from engine.promql.block import Times
from engine.promql.frame import Frame, Function
from engine.promql.reading import read_instants
from engine.promql.syntax import Call, Selector, Type
from engine.promql.values import Grid, Value, one_row


def _time(frame: Frame, _: Call) -> Value:
    return frame.seconds()


def _query_start(frame: Frame, _: Call) -> Value:
    return np.full(frame.times.size, frame.start / 1000.0)


def _query_end(frame: Frame, _: Call) -> Value:
    return np.full(frame.times.size, frame.end / 1000.0)


def _query_range(frame: Frame, _: Call) -> Value:
    return np.full(frame.times.size, (frame.end - frame.start) / 1000.0)


def _query_step(frame: Frame, _: Call) -> Value:
    return np.full(frame.times.size, frame.step / 1000.0)


def _timestamp(frame: Frame, node: Call) -> Grid:
    """Return when each sample was taken: a selector's own time, the instant asked about for what was calculated."""
    argument = node.arguments[0]
    if isinstance(argument, Selector):
        read = read_instants(argument, frame)
        return read.grid.holding(read.times / 1000.0).nameless(node.span)
    grid = frame.vector(argument)
    seconds = np.broadcast_to(frame.seconds(), grid.values.shape).copy()
    return grid.holding(seconds).nameless(node.span)


def _calendar(reading: Callable[[Times], Times]) -> Function:
    """Return the function that reads the calendar at each value, or at the instant itself without an argument."""

    def compute(frame: Frame, node: Call) -> Grid:
        grid = frame.vector(node.arguments[0]) if node.arguments else one_row(frame.seconds())
        known = np.isfinite(grid.values) & (np.abs(grid.values) < 2.0**53)
        moments = np.floor(np.where(known, grid.values, 0.0)).astype(np.int64)
        values = np.where(known, reading(moments), np.nan)
        return grid.holding(values).nameless(node.span)

    return Function((Type.VECTOR,), Type.VECTOR, compute, optional=1)


def _months(seconds: Times) -> Times:
    """Return the months since January 1970."""
    return _days(seconds).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _days(seconds: Times) -> Times:
    return seconds // 86_400


def _first_of_month(months: Times) -> Times:
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _year(seconds: Times) -> Times:
    return 1970 + _months(seconds) // 12


def _month(seconds: Times) -> Times:
    return 1 + _months(seconds) % 12


def _day_of_month(seconds: Times) -> Times:
    return 1 + _days(seconds) - _first_of_month(_months(seconds))


def _day_of_week(seconds: Times) -> Times:
    return (_days(seconds) + 4) % 7  # the epoch was a Thursday


def _day_of_year(seconds: Times) -> Times:
    return 1 + _days(seconds) - _first_of_month(_months(seconds) // 12 * 12)


def _days_in_month(seconds: Times) -> Times:
    months = _months(seconds)
    return _first_of_month(months + 1) - _first_of_month(months)


def _hour(seconds: Times) -> Times:
    return seconds % 86_400 // 3600


def _minute(seconds: Times) -> Times:
    return seconds % 3600 // 60


FUNCTIONS: Mapping[str, Function] = {
    "time": Function((), Type.SCALAR, _time),
    "start": Function((), Type.SCALAR, _query_start, experimental=True),
    "end": Function((), Type.SCALAR, _query_end, experimental=True),
    "range": Function((), Type.SCALAR, _query_range, experimental=True),
    "step": Function((), Type.SCALAR, _query_step, experimental=True),
    "timestamp": Function((Type.VECTOR,), Type.VECTOR, _timestamp),
    "year": _calendar(_year),
    "month": _calendar(_month),
    "day_of_month": _calendar(_day_of_month),
    "day_of_week": _calendar(_day_of_week),
    "day_of_year": _calendar(_day_of_year),
    "days_in_month": _calendar(_days_in_month),
    "hour": _calendar(_hour),
    "minute": _calendar(_minute),
}
