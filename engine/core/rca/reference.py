"""What is usual for a series, robustly: its level, and how far from it is nothing special."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

NORMAL = 1.4826
"""The median absolute deviation of a normal distribution, times this, is its standard deviation (Hampel 1974)."""
SHARE = 0.1
"""A change of less than this share of the usual level is nothing special, however still a series was."""
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Reference:
    """Per series (S,): `level` and `scale` in the series' own unit, and the number of `samples` they rest on."""

    level: np.ndarray
    scale: np.ndarray
    samples: np.ndarray

    def shift(self, values: np.ndarray) -> np.ndarray:
        """Return how far `values` (…, S) are from usual, in scales."""
        shifts: np.ndarray = (values - self.level) / self.scale
        return shifts


def reference(values: np.ndarray, floor: np.ndarray | float = 0.0) -> Reference:
    """Return what is usual for each column of `values` (T, S), NaN where there is none.

    The scale is the largest of: the deviation by the median absolute deviation; half of the distance between the 95th percentile (and the 5th) and the
    median, so that a series which spikes by nature is not called unusual for it; a tenth of the level; `floor`.
    """
    count = np.sum(np.isfinite(values), axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without samples has no level: NaN says so
        level = np.nanmedian(values, axis=0)
        spread = NORMAL * np.nanmedian(np.abs(values - level), axis=0)
        low, high = np.nanquantile(values, (0.05, 0.95), axis=0)
    tail = np.maximum(high - level, level - low) / 1.645
    scale = np.maximum.reduce([spread, tail, SHARE * np.abs(level), np.broadcast_to(floor, level.shape)]) + TINY
    return Reference(level, scale, count)


def sustained(values: np.ndarray, width: int = 3) -> np.ndarray:
    """Return the running median of `width` samples ending at each row (T, S): a single peak does not move it."""
    if len(values) == 0:
        return values
    width = min(width, len(values))
    padded = np.vstack([np.full((width - 1, values.shape[1]), np.nan), values])
    windows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        medians: np.ndarray = np.nanmedian(windows, axis=-1)
    return medians
