"""Measure a backtest: a week of 50 nodes, every 15 s, replayed through a runbook beside all others that are shipped.

    python tests/benchmarks/backtest.py [--quick] [--all] [--days N] [--nodes N] [--store FOLDER] [RUNBOOK …]

The samples are synthetic: 50 nodes of 108 series each, node_exporter's and process-exporter's names, counters and gauges with
a daily course and noise, and some faults drawn by a seed (memory that leaks, processes that run away, file systems that fill,
nodes that are gone, and many that pass before they count). They are written by the store itself, as ten nodes' batches every
three seconds. `--store` keeps them there, and takes them from there the next time.

What is timed is `mendbook backtest` as a process of its own, from its start to its end, once with all of the shipped runbooks
beside it and once alone; the time on the clock, and that of the processor, which says more where others are at work. Beside
that, in this process, the first runbook alone over a slice around a fault, once as the command does it and once with every
instant ticked and every expression asked alone by the engine's own evaluator; both must record the same, and something, or the
exit code is 1. Its time, times the length of the whole, is what the whole would take in the same way. The last line is one JSON
object. It takes three minutes at rest, and one more to write the samples; `--all` takes six runbooks instead of two.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import numpy.typing as npt

from engine.app import App
from engine.app.replay import Assumed, Imagined, Nowhere, Then, replay
from engine.app.subject import Asked, declared
from engine.controller import Controller, Declared, Tick
from engine.model.decision import Entry
from engine.model.labels import Batch, Labels
from engine.promql import STALE
from engine.promql.sweep import Instants, Sweep
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore

REPOSITORY = Path(__file__).parents[2]
STEP = 15
SLOTS = 5
"""Nodes are looked at in so many groups, one after the other within an interval."""
PIECE = 960
"""Instants that are drawn at once."""
GROUPS = (
    "nginx",
    "postgres",
    "python3",
    "sshd",
    "systemd",
    "node",
    "java",
    "cron",
    "app",
    "worker",
    "batch",
    "crawler",
)
MOUNTS = ("/", "/var", "/data")
MEMORY = 16e9
DISK = 200e9
RUNBOOKS = ("memory-short", "disk-full", "memory-leak", "cpu-runaway", "cpu-baseline", "node-down")
USUAL = 2
"""So many of them are taken unless `--all` is said."""

Table = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that is drawn into a node's figures, from one instant to another; `size` is how bad it gets."""

    kind: str
    node: int
    first: int
    beyond: int
    size: float


def draw_faults(nodes: int, instants: int, dice: np.random.Generator) -> list[Injected]:
    """Return the faults of a past: one of each kind a day for 50 nodes or so, and as many again that pass too soon to count."""
    found = []
    days = instants * STEP / 86_400
    for kind, minutes in (("memory", 90), ("cpu", 25), ("disk", 240), ("down", 12)):
        for brief in (False, True):
            for _ in range(max(1, round(days * nodes / 50 * 1.3))):
                length = max(3, round((1.0 if brief else minutes * dice.uniform(0.6, 1.6)) * 60 / STEP))
                first = int(dice.integers(min(instants // 4, 400), max(instants - length, instants // 2)))
                size = dice.uniform(0.94, 1.1)
                found.append(Injected(kind, int(dice.integers(nodes)), first, min(first + length, instants - 1), size))
    return found


class Node:
    """One node's series and their figures."""

    def __init__(self, number: int, faults: list[Injected]) -> None:
        self.name = f"node{number:02}"
        self.faults = [each for each in faults if each.node == number]
        self.dice = np.random.default_rng(1000 + number)
        self.base = self.dice.uniform(0.1, 0.45)
        self.phase = self.dice.uniform(0, 2 * math.pi)
        self.shares = self.dice.dirichlet(np.ones(len(GROUPS))) * 0.3
        self.counters: dict[str, Table] = {}
        self.series = tuple(self._labels())

    def _labels(self) -> Iterator[Labels]:
        def one(metric: str, /, **more: str) -> Labels:
            return Labels({"__name__": metric, "instance": f"{self.name}:9100", "job": "node", **more})

        for cpu in range(4):
            yield from (
                one("node_cpu_seconds_total", cpu=str(cpu), mode=mode) for mode in ("idle", "user", "system", "iowait")
            )
        for name in ("MemTotal", "MemAvailable", "MemFree", "Cached", "SwapTotal", "SwapFree"):
            yield one(f"node_memory_{name}_bytes")
        for mount in MOUNTS:
            for name in ("avail_bytes", "size_bytes", "files_free", "files"):
                yield one(f"node_filesystem_{name}", mountpoint=mount, fstype="ext4", device=f"/dev{mount}")
        for device in ("eth0", "eth1"):
            for name in ("receive_bytes", "transmit_bytes", "receive_packets", "transmit_packets"):
                yield one(f"node_network_{name}_total", device=device)
        for device in ("sda", "sdb"):
            for name in ("reads_completed", "writes_completed", "read_bytes", "written_bytes"):
                yield one(f"node_disk_{name}_total", device=device)
        for group in GROUPS:
            yield one("namedprocess_namegroup_cpu_seconds_total", groupname=group, mode="user")
            yield one("namedprocess_namegroup_memory_bytes", groupname=group, memtype="resident")
        yield from (one("node_systemd_unit_state", name=f"{group}.service", state="failed") for group in GROUPS)
        yield from (one(name) for name in ("node_load1", "node_load5", "node_load15"))
        yield one("http_request_duration_seconds_sum")
        yield one("http_request_duration_seconds_count")
        yield from (one("app_gauge", number=str(number)) for number in range(15))
        yield one("up")
        yield one("probe_success").with_({"job": "tcp"})

    def figures(self, first: int, beyond: int) -> Table:
        """Return a row of values for each instant, a column for each series."""
        count = beyond - first
        at = np.arange(first, beyond)
        day = np.sin(2 * math.pi * at * STEP / 86_400 + self.phase)
        noise = self.dice.normal(0, 0.03, count)
        trouble = {kind: np.zeros(count) for kind in ("memory", "cpu", "disk", "down")}
        for fault in self.faults:
            here = (at >= fault.first) & (at < fault.beyond)
            rise = np.minimum(1.0, (at - fault.first + 1) / max(1, (fault.beyond - fault.first) * 0.7))
            trouble[fault.kind] += here * fault.size * (1.0 if fault.kind in ("cpu", "down") else rise)
        busy = np.clip(self.base + 0.12 * day + noise + 0.25 * (trouble["cpu"] > 0), 0.02, 0.97)
        columns: list[Table] = []
        for cpu in range(4):
            modes = (1 - busy, busy * 0.7, busy * 0.25, busy * 0.05)
            columns += [self._count(f"cpu{cpu}{mode}", share * STEP) for mode, share in enumerate(modes)]
        free = np.clip(0.5 + 0.05 * day + noise / 3 - 0.47 * trouble["memory"], 0.005, 1.0)
        columns += [np.full(count, MEMORY), free * MEMORY, free * MEMORY / 3, np.full(count, MEMORY / 5)]
        columns += [np.full(count, 4e9), np.full(count, 3.9e9)]
        for number in range(len(MOUNTS)):
            full = trouble["disk"] if number == 1 else 0.0
            room = np.clip(0.55 + 0.02 * day + noise / 20 - 0.53 * full, 0.004, 1.0)
            columns += [room * DISK, np.full(count, DISK), np.round(room * 1e7), np.full(count, 1.2e7)]
        for number in range(16):
            columns.append(self._count(f"io{number}", np.round(self.dice.gamma(2, 1e4 * (1 + number), count))))
        for number, share in enumerate(self.shares):
            runs = trouble["cpu"] if number == len(GROUPS) - 1 else 0.0
            columns.append(self._count(f"group{number}", (share * busy * 2 + runs) * STEP))
            grown = trouble["memory"] * 0.47 if number == len(GROUPS) - 2 else 0.0
            columns.append((share * 0.4 + grown) * MEMORY * (1 + noise / 50))
        columns += [np.zeros(count)] * len(GROUPS)
        columns += [busy * 4, busy * 3.8, busy * 3.5]
        asked = np.round(self.dice.gamma(3, 100, count))
        columns += [self._count("seconds", asked * 0.02), self._count("requests", asked)]
        columns += [np.round(self.dice.normal(100, 5, count), 3) for _ in range(15)]
        gone = trouble["down"] > 0
        table = np.stack(columns + [np.where(gone, 0.0, 1.0)] * 2, axis=1)
        table[gone, :-2] = np.nan
        return np.where(np.isnan(table), table, np.round(table, 3))

    def _count(self, name: str, more: Table) -> Table:
        """Return a counter that goes on from where it was."""
        counted = np.cumsum(more) + self.counters.get(name, 0.0)
        self.counters[name] = counted[-1:]
        return counted


def build(folder: Path, nodes: int, instants: int, end: int) -> None:
    """Write the samples of a project."""
    dice = np.random.default_rng(6)
    faults = draw_faults(nodes, instants, dice)
    fleet = [Node(number, faults) for number in range(nodes)]
    (folder / "faults.json").write_text(
        json.dumps([[each.kind, each.node, each.first, each.beyond] for each in faults])
    )
    begin = end - instants * STEP
    slots = [fleet[slot::SLOTS] for slot in range(SLOTS)]
    series = [tuple(labels for node in slot for labels in node.series) for slot in slots]
    alive = [np.ones(len(each), np.bool_) for each in series]
    with SampleStore(folder / ".mendbook" / "samples", retention=30 * 86_400.0, size_limit=16 << 30) as store:
        for first in range(0, instants, PIECE):
            beyond = min(first + PIECE, instants)
            tables = [np.concatenate([node.figures(first, beyond) for node in slot], axis=1) for slot in slots]
            for number in range(first, beyond):
                for slot, table in enumerate(tables):
                    write(
                        store,
                        begin + number * STEP + slot * STEP // SLOTS,
                        series[slot],
                        table[number - first],
                        alive[slot],
                    )
            print(f"\r{beyond / instants:4.0%} written", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def write(store: SampleStore, at: int, series: tuple[Labels, ...], values: Table, alive: npt.NDArray[np.bool_]) -> None:
    """Write one batch; of a node that is gone, the ends of its series once, and then nothing."""
    there = ~np.isnan(values)
    if there.all():
        store.append(Batch(at, series, tuple(values.tolist())))
        alive[:] = True
        return
    ended = alive & ~there
    values = np.where(ended, STALE, values)
    rows = np.flatnonzero(there | ended)
    store.append(Batch(at, tuple(series[row] for row in rows.tolist()), tuple(values[rows].tolist())))
    alive[:] = there


def lay_out(folder: Path, nodes: int) -> None:
    """Write the project: the shipped runbooks and playbooks, and an inventory."""
    hosts = "".join(f"    node{number:02}: {{ansible_host: node{number:02}}}\n" for number in range(nodes))
    (folder / "inventory").mkdir(parents=True, exist_ok=True)
    (folder / "inventory" / "hosts.yml").write_text(f"all:\n  hosts:\n{hosts}")
    (folder / "mendbook.yml").write_text(
        f"sources: {{host: false}}\ninterval: {STEP}s\nretention: 30d\n"
        f"runbooks: {REPOSITORY / 'runbooks'}\nplaybooks: {REPOSITORY / 'playbooks'}\n"
    )


@dataclass(frozen=True, slots=True)
class Timed:
    """How long a command took, by the clock and by the processor, and what it printed."""

    seconds: float
    processor: float
    said: dict[str, object]


def timed(folder: Path, runbook: str, *more: str) -> Timed:
    """Run the command."""
    mendbook = Path(sys.executable).parent / "mendbook"
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [mendbook, "backtest", runbook, "--since", "60d", "-o", "json", *more],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timed(seconds, processor, json.loads(done.stdout))


@dataclass(frozen=True, slots=True)
class Slice:
    """How long a slice took as the command does it and tick by tick, how many ticks and entries it had, and whether both agree."""

    length: int
    swept: float
    ticked: float
    ticks: int
    entries: int
    same: bool


def slice_of(folder: Path, runbook: str, length: int) -> Slice:
    """Replay a slice around a fault both ways."""
    with App.open(folder) as app:
        subject = declared(app.settings, Asked(runbook, alone=True), lambda _: None)
        store = app.read_samples()
        faults = json.loads((folder / "faults.json").read_text())
        longest = max(faults, key=lambda each: each[3] - each[2] if each[0] == "memory" else 0)
        start = math.ceil(((store.oldest() or 0.0) + longest[2] * STEP) / STEP) * STEP
        instants = Instants(start * 1000, STEP * 1000, length)
        said = Declared(subject.catalog, subject.declarations.inventory.fleet, subject.declarations.prepare)
        quick: list[tuple[float, Entry]] = []
        began = time.perf_counter()
        sweep = Sweep(store, instants, round(app.freshness * 1000))
        ticks = replay(sweep, said, takes=STEP, seen=lambda tick, _: quick.extend(written(tick)))
        swept = time.perf_counter() - began
        began = time.perf_counter()
        slow = tick_by_tick(store, instants, said, app.freshness)
        return Slice(length, swept, time.perf_counter() - began, ticks, len(slow), agree(quick, slow))


def tick_by_tick(store: SampleStore, instants: Instants, said: Declared, fresh: float) -> list[tuple[float, Entry]]:
    """Tick every instant as the engine does."""
    clock = Then(0.0)
    controller = Controller(
        clock=clock,
        records=Imagined(),
        evaluator=EmbeddedEvaluator(store, fresh=fresh),
        executor=Assumed(clock, STEP),
        samples=Nowhere(),
        declared=lambda: said,
    )
    found: list[tuple[float, Entry]] = []
    for number in range(instants.count):
        clock.moment = (instants.start + instants.step * number) / 1000
        found += written(controller.tick())
    return found


def written(tick: Tick) -> list[tuple[float, Entry]]:
    """Return what a tick wrote into the record."""
    return [(tick.now, entry) for change in tick.changes for entry in change.entries]


def agree(one: list[tuple[float, Entry]], other: list[tuple[float, Entry]]) -> bool:
    """Return whether both say the same of the same moments; their figures may differ in the last digits."""
    return [(at, entry.kind, entry.code, entry.target) for at, entry in one] == [
        (at, entry.kind, entry.code, entry.target) for at, entry in other
    ]


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure a backtest.")
    parser.add_argument("--quick", action="store_true", help="a day instead of a week, one runbook")
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--all", action="store_true", help="six runbooks instead of two")
    parser.add_argument("--slice", type=int, default=400, help="ticks that are replayed both ways")
    parser.add_argument("--store", type=Path, help="keep the samples in this folder, or take them from there")
    parser.add_argument("runbooks", nargs="*")
    options = parser.parse_args()
    runbooks = options.runbooks or RUNBOOKS[: None if options.all else USUAL]
    days, runbooks = (1.0, runbooks[:1]) if options.quick else (options.days, runbooks)
    instants = round(days * 86_400 / STEP)
    with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place:
        folder = options.store or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        lay_out(folder, options.nodes)
        if not (folder / "faults.json").exists():
            began = time.perf_counter()
            build(folder, options.nodes, instants, int(time.time()) // STEP * STEP)
            print(f"samples written in {time.perf_counter() - began:.0f}s")
        with SampleStore(folder / ".mendbook" / "samples", read_only=True) as store:
            stats = store.stats()
        print(
            f"{options.nodes} nodes, {stats.series} series, {stats.samples / 1e6:.0f} million samples (synthetic), {stats.disk_bytes / 1e6:.0f} MB"
        )
        print(f"{'runbook':<16}{'with all':>10}{'processor':>10}{'alone':>10}{'firings':>9}{'runs':>6}{'ticks':>8}")
        found: dict[str, dict[str, object]] = {}
        for runbook in runbooks:
            whole, alone = timed(folder, runbook), timed(folder, runbook, "--alone")
            said = whole.said
            firings = len(said["firings"])  # type: ignore[arg-type]
            found[runbook] = {
                "seconds": round(whole.seconds, 2), "processor": round(whole.processor, 2), "alone": round(alone.seconds, 2),
                "alone_processor": round(alone.processor, 2), "firings": firings, "runs": said["runs"],
                "ticks": said["ticks"], "instants": said["instants"],
            }  # fmt: skip
            print(
                f"{runbook:<16}{whole.seconds:>9.1f}s{whole.processor:>9.1f}s{alone.seconds:>9.1f}s{firings:>9}"
                f"{said['runs']:>6}{said['ticks']:>8}",
                flush=True,
            )
        part = slice_of(folder, runbooks[0], min(options.slice, instants // 2))
    whole_ticked = part.ticked * instants / part.length
    print(
        f"a slice of {part.length} instants around a fault, {runbooks[0]} alone: {part.swept:.1f}s as above ({part.ticks} ticks), "
        f"{part.ticked:.1f}s tick by tick, {whole_ticked:.0f}s for the whole at that pace; {part.entries} entries, "
        f"{'the same' if part.same else 'NOT the same'}"
    )
    print(
        json.dumps(
            {
                "benchmark": "backtest", "synthetic": True, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "nodes": options.nodes, "days": days, "series": stats.series,
                "samples": stats.samples, "disk_bytes": stats.disk_bytes, "runbooks": found,
                "seconds_most": max(float(str(each["seconds"])) for each in found.values()),
                "processor_most": max(float(str(each["processor"])) for each in found.values()), "goal_seconds": 30,
                "slice": {
                    "runbook": runbooks[0], "instants": part.length, "ticks": part.ticks, "swept": round(part.swept, 2),
                    "tick_by_tick": round(part.ticked, 2), "entries": part.entries, "same": part.same,
                },
                "tick_by_tick_whole": round(whole_ticked), "python": platform.python_version(), "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 2),
            }
        )
    )  # fmt: skip
    return 0 if part.same and part.entries else 1


if __name__ == "__main__":
    sys.exit(main())
