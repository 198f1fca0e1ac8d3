"""The engine's own health: when it last ticked, how long that took, what stands open; as series like any other.

The series are collected beside the loop: a tick that hangs shows in them.
"""

from __future__ import annotations

import importlib.metadata
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from engine.controller import Tick
from engine.model.incident import AlertState, IncidentState
from engine.model.labels import METRIC_NAME, Batch, Labels
from engine.ports import Clock
from engine.records.past import Counts

LATE = 5
"""So many intervals without a tick that succeeded are late, "down" to a watchdog."""
LEAST = 30.0
JOB = "mendbook"
HELP = {
    "mendbook_info": "The version that runs.",
    "mendbook_start_timestamp_seconds": "When this engine began.",
    "mendbook_ticks_total": "Ticks that succeeded since it began.",
    "mendbook_tick_failures_total": "Ticks that failed since it began.",
    "mendbook_tick_duration_seconds": "How long the last tick took.",
    "mendbook_last_tick_timestamp_seconds": "When the last tick succeeded.",
    "mendbook_last_tick_age_seconds": "How long ago the last tick succeeded.",
    "mendbook_interval_seconds": "How often it is to tick.",
    "mendbook_incidents": "Incidents that have not ended, by their state.",
    "mendbook_alerts": "Alerts as of the last tick, by their state.",
    "mendbook_executions_active": "Executions that have not ended.",
    "mendbook_locks": "Hosts that are held.",
    "mendbook_requests_open": "Requests of operators that wait for the engine.",
    "mendbook_paused": "1 while everything is paused.",
    "mendbook_heartbeats_total": "Calls of the heartbeat's address, by their result.",
    "mendbook_notices_total": "Notices to people, by what became of them.",
    "mendbook_watched_series": "Series that the default watch knows.",
    "mendbook_watched_bytes": "Memory that what it knows of them takes.",
    "mendbook_watched_history_seconds": "How much of a series it has seen, the median over all of them.",
    "mendbook_anomalies_told": "Its alarms that are on.",
    "mendbook_anomalies_duration_seconds": "How long its last look took.",
    "mendbook_warm_starts_total": "Runs of ansible-playbook that were forked from what had imported it.",
    "mendbook_forecast_used_up_in_seconds": "In how many seconds nothing will be left, by its trend; +Inf for never.",
    "mendbook_forecast_used_up_in_low_seconds": "The same at the soonest, nine times in ten.",
    "mendbook_forecast_used_up_in_high_seconds": "The same at the latest, nine times in ten.",
    "mendbook_forecast_error_ratio": "By how much that trend was wrong before: 0 never, 1 as much as there was to foretell.",
    "mendbook_forecasts": "Series that are forecast, by whether it is told, was wrong before, has a short history, or is left out.",
    "mendbook_forecast_duration_seconds": "How long it took to forecast them all.",
    "mendbook_cold_starts_total": "Runs of ansible-playbook that started as a program, by why.",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: a name, labels that tell it from others of the name, and a value."""

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Health:
    """What is known of one engine's own health; thread-safe.

    `more` are functions that add figures of their own (a name ends in _total where it only grows).
    """

    def __init__(self, clock: Clock, interval: float, instance: str, counts: Callable[[float], Counts | None]) -> None:
        self.clock = clock
        self.interval = interval
        self.instance = instance
        self.counts = counts
        self.more: list[Callable[[], Iterable[Figure]]] = []
        self.began = clock.now()
        self._mutex = threading.Lock()
        self._ticks = self._failures = 0
        self._duration: float | None = None
        self._last: float | None = None

    def ticked(self, tick: Tick) -> None:
        """Take note of a tick that succeeded, just now."""
        now = self.clock.now()
        with self._mutex:
            self._ticks += 1
            self._duration = now - tick.now
            self._last = now

    def failed(self, _: Exception) -> None:
        """Take note of a tick that failed."""
        with self._mutex:
            self._failures += 1

    @property
    def patience(self) -> float:
        """Return how many seconds without a tick are too many."""
        return max(LATE * self.interval, LEAST)

    def late(self) -> str:
        """Say since when no tick has succeeded, when that is too long; empty while all is well."""
        with self._mutex:
            last = self._last
        silent = self.clock.now() - (self.began if last is None else last)
        if silent <= self.patience:
            return ""
        what = "no tick has succeeded yet" if last is None else "the last tick succeeded"
        return f"{what}{f', {silent:.0f}s after the start' if last is None else f' {silent:.0f}s ago'}"

    def figures(self) -> Iterator[Figure]:
        """Yield every figure as of now."""
        now = self.clock.now()
        with self._mutex:
            ticks, failures, duration, last = self._ticks, self._failures, self._duration, self._last
        yield Figure("mendbook_info", 1, {"version": importlib.metadata.version("mendbook")})
        yield Figure("mendbook_start_timestamp_seconds", self.began)
        yield Figure("mendbook_interval_seconds", self.interval)
        yield Figure("mendbook_ticks_total", ticks)
        yield Figure("mendbook_tick_failures_total", failures)
        if duration is not None:
            yield Figure("mendbook_tick_duration_seconds", duration)
        if last is not None:
            yield Figure("mendbook_last_tick_timestamp_seconds", last)
            yield Figure("mendbook_last_tick_age_seconds", now - last)
        standing = self.counts(now)
        if standing is not None:  # a record that cannot be read now says nothing of what stands in it
            yield from of_standing(standing)
        for more in self.more:
            yield from more()

    def collect(self, at: float) -> Batch:
        """Return the figures as samples: a source like any other."""
        figures = tuple(self.figures())
        whose = {"instance": self.instance, "job": JOB}
        series = tuple(Labels({METRIC_NAME: each.name, **whose, **each.labels}) for each in figures)
        return Batch(at, series, tuple(float(each.value) for each in figures))

    def page(self) -> str:
        """Return the figures as a page of metrics."""
        lines: list[str] = []
        before = ""
        for each in sorted(self.figures(), key=lambda figure: figure.name):
            if each.name != before:
                kind = "counter" if each.name.endswith("_total") else "gauge"
                lines += [f"# HELP {each.name} {HELP.get(each.name, each.name)}", f"# TYPE {each.name} {kind}"]
                before = each.name
            labels = ",".join(f'{name}="{escaped(value)}"' for name, value in each.labels.items())
            lines.append(f"{each.name}{f'{{{labels}}}' if labels else ''} {float(each.value)!r}")
        return "\n".join(lines) + "\n"


def of_standing(counts: Counts) -> Iterator[Figure]:
    """Yield what stands in the record; every state has its figure, so that a rule finds 0 and not nothing."""
    for state in (each for each in IncidentState if each.live):
        yield Figure("mendbook_incidents", counts.incidents.get(state, 0), {"state": str(state)})
    for alert in AlertState:
        yield Figure("mendbook_alerts", counts.alerts.get(alert, 0), {"state": str(alert)})
    yield Figure("mendbook_executions_active", sum(counts.executions.values()))
    yield Figure("mendbook_locks", counts.locks)
    yield Figure("mendbook_requests_open", counts.requests)
    yield Figure("mendbook_paused", float(counts.paused))


def escaped(value: str) -> str:
    """Return a label's value as a page of metrics writes it."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
