"""The default watch: what is unusual of any series, by its own past, in one pass over all of them a tick.

Every series has a level and a scale that are followed sample by sample with bounded steps: stochastic approximations of the median, of the
median absolute deviation and of a high quantile of the deviations (Robbins and Monro 1951), so that an outlier moves them no further than
any other sample. They stand still while a series is unusual; what stays so is adopted as a new level in the end. Drift is found by
cumulative sums (Page 1954). State is a few numbers a series; nothing is kept of the past but the last samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.core.watching.nature import Natures
from engine.core.watching.seasons import Seasons
from engine.core.watching.state import Flags, Floats, State
from engine.core.watching.step import step
from engine.core.watching.tuning import Tuning

CHUNK: Final = 16384
"""So many series at a time, so that what is worked out in between stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the watch makes of one tick, per series (S,).

    `score` is how far a series is from its usual level in its usual spread, in its worse direction (0: as usual, or nothing known).
    `novelty` is how it compares with the highest score that it had, which is above 1 about once a series and day: no alarm by itself. `level`,
    `drift` and `full` say which alarms are on: another level, slow drift, saturation.
    """

    score: Floats
    novelty: Floats
    level: Flags
    drift: Flags
    full: Flags

    @property
    def alarm(self) -> Flags:
        """Whether any of them is on."""
        on: Flags = self.level | self.drift | self.full
        return on


class Watch:
    """Watches as many series as it has natures; `see` is called once a tick with a sample of each.

    Without `seasons`, hours of the day are not remembered, which halves the memory that a series takes.
    """

    def __init__(self, natures: Natures, tuning: Tuning | None = None, *, seasons: bool = True) -> None:
        self.natures = natures
        self.tuning = tuning or Tuning()
        self.state = State.empty(natures.size, self.tuning.kept)
        self.seasons = Seasons(natures.size) if seasons else None

    @property
    def size(self) -> int:
        """How many series are watched."""
        return self.natures.size

    @property
    def bytes_each(self) -> int:
        """How much memory a series takes."""
        hours = 0 if self.seasons is None else self.seasons.bytes_each
        return self.state.bytes_each + hours

    def see(self, values: npt.NDArray[np.floating], at: float = 0.0) -> Sight:
        """Return what these samples (S,), of the time `at` (seconds since the epoch), amount to, and learn from them.

        NaN stands for a sample that is missing, which alarms nobody.
        """
        score, ratio = np.empty(self.size, np.float32), np.empty(self.size, np.float32)
        if self.seasons is not None:
            self.seasons.turn(at)
        with np.errstate(all="ignore"):
            for begin in range(0, self.size, CHUNK):
                rows = slice(begin, begin + CHUNK)
                sample = values[rows].astype(np.float32)
                season = None if self.seasons is None else self.seasons.part(rows)
                score[rows], ratio[rows] = step(
                    self.state.part(rows), self.natures.part(rows), season, sample, self.tuning
                )
        state = self.state
        return Sight(score, ratio, state.alarm.copy(), state.drifting.copy(), state.full.copy())

    def add(self, natures: Natures) -> None:
        """Watch more series, behind those there are."""
        self.natures = self.natures.joined(natures)
        self.state = self.state.joined(State.empty(natures.size, self.tuning.kept))
        if self.seasons is not None:
            self.seasons.add(natures.size)

    def keep_only(self, rows: npt.NDArray[np.intp]) -> None:
        """Forget all series but those in these rows."""
        self.natures, self.state = self.natures.picked(rows), self.state.picked(rows)
        if self.seasons is not None:
            self.seasons.keep_only(rows)
