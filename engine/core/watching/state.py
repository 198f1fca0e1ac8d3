"""What the watch knows of each series: about thirty numbers, and nothing of the past but the last samples."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int32]
Bits = npt.NDArray[np.uint8]


@dataclass(slots=True)
class State:
    """Arrays whose last axis is the series; `last` (warm, S) are the last samples of each, going round."""

    last: Floats
    count: Counts
    learned: Floats
    """How many samples were seen, and how many learned from since the level was last adopted."""
    level: Floats
    spread: Floats
    tail: Floats
    """A normal spread by the median and by the 95th percentile of what series deviate."""
    rise: Floats
    fall: Floats
    held: Counts
    """For how many samples nothing was learned."""
    hot: Bits
    mild: Bits
    filled: Bits
    """Whether each of the last three samples was unusual, somewhat so, near a limit."""
    alarm: Flags
    drifting: Flags
    full: Flags

    @classmethod
    def empty(cls, size: int, warm: int) -> Self:
        """Return the state of so many series of which nothing is known."""

        def zeros() -> Floats:
            return np.zeros(size, np.float32)

        def flags() -> Flags:
            return np.zeros(size, np.bool_)

        def bits() -> Bits:
            return np.zeros(size, np.uint8)

        def counts() -> Counts:
            return np.zeros(size, np.int32)

        last = np.full((warm, size), np.nan, np.float32)
        return cls(
            last,
            counts(),
            zeros(),
            zeros(),
            zeros(),
            zeros(),
            zeros(),
            zeros(),
            counts(),
            bits(),
            bits(),
            bits(),
            flags(),
            flags(),
            flags(),
        )

    def part(self, rows: slice) -> Self:
        """Return the state of some series, as views: what is written there is written here."""
        return type(self)(*(getattr(self, field.name)[..., rows] for field in fields(self)))

    def joined(self, more: Self) -> Self:
        """Return the state of these series and of others behind them."""
        pairs = ((getattr(self, field.name), getattr(more, field.name)) for field in fields(self))
        return type(self)(*(np.concatenate(pair, axis=-1) for pair in pairs))

    def picked(self, rows: npt.NDArray[np.intp]) -> Self:
        """Return the state of the series in these rows alone."""
        return type(self)(*(np.ascontiguousarray(getattr(self, field.name)[..., rows]) for field in fields(self)))
