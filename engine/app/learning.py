"""Learning while the engine watches, at a slow pace beside the loop: what will run out, and for how long hosts were looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from engine.app.coverage import Coverage
from engine.app.health import Figure
from engine.core.learning.capacity import CAPACITIES, WATCHED, Capacity
from engine.core.learning.trend import Forecast, forecast, thinned
from engine.model.truth import Answer, Query

if TYPE_CHECKING:
    from engine.model.labels import Labels
    from engine.model.target import Fleet
    from engine.ports import Clock, Evaluator

POINTS = 288
"""So many samples of a history are kept of each series."""
MOST = 1000
"""So many series are forecast; what is beyond is counted."""
SHARE = 10.0
"""A pass that took long makes the next wait at least so many times as long: a tenth of one core, at the worst."""
OLD = 3.0
"""A forecast that was not renewed for so many paces is told no more."""
FORGOTTEN = 8.0
"""A series that was not there for this part of its history is forgotten."""
THIN = 0.75
"""Samples that lie closer than this share of a step are one."""
GAP = 24
"""Samples of a history that may be missing in a row: a twelfth of it."""
BREATH = 4.0
"""Looking back waits so many times as long as it asked."""

log = structlog.get_logger("mendbook")


@dataclass(slots=True)
class Told:
    """The history of one series, and what is forecast from it as of `at`."""

    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    at: float = 0.0
    found: Forecast | None = None


class Learner:
    """Forecasts what will run out, and notes who was looked at; `figures` gives what it knows, at any time.

    With `forecasts` False it notes alone. Nothing that fails here ends the thread: it is logged when it is new.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        clock: Clock,
        fleet: Callable[[], Fleet],
        coverage: Path,
        *,
        pace: float,
        forecasts: bool = True,
        capacities: Sequence[Capacity] = CAPACITIES,
    ) -> None:
        self.evaluator = evaluator
        self.clock = clock
        self.fleet = fleet
        self.path = coverage
        self.pace = pace
        self.capacities = tuple(capacities) if forecasts else ()
        self.coverage = Coverage.read(coverage)
        self._told: dict[tuple[Capacity, Labels], Told] = {}
        self._left_out = 0
        self._looked: float | None = None
        self._duration = 0.0
        self._failing = ""
        self._mutex = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="learner")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; returns after the series under way."""
        self._stop.set()
        self._thread.join(timeout=10)

    def figures(self) -> Iterator[Figure]:
        """Yield what is known now: seconds until each capacity is used up, where the forecast may be trusted, and its error."""
        now = self.clock.now()
        with self._mutex:
            told, left_out, duration = list(self._told.items()), self._left_out, self._duration
        count = dict.fromkeys(("told", "wrong", "short"), 0)
        for (capacity, labels), each in told:
            found = each.found
            if found is None or now - each.at > OLD * self.pace:
                count["short"] += 1
                continue
            own = {**dict(labels), "resource": capacity.resource, **({"of": capacity.of} if capacity.of else {})}
            yield Figure("mendbook_forecast_error_ratio", found.error, own)
            count["told" if found.trusted else "wrong"] += 1
            if found.trusted:
                gone = now - each.at
                for suffix, seconds in (("", found.seconds), ("_low", found.low), ("_high", found.high)):
                    yield Figure(f"mendbook_forecast_used_up_in{suffix}_seconds", max(0.0, seconds - gone), own)
        if self.capacities:
            for state, number in {**count, "left_out": left_out}.items():
                yield Figure("mendbook_forecasts", number, {"state": state})
            yield Figure("mendbook_forecast_duration_seconds", duration)

    def once(self) -> float:
        """Look once: note who was looked at, take in what is left of everything, and forecast; return how long to wait.

        Raises OSError.
        """
        began, first = self.clock.now(), not self._told
        if self.capacities:
            self.take(began)
            self.foretell(began)
        with self._mutex:
            self._duration = self.clock.now() - began
        self.note(began)
        return self.pace if first else max(self.pace, SHARE * self._duration)  # looking back waits by itself

    def note(self, now: float) -> None:
        """Note which hosts have been looked at since the last time, and put it into the file."""
        (answer,) = self.evaluator.answer((Query(WATCHED),), now)
        before, self._looked = self._looked, now
        if before is None or answer.error is not None:
            return
        elapsed = min(now - before, 2.0 * self.pace)
        seen = {target.name for target in self.fleet() if answer.about(target.instances)}
        self.coverage.add(seen, now, elapsed)
        self.coverage.write(self.path)

    def take(self, now: float) -> None:
        """Take in what is left of everything now; the first time, what was left before, too."""
        queries = tuple(Query(capacity.expr) for capacity in self.capacities)
        answers = self.evaluator.answer(queries, now)
        if not self._told:
            for capacity, answer in zip(self.capacities, answers, strict=True):
                if answer.samples:
                    self.look_back(capacity, now)
        with self._mutex:
            self._left_out = 0
        for capacity, answer in zip(self.capacities, answers, strict=True):
            self.keep(capacity, answer, now)

    def look_back(self, capacity: Capacity, now: float) -> None:
        """Take in what was left before, little by little: the loop comes first. Where nothing was for long, the history begins."""
        found: list[tuple[float, Answer]] = []
        empty = 0
        for back in range(1, POINTS):
            at = now - back * capacity.history / POINTS
            began = self.clock.now()
            (answer,) = self.evaluator.answer((Query(capacity.expr),), at)
            found.append((at, answer))
            empty = 0 if answer.samples else empty + 1
            if answer.error is not None or empty == GAP or self._stop.wait(BREATH * (self.clock.now() - began)):
                break
        for at, answer in reversed(found):
            self.keep(capacity, answer, at)

    def keep(self, capacity: Capacity, answer: Answer, at: float) -> None:
        """Keep what an answer says, thinned to what a history needs; what is too old goes."""
        step = THIN * capacity.history / POINTS
        with self._mutex:
            for sample in answer.samples:
                key = (capacity, sample.labels)
                told = self._told.get(key)
                if told is None:
                    if len(self._told) >= MOST:
                        self._left_out += 1
                        continue
                    told = self._told[key] = Told()
                if told.times and at <= told.times[-1]:
                    continue
                if len(told.times) > 1 and told.times[-1] - told.times[-2] < step:
                    told.times.pop()  # the newest is always there, and stays where it is needed
                    told.values.pop()
                told.times.append(at)
                told.values.append(sample.value)
                while told.times[0] < at - capacity.history:
                    del told.times[0], told.values[0]

    def foretell(self, now: float) -> None:
        """Forecast every series that is there still, and forget those that are not."""
        for key, told in list(self._told.items()):
            if self._stop.is_set():
                return
            if now - told.times[-1] > max(OLD * self.pace, key[0].history / FORGOTTEN):
                with self._mutex:
                    del self._told[key]
                continue
            if told.times[-1] < now:
                continue  # it was not there just now: what was foretold stays for a while, and grows old
            found = forecast(*thinned(told.times, told.values))
            with self._mutex:
                told.found, told.at = found, now

    def _run(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            try:
                wait = self.once()
                self._failing = ""
            except OSError as error:
                if str(error) != self._failing:
                    log.warning("learning goes on without", error=str(error))
                self._failing, wait = str(error), self.pace
