"""When it began: the change point of a series, and when a detector would have said so."""

from __future__ import annotations

import numpy as np

from engine.core.rca.reference import Reference, sustained
from engine.core.rca.scene import Scene
from engine.core.rca.signals import Frame

MOST = 0.5
"""Series count whose shift is at least this share of the largest."""
CLIP = 10.0
"""Shifts beyond this many scales say no more about when than this."""
LEAST = 1.0
"""Series that shifted by less than this many scales say nothing about when."""
ALARM = 3.0
"""The detector alarms where what lasts is at least so many scales from usual, for as many samples as it takes to last."""


def onset(usual: Reference, recent: Frame, columns: np.ndarray | None = None) -> float | None:
    """Return the time of the first row of `recent` that belongs to the trouble; None when no series shifted.

    For each series that shifted most: the row after which the sum of (shift - half of its peak) only grows until the peak, which is the maximum
    likelihood estimate of a step's place (Page's CUSUM, 1954, read backwards). The trouble begins with the earliest of them.
    """
    if not len(recent.times):
        return None
    signs = np.array([signal.sign for signal in recent.signals], dtype=float)
    shifts = np.nan_to_num(np.clip(usual.shift(recent.values) * signs, -CLIP, CLIP))
    held = np.nan_to_num(np.clip(usual.shift(sustained(recent.values, 2)) * signs, -CLIP, CLIP))
    peaks = held.max(axis=0)
    if columns is not None:
        peaks = np.where(columns, peaks, 0.0)
    best = float(peaks.max(initial=0.0))
    if best <= LEAST:
        return None
    chosen = np.flatnonzero(peaks >= MOST * best)
    first = min(began(shifts[:, column], float(peaks[column]), int(held[:, column].argmax())) for column in chosen)
    return float(recent.times[first])


def began(shifts: np.ndarray, peak: float, at: int) -> int:
    """Return the row in 0..at from which the series stays nearer to its peak than to its usual level, however far off it was before."""
    sums = np.concatenate([[0.0], np.cumsum(np.clip(shifts[: at + 1], -peak, peak) - peak / 2)])
    return min(int(np.flatnonzero(sums == sums.min())[-1]), at)


def alarmed(seen: Scene, columns: np.ndarray, first: float) -> float | None:
    """Return the time from `first` on at which a detector on these columns would have alarmed; None when it would not."""
    held = np.fmax.reduce(seen.shifts[:, columns], axis=1, initial=-np.inf)
    rows = np.flatnonzero((seen.now.times >= first) & (held >= ALARM))
    return float(seen.now.times[rows[0]]) if len(rows) else None
