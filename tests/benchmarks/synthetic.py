"""The fleet that benchmarks look at: hosts with a gauge and another series each, a few of them in trouble; and its rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from engine.core.detect import detect
from engine.core.draft import Scene
from engine.core.see import see
from engine.model.incident import Alert, AlertState
from engine.model.labels import Batch, Labels
from engine.model.runbook import Catalog, Localization, Runbook, Trigger, Verify
from engine.model.target import Fleet, Target
from engine.model.truth import Query
from engine.ports import Evaluator
from engine.records.store import Record

STEP = 15_000
"""Milliseconds between two collections of the history."""
HISTORY = 3_600_000 + 60_000
HOT_SINCE = 300_000 + STEP
"""Milliseconds before the end of the history at which the hosts in trouble began to be."""
HOT_EVERY = 1000

RULES: Mapping[str, str] = MappingProxyType(
    {
        "simple": "cpu > {0:.2f}",
        "and": "cpu > {0:.2f} and on(instance) mem > {1:.2f}",
        "avg": "avg_over_time(cpu[5m]) > {0:.2f}",
        "rate": "rate(c[5m]) > {2:.2f}",
        "distinct": "avg_over_time(cpu[{5}s]) > {0:.2f}",
        "distinct_rate": "rate(c[{5}s]) > {2:.2f}",
        "distinct_zscore": "(cpu - avg_over_time(cpu[{6}s])) / stddev_over_time(cpu[{6}s]) > {4:.3f}",
        "sum": "sum by (group) (cpu) > {3:.2f}",
        "zscore": "(cpu - avg_over_time(cpu[1h])) / stddev_over_time(cpu[1h]) > {4:.3f}",
    }
)
"""Kinds of rules; rule number i of a kind has thresholds of its own, and in the `distinct` ones a range that no other one has."""


def expressions(kind: str, rules: int) -> list[str]:
    """Return the expressions of `rules` rules of that kind, no two the same."""
    return [
        RULES[kind].format(
            90 + each, 80 + each, 15 + each, 5400 + each, 2.05 + each / 10, 300 - number, 3600 - 30 * number
        )
        for number, each in ((number, number / (2 * rules)) for number in range(rules))
    ]


@dataclass(frozen=True, slots=True)
class Hosts:
    """Hosts with a gauge `cpu`, and `mem` (a gauge) or `c` (a counter): two series each.

    One host in a thousand is hot: 95 of a hundred, its counter twice as fast.
    """

    count: int
    second: str
    series: tuple[Labels, ...]
    hot: npt.NDArray[np.bool_]
    speed: npt.NDArray[np.float64]
    level: npt.NDArray[np.float64]
    began: int

    @classmethod
    def of(cls, count: int, second: str, end: int) -> Hosts:
        """Return that many hosts whose history ends at `end` (milliseconds)."""
        dice = np.random.default_rng(7)
        names = [
            {"instance": f"node{number:06}:9100", "group": f"g{number % 1000 // 10:02}", "job": "node"}
            for number in range(count)
        ]
        series = tuple(Labels({"__name__": metric, **each}) for metric in ("cpu", second) for each in names)
        hot = np.arange(count) % HOT_EVERY == HOT_EVERY - 1
        speed = np.where(hot, 20.0, dice.uniform(1, 10, count))
        return cls(count, second, series, hot, speed, dice.uniform(20, 70, count), end - HISTORY)

    def values(self, time: int, end: int) -> npt.NDArray[np.float64]:
        """Return the value of each series at a time, `end` being when the history ends."""
        dice = np.random.default_rng(time)
        noise = dice.uniform(-5, 5, self.count)
        hot = self.hot & (time > end - HOT_SINCE)
        cpu = np.round(np.where(hot, 95 + noise / 5, self.level + noise), 3)
        if self.second == "c":
            return np.concatenate((cpu, np.round(self.speed * (time - self.began) / 1000.0, 3)))
        return np.concatenate((cpu, np.round(np.where(hot, 92.0, self.level) + noise / 5, 3)))

    def history(self, end: int) -> Iterator[tuple[int, npt.NDArray[np.float64]]]:
        """Yield the times of the history and the values at each."""
        for time in range(self.began, end + 1, STEP):
            yield time, self.values(time, end)

    def batch(self, time: int, values: npt.NDArray[np.float64]) -> Batch:
        """Return what one collection brought."""
        return Batch(time / 1000, self.series, tuple(values.tolist()))

    def fleet(self) -> Fleet:
        """Return the inventory."""
        names = [labels["instance"] for labels in self.series[: self.count]]
        return Fleet({name[:-5]: Target(name[:-5], instances=frozenset({name, name[:-5]})) for name in names})


def catalog(texts: list[str]) -> Catalog:
    """Return a catalogue with a runbook for each expression."""
    return Catalog(
        tuple(
            Runbook(
                name=f"r{number}",
                summary="",
                trigger=Trigger(alert=f"r{number}", expr=text),
                localize=Localization("cpu"),
                remedies=(),
                verify=Verify("up"),
            )
            for number, text in enumerate(texts)
        )
    )


def rule_file(texts: list[str], interval: float, prefix: str = "r") -> str:
    """Return the same rules as one group of Prometheus, their alerts' names beginning with `prefix`."""
    rules = "".join(f"  - alert: {prefix}{number}\n    expr: {text!r}\n" for number, text in enumerate(texts))
    return f"groups:\n- name: bench\n  interval: {interval:g}s\n  rules:\n{rules}"


@dataclass(slots=True)
class Engine:
    """Our side of one tick: what is evaluated, judged and stored, no more."""

    catalog: Catalog
    fleet: Fleet
    record: Record

    def tick(self, evaluator: Evaluator, now: float) -> tuple[Alert, ...]:
        """Evaluate the triggers, judge the alerts, store them; return them."""
        standing = self.record.standing(now)
        queries = tuple(Query(runbook.trigger.expr) for runbook in self.catalog.runbooks)
        answers = {answer.query.expr: answer for answer in evaluator.answer(queries, now)}
        alerts = detect(answers, self.catalog, self.fleet, standing, now)
        scene = Scene(alerts, answers, self.catalog, self.fleet, now, prepare=unprepared)
        if not self.record.commit(replace(see(scene, standing), version=standing.version)):
            raise RuntimeError("the record moved on")
        return alerts


def unprepared(*_: object) -> object:
    """No remedy begins here."""
    raise AssertionError


def standing_alerts(alerts: tuple[Alert, ...]) -> int:
    """Return how many alerts are pending or firing."""
    return sum(alert.state in (AlertState.PENDING, AlertState.FIRING) for alert in alerts)


def new_record(folder: Path, name: str) -> Record:
    """Return an empty record."""
    return Record(folder / f"{name}.db")
