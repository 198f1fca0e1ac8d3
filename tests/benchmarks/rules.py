"""Measure rules beside Prometheus: one group of 50 over 10,000 hosts, evaluated, judged and stored.

    python tests/benchmarks/rules.py [--quick] [--only KIND …]

Both sides hold the same samples (20,000 series, one hour at 15 s, then one batch more for each round) and the same rules. In
each round Prometheus evaluates its group, and its own `prometheus_rule_group_last_duration_seconds` is read; then we evaluate
ours while it rests. Like for like: evaluation, alert state and its storage are counted on both sides (ours is one call: read
the record's standing, answer, detect, commit; SQLite syncs the commit, Prometheus's log is not synced).

Figures: `cold`, by an evaluator that keeps no window from tick to tick; `warm`, by one that does, after one batch more;
`first`, the very first tick, nothing planned or parsed. In brackets: the evaluator's share of it, without alerts and their
storage. Ratios are of medians, cold and warm. The number of alerts of both sides stands beside them, both as of the moment of
Prometheus's last evaluation: they must agree. Exit code 1 where they do not.

Rules of a kind differ in their thresholds alone: what they compare is the same text, which we read and work out once and
Prometheus 50 times. In the kinds that begin with `distinct` every rule has a range of its own as well (300 to 251 s as `avg`
and `rate`, 3600 to 2130 s as `zscore`), so that no text is shared but the series' names. The last line is one JSON object.

ansible-rulebook handled 2,300 events a second (one rule, one event being one host's sample); it is not run here.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from engine.model.truth import Answer, Query
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore
from tests.benchmarks.synthetic import (
    RULES,
    Engine,
    Hosts,
    catalog,
    expressions,
    new_record,
    rule_file,
)
from tests.lab_tools.prometheus_server import PrometheusServer

HOSTS = 10_000
RULEBOOK_EVENTS = 2300.0
"""Events per second and rule of ansible-rulebook 1.3.2, measured on two cores."""
GOALS = {
    "simple": 50,
    "and": 50,
    "avg": 20,
    "rate": 20,
    "zscore": 20,
    "distinct": 20,
    "distinct_rate": 20,
    "distinct_zscore": 20,
}
MEMORY = ("zscore", "distinct_zscore", "simple", "and", "avg", "distinct", "sum")
"""The kinds that look at hosts whose second series is `mem`."""
FRESH = 45.0
TICKS = 3
"""Ticks of ours for each evaluation of theirs: short times need more of them for a median."""
LONGEST_WAIT = 600.0


@dataclass(slots=True)
class Times:
    """Seconds of one kind of rules, by side."""

    prometheus: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    evaluated_cold: list[float] = field(default_factory=list)
    evaluated_warm: list[float] = field(default_factory=list)
    first: float = 0.0
    alerts: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Timed:
    """An evaluator, and how many seconds it took when last asked."""

    evaluator: EmbeddedEvaluator
    seconds: float = 0.0

    def answer(self, queries: Sequence[Query], at: float) -> tuple[Answer, ...]:
        """Return what the evaluator answers."""
        began = time.perf_counter()
        answers = self.evaluator.answer(queries, at)
        self.seconds = time.perf_counter() - began
        return answers


class Bench:
    """One data set on both sides."""

    def __init__(self, folder: Path, second: str, hosts: int, rules: int) -> None:
        self.folder, self.rules = folder, rules
        self.end = int(time.time() * 1000) // 1000 * 1000
        self.hosts = Hosts.of(hosts, second, self.end)
        self.fleet = self.hosts.fleet()
        self.store = SampleStore(folder / f"samples-{second}")
        self.server = PrometheusServer()
        times, columns = [], []
        for moment, values in self.hosts.history(self.end):
            self.store.append(self.hosts.batch(moment, values))
            times.append(moment)
            columns.append(values)
        self.server.write(self.hosts.series, times, np.stack(columns, axis=1))
        self.newest = self.end

    def close(self) -> None:
        self.server.close()
        self.store.close()

    def more(self) -> None:
        """Have one batch more on both sides, as of now."""
        now = int(time.time() * 1000)
        if now > self.newest:
            values = self.hosts.values(now, self.end)
            self.store.append(self.hosts.batch(now, values))
            self.server.write(self.hosts.series, [now], values[:, np.newaxis])
            self.newest = now

    def measure(self, kind: str, rounds: int) -> Times:
        """Return the times of one kind of rules."""
        texts, found = expressions(kind, self.rules), Times()
        cold, warm = (
            Engine(catalog(texts), self.fleet, new_record(self.folder, f"{kind}-{name}")) for name in ("cold", "warm")
        )
        remembering = Timed(EmbeddedEvaluator(self.store, fresh=FRESH))
        forgetting = Timed(EmbeddedEvaluator(self.store, fresh=FRESH, windows=False))
        self.more()
        found.first = self.ours(warm, remembering)
        self.ours(cold, forgetting)  # plans, as Prometheus has when its rules are loaded
        self.server.load_rules(rule_file(texts, 1.0, kind))
        self.evaluated()  # the first evaluation finds cold caches: not counted
        rest = 1.0 + math.ceil(1.5 * self.duration())  # while it does, we measure ours
        self.server.load_rules(rule_file(texts, rest, kind))
        for _ in range(rounds):
            self.more()
            self.evaluated()
            found.prometheus.append(self.duration())
            for _ in range(TICKS):
                found.cold.append(self.ours(cold, forgetting))
                found.evaluated_cold.append(forgetting.seconds)
                found.warm.append(self.ours(warm, remembering))
                found.evaluated_warm.append(remembering.seconds)
                self.more()
            found.alerts = self.alerts(kind, texts, forgetting)
        self.server.load_rules("groups: []\n")
        cold.record.close()
        warm.record.close()
        return found

    def duration(self) -> float:
        """Return the seconds that Prometheus says its last evaluation took."""
        return self.server.metrics()["prometheus_rule_group_last_duration_seconds"]

    def evaluated(self) -> None:
        """Wait until an evaluation has ended that began after now."""
        now, deadline = time.time(), time.monotonic() + LONGEST_WAIT
        while time.monotonic() < deadline:
            began = self.server.metrics().get("prometheus_rule_group_last_evaluation_timestamp_seconds")
            if began is not None and began > now:
                return
            time.sleep(0.1)
        raise RuntimeError("Prometheus does not evaluate its group")

    def ours(self, engine: Engine, evaluator: Timed) -> float:
        """Return the seconds of one tick."""
        gc.collect()
        began = time.perf_counter()
        engine.tick(evaluator, time.time())
        return time.perf_counter() - began

    def alerts(self, kind: str, texts: list[str], evaluator: Timed) -> tuple[int, int]:
        """Return how many alerts Prometheus has since its last evaluation, and how many our answers of that moment make."""
        asked = f'timestamp(ALERTS{{alertname=~"{kind}.*"}})'
        theirs = self.server.query("/api/v1/query", query=asked)["data"]["result"]
        moments = [float(each["value"][1]) for each in theirs]
        if not moments:
            return 0, sum(len(each.samples) for each in evaluator.answer([Query(text) for text in texts], time.time()))
        last = max(moments)
        ours = evaluator.answer([Query(text) for text in texts], last)
        return moments.count(last), sum(len(each.samples) for each in ours)


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure rules beside Prometheus.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--hosts", type=int, default=HOSTS)
    parser.add_argument("--rules", type=int, default=50)
    options = parser.parse_args()
    rounds = 3 if options.quick else 9
    found: dict[str, Times] = {}
    print(
        f"{options.rules} rules in one group, {options.hosts} hosts, {2 * options.hosts} series; milliseconds, medians"
    )
    print(f"{'':<16}{'Prometheus':>12}{'ours cold':>18}{'warm':>18}{'first':>8}{'ratio':>8}{'warm':>8}  alerts")
    with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place:
        for second, kinds in (("mem", MEMORY), ("c", ("rate", "distinct_rate"))):
            wanted = [kind for kind in kinds if kind in options.only]
            if not wanted:
                continue
            bench = Bench(Path(place), second, options.hosts, options.rules)
            try:
                for kind in wanted:
                    found[kind] = bench.measure(kind, min(rounds, 3) if "zscore" in kind else rounds)
                    print(line(kind, found[kind]), flush=True)
            finally:
                bench.close()
    print(json.dumps(figures(found, options.hosts, options.rules)))
    return int(any(theirs != ours for theirs, ours in (each.alerts for each in found.values())))


def line(kind: str, times: Times) -> str:
    """Return a line of the table."""
    theirs, cold, warm = (statistics.median(each) for each in (times.prometheus, times.cold, times.warm))
    ours = "".join(
        f"{whole * 1e3:>10.2f} ({statistics.median(part) * 1e3:.2f})".rjust(18)
        for whole, part in ((cold, times.evaluated_cold), (warm, times.evaluated_warm))
    )
    ratios = f"{theirs / cold:>8.1f}{theirs / warm:>8.1f}"
    return f"{kind:<16}{theirs * 1e3:>12.1f}{ours}{times.first * 1e3:>8.1f}{ratios}  {times.alerts[0]} and {times.alerts[1]}"


def figures(found: dict[str, Times], hosts: int, rules: int) -> dict[str, object]:
    """Return what the last line says."""
    ratios = {f"ratio_{kind}": ratio(each.prometheus, each.cold) for kind, each in found.items()}
    warm = {f"ratio_{kind}_warm": ratio(each.prometheus, each.warm) for kind, each in found.items()}
    least = {f"ratio_{kind}_least": round(min(each.prometheus) / min(each.cold), 1) for kind, each in found.items()}
    simple = found.get("simple")
    if simple is not None:
        rate = hosts * rules / statistics.median(simple.cold)
        ratios["ratio_rulebook"] = round(rate / RULEBOOK_EVENTS, 1)
        print(
            f"ansible-rulebook: {RULEBOOK_EVENTS:.0f} events/s (a constant: measured elsewhere); ours, hosts x rules: {rate:.0f}/s"
        )
    return {
        "benchmark": "rules",
        "hosts": hosts,
        "series": 2 * hosts,
        "rules": rules,
        **ratios,
        **warm,
        **least,
        "seconds": {
            kind: {
                "prometheus": spread(each.prometheus),
                "cold": spread(each.cold),
                "warm": spread(each.warm),
                "evaluation_cold": spread(each.evaluated_cold),
                "evaluation_warm": spread(each.evaluated_warm),
                "first": round(each.first, 5),
            }
            for kind, each in found.items()
        },
        "alerts": {kind: each.alerts for kind, each in found.items()},
        "goals": {f"ratio_{kind}": goal for kind, goal in GOALS.items()},
        "rulebook_events_per_second": RULEBOOK_EVENTS,
        "rulebook": "constant",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


def ratio(theirs: list[float], ours: list[float]) -> float:
    """Return how many times as long they take."""
    return round(statistics.median(theirs) / statistics.median(ours), 1)


def spread(seconds: list[float]) -> list[float]:
    """Return the least, the median and the greatest."""
    return [round(each, 5) for each in (min(seconds), statistics.median(seconds), max(seconds))]


if __name__ == "__main__":
    sys.exit(main())
