"""Small pictures of a course over time, in characters: braille for plots, blocks for lines of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of the dot in each row and column of a braille character, from above."""

Points = Sequence[tuple[float, float]]
"""Time and value."""


def spark(points: Points, start: float, end: float, width: int) -> str:
    """Return a course in one line of `width` characters; a blank where there is no sample."""
    columns = [[value for value in column if math.isfinite(value)] for column in binned(points, start, end, width)]
    known = [sum(column) / len(column) for column in columns if column]
    if not known:
        return " " * width
    low, high = min(known), max(known)
    size = (high - low) or 1.0

    def block(column: list[float]) -> str:
        if not column:
            return " "
        level = (sum(column) / len(column) - low) / size
        return BLOCKS[min(len(BLOCKS) - 1, int(level * len(BLOCKS)))]

    return "".join(map(block, columns))


def plot(points: Points, start: float, end: float, width: int, height: int) -> list[str]:
    """Return a course as `height` lines of `width` braille characters, two dots wide and four high each.

    The lowest value is on the bottom row of dots and the highest on the top; a constant runs through the middle.
    """
    columns = [[value for value in column if math.isfinite(value)] for column in binned(points, start, end, 2 * width)]
    known = [value for column in columns for value in column]
    cells = [[BRAILLE] * width for _ in range(height)]
    if known:
        low, high = min(known), max(known)
        rows = 4 * height
        before: int | None = None
        for place, column in enumerate(columns):
            if not column:
                before = None
                continue
            levels = [level(value, low, high, rows) for value in column]
            reach = [*levels, before] if before is not None else levels
            for row in range(min(reach), max(reach) + 1):
                upper = rows - 1 - row
                cells[upper // 4][place // 2] |= DOTS[upper % 4][place % 2]
            before = levels[-1]
    return ["".join(map(chr, row)) for row in cells]


def level(value: float, low: float, high: float, rows: int) -> int:
    """Return the row of dots, from below, that a value is drawn on."""
    if high == low:
        return rows // 2
    return min(rows - 1, max(0, round((value - low) / (high - low) * (rows - 1))))


def binned(points: Points, start: float, end: float, width: int) -> Iterator[list[float]]:
    """Yield the values of each of `width` equal stretches of time; a sample at `end` belongs to the last."""
    columns: list[list[float]] = [[] for _ in range(width)]
    size = (end - start) or 1.0
    for time, value in points:
        place = int((time - start) / size * width)
        if 0 <= place <= width:
            columns[min(place, width - 1)].append(value)
    yield from columns
