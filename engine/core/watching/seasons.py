"""What is usual at this hour: between which values a series lies in each hour of working days and of weekends.

Backups at night and quiet Sundays are no trouble. The range of an hour goes most of the way to whatever lies outside it,
and a smaller part of the way back on each narrower day. Hours are those of UTC. Neighbouring hours count too: what comes at three today may come at two tomorrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.core.watching.state import Flags, Floats, take

HOURS: Final = 24
WIDTH: Final = 3600
SATURDAY: Final = 5
SEEN_AT_MOST: Final = 250
LASTING: Final = ("_low", "_high", "_seen")
ARRAYS: Final = (*LASTING, "_fresh_low", "_fresh_high", "low", "high", "known")


@dataclass(frozen=True, slots=True)
class Season:
    """What is usual for some series at this hour (views): between `low` and `high` where it is `known`; what is kept goes to `fresh`."""

    low: Floats
    high: Floats
    known: Flags
    fresh_low: Floats
    fresh_high: Floats

    def outside(self, sample: Floats) -> Floats:
        """Return by how much samples lie outside the range of this hour, in their own unit; 0 where that is not known."""
        beyond = np.maximum(self.low - sample, sample - self.high)
        outside: Floats = np.where(self.known & (beyond > 0), beyond, np.float32(0))
        return outside

    def keep(self, sample: Floats, usable: Flags) -> None:
        """Widen this hour by the samples that are usable."""
        usual = np.where(usable, sample, np.float32(np.nan))
        np.fmin(self.fresh_low, usual, out=self.fresh_low)
        np.fmax(self.fresh_high, usual, out=self.fresh_high)


class Seasons:
    """The ranges of as many series as given.

    `days` is on how many earlier days an hour has to be seen to be known; `learn` the part of the way that a range goes to what lay outside it (so
    that one bad day is not usual on the next), `forget` the part that it goes back towards a narrower day.
    """

    def __init__(self, size: int, days: int = 2, learn: float = 0.7, forget: float = 0.3) -> None:
        self.days = days
        self.learn = learn
        self.forget = forget
        self._low = np.full((2 * HOURS, size), np.inf, np.float32)
        self._high = np.full((2 * HOURS, size), -np.inf, np.float32)
        self._seen = np.zeros((2 * HOURS, size), np.uint8)
        self._slot: int | None = None
        self._start_of_hour = 0.0
        self._fresh_low = np.full(size, np.inf, np.float32)
        self._fresh_high = np.full(size, -np.inf, np.float32)
        self.low = np.full(size, -np.inf, np.float32)
        self.high = np.full(size, np.inf, np.float32)
        self.known = np.zeros(size, np.bool_)

    @property
    def bytes_each(self) -> int:
        """How much memory a series takes."""
        return sum(int(getattr(self, name).nbytes) for name in ARRAYS) // max(1, self.known.size)

    def turn(self, at: float) -> None:
        """Be told the time (seconds since the epoch) before the samples of it: with a new hour, `low`, `high` and `known` are other ones."""
        if self._slot is not None and 0 <= at - self._start_of_hour < WIDTH:
            return
        ended = self._slot
        moment = datetime.fromtimestamp(at, UTC)
        self._start_of_hour = at - at % WIDTH
        self._slot = int(at % 86400 // WIDTH) + HOURS * (moment.weekday() >= SATURDAY)
        self._look(self._slot)  # before: what this day's last hour was like shall not excuse this one
        if ended is not None:
            self._merge(ended)

    def part(self, rows: slice) -> Season:
        """Return this hour of some series."""
        return Season(self.low[rows], self.high[rows], self.known[rows], self._fresh_low[rows], self._fresh_high[rows])

    def keep_only(self, rows: npt.NDArray[np.intp]) -> None:
        """Forget all series but those in these rows."""
        for name in ARRAYS:
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[..., rows]))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what is known of hours that are over, to be given to `restore` after a restart; an hour that goes on begins anew."""
        return {name: getattr(self, name) for name in LASTING}

    def restore(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Take up what `arrays` returned, of as many series. Raises KeyError or ValueError for anything else."""
        for name in LASTING:
            take(getattr(self, name), arrays[name])

    def add(self, count: int) -> None:
        """Know so many series more, behind those there are."""
        more = Seasons(count)
        for name in ARRAYS:
            setattr(self, name, np.concatenate([getattr(self, name), getattr(more, name)], axis=-1))

    def _merge(self, slot: int) -> None:
        """Take what was seen in the hour that ends into its range."""
        fresh = np.isfinite(self._fresh_low)
        low, high = self._low[slot], self._high[slot]
        first = self._seen[slot] == 0
        with np.errstate(invalid="ignore"):
            for bound, seen, wider in ((low, self._fresh_low, np.less), (high, self._fresh_high, np.greater)):
                part = np.where(first, 1, np.where(wider(seen, bound), self.learn, self.forget))
                bound[fresh] = np.where(first, seen, bound + part * (seen - bound))[fresh]
        self._seen[slot] += fresh & (self._seen[slot] < SEEN_AT_MOST)
        self._fresh_low.fill(np.inf)
        self._fresh_high.fill(-np.inf)

    def _look(self, slot: int) -> None:
        """Find the ranges of this hour, its neighbours' joined."""
        table, hour = slot // HOURS * HOURS, slot % HOURS
        near = [table + (hour + step) % HOURS for step in (-1, 0, 1)]
        self.low = np.minimum.reduce([self._low[each] for each in near])
        self.high = np.maximum.reduce([self._high[each] for each in near])
        self.known = self._seen[slot] >= self.days
