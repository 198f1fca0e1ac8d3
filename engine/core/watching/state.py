"""What the watch knows of each series: about forty numbers, and nothing of the past but the last samples."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int32]
Bits = npt.NDArray[np.uint8]

TYPES: Final = {"Floats": np.float32, "Flags": np.bool_, "Counts": np.int32, "Bits": np.uint8}


def take(own: npt.NDArray[np.generic], stored: npt.NDArray[np.generic]) -> None:
    """Take up what was stored of an array. Raises ValueError where that is of another kind or for another number of series."""
    if (stored.dtype, stored.shape) != (own.dtype, own.shape):
        raise ValueError(f"{stored.dtype} of {stored.shape} cannot be {own.dtype} of {own.shape}")
    own[...] = stored


@dataclass(slots=True)
class State:
    """Arrays whose last axis is the series; `last` (kept, S) are the last samples of each, going round."""

    last: Floats
    count: Counts
    learned: Floats
    """How many samples were seen, and how many learned from since the level was last adopted."""
    level: Floats
    spread: Floats
    tail: Floats
    """A normal spread by the median and by the 98th percentile of what a series deviates."""
    rise: Floats
    fall: Floats
    """What it deviated beyond the slack either way, summed up."""
    held: Counts
    """For how many samples it has been at another level."""
    bar: Floats
    peak: Floats
    """Beyond what it is unusual, which is raised when it was so before; the highest score of this alarm."""
    hot: Bits
    mild: Bits
    filled: Bits
    """Whether each of the last three samples was unusual, somewhat so, near a limit."""
    alarm: Flags
    drifting: Flags
    full: Flags
    centre: Floats
    roam: Floats
    """The mean over a long time, and how far from it the series is on average."""
    lean: Floats
    """The average score of the last samples."""
    most_lean: Floats
    most_outside: Floats
    """The highest there was of it, and of what lay outside the range of its hour; slowly forgotten."""
    rested: Counts
    """For how many samples nothing was novel."""

    @classmethod
    def empty(cls, size: int, kept: int) -> Self:
        """Return the state of so many series of which nothing is known."""
        last = np.full((kept, size), np.nan, np.float32)
        rest = fields(cls)[1:]
        return cls(last, *(np.zeros(size, TYPES[str(field.type)]) for field in rest))

    @property
    def bytes_each(self) -> int:
        """How much memory a series takes."""
        total = sum(int(getattr(self, field.name).nbytes) for field in fields(self))
        return total // max(1, self.count.size)

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
