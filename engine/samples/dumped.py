"""Samples that were recorded elsewhere, held in memory: what expressions are asked over instead of a store."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from engine.model.labels import Labels
from engine.promql.block import Block, Matcher, Times, Values
from engine.samples.index import Index


class Dumped:
    """Series with their samples, in whatever order these came; of two of a series with the same time the first stays."""

    def __init__(self, lines: Iterable[tuple[Labels, int, float]]) -> None:
        """Take in series, times (milliseconds) and values."""
        self._index = Index()
        rows: dict[int, tuple[array[int], array[float]]] = {}
        for labels, time, value in lines:
            number = self._index.ids.get(labels)
            if number is None:
                number = self._index.add(labels)
                rows[number] = array("q"), array("d")
            times, values = rows[number]
            times.append(time)
            values.append(value)
        self._rows = {number: in_order(*row) for number, row in rows.items()}

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return the samples with start < time <= end of every series that all matchers admit."""
        found = self._index.find(matchers)
        series: list[Labels] = []
        counts, pieces = [0], [(np.zeros(0, np.int64), np.zeros(0))]
        for labels, number in zip(found.series, found.ids.tolist(), strict=True):
            times, values = self._rows[number]
            low, high = np.searchsorted(times, (start, end), side="right").tolist()
            if high > low:
                series.append(labels)
                counts.append(high - low)
                pieces.append((times[low:high], values[low:high]))
        times, values = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return Block(tuple(series), np.cumsum(counts), times, values)

    def pace(self) -> float:
        """Return how many seconds the samples of a series are apart: the median of a series, and half of all series' are shorter."""
        gaps = [float(np.median(np.diff(times))) for times, _ in self._rows.values() if len(times) > 1]
        return float(np.median(gaps)) / 1000 if gaps else 0.0

    def oldest(self) -> float | None:
        """Return the time of the oldest sample in seconds; None when there is none."""
        return min((int(times[0]) for times, _ in self._rows.values()), default=0) / 1000 if self._rows else None

    def newest(self) -> float | None:
        """Return the time of the newest sample in seconds; None when there is none."""
        return max((int(times[-1]) for times, _ in self._rows.values()), default=0) / 1000 if self._rows else None


def in_order(times: array[int], values: array[float]) -> tuple[Times, Values]:
    """Return samples with ascending times, each of them once."""
    moments, first = np.unique(np.frombuffer(times, np.int64), return_index=True)
    return moments, np.frombuffer(values, np.float64)[first]
