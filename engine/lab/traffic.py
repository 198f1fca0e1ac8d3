"""The load generator: bounded traffic through the balancer, with an account of what was lost.

`python -m engine.lab.traffic DIRECTORY ADDRESS SEED PARENT`. It appends a line to `traffic.jsonl` for each 100 ms in
which a request ended: `{"t": time, "ok": n, "errors": n, "timeouts": n, "rate": requests per second asked for}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp

from engine.lab import process
from engine.lab.settings import NORMAL_RATE, Layout

_BUCKET = 0.1
_TIMEOUT = 2.0
_CONCURRENCY = 128
_TOTAL = 1_000_000
_MOST = 500.0
_KEYS = 1024
_TAIL = 1024


def lost(directory: Path, since: float, until: float) -> int:
    """Return how many requests failed or timed out between two times of the wall clock, to a tenth of a second."""
    return sum(bucket["errors"] + bucket["timeouts"] for bucket in _buckets(directory, since, until))


def answered(directory: Path, since: float, until: float) -> int:
    """Return how many requests were answered between two times of the wall clock."""
    return sum(bucket["ok"] for bucket in _buckets(directory, since, until))


def rate(directory: Path) -> float:
    """Return the rate that the generator worked at when it last wrote; 0 when it never did."""
    try:
        with Layout(directory).traffic.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return 0.0
    # Behind the last line break stands nothing or half a line; before the first, half a line or a whole one.
    return float(json.loads(lines[-2])["rate"]) if len(lines) > 1 else 0.0


def set_rate(directory: Path, requests_per_second: float) -> None:
    """Tell the generator its rate; it follows within a fifth of a second."""
    path = Layout(directory).rate
    fresh = path.with_suffix(".new")
    fresh.write_text(f"{requests_per_second}\n")
    fresh.replace(path)


def _buckets(directory: Path, since: float, until: float) -> Iterator[dict[str, int]]:
    try:
        with Layout(directory).traffic.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):  # the last line may be half written
                    bucket = json.loads(line)
                    if since - _BUCKET < bucket["t"] < until:
                        yield bucket
    except FileNotFoundError:
        return


class Generator:
    """Requests at a steady rate, whether or not earlier ones were answered, up to a bound."""

    def __init__(self, directory: Path, address: str, seed: int) -> None:
        self._directory = directory
        self._address = address
        self._dice = random.Random(seed)
        self._rate = NORMAL_RATE
        self._ended: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send until _TOTAL requests were sent, then wait to be ended."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write())
            group.create_task(self._follow())
            limit = aiohttp.ClientTimeout(total=_TIMEOUT)
            connector = aiohttp.TCPConnector(limit=_CONCURRENCY)
            async with aiohttp.ClientSession(timeout=limit, connector=connector) as client:
                due = time.monotonic()
                for _ in range(_TOTAL):
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    # After a pause of the whole machine the requests missed are not sent in one burst.
                    due = max(due, time.monotonic() - _BUCKET) + 1 / self._rate
                    if len(self._running) < _CONCURRENCY:
                        task = group.create_task(self._send(client))
                        self._running.add(task)
                        task.add_done_callback(self._running.discard)

    async def _send(self, client: aiohttp.ClientSession) -> None:
        try:
            async with client.get(f"http://{self._address}/item/{self._dice.randrange(_KEYS)}") as response:
                await response.read()
                self._ended["ok" if response.ok else "errors"] += 1
        except TimeoutError:
            self._ended["timeouts"] += 1
        except aiohttp.ClientError:
            self._ended["errors"] += 1

    async def _write(self) -> None:
        with Layout(self._directory).traffic.open("a", encoding="utf-8", buffering=1) as file:
            while True:
                begun = time.time()
                await asyncio.sleep(_BUCKET)
                if self._ended:
                    counts = {name: self._ended[name] for name in ("ok", "errors", "timeouts")}
                    self._ended.clear()
                    file.write(json.dumps({"t": round(begun, 3), **counts, "rate": self._rate}) + "\n")

    async def _follow(self) -> None:
        path = Layout(self._directory).rate
        while True:
            try:
                self._rate = min(_MOST, max(0.1, float(path.read_text())))
            except (OSError, ValueError):
                self._rate = NORMAL_RATE
            await asyncio.sleep(2 * _BUCKET)


def main() -> None:
    """Generate load until the parent process ends."""
    directory, address, seed, parent = sys.argv[1:]
    process.die_with_parent(int(parent))
    asyncio.run(Generator(Path(directory), address, int(seed)).run())


if __name__ == "__main__":
    main()
