"""One tick of the default watch: judge the samples of some series, then learn from them."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.watching.nature import Natures
from engine.core.watching.novelty import novelty
from engine.core.watching.seasons import Season
from engine.core.watching.state import Flags, Floats, State
from engine.core.watching.tuning import Tuning

MOST: Final = np.float32(1000)
"""No score is higher."""
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


def step(
    state: State, natures: Natures, season: Season | None, sample: Floats, tuning: Tuning
) -> tuple[Floats, Floats]:
    """Return the score and the novelty of each series, having judged its sample and then learned from it."""
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
    worse: Floats = np.minimum(np.fmax(np.fmax(shift * natures.up, shift * -natures.down), 0), MOST)
    outside = np.zeros_like(worse)
    if season is not None:
        outside = season.outside(sample)
        # what is usual at this hour is no trouble, however sudden it comes
        np.minimum(worse, np.where(season.known & (outside <= scale), np.float32(1), MOST), out=worse)
    state.count += known
    ratio = novelty(state, sample, worse, outside, known, tuning)
    _judge(state, natures, sample, worse, known, tuning)
    learning = known & mature & ~state.alarm
    _drift(state, natures, np.where(learning, shift, 0), tuning)
    _learn(state, np.where(learning, away, 0), learning, least, scale, tuning)
    if season is not None:
        season.keep(sample, known)
    _keep(state, sample, known, tuning)
    state.held += known
    state.held[(np.abs(shift) <= tuning.threshold) & ~state.drifting] = 0
    _adopt(state, least, tuning)
    return worse, ratio


def _judge(state: State, natures: Natures, sample: Floats, worse: Floats, known: Flags, tuning: Tuning) -> None:
    """Let alarms begin and end: two of three samples begin one, three in a row that are well end it; a missing sample does neither."""
    bar = np.maximum(state.bar, tuning.threshold)
    hot = worse > bar
    state.hot[:] = np.where(known, (state.hot << 1 | hot) & LAST, state.hot)
    state.mild[:] = np.where(known, (state.mild << 1 | (worse > tuning.release)) & LAST, state.mild)
    before = state.alarm.copy()
    state.alarm[:] = np.where(before, state.mild != 0, TWO_OF_THREE[state.hot] & hot)
    _get_used(state, bar, worse, before, known, tuning)
    # what is often near its limit is meant to be there
    room = np.where(state.full, np.float32(1.5 * tuning.headroom), np.float32(tuning.headroom))
    near = (sample >= natures.limit * (1 - room)) | (sample <= natures.whole * room)
    near &= (worse > 1) | (state.learned < tuning.kept)
    state.filled[:] = np.where(known, (state.filled << 1 | near) & LAST, state.filled)
    state.full[:] = np.where(state.full, state.filled != 0, TWO_OF_THREE[state.filled] & near)


def _get_used(state: State, bar: Floats, worse: Floats, before: Flags, known: Flags, tuning: Tuning) -> None:
    """Raise the bar where an alarm ended, up to what it was about: who cries wolf every night is heard less."""
    np.maximum(state.peak, worse * state.alarm, out=state.peak)
    ended = before & ~state.alarm
    raised = np.maximum(np.minimum(bar * tuning.habit, state.peak), bar)
    state.bar[:] = np.where(ended, raised, bar * np.where(known, np.float32(0.5 ** (1 / tuning.half_life)), 1))
    state.peak[ended] = 0


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
    place = (state.count - 1) % tuning.kept
    columns = np.arange(sample.size)
    if known.all():
        state.last[place, columns] = sample
    else:
        state.last[place[known], columns[known]] = sample[known]


def _adopt(state: State, least: Floats, tuning: Tuning) -> None:
    """Take the level and spread of the last samples where a series has just enough of them, or stays at another level."""
    patience = np.where((state.alarm & (state.learned >= tuning.kept)) | state.drifting, tuning.adopt, tuning.relax)
    due = np.flatnonzero((state.held >= patience) | ((state.learned == 0) & (state.count >= tuning.warm)))
    if not due.size:
        return
    last = state.last[:, due]
    level = _median(last)
    state.level[due] = level
    spread = np.maximum(_median(np.abs(last - level)) / MEDIAN, least[due] * 0.02)
    state.spread[due] = spread
    state.tail[due] = np.maximum((np.nanmax(last, axis=0) - np.nanmin(last, axis=0)) / 4, spread)
    state.learned[due] = np.minimum(state.count[due], tuning.kept)
    for bits in (state.hot, state.mild, state.held):
        bits[due] = 0
    state.alarm[due] = False
    state.rise[due] = state.fall[due] = 0


def _median(samples: Floats) -> Floats:
    """Return the median of each column, NaN left out; quicker than numpy's where columns are many and short."""
    ordered = np.sort(samples, axis=0)  # NaN comes last
    count = np.isfinite(samples).sum(axis=0)
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    columns = np.arange(samples.shape[1])
    middle: Floats = (ordered[low, columns] + ordered[np.minimum(high, len(samples) - 1), columns]) / 2
    return middle
