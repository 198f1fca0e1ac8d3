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
from engine.core.watching.state import State
from engine.core.watching.tuning import Tuning

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

CHUNK: Final = 8192
"""So many series at a time, so that what is worked out in between stays in the processor's cache."""
LAST: Final = 7
"""The bits of the last three samples."""
TINY: Final = np.float32(1e-30)
TWO_OF_THREE: Final = np.array([False, False, False, True, False, True, True, True])
"""Whether at least two of the three samples that the bits stand for were so."""
TAILED: Final = np.float32(0.98)
"""The part of deviations that is smaller than `tail` times `TAIL`."""
MEDIAN: Final = np.float32(0.6745)
"""Half of what is normally distributed deviates by less than so many standard deviations, 98 % of it by less than `TAIL`."""
TAIL: Final = np.float32(2.33)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the watch makes of one tick, per series (S,).

    `score` is how far a series is from its usual level in its usual spread, in its worse direction (0: as usual, or nothing known).
    `level`, `drift` and `full` say which alarms are on: another level, slow drift, saturation.
    """

    score: Floats
    level: Flags
    drift: Flags
    full: Flags

    @property
    def alarm(self) -> Flags:
        """Whether any of them is on."""
        on: Flags = self.level | self.drift | self.full
        return on


class Watch:
    """Watches as many series as it has natures; `see` is called once a tick with a sample of each."""

    def __init__(self, natures: Natures, tuning: Tuning | None = None) -> None:
        self.natures = natures
        self.tuning = tuning or Tuning()
        self.state = State.empty(natures.size, self.tuning.kept)

    @property
    def size(self) -> int:
        """How many series are watched."""
        return self.natures.size

    def see(self, values: npt.NDArray[np.floating]) -> Sight:
        """Return what these samples (S,) amount to, and learn from them; NaN where there is none, which alarms nobody."""
        score = np.empty(self.size, np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            for begin in range(0, self.size, CHUNK):
                rows = slice(begin, begin + CHUNK)
                sample = values[rows].astype(np.float32)
                score[rows] = _step(self.state.part(rows), self.natures.part(rows), sample, self.tuning)
        state = self.state
        return Sight(score, state.alarm.copy(), state.drifting.copy(), state.full.copy())

    def add(self, natures: Natures) -> None:
        """Watch more series, behind those there are."""
        self.natures = self.natures.joined(natures)
        self.state = self.state.joined(State.empty(natures.size, self.tuning.kept))


def _step(state: State, natures: Natures, sample: Floats, tuning: Tuning) -> Floats:
    """Return the score of each series, having judged its sample and then learned from it."""
    known = np.isfinite(sample)
    sample[~known] = np.nan
    mature = state.learned > 0
    size = np.abs(state.level)
    size *= natures.relative * np.float32(tuning.share)
    least = np.maximum(size, natures.floor)
    least += TINY
    scale = np.maximum(np.maximum(state.spread, state.tail), least)
    scale *= 1 + tuning.doubt / np.maximum(state.learned, 1)
    away = sample - state.level
    shift = away / scale
    shift *= mature
    worse = np.fmax(np.fmax(shift * natures.up, shift * -natures.down), 0)
    _judge(state, natures, sample, worse, known, tuning)
    learning = known & mature & ~state.alarm
    _drift(state, natures, np.where(learning, shift, 0), tuning)
    _learn(state, np.where(learning, away, 0), learning, least, scale, tuning)
    _keep(state, sample, known, tuning)
    state.held += known
    state.held[np.abs(shift) <= tuning.threshold] = 0
    _adopt(state, least, tuning)
    return worse


def _judge(state: State, natures: Natures, sample: Floats, worse: Floats, known: Flags, tuning: Tuning) -> None:
    """Let alarms begin and end: two of three samples begin one, three in a row that are well end it; a missing sample does neither."""
    hot = worse > tuning.threshold
    state.hot[:] = np.where(known, (state.hot << 1 | hot) & LAST, state.hot)
    state.mild[:] = np.where(known, (state.mild << 1 | (worse > tuning.release)) & LAST, state.mild)
    state.alarm[:] = np.where(state.alarm, state.mild != 0, TWO_OF_THREE[state.hot] & hot)
    # what is often near its limit is meant to be there
    limit = natures.limit * np.where(state.full, 1 - 1.5 * tuning.headroom, 1 - tuning.headroom)
    near = (sample >= limit) & ((worse > 1) | (state.learned < tuning.kept))
    state.filled[:] = np.where(known, (state.filled << 1 | near) & LAST, state.filled)
    state.full[:] = np.where(state.full, state.filled != 0, TWO_OF_THREE[state.filled] & near)


def _drift(state: State, natures: Natures, shift: Floats, tuning: Tuning) -> None:
    """Sum up what deviates beyond the slack, either way; what is off by more than three spreads counts as three."""
    bounded = np.clip(shift, -3, 3)
    most = tuning.drift
    state.rise += bounded
    state.rise -= tuning.slack
    np.clip(state.rise, 0, most, out=state.rise)
    state.fall -= bounded
    state.fall -= tuning.slack
    np.clip(state.fall, 0, most, out=state.fall)
    worst = np.maximum(state.rise * natures.up, state.fall * natures.down)
    state.drifting[:] = worst >= np.where(state.drifting, 0.75 * tuning.drift, tuning.drift)


def _learn(state: State, away: Floats, learning: Flags, least: Floats, scale: Floats, tuning: Tuning) -> None:
    """Move level, spread and tail by a bounded step; the first samples count for more."""
    gain = np.maximum(np.float32(1 / tuning.memory), 1 / np.maximum(state.learned, 1))
    gain *= learning
    state.learned += learning
    most = tuning.threshold * scale
    state.level += gain * np.clip(away, -most, most)
    size = np.abs(away)
    state.spread *= 1 + gain * np.where(size > MEDIAN * state.spread, np.float32(1), np.float32(-1))
    state.tail *= 1 + 4 * gain * np.where(size > TAIL * state.tail, TAILED, TAILED - 1)
    # what shrank to nothing could not grow again
    np.maximum(state.spread, 0.02 * least, out=state.spread)
    np.maximum(state.tail, 0.02 * least, out=state.tail)


def _keep(state: State, sample: Floats, known: Flags, tuning: Tuning) -> None:
    """Keep the sample beside the last ones."""
    place = state.count % tuning.kept
    columns = np.arange(sample.size)
    if known.all():
        state.last[place, columns] = sample
    else:
        state.last[place[known], columns[known]] = sample[known]
    state.count += known


def _adopt(state: State, least: Floats, tuning: Tuning) -> None:
    """Take the level and spread of the last samples where a series has just enough of them, or stays at another level."""
    patience = np.where(state.alarm & (state.learned >= tuning.kept), tuning.adopt, tuning.relax)
    due = np.flatnonzero((state.held >= patience) | ((state.learned == 0) & (state.count >= tuning.warm)))
    if not due.size:
        return
    last = state.last[:, due]
    level = np.nanmedian(last, axis=0)
    state.level[due] = level
    spread = np.maximum(np.nanmedian(np.abs(last - level), axis=0) / MEDIAN, least[due] * 0.02)
    state.spread[due] = spread
    state.tail[due] = np.maximum((np.nanmax(last, axis=0) - np.nanmin(last, axis=0)) / 4, spread)
    state.learned[due] = np.minimum(state.count[due], tuning.kept)
    for bits in (state.hot, state.mild, state.held):
        bits[due] = 0
    state.alarm[due] = False
    state.rise[due] = state.fall[due] = 0
