"""The score of the Numenta Anomaly Benchmark, standard profile, from its published rule (Lavin and Ahmad 2015).

Every alarm weighs by where it lies. In a window of an anomaly only the best one counts: 1 at the window's begin, falling by a sigmoid to 0 at its end.
Outside it costs: next to nothing just behind a window, up to 0.11 further off. A window without an alarm costs 1. The first
15 % of a file (of at most 5,000 samples) are for learning and do not count. The sum is told between that of no alarm at all (0) and that of
one at the begin of each window and no other (100).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TRUE, FALSE, MISSED = 1.0, 0.11, 1.0
LEARNING, LONGEST = 0.15, 5000


@dataclass(frozen=True, slots=True)
class Stream:
    """One file: `times` (T,) and `values` (T,), and the (first, last) times of its anomalies."""

    times: np.ndarray
    values: np.ndarray
    windows: tuple[tuple[float, float], ...]

    @property
    def learning(self) -> int:
        """How many samples do not count."""
        return int(LEARNING * min(len(self.times), LONGEST))


def sigmoid(position: np.ndarray) -> np.ndarray:
    """Return the worth of an alarm at a place: -1 at the begin of a window is nearly 1, 0 is its end, above that negative."""
    worth: np.ndarray = np.where(position > 3, -1.0, 2 / (1 + np.exp(5 * np.minimum(position, 3.0))) - 1)
    return worth


def weights(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Return for each sample what an alarm there is worth, and the number of the window that it lies in (-1 for none)."""
    worth = np.full(len(stream.times), -FALSE)
    window = np.full(len(stream.times), -1)
    spans = [
        (int(np.searchsorted(stream.times, begin)), int(np.searchsorted(stream.times, end, "right")) - 1)
        for begin, end in stream.windows
    ]
    for number, (first, last) in enumerate(spans):
        inside = np.arange(first, last + 1)
        worth[inside] = TRUE * sigmoid(-(last - inside + 1) / (last - first + 1)) / sigmoid(np.array(-1.0))
        window[inside] = number
        until = spans[number + 1][0] if number + 1 < len(spans) else len(worth)
        behind = np.arange(last + 1, until)
        worth[behind] = FALSE * sigmoid((behind - last) / max(last - first, 1))
    return worth, window


def at_threshold(streams: Mapping[str, Stream], scores: Mapping[str, np.ndarray], threshold: float) -> float:
    """Return the score of alarms wherever a detector's score reaches `threshold`."""
    total, windows = 0.0, 0
    for name, stream in streams.items():
        worth, window = weights(stream)
        hits = np.flatnonzero(scores[name] >= threshold)
        hits = hits[hits >= stream.learning]
        total += float(worth[hits[window[hits] < 0]].sum())
        for number in range(len(stream.windows)):
            total += float(max(worth[hits[window[hits] == number]], default=-MISSED))
        windows += len(stream.windows)
    return normalised(total, windows)


def normalised(total: float, windows: int) -> float:
    """Return a sum between that of no alarm (0) and that of perfect ones (100)."""
    return 100 * (total + MISSED * windows) / ((TRUE + MISSED) * windows)


def optimised(streams: Mapping[str, Stream], scores: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return the best score over all thresholds that are the same for the whole corpus, and that threshold, as NAB has it."""
    score, worth, window = (np.concatenate(each) for each in zip(*_columns(streams, scores), strict=True))
    count = sum(len(stream.windows) for stream in streams.values())
    order = np.argsort(-score, kind="stable")
    total, best, found = -MISSED * count, (-MISSED * count, math.inf), np.full(count, -MISSED)
    for place, index in enumerate(order.tolist()):
        if not score[index] > 0:
            break
        number = window[index]
        if number < 0:
            total += worth[index]
        elif worth[index] > found[number]:
            total += worth[index] - found[number]
            found[number] = worth[index]
        last_of_its_score = place + 1 == len(order) or score[order[place + 1]] < score[index]
        if last_of_its_score and total > best[0]:
            best = (float(total), float(score[index]))
    return normalised(best[0], count), best[1]


def _columns(
    streams: Mapping[str, Stream], scores: Mapping[str, np.ndarray]
) -> Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return score, worth and window of the samples that count, windows numbered through all files."""
    columns, before = [], 0
    for name, stream in streams.items():
        worth, window = weights(stream)
        own = np.where(window >= 0, window + before, -1)
        columns.append((scores[name][stream.learning :], worth[stream.learning :], own[stream.learning :]))
        before += len(stream.windows)
    return columns
