"""Small pictures of a course over time, in characters: braille for plots, blocks for lines of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

BLOCKS = "▁▂▃▄▅▆▇█"
BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of the dot in each row and column of a braille character, from above."""
HOLE = 2.5
"""So many times the usual distance apart, two samples are not joined."""
STILL = 1e-9
"""Values are the same where they differ by no more than this part of them: rounding makes more of a sum, or of a rate."""

Points = Sequence[tuple[float, float]]
"""Time and value, times ascending."""


def spark(points: Points, start: float, end: float, width: int) -> str:
    """Return a course in one line of `width` characters; a blank where there is no sample."""
    means = [
        sum(value / len(column) for value in column) if column else None
        for column in columns_of(points, start, end, width)
    ]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    return "".join(" " if mean is None else BLOCKS[level(mean, low, high, len(BLOCKS))] for mean in means)


def plot(points: Points, start: float, end: float, width: int, height: int) -> list[str]:
    """Return a course as `height` lines of `width` braille characters, two dots wide and four high each.

    The lowest value is on the bottom row of dots and the highest on the top; a constant runs through the middle. A hole
    in the samples is a hole in the line.
    """
    columns = columns_of(points, start, end, 2 * width)
    known = [value for column in columns for value in column]
    low, high = min(known, default=0.0), max(known, default=0.0)
    rows = 4 * height
    cells = [[BRAILLE] * width for _ in range(height)]
    before: int | None = None
    for place, column in enumerate(columns):
        levels = [level(value, low, high, rows) for value in column]
        reach = levels if before is None or not levels else [*levels, before]
        for row in range(min(reach), max(reach) + 1) if reach else ():
            upper = rows - 1 - row
            cells[upper // 4][place // 2] |= DOTS[upper % 4][place % 2]
        before = levels[-1] if levels else None
    return ["".join(map(chr, row)) for row in cells]


def level(value: float, low: float, high: float, rows: int) -> int:
    """Return the row, from below, that a value is drawn on; the middle one when all values are the same."""
    if flat(low, high):
        return (rows - 1) // 2
    span = high / 2 - low / 2  # halves, since the whole span may be more than a float holds
    share = (value / 2 - low / 2) / span
    return min(rows - 1, max(0, round(share * (rows - 1))))


def flat(low: float, high: float) -> bool:
    """Return whether a course between these values is a constant."""
    return low == high or (math.isfinite(high) and high / 2 - low / 2 <= STILL * max(abs(low), abs(high)) / 2)


def scale(low: str, high: str, height: int, *, constant: bool) -> list[str]:
    """Return what stands beside each line of a plot: the ends above and below, or the one value beside the line of a constant."""
    labels = [""] * height
    if constant:
        labels[height // 2] = high
    else:
        labels[0], labels[-1] = high, low
    return labels


def columns_of(points: Points, start: float, end: float, width: int) -> list[list[float]]:
    """Return the values in each of `width` equal stretches of time, joined by straight lines where nothing is missing."""
    columns: list[list[float]] = [[] for _ in range(width)]
    finite = [(time, value) for time, value in points if start <= time <= end and math.isfinite(value)]
    size = (end - start) or 1.0

    def place(time: float) -> int:
        return min(width - 1, int((time - start) / size * width))

    for time, value in finite:
        columns[place(time)].append(value)
    usual = median(later - earlier for (earlier, _), (later, _) in pairwise(finite)) if len(finite) > 1 else 0.0
    for (earlier, before), (later, after) in pairwise(finite):
        if later - earlier <= HOLE * usual:
            first, last = place(earlier), place(later)
            for between in range(first + 1, last):
                way = (between - first) / (last - first)
                there = before * (1 - way) + after * way  # rounding may lead beyond both
                columns[between].append(min(max(there, min(before, after)), max(before, after)))
    return columns
