"""Whether a series does what it never did: a score that is compared with the highest there was of it.

Spreads mislead where a series is wild by nature: what is ten spreads off every day is none of anybody's business. So two figures of each
series, how far it has been off on average of late and how far it lies outside the range of its hour, are held against their own records. A
record grows by a bounded step a sample, or one great trouble would hide all smaller ones after it, and is slowly forgotten.
"""

from __future__ import annotations

import numpy as np

from engine.core.watching.state import Flags, Floats, State
from engine.core.watching.tuning import Tuning


def novelty(state: State, sample: Floats, score: Floats, outside: Floats, known: Flags, tuning: Tuning) -> Floats:
    """Return the ratio of each series to its record (above `tuning.novel`: it does what it never did), and learn from it; 0 while it rests."""
    one = known.astype(np.float32)
    gain = one / np.minimum(state.count, np.float32(tuning.long))
    away = np.where(known, sample - state.centre, 0)
    state.roam += gain * (np.abs(away) - state.roam)
    state.centre += gain * away
    state.lean += one / np.float32(tuning.kept) * (np.minimum(score, tuning.most) - state.lean)
    beyond = outside / np.maximum(np.maximum(state.roam, 0.02 * np.abs(state.centre)), np.float32(1e-30))
    np.maximum(state.most_lean, 1, out=state.most_lean)
    np.maximum(state.most_outside, 1, out=state.most_outside)
    ratio: Floats = np.maximum(state.lean / state.most_lean, beyond / state.most_outside)
    young = state.count < tuning.childhood
    ratio[young | (state.rested < tuning.rest) | ~known] = 0
    state.rested += known
    state.rested[ratio >= tuning.novel] = 0
    growth = np.where(young, np.float32(np.inf), np.float32(tuning.growth))
    keep = np.float32(0.5 ** (1 / tuning.half_life))
    for most, now in ((state.most_lean, state.lean), (state.most_outside, beyond)):
        most[:] = np.maximum(most * np.where(known, keep, 1), np.minimum(now, most * growth))
    return ratio
