"""Measure how the cost of a tick grows with series and rules, and what series and samples cost in memory.

    python tests/benchmarks/growth.py [--quick] [--plot FILE.svg]

A tick is evaluation, judgement of alerts and their storage. Rules are of four kinds in turn (`cpu > x`, with `and`, `avg_over_time`
over 5 m, `sum by`); one rule in ten holds on the hosts in trouble, one host in a thousand. Samples: 10 minutes at 15 s. Each figure
is the median of some ticks, each after one batch more, with no window kept from the tick before.

Memory is what a process holds more after loading: the difference between many and few samples gives bytes a sample, the rest is
bytes a series. Prometheus is loaded with the same samples (remote write) and asked for the heap it uses after a garbage
collection, which flatters it: it holds about twice as much.

The largest sizes are left out with `--quick`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore
from tests.benchmarks.rules import FRESH
from tests.benchmarks.scrape import resident
from tests.benchmarks.synthetic import RULES, STEP, Engine, Hosts, catalog, new_record, standing_alerts
from tests.lab_tools.prometheus_server import PrometheusServer

SERIES = (1_000, 10_000, 100_000)
RULE_COUNTS = (10, 100, 1_000)
COLUMNS = 40
KINDS = ("simple", "and", "avg", "sum")
FEW, MANY = 8, 88
COLOURS = {10: "#0a7", 100: "#06c", 1_000: "#c30"}


def texts(count: int) -> list[str]:
    """Return so many rules, no two the same; one in ten may hold."""
    found = []
    for number in range(count):
        above = (0 if number % 10 == 0 else 20) + number / (2 * count)
        found.append(RULES[KINDS[number // 10 % 4]].format(90 + above, 80 + above, 0, 5400 + 1000 * above, 0))
    return found


def growth(series: int, rule_counts: tuple[int, ...], ticks: int, folder: Path) -> list[dict[str, float]]:
    """Return the cost of a tick over that many series, for each number of rules."""
    end = int(time.time() * 1000) // 1000 * 1000
    hosts, rows = Hosts.of(series // 2, "mem", end), []
    with SampleStore(folder / f"samples-{series}") as store:
        for column in range(COLUMNS, -1, -1):
            moment = end - column * STEP
            store.append(hosts.batch(moment, hosts.values(moment, end)))
        fleet, now = hosts.fleet(), end
        for rules in rule_counts:
            engine = Engine(catalog(texts(rules)), fleet, new_record(folder, f"{series}-{rules}"))
            evaluator = EmbeddedEvaluator(store, fresh=FRESH, windows=False)
            took, alerts = [], 0
            for number in range(ticks + 1):
                now += STEP
                store.append(hosts.batch(now, hosts.values(now, end)))
                gc.collect()
                began = time.perf_counter()
                alerts = standing_alerts(engine.tick(evaluator, now / 1000))
                if number:
                    took.append(time.perf_counter() - began)
            engine.record.close()
            seconds = statistics.median(took)
            rows.append(
                {
                    "series": series,
                    "rules": rules,
                    "tick_ms": round(seconds * 1e3, 2),
                    "least_ms": round(min(took) * 1e3, 2),
                    "alerts": alerts,
                    "ns_per_series_and_rule": round(seconds * 1e9 / series / rules, 2),
                }
            )
            last = rows[-1]
            print(
                f"{series:>8}{rules:>7}{last['tick_ms']:>10.2f}{last['least_ms']:>10.2f}{alerts:>8}"
                f"{last['ns_per_series_and_rule']:>16.2f}",
                flush=True,
            )
    return rows


def loaded(series: int, samples: int) -> int:
    """Return the bytes that this process holds more after loading so many samples of each of so many series."""
    end = int(time.time() * 1000) // 1000 * 1000
    tuple(np.random.default_rng(0).uniform(0, 1, series).tolist())  # what any batch takes for a moment
    hosts = Hosts.of(4, "mem", end)
    with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place, SampleStore(Path(place)) as store:
        store.append(hosts.batch(end - (samples + 1) * STEP, hosts.values(end, end)))
        gc.collect()
        before = resident()
        hosts = Hosts.of(series // 2, "mem", end)
        for column in range(samples, 0, -1):
            store.append(hosts.batch(end - column * STEP, hosts.values(end - column * STEP, end)))
        gc.collect()
        return resident() - before


def memory(series: int) -> dict[str, dict[str, float]]:
    """Return bytes a series and bytes a sample of both sides."""
    ours = [
        int(
            subprocess.run(
                [sys.executable, __file__, "--loaded", str(series), str(samples)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for samples in (FEW, MANY)
    ]
    theirs = []
    for samples in (FEW, MANY):
        end = int(time.time() * 1000) // 1000 * 1000
        hosts = Hosts.of(series // 2, "mem", end)
        with PrometheusServer() as server:
            server.collect_garbage()
            before = server.metrics()["go_memstats_heap_alloc_bytes"]
            times = [end - column * STEP for column in range(samples, 0, -1)]
            server.write(hosts.series, times, np.stack([hosts.values(moment, end) for moment in times], axis=1))
            server.collect_garbage()
            theirs.append(server.metrics()["go_memstats_heap_alloc_bytes"] - before)
    return {"ours": by_part(ours, series), "prometheus": by_part(theirs, series)}


def by_part(held: list[float] | list[int], series: int) -> dict[str, float]:
    """Return what a sample and what a series holds."""
    sample = (held[1] - held[0]) / (series * (MANY - FEW))
    return {"bytes_per_sample": round(sample, 1), "bytes_per_series": round(held[0] / series - FEW * sample)}


def plot(rows: list[dict[str, float]]) -> str:
    """Return the cost of a tick over the number of series, a line for each number of rules, as SVG; both axes logarithmic."""
    most = max(row["tick_ms"] for row in rows)
    top = math.ceil(math.log10(most))

    def x(series: float) -> float:
        return 70 + (math.log10(series) - 3) * 210

    def y(milliseconds: float) -> float:
        return 290 - math.log10(max(milliseconds, 1)) * 250 / top

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 340" font-family="sans-serif" font-size="12">',
        '<rect width="620" height="340" fill="#fff"/><text x="70" y="20">milliseconds of a tick, by series and rules</text>',
    ]
    for power in range(top + 1):
        at = y(10.0**power)
        parts.append(
            f'<path d="M70 {at:.0f}H490" stroke="#ddd"/><text x="60" y="{at + 4:.0f}" text-anchor="end">{10**power}</text>'
        )
    parts += [f'<text x="{x(each):.0f}" y="310" text-anchor="middle">{each:,}</text>' for each in SERIES]
    parts.append('<text x="280" y="330" text-anchor="middle">series</text>')
    for rules, colour in COLOURS.items():
        points = [(x(row["series"]), y(row["tick_ms"])) for row in rows if row["rules"] == rules]
        if points:
            line = " ".join(f"{across:.0f},{down:.0f}" for across, down in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts.append(
                f'<text x="{points[-1][0] + 8:.0f}" y="{points[-1][1] + 4:.0f}" fill="{colour}">{rules:,} rules</text>'
            )
    return "\n".join([*parts, "</svg>\n"])


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure how the cost of a tick grows.")
    parser.add_argument("--quick", action="store_true", help="up to 10,000 series and 100 rules")
    parser.add_argument("--plot", type=Path, help="write the plot there")
    parser.add_argument("--loaded", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loaded:
        print(loaded(*options.loaded))
        return 0
    sizes, counts = (SERIES[:2], RULE_COUNTS[:2]) if options.quick else (SERIES, RULE_COUNTS)
    print(f"{'series':>8}{'rules':>7}{'tick, ms':>10}{'least':>10}{'alerts':>8}{'ns/series/rule':>16}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place:
        for series in sizes:
            rows += growth(series, counts, 5, Path(place))
    held = memory(20_000)
    for side, figures in held.items():
        print(
            f"memory, {side}: {figures['bytes_per_series']:.0f} bytes a series, {figures['bytes_per_sample']} bytes a sample"
        )
    if options.plot:
        options.plot.write_text(plot(rows))
    print(
        json.dumps(
            {
                "benchmark": "growth",
                "ticks": rows,
                "memory": held,
                "python": platform.python_version(),
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 2),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
