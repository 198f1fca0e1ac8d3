"""The default watch: every series that is collected here, by its own past; what is in alarm becomes series that expressions can use.

They are evidence, for people and for localization. Nothing begins with them: that takes a runbook whose trigger asks for them.
What is known of the series is kept in a file, so that a restart forgets nothing but the hour that goes on.
"""

from __future__ import annotations

import lzma
import os
import struct
import threading
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from engine.app.health import Figure
from engine.core.watching.roster import ANOMALY, Roster
from engine.model.labels import METRIC_NAME, Batch, Labels
from engine.promql import STALE
from engine.promql.block import LatestStorage

COUNT: Final = "mendbook_anomalies"
"""How many there are of each instance, 0 where none is: so a rule about them is false where all is well, not unknown."""
REACH: Final = 60.0
"""Samples older than this many seconds are none of this look."""
SAVE_EVERY: Final = 900.0
FORGET_EVERY: Final = 3600.0

BROKEN: Final = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, lzma.LZMAError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What comes of a file that is not what it should be: one turned bit, and zip or numpy takes it for something it has never heard of."""

log = structlog.get_logger("mendbook")


class Anomalies:
    """A source of series about series: one for each alarm of the default watch, at most `most`. Not to be collected from in two threads."""

    def __init__(self, store: LatestStorage, file: Path, *, interval: float, most: int) -> None:
        self.store = store
        self.file = file
        self.most = most
        self.interval = interval
        self.reach = max(REACH, 3 * interval)
        self.roster = self._opened()
        self.duration = 0.0
        self.alarms = 0
        self._told: frozenset[Labels] = frozenset()
        self._saved = self._forgot = 0.0
        self._mutex = threading.Lock()

    def collect(self, at: float) -> Batch:
        """Look at what came since the last look; return a score for every alarm, and an end for those that are over."""
        begun = time.perf_counter()
        with self._mutex:
            newest = self.store.latest((), round((at - self.reach) * 1000), round(at * 1000))
            sight = self.roster.see(newest.series, newest.times, newest.values, at)
            found = self.roster.anomalies(sight, at, self.most)
            series = {
                each.labels.with_({METRIC_NAME: ANOMALY, "metric": each.labels[METRIC_NAME], "kind": each.kind}): (
                    each.score
                )
                for each in found
            }
            self.alarms = len(series)
            for instance, count in self.roster.by_instance(sight, at).items():
                series[Labels({METRIC_NAME: COUNT, "instance": instance})] = count
            told = frozenset(series)
            series.update(dict.fromkeys(self._told - told, STALE))
            self._told = told
            self._keep_house(at)
        self.duration = time.perf_counter() - begun
        return Batch(at, tuple(series), tuple(series.values()))

    def figures(self) -> Iterator[Figure]:
        """Yield how many series are watched, for how long and in how much memory, how many alarms are on, and what a look takes."""
        watch = self.roster.watch
        seen = float(np.median(watch.state.count)) if watch.size else 0.0
        yield Figure("mendbook_watched_series", watch.size)
        yield Figure("mendbook_watched_bytes", watch.size * watch.bytes_each)
        yield Figure("mendbook_watched_history_seconds", seen * self.interval)
        yield Figure("mendbook_anomalies_told", self.alarms)
        yield Figure("mendbook_anomalies_duration_seconds", self.duration)

    def save(self) -> None:
        """Keep what is known of the series; a disk that is full costs no more than that it is not kept."""
        with self._mutex:
            self._save()

    def _save(self) -> None:
        new = self.file.with_suffix(".new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                np.savez(out, allow_pickle=False, **self.roster.arrays())
                out.flush()
                os.fsync(out.fileno())
            new.replace(self.file)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)  # half of it is of no use, and a full disk has no room for it
            log.warning("what is usual of the series is not kept", file=str(self.file), error=str(error))

    def _keep_house(self, at: float) -> None:
        self._saved, self._forgot = self._saved or at, self._forgot or at
        if not 0 <= at - self._forgot < FORGET_EVERY:  # below 0 the clock was set back
            self._forgot = at
            self.roster.forget(at)
        if not 0 <= at - self._saved < SAVE_EVERY:
            self._saved = at
            self._save()

    def _opened(self) -> Roster:
        """Return what was known when this was last saved; nothing, where that cannot be read: it is learned again in hours."""
        try:
            with np.load(self.file, allow_pickle=False) as arrays:
                return Roster.restored(arrays)
        except FileNotFoundError:
            return Roster()
        except BROKEN as error:
            log.warning("what was usual of the series is learned again", file=str(self.file), error=str(error))
            return Roster()
