"""Scrape 1,000 targets of 100 series every 15 s on one core, beside Prometheus on the same pages.

    python tests/benchmarks/scrape.py [--quick] [--targets N] [--series N]

A server in a process of its own serves the pages; values change with every request. Ours: what the engine does with an exposition
source: ask each target at its place in the interval, parse, put together, append to the store; this process is held to one core.
Share of a core: CPU time over wall time of the rounds after the first two (new series, new connections). Delay: from the moment at which
a target is due until its samples can be read from the store; Prometheus, which says no such thing, has the p99 of
`scrape_duration_seconds` beside it, which ends before its samples are stored. It scrapes the same pages (two minutes; with `--quick`
45 s), with `GOMAXPROCS=1`.

`parse`: samples a second from a page whose series are known, and from one that is new. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.app.wiring import SteadyClock
from engine.controller import Collector, Paced
from engine.model.labels import Batch
from engine.samples.store import SampleStore
from engine.sources.exposition import Endpoint, ExpositionSource
from engine.sources.page import PageLimits, PageReader
from engine.sources.spread import slots_for, spread
from tests.lab_tools.prometheus_server import PrometheusServer

INTERVAL = 15.0
VARIANTS = 4


def page(series: int, variant: int) -> bytes:
    """Return a page as an exporter gives it."""
    lines = []
    for number in range(series):
        if number % 10 == 0:
            lines += [f"# HELP node_metric_{number // 10} What it says.", f"# TYPE node_metric_{number // 10} gauge"]
        value = (number * 7919 + variant * 104729) % 100_000 / 8
        lines.append(f'node_metric_{number // 10}{{device="sd{number % 10}",mode="read"}} {value}')
    return ("\n".join(lines) + "\n").encode()


async def serve(port: int, series: int) -> None:
    """Serve the pages until ended."""
    bodies = [page(series, variant) for variant in range(VARIANTS)]
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n"
    answers = [head.format(len(body)).encode() + body for body in bodies]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            number = 0
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answers[number % VARIANTS])
                await writer.drain()
                number += 1
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", port, backlog=2048)
    async with server:
        await server.serve_forever()


class Timed:
    """Puts batches into a store, and keeps when each could be read."""

    def __init__(self, store: SampleStore, clock: SteadyClock) -> None:
        self.store = store
        self.clock = clock
        self.kept: list[tuple[Batch, float]] = []

    def append(self, batch: Batch) -> None:
        """Store a batch."""
        self.store.append(batch)
        self.kept.append((batch, self.clock.now()))


def ours(port: int, targets: int, rounds: int, folder: Path) -> dict[str, float]:
    """Return what collecting costs us."""
    gc.collect()
    before = resident()
    endpoints = [Endpoint(f"http://127.0.0.1:{port}/{each}", f"host{each}:9100", "node") for each in range(targets)]
    source, clock = ExpositionSource(endpoints), SteadyClock()
    with SampleStore(folder) as store:
        timed = Timed(store, clock)
        collector = Collector((Paced(source, INTERVAL),), timed, clock)
        collector.once()
        collector.start()
        time.sleep(INTERVAL)
        first, cpu, begun = len(timed.kept), time.process_time(), time.monotonic()
        time.sleep(rounds * INTERVAL)
        share = (time.process_time() - cpu) / (time.monotonic() - begun)
        collector.stop()
        stats = store.stats()
        gc.collect()
        memory = resident() - before
    source.close()
    delays = sorted(delayed(timed.kept[first:], endpoints))
    return {
        "cpu_share": round(share, 4),
        "delay_p50_seconds": round(delays[len(delays) // 2], 3),
        "delay_p99_seconds": round(delays[int(len(delays) * 0.99)], 3),
        "delay_max_seconds": round(delays[-1], 3),
        "memory_mb": round(memory / 2**20, 1),
        "series": stats.series,
        "samples": stats.samples,
    }


def delayed(kept: list[tuple[Batch, float]], endpoints: list[Endpoint]) -> Iterator[float]:
    """Yield how long after it was due each target could be read; a target that is down is an error."""
    slots = spread(endpoints, slots_for(len(endpoints), INTERVAL))
    offsets = {one.instance: place * INTERVAL / len(slots) for place, slot in enumerate(slots) for one in slot}
    looked = [
        (batch.time, readable, labels["instance"], value)
        for batch, readable in kept
        for labels, value in zip(batch.series, batch.values, strict=True)
        if labels["__name__"] == "up"
    ]
    if down := sum(value != 1 for *_, value in looked):
        raise RuntimeError(f"{down} targets are down")
    start = min((at - offsets[instance]) % INTERVAL for at, _, instance, _ in looked)  # nothing begins before it is due
    for at, readable, instance, _ in looked:
        yield readable - at + (at - offsets[instance] - start) % INTERVAL


def theirs(port: int, targets: int, seconds: float) -> dict[str, float]:
    """Return what scraping the same pages costs Prometheus."""
    groups = "".join(
        f"  - targets: ['127.0.0.1:{port}']\n    labels: {{__metrics_path__: /{each}, instance: 'host{each}:9100'}}\n"
        for each in range(targets)
    )
    config = f"scrape_configs:\n- job_name: node\n  scrape_interval: {INTERVAL:.0f}s\n  static_configs:\n{groups}"
    os.environ["GOMAXPROCS"] = "1"
    with PrometheusServer(config=config) as server:
        time.sleep(2 * INTERVAL)  # every target once, and its series known
        first, began = server.metrics(), time.monotonic()
        time.sleep(seconds)
        last, took = server.metrics(), time.monotonic() - began
        up = server.query("/api/v1/query", query="sum(up)")["data"]["result"]
        slow = server.query("/api/v1/query", query="quantile(0.99, scrape_duration_seconds)")["data"]["result"]
        if int(float(up[0]["value"][1])) != targets:
            raise RuntimeError(f"{up} of {targets} targets are up")
        return {
            "cpu_share": round((last["process_cpu_seconds_total"] - first["process_cpu_seconds_total"]) / took, 4),
            "delay_p99_seconds": round(float(slow[0]["value"][1]), 3),
            "memory_mb": round(last["process_resident_memory_bytes"] / 2**20, 1),
            "series": int(last["prometheus_tsdb_head_series"]),
        }


def parsing(series: int, rounds: int) -> dict[str, int]:
    """Return samples a second from a known page, and from a new one."""
    bodies = [page(series, variant) for variant in range(VARIANTS)]
    known, new = [], []
    for _ in range(rounds):
        reader = PageReader({"instance": "host:9100", "job": "node"}, PageLimits())
        began = time.perf_counter()
        reader.read(bodies[0])
        new.append(time.perf_counter() - began)
        began = time.perf_counter()
        for body in bodies:
            reader.read(body)
        known.append((time.perf_counter() - began) / len(bodies))
    return {"known_samples_per_second": round(series / min(known)), "new_samples_per_second": round(series / min(new))}


def resident() -> int:
    """Return the bytes of memory this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Scrape many targets on one core, beside Prometheus.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8192), hard), hard))
    if options.serve:
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(options.serve, options.series))
        return 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, __file__, "--serve", str(port), "--series", str(options.series)])
    try:
        await_port(port)
        parsed = parsing(options.series, 50)
        prometheus = theirs(port, options.targets, 45.0 if options.quick else 120.0)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place:
            mine = ours(port, options.targets, 3 if options.quick else 8, Path(place))
    finally:
        server.terminate()
        server.wait()
    print(f"{options.targets} targets of {options.series} series every {INTERVAL:.0f} s")
    print(f"{'':<22}{'Prometheus':>12}{'ours':>12}")
    for name, title in (
        ("cpu_share", "share of a core"),
        ("delay_p99_seconds", "p99 delay, s"),
        ("memory_mb", "memory, MB"),
        ("series", "series"),
    ):
        print(f"{title:<22}{prometheus[name]:>12}{mine[name]:>12}")
    print(
        "(p99: of ours from when a target is due until its samples can be read; of Prometheus, of fetching and parsing)"
    )
    print(
        f"half of ours within {mine['delay_p50_seconds']} s, all within {mine['delay_max_seconds']} s; parsing: {parsed['known_samples_per_second']} samples/s of known pages, {parsed['new_samples_per_second']} of new ones"
    )
    print(
        json.dumps(
            {
                "benchmark": "scrape",
                "targets": options.targets,
                "series_per_target": options.series,
                "ours": mine,
                "prometheus": prometheus,
                "parse": parsed,
                "python": platform.python_version(),
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 2),
            }
        )
    )
    return 0


def await_port(port: int) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the server of the pages does not begin")


if __name__ == "__main__":
    sys.exit(main())
