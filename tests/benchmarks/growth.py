"""Measure how the cost of a tick grows with series and rules, and what series, samples and a long history cost in memory.

    python tests/benchmarks/growth.py [--quick] [--plot FILE.svg]

A tick is evaluation, judgement of alerts and their storage. Rules are of four kinds in turn (`cpu > x`, with `and`, `avg_over_time`
over 5 m, `sum by`); one rule in ten holds on the hosts in trouble, one host in a thousand. Samples: 10 minutes at 15 s. Each figure
is the median of some ticks, each after one batch more, with no window kept from the tick before. Prometheus is loaded with the same
samples (remote write) and has the same rules in one group; its figure is `prometheus_rule_group_last_duration_seconds`. It is asked
where series times rules are a million at most: beyond, one evaluation takes minutes.

Memory is what a process holds more after loading: the difference between many and few samples gives bytes a sample, the rest is
bytes a series. Of Prometheus, loaded with the same samples, there are two figures: the heap in use after a garbage collection
(`go_memstats_heap_alloc_bytes`), which flatters it, and the memory that the process holds (`process_resident_memory_bytes`), which
has what Go has not given back; ours is the latter.

History is a day of 10,000 series, most of it sealed: what the process holds, what a sample takes on disk, what a batch costs with the
sealing, what it costs to read five minutes of all series as of long ago, first and again, and to open the store anew.

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

from engine.promql.block import Matcher, MatchOperator
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore
from tests.benchmarks.rules import FRESH
from tests.benchmarks.scrape import resident
from tests.benchmarks.synthetic import RULES, STEP, Engine, Hosts, catalog, new_record, rule_file, standing_alerts
from tests.lab_tools.prometheus_server import PrometheusServer

SERIES = (1_000, 10_000, 100_000)
RULE_COUNTS = (10, 100, 1_000)
COLUMNS = 40
KINDS = ("simple", "and", "avg", "sum")
FEW, MANY = 8, 88
CARRIED = 1_000_000
"""Series times rules that Prometheus is asked to evaluate."""
ASKED = 3
"""Evaluations of Prometheus of which the median counts."""
PATIENCE = 120.0
"""Seconds to wait for an evaluation of Prometheus."""
HISTORY_SERIES = 10_000
COLOURS = {10: "#0a7", 100: "#06c", 1_000: "#c30"}


def texts(count: int) -> list[str]:
    """Return so many rules, no two the same; one in ten may hold."""
    found = []
    for number in range(count):
        above = (0 if number % 10 == 0 else 20) + number / (2 * count)
        found.append(RULES[KINDS[number // 10 % 4]].format(90 + above, 80 + above, 0, 5400 + 1000 * above, 0))
    return found


def growth(series: int, rule_counts: tuple[int, ...], ticks: int, folder: Path) -> list[dict[str, float | None]]:
    """Return the cost of a tick over that many series, for each number of rules."""
    end = int(time.time() * 1000) // 1000 * 1000
    hosts, rows = Hosts.of(series // 2, "mem", end), []
    moments = [end - column * STEP for column in range(COLUMNS, -1, -1)]
    with SampleStore(folder / f"samples-{series}") as store:
        for moment in moments:
            store.append(hosts.batch(moment, hosts.values(moment, end)))
        fleet, now = hosts.fleet(), end
        carried = tuple(rules for rules in rule_counts if series * rules <= CARRIED)
        theirs = prometheus_ticks(hosts, moments, carried) if carried else {}
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
            other = theirs.get(rules)
            rows.append(
                {
                    "series": series,
                    "rules": rules,
                    "tick_ms": round(seconds * 1e3, 2),
                    "least_ms": round(min(took) * 1e3, 2),
                    "prometheus_ms": None if other is None else round(other * 1e3, 1),
                    "ratio": None if other is None else round(other / seconds, 1),
                    "alerts": alerts,
                    "ns_per_series_and_rule": round(seconds * 1e9 / series / rules, 2),
                }
            )
            print(row_text(rows[-1]), flush=True)
    return rows


def row_text(row: dict[str, float | None]) -> str:
    """Return a line of the table."""
    theirs = "".join(f"{'-' if row[key] is None else row[key]:>14}" for key in ("prometheus_ms", "ratio"))
    return (
        f"{row['series']:>8}{row['rules']:>7}{row['tick_ms']:>10.2f}{row['least_ms']:>10.2f}{theirs}{row['alerts']:>8}"
        f"{row['ns_per_series_and_rule']:>16.2f}"
    )


def prometheus_ticks(hosts: Hosts, moments: list[int], rule_counts: tuple[int, ...]) -> dict[int, float]:
    """Return the seconds that Prometheus says an evaluation of so many rules takes, over the same samples."""
    found = {}
    with PrometheusServer() as server:
        server.write(hosts.series, moments, np.stack([hosts.values(moment, moments[-1]) for moment in moments], axis=1))
        for rules in rule_counts:
            server.load_rules(rule_file(texts(rules), 1.0, f"r{rules}x"))
            evaluated(server)  # the first one finds cold caches: not counted
            took = []
            for _ in range(ASKED):
                evaluated(server)
                took.append(server.metrics()["prometheus_rule_group_last_duration_seconds"])
            found[rules] = statistics.median(took)
        server.load_rules("groups: []\n")
    return found


def evaluated(server: PrometheusServer) -> None:
    """Wait until an evaluation has ended that began after now."""
    now, deadline = time.time(), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        began = server.metrics().get("prometheus_rule_group_last_evaluation_timestamp_seconds")
        if began is not None and began > now:
            return
        time.sleep(0.05)
    raise RuntimeError("Prometheus does not evaluate its group")


def history(series: int, hours: float, folder: Path) -> dict[str, float]:
    """Return what a long history costs; in a process of its own."""
    end = int(time.time() * 1000) // 1000 * 1000
    hosts, columns = Hosts.of(series // 2, "mem", end), round(hours * 3_600_000 / STEP)
    took, before = [], 0
    with SampleStore(folder, size_limit=8 << 30) as store:
        for column in range(columns, 0, -1):
            moment = end - column * STEP
            batch = hosts.batch(moment, hosts.values(moment, end))
            if not took:
                gc.collect()
                before = resident()
            began = time.perf_counter()
            store.append(batch)
            took.append(time.perf_counter() - began)
        gc.collect()
        held, stats = resident() - before, store.stats()
        wanted = [Matcher("__name__", MatchOperator.EQUAL, "cpu")]
        past = end - columns * STEP + 2 * 300_000
        reading = []
        for _ in range(2):
            began = time.perf_counter()
            samples = store.select(wanted, past - 300_000, past).times.size
            reading.append(time.perf_counter() - began)
    began = time.perf_counter()
    with SampleStore(folder, size_limit=8 << 30):
        opening = time.perf_counter() - began
    took.sort()
    return {
        "series": series,
        "hours": hours,
        "samples": stats.samples,
        "resident_mb": round(held / 1e6, 1),
        "bytes_per_sample_on_disk": round(stats.disk_bytes / stats.samples, 2),
        "append_ms_median": round(statistics.median(took) * 1e3, 2),
        "append_ms_p99": round(took[len(took) * 99 // 100] * 1e3, 2),
        "append_ms_most": round(took[-1] * 1e3, 1),
        "old_window_samples": samples,
        "old_window_ms": round(reading[0] * 1e3, 1),
        "old_window_again_ms": round(reading[1] * 1e3, 1),
        "reopen_ms": round(opening * 1e3, 1),
    }


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


def of_its_own(*arguments: object) -> str:
    """Return what this script prints in a process of its own, which starts small."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def memory(series: int) -> dict[str, dict[str, float]]:
    """Return bytes a series and bytes a sample of both sides."""
    ours = [int(of_its_own("--loaded", series, samples)) for samples in (FEW, MANY)]
    theirs: dict[str, list[float]] = {"go_memstats_heap_alloc_bytes": [], "process_resident_memory_bytes": []}
    for samples in (FEW, MANY):
        end = int(time.time() * 1000) // 1000 * 1000
        hosts = Hosts.of(series // 2, "mem", end)
        with PrometheusServer() as server:
            server.collect_garbage()
            before = server.metrics()
            times = [end - column * STEP for column in range(samples, 0, -1)]
            server.write(hosts.series, times, np.stack([hosts.values(moment, end) for moment in times], axis=1))
            server.collect_garbage()
            after = server.metrics()
            for name, held in theirs.items():
                held.append(after[name] - before[name])
    heap, process = theirs.values()
    return {
        "ours": by_part(ours, series),
        "prometheus_heap": by_part(heap, series),
        "prometheus_process": by_part(process, series),
    }


def by_part(held: list[float] | list[int], series: int) -> dict[str, float]:
    """Return what a sample and what a series holds."""
    sample = (held[1] - held[0]) / (series * (MANY - FEW))
    return {"bytes_per_sample": round(sample, 1), "bytes_per_series": round(held[0] / series - FEW * sample)}


def plot(rows: list[dict[str, float | None]]) -> str:
    """Return the cost of a tick over the number of series, a line for each number of rules, as SVG; both axes logarithmic.

    Prometheus's lines are dashed.
    """
    most = max(row[key] or 0.0 for row in rows for key in ("tick_ms", "prometheus_ms"))
    top = math.ceil(math.log10(most))

    def x(series: float) -> float:
        return 70 + (math.log10(series) - 3) * 210

    def y(milliseconds: float) -> float:
        return 290 - math.log10(max(milliseconds, 1)) * 250 / top

    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 340" font-family="sans-serif" font-size="12">',
        '<rect width="620" height="340" fill="#fff"/><text x="70" y="20">milliseconds of a tick, by series and rules (dashed: Prometheus)</text>',
    ]
    for power in range(top + 1):
        at = y(10.0**power)
        parts.append(
            f'<path d="M70 {at:.0f}H490" stroke="#ddd"/><text x="60" y="{at + 4:.0f}" text-anchor="end">{10**power}</text>'
        )
    parts += [f'<text x="{x(each):.0f}" y="310" text-anchor="middle">{each:,}</text>' for each in SERIES]
    parts.append('<text x="280" y="330" text-anchor="middle">series</text>')
    for rules, colour in COLOURS.items():
        for key, dash in (("tick_ms", ""), ("prometheus_ms", ' stroke-dasharray="5 4"')):
            points = [(x(row["series"]), y(row[key])) for row in rows if row["rules"] == rules and row[key]]
            line = " ".join(f"{across:.0f},{down:.0f}" for across, down in points)
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
            parts += [f'<circle cx="{across:.0f}" cy="{down:.0f}" r="3" fill="{colour}"/>' for across, down in points]
            if points and not dash:
                right, down = points[-1]
                parts.append(f'<text x="{right + 8:.0f}" y="{down + 4:.0f}" fill="{colour}">{rules:,} rules</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure how the cost of a tick grows.")
    parser.add_argument("--quick", action="store_true", help="up to 10,000 series and 100 rules, two hours of history")
    parser.add_argument("--plot", type=Path, help="write the plot there")
    parser.add_argument("--loaded", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--history", type=float, metavar="HOURS", help="measure the history alone, of so many hours")
    options = parser.parse_args()
    if options.loaded:
        print(loaded(*options.loaded))
        return 0
    if options.history:
        with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place:
            print(json.dumps(history(HISTORY_SERIES, options.history, Path(place))))
        return 0
    sizes, counts = (SERIES[:2], RULE_COUNTS[:2]) if options.quick else (SERIES, RULE_COUNTS)
    print(
        f"{'series':>8}{'rules':>7}{'tick, ms':>10}{'least':>10}{'Prometheus':>14}{'ratio':>14}{'alerts':>8}{'ns/series/rule':>16}"
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place:
        for series in sizes:
            rows += growth(series, counts, 5, Path(place))
    held = memory(20_000)
    for side, figures in held.items():
        print(
            f"memory, {side}: {figures['bytes_per_series']:.0f} bytes a series, {figures['bytes_per_sample']} bytes a sample"
        )
    past = json.loads(of_its_own("--history", 2.0 if options.quick else 24.0))
    for name, figure in past.items():
        print(f"history, {name}: {figure}")
    if options.plot:
        options.plot.write_text(plot(rows))
    print(
        json.dumps(
            {
                "benchmark": "growth",
                "ticks": rows,
                "memory": held,
                "history": past,
                "python": platform.python_version(),
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 2),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
