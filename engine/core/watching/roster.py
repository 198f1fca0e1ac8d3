"""The series that are watched, by their labels: they come and go, counters become rates, and what is in alarm is told with its labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from engine.core.watching.nature import Nature, Natures, limits_of, nature_of, part_of
from engine.core.watching.state import take
from engine.core.watching.tuning import Tuning
from engine.core.watching.watch import Sight, Watch
from engine.model.labels import METRIC_NAME, Labels

ANOMALY: Final = "mendbook_anomaly_score"
"""The series that tells of an alarm while it is on, with the labels of the one that it is about, its name as `metric` and the alarm's `kind`."""
GONE: Final = 300.0
"""Seconds after which a series without a sample is not told of any more: an instant selector would not find it either."""
FORGOTTEN: Final = 3 * 86_400.0
"""Seconds after which it is forgotten."""
FORMAT: Final = 2
"""Changes with what `arrays` returns, and with which series are counters: what another version wrote is not read."""

Arrays = Mapping[str, npt.NDArray[np.generic]]


class Kind(StrEnum):
    """What is unusual of a series: its level, that it drifts, that it comes near its limit."""

    LEVEL = "level"
    DRIFT = "drift"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A series that is in alarm; `score` is how many of its usual spreads it is off."""

    labels: Labels
    kind: Kind
    score: float


def bounds(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return what these samples say of how much there is in all; NaN where they say nothing: an end, no swap at all, no limit.

    The marker of a series' end is a NaN that signals, so it is not just cast.
    """
    said = (values > 0) & (values <= np.finfo(np.float32).max)
    return np.where(said, values, np.nan).astype(np.float32)


class Roster:
    """Watches whatever series it is shown; those whose name says that there is nothing to watch are passed over."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self.tuning = tuning
        self.watch = Watch(Natures.of(()), tuning)
        self.series: list[Labels] = []
        self._instances: dict[str, int] = {}
        self._instance = np.zeros(0, np.int64)
        self._counter = np.zeros(0, np.bool_)
        self._value = np.zeros(0)
        self._time = np.zeros(0, np.int64)
        self._rows: dict[Labels, int] = {}
        self._natures: dict[tuple[str, str], Nature | None] = {}
        self._limits: dict[str, tuple[tuple[str, bool], ...]] = {}
        # the rows of what is used, and of what is left, and of the series that say how much there is in all
        self._limited: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)] * 2
        self._limiting: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)] * 2
        self._shown: tuple[Labels, ...] = ()
        self._shown_rows: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def see(
        self, series: tuple[Labels, ...], times: npt.NDArray[np.int64], values: npt.NDArray[np.float64], at: float
    ) -> Sight:
        """Return what the newest samples (times in milliseconds) of these series amount to at `at` (seconds).

        A sample that was seen before is no new one. Of a series that is not among them there is none.
        """
        rows = self._rows_of(series)
        watched = rows >= 0
        if not watched.all():
            rows, times, values = rows[watched], times[watched], values[watched]
        self._time[self._time > (at + GONE) * 1000] = 0  # the clock was set back: they would be blind until it is there
        new = times > self._time[rows]
        rows, times, values = rows[new], times[new], values[new]
        sample, natures = np.full(len(self.series), np.nan), self.watch.natures
        sample[rows] = np.where(self._counter[rows], self._rate(rows, times, values), values)
        self._value[rows], self._time[rows] = values, times
        for of, limits, kept in zip(self._limited, self._limiting, (natures.limit, natures.whole), strict=True):
            kept[of] = bounds(self._value[limits])
        return self.watch.see(sample, at)

    def anomalies(self, sight: Sight, at: float, most: int) -> tuple[Anomaly, ...]:
        """Return at most so many of the series that are in alarm and not gone, the most unusual first."""
        here = self._time > (at - GONE) * 1000
        kinds = ((Kind.LEVEL, sight.level), (Kind.DRIFT, sight.drift), (Kind.FULL, sight.full))
        found = [
            (float(sight.score[row]), kind, row)
            for kind, flags in kinds
            for row in np.flatnonzero(flags & here).tolist()
        ]
        found.sort(key=lambda each: (-each[0], each[2], each[1]))
        return tuple(Anomaly(self.series[row], kind, score) for score, kind, row in found[:most])

    def by_instance(self, sight: Sight, at: float) -> dict[str, int]:
        """Return how many series of each instance are in alarm: 0 for those that have series and none in alarm."""
        here = self._time > (at - GONE) * 1000
        known = np.bincount(self._instance[here], minlength=len(self._instances))
        unusual = np.bincount(self._instance[here & sight.alarm], minlength=len(self._instances))
        return {name: int(unusual[number]) for name, number in self._instances.items() if name and known[number]}

    def forget(self, at: float) -> int:
        """Forget the series that have had no sample for days; return how many those were."""
        keep = np.flatnonzero(self._time > (at - FORGOTTEN) * 1000)
        gone = len(self.series) - len(keep)
        if gone:
            self.watch.keep_only(keep)
            self._counter, self._value, self._time = self._counter[keep], self._value[keep], self._time[keep]
            self._instance = self._instance[keep]
            self.series = [self.series[row] for row in keep.tolist()]
            self._rows = {labels: row for row, labels in enumerate(self.series)}
            self._find_limits()
            self._shown = ()
        return gone

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return all that is known, as arrays of plain numbers, to be given to `restored` after a restart."""
        names = json.dumps([labels.pairs for labels in self.series]).encode()
        own = {"format": np.array(FORMAT), "series": np.frombuffer(names, np.uint8)}
        state = {f"state {field.name}": getattr(self.watch.state, field.name) for field in fields(self.watch.state)}
        hours = self.watch.seasons.arrays() if self.watch.seasons is not None else {}
        return {**own, "value": self._value, "time": self._time, **state, **{f"hours {k}": v for k, v in hours.items()}}

    @classmethod
    def restored(cls, arrays: Arrays, tuning: Tuning | None = None) -> Self:
        """Return the roster whose `arrays` these are. Raises ValueError or KeyError where they are another version's, or torn."""
        roster = cls(tuning)
        if arrays["format"].tolist() != FORMAT:
            raise ValueError("another version wrote this")
        pairs = json.loads(arrays["series"].tobytes())
        roster._rows_of(tuple(Labels((str(name), str(value)) for name, value in each) for each in pairs))
        if len(roster.series) != len(pairs):
            raise ValueError("some of these series are not watched any more")
        state = roster.watch.state
        for field in fields(state):
            take(getattr(state, field.name), arrays[f"state {field.name}"])
        take(roster._value, arrays["value"])
        take(roster._time, arrays["time"])
        if roster.watch.seasons is not None:
            hours = {name.removeprefix("hours "): each for name, each in arrays.items() if name.startswith("hours ")}
            roster.watch.seasons.restore(hours)
        return roster

    def _rate(
        self, rows: npt.NDArray[np.int64], times: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return by how much a second counters grew since their last sample; NaN for the first one, and where they began anew."""
        with np.errstate(all="ignore"):
            grown = values - self._value[rows]
        seconds = (times - self._time[rows]) / 1000
        return np.where((grown >= 0) & (self._time[rows] > 0) & (seconds < GONE), grown / seconds, np.nan)

    def _rows_of(self, series: tuple[Labels, ...]) -> npt.NDArray[np.int64]:
        """Return the row of each series, -1 for those that are not watched; new ones get a row."""
        if series is self._shown or series == self._shown:
            return self._shown_rows
        new = list(self._new(series))
        if new:
            self.watch.add(Natures.of(nature for _, nature in new))
            for labels, _ in new:
                self._rows[labels] = len(self.series)
                self.series.append(labels)
            self._counter = np.concatenate([self._counter, [nature.counter for _, nature in new]])
            instances = (labels.get("instance", "") for labels, _ in new)
            numbers = [self._instances.setdefault(name, len(self._instances)) for name in instances]
            self._instance = np.concatenate([self._instance, np.array(numbers, np.int64)])
            self._value = np.concatenate([self._value, np.zeros(len(new))])
            self._time = np.concatenate([self._time, np.zeros(len(new), np.int64)])
            self._find_limits()
        self._shown_rows = np.array([self._rows.get(labels, -1) for labels in series], np.int64)
        self._shown = series
        return self._shown_rows

    def _find_limits(self) -> None:
        """Find for each series the one with the same labels whose name says that it is how much there is in all."""
        pairs: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for row, labels in enumerate(self.series):
            for name, left in self._limits_of(labels[METRIC_NAME]):
                limit = self._rows.get(labels.with_({METRIC_NAME: name}))
                if limit is not None:
                    pairs[left].append((row, limit))
        for place, found in enumerate(pairs):
            rows = np.array(found, np.int64).reshape(-1, 2)
            self._limited[place], self._limiting[place] = rows[:, 0], rows[:, 1]

    def _limits_of(self, name: str) -> tuple[tuple[str, bool], ...]:
        if name not in self._limits:
            self._limits[name] = tuple(limits_of(name))
        return self._limits[name]

    def _new(self, series: tuple[Labels, ...]) -> Iterator[tuple[Labels, Nature]]:
        """Yield the series that are not known and are to be watched."""
        for labels in series:
            if labels not in self._rows:
                kind = labels.get(METRIC_NAME, ""), part_of(labels)
                if kind not in self._natures:
                    self._natures[kind] = nature_of(*kind)
                nature = self._natures[kind]
                if nature is not None:
                    yield labels, nature
