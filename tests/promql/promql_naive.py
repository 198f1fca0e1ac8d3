"""Range functions written down as plainly as possible, a sample at a time: what the vectorised ones are held to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

Window = Sequence[tuple[int, float]]
"""The samples in a window: milliseconds and values."""


def increase(window: Window, start: int, end: int) -> float | None:
    return extrapolated(window, start, end, counter=True)


def rate(window: Window, start: int, end: int) -> float | None:
    whole = increase(window, start, end)
    return None if whole is None else whole / ((end - start) / 1000)


def delta(window: Window, start: int, end: int) -> float | None:
    return extrapolated(window, start, end, counter=False)


def extrapolated(window: Window, start: int, end: int, *, counter: bool) -> float | None:
    if len(window) < 2:
        return None
    change = window[-1][1] - window[0][1]
    if counter:
        for (_, before), (_, after) in pairwise(window):
            if after < before:
                change += before
    sampled = (window[-1][0] - window[0][0]) / 1000
    apart = sampled / (len(window) - 1)
    to_start, to_end = (window[0][0] - start) / 1000, (end - window[-1][0]) / 1000
    if to_start >= 1.1 * apart:
        to_start = apart / 2
    if counter and change > 0 and window[0][1] >= 0:
        to_start = min(to_start, sampled * (window[0][1] / change))
    if to_end >= 1.1 * apart:
        to_end = apart / 2
    return change * (sampled + to_start + to_end) / sampled


def total(window: Window, start: int, end: int) -> float | None:
    return float(sum(Fraction(value) for _, value in window)) if window else None


def average(window: Window, start: int, end: int) -> float | None:
    return float(sum(Fraction(value) for _, value in window) / len(window)) if window else None


def variance(window: Window, start: int, end: int) -> float | None:
    if not window:
        return None
    middle = sum(Fraction(value) for _, value in window) / len(window)
    return float(sum((Fraction(value) - middle) ** 2 for _, value in window) / len(window))


def deviation(window: Window, start: int, end: int) -> float | None:
    found = variance(window, start, end)
    return None if found is None else math.sqrt(found)


def slope(window: Window, start: int, end: int) -> float | None:
    if len(window) < 2:
        return None
    times = [Fraction(time, 1000) for time, _ in window]
    values = [Fraction(value) for _, value in window]
    middle, level = sum(times) / len(times), sum(values) / len(values)
    across = sum((time - middle) ** 2 for time in times)
    pairs = zip(times, values, strict=True)
    return float(sum((time - middle) * (value - level) for time, value in pairs) / across)


def changes(window: Window, start: int, end: int) -> float | None:
    pairs = pairwise(window)
    return float(sum(before != after for (_, before), (_, after) in pairs)) if window else None


def resets(window: Window, start: int, end: int) -> float | None:
    pairs = pairwise(window)
    return float(sum(after < before for (_, before), (_, after) in pairs)) if window else None


def median(window: Window, start: int, end: int) -> float | None:
    if not window:
        return None
    values = sorted(value for _, value in window)
    half, odd = divmod(len(values), 2)
    return values[half] if odd else values[half - 1] * 0.5 + values[half] * 0.5


def last_difference(window: Window, start: int, end: int) -> float | None:
    return window[-1][1] - window[-2][1] if len(window) > 1 else None


NAIVE: dict[str, Callable[[Window, int, int], float | None]] = {
    "rate(x[{range}])": rate,
    "increase(x[{range}])": increase,
    "delta(x[{range}])": delta,
    "idelta(x[{range}])": last_difference,
    "deriv(x[{range}])": slope,
    "changes(x[{range}])": changes,
    "resets(x[{range}])": resets,
    "sum_over_time(x[{range}])": total,
    "avg_over_time(x[{range}])": average,
    "stdvar_over_time(x[{range}])": variance,
    "stddev_over_time(x[{range}])": deviation,
    "quantile_over_time(0.5, x[{range}])": median,
    "min_over_time(x[{range}])": lambda window, *_: min((value for _, value in window), default=None),
    "max_over_time(x[{range}])": lambda window, *_: max((value for _, value in window), default=None),
    "count_over_time(x[{range}])": lambda window, *_: float(len(window)) or None,
    "last_over_time(x[{range}])": lambda window, *_: window[-1][1] if window else None,
    "first_over_time(x[{range}])": lambda window, *_: window[0][1] if window else None,
    "present_over_time(x[{range}])": lambda window, *_: 1.0 if window else None,
}
