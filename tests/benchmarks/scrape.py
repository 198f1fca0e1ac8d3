"""Scrape 1,000 targets of 100 series every 15 s on one core, beside Prometheus on the same pages.

    python tests/benchmarks/scrape.py [--quick] [--targets N] [--series N]

A server in a process of its own serves the pages; values change with every request. Ours: what the engine does with an exposition
source: fetch, parse, assemble, append to the store; this process is held to one core. Rounds follow one another with little rest,
and the share of a core is the CPU time of a round over 15 s. Delay is from the begin of a round until a target's samples are
parsed. Prometheus scrapes the same pages on its own schedule (two minutes; with `--quick` 45 s), with `GOMAXPROCS=1`.

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
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.samples.store import SampleStore
from engine.sources.exposition import Endpoint, ExpositionSource
from engine.sources.page import PageLimits, PageReader
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


def ours(port: int, targets: int, rounds: int, folder: Path) -> dict[str, float]:
    """Return what collecting costs us."""
    gc.collect()
    before = resident()
    endpoints = [Endpoint(f"http://127.0.0.1:{port}/{each}", f"host{each}:9100", "node") for each in range(targets)]
    source = ExpositionSource(endpoints)
    took, shares, delays = [], [], []
    with SampleStore(folder) as store:
        start = time.time() - (rounds + 2) * INTERVAL
        for number in range(rounds + 2):  # the first two find new series and new connections
            cpu, began = time.process_time(), time.perf_counter()
            batch = source.collect(start + number * INTERVAL)
            store.append(batch)
            if number >= 2:
                took.append(time.perf_counter() - began)
                shares.append((time.process_time() - cpu) / INTERVAL)
                durations = [
                    value
                    for labels, value in zip(batch.series, batch.values, strict=True)
                    if labels["__name__"] == "scrape_duration_seconds"
                ]
                delays += durations
                down = sum(
                    labels["__name__"] == "up" and value != 1
                    for labels, value in zip(batch.series, batch.values, strict=True)
                )
                if down:
                    raise RuntimeError(f"{down} targets are down")
            time.sleep(0.5)
        stats = store.stats()
        gc.collect()
        memory = resident() - before
    source.close()
    delays.sort()
    return {
        "cpu_share": round(statistics.median(shares), 4),
        "round_seconds": round(statistics.median(took), 3),
        "delay_p99_seconds": round(delays[int(len(delays) * 0.99)], 3),
        "memory_mb": round(memory / 2**20, 1),
        "series": stats.series,
        "samples": stats.samples,
    }


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
            mine = ours(port, options.targets, 4 if options.quick else 12, Path(place))
    finally:
        server.terminate()
        server.wait()
    print(f"{options.targets} targets of {options.series} series every {INTERVAL:.0f} s")
    print(f"{'':<22}{'Prometheus':>12}{'ours':>12}")
    for name, title in (
        ("cpu_share", "share of a core"),
        ("delay_p99_seconds", "p99 of a scrape, s"),
        ("memory_mb", "memory, MB"),
        ("series", "series"),
    ):
        print(f"{title:<22}{prometheus[name]:>12}{mine[name]:>12}")
    print(
        "(p99: Prometheus spreads its scrapes over the interval; ours begin at once, the last one waits for all others)"
    )
    print(
        f"a round of ours takes {mine['round_seconds']} s; parsing: {parsed['known_samples_per_second']} samples/s of known pages, {parsed['new_samples_per_second']} of new ones"
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
