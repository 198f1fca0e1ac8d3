"""Kill a process that stores samples, at random moments and under load, and see what is left.

    python tests/benchmarks/durability.py [--quick] [--kills N]

A writer appends batches as fast as it can (200 series, a hundred that come and go, a small store, so that segments are begun and
dropped all the time), and says on a pipe which batch is about to be written and which was acknowledged. SIGKILL comes after a
random time. Then the store is opened: it must open, every acknowledged batch within retention must be there, whole and as it was
written; the batch in flight may be there whole or not at all; nothing else may be. The writer goes on with the same store.

200 kills; with `--quick`, as in CI, 20. The last line is one JSON object. Exit code 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from engine.model.labels import Batch, Labels
from engine.promql.block import Matcher, MatchOperator
from engine.samples.store import SampleStore

STEADY = 200
PASSING = 100
RETENTION = 100_000.0
LIMIT = 4 << 20
START = 1_700_000_000
KEPT = 300
"""So many of the newest batches are looked at after each kill: well within what the limit of size keeps."""


def series_of(number: int) -> tuple[Labels, ...]:
    """Return the series of a batch: always the same ones, and some that live for fifty batches."""
    return (*steady(), *(Labels({"__name__": "passing", "pod": f"{number // 50}-{each}"}) for each in range(PASSING)))


def steady(known: list[tuple[Labels, ...]] = []) -> tuple[Labels, ...]:  # noqa: B006  kept on purpose
    """Return the series that every batch has."""
    if not known:
        known.append(tuple(Labels({"__name__": "steady", "instance": f"host{each:03}"}) for each in range(STEADY)))
    return known[0]


def value_of(number: int, place: int) -> float:
    """Return what batch `number` says of the series in a place."""
    return float(number * 1000 + place)


def batch_of(number: int) -> Batch:
    """Return a batch; its time is its number."""
    series = series_of(number)
    return Batch(float(START + number), series, tuple(value_of(number, place) for place in range(len(series))))


def write(folder: Path, first: int, pipe: int) -> None:
    """Append batches until killed, telling of each before and after."""
    with SampleStore(folder, retention=RETENTION, size_limit=LIMIT) as store:
        os.write(pipe, b"o\n")
        for number in range(first, sys.maxsize):
            batch = batch_of(number)
            os.write(pipe, b"w%d\n" % number)
            store.append(batch)
            os.write(pipe, b"a%d\n" % number)


@dataclass(slots=True)
class Tally:
    """What was seen."""

    kills: int = 0
    acknowledged: int = 0
    in_flight: int = 0
    torn: int = 0
    lost: int = 0
    wrong: int = 0
    unopened: int = 0
    reopening: list[float] = field(default_factory=list)


def kill_once(folder: Path, first: int, wait: float) -> tuple[int, int]:
    """Start a writer and kill it after `wait` seconds of writing; return the last batch begun and the last acknowledged."""
    reading, writing = os.pipe()
    command = [sys.executable, __file__, "--write", str(folder), "--first", str(first), "--pipe", str(writing)]
    process = subprocess.Popen(command, pass_fds=[writing])
    os.close(writing)
    said = b""
    try:
        while not said and process.poll() is None:
            said = os.read(reading, 1 << 16)
        deadline = time.monotonic() + wait
        while (left := deadline - time.monotonic()) > 0:
            if select.select([reading], [], [], left)[0]:
                said += os.read(reading, 1 << 16)
        process.send_signal(signal.SIGKILL)
        process.wait()
        while chunk := os.read(reading, 1 << 16):
            said += chunk
    finally:
        os.close(reading)
    if not said.startswith(b"o"):
        raise RuntimeError("the writer did not open the store")
    begun = acknowledged = first - 1
    for line in said.split():
        match line[:1]:
            case b"w":
                begun = int(line[1:])
            case b"a":
                acknowledged = int(line[1:])
    return begun, acknowledged


def look(folder: Path, begun: int, acknowledged: int, tally: Tally) -> int:
    """Open the store and hold it against what was said; return the last batch it has."""
    began = time.perf_counter()
    try:
        store = SampleStore(folder, retention=RETENTION, size_limit=LIMIT)
    except Exception as error:  # noqa: BLE001  whatever it is, it is what this looks for
        print(f"not opened: {error!r}", file=sys.stderr)
        tally.unopened += 1
        return acknowledged
    tally.reopening.append(time.perf_counter() - began)
    with store:
        tally.torn += store.stats().cut_off_bytes > 0
        block = store.select([Matcher("__name__", MatchOperator.EQUAL, "steady")], 0, 1 << 52)
        if not block.series:
            tally.lost += STEADY * (acknowledged >= 0)
            return acknowledged
        first = max(0, acknowledged - KEPT)
        expected = np.arange(first, acknowledged + 1)
        complete = len(block.series) == STEADY
        for row, labels in enumerate(block.series):
            place = int(labels["instance"][4:])
            part = slice(int(block.offsets[row]), int(block.offsets[row + 1]))
            numbers = block.times[part] // 1000 - START
            tally.wrong += int(np.count_nonzero(block.values[part] != numbers * 1000.0 + place))
            tally.wrong += int(np.count_nonzero(numbers > begun))
            tally.lost += int(np.setdiff1d(expected, numbers).size)
        tally.lost += 0 if complete else STEADY
        flight = [int(block.times[end - 1]) // 1000 - START for end in block.offsets[1:].tolist()]
        tally.in_flight += max(flight) > acknowledged
        tally.wrong += len(set(flight)) != 1  # a batch is there for all series or for none
        return max(flight)


def main() -> int:
    """Kill, look, and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Kill a process that stores samples, and see what is left.")
    parser.add_argument("--quick", action="store_true", help="20 kills")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--pipe", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write is not None:
        write(options.write, options.first, options.pipe)
        return 0
    kills = options.kills or (20 if options.quick else 200)
    dice, tally = random.Random(options.seed), Tally()
    folder = Path(tempfile.mkdtemp(prefix="mendbook-durability-"))
    stored = acknowledged = -1
    try:
        for _ in range(kills):
            begun, now = kill_once(folder, stored + 1, dice.choice([0.0, 0.02, 0.3]) * dice.random())
            tally.kills += 1
            tally.acknowledged += max(0, now - acknowledged)
            acknowledged = max(now, acknowledged)
            stored = look(folder, begun, acknowledged, tally)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return told(tally, options.seed)


def told(tally: Tally, seed: int) -> int:
    """Print what was seen; return the exit code."""
    reopening = [seconds * 1000 for seconds in tally.reopening] or [0.0]
    print(f"kills                           {tally.kills}")
    print(f"batches acknowledged            {tally.acknowledged}")
    print(f"batches in flight that stayed   {tally.in_flight}")
    print(f"torn ends cut off               {tally.torn}")
    print(f"stores that did not open        {tally.unopened}")
    print(f"samples acknowledged and lost   {tally.lost}")
    print(f"samples wrong                   {tally.wrong}")
    print(f"milliseconds to open            {statistics.median(reopening):.0f} median, {max(reopening):.0f} at most")
    bad = tally.unopened + tally.lost + tally.wrong
    print(
        json.dumps(
            {
                "benchmark": "durability",
                "kills": tally.kills,
                "acknowledged": tally.acknowledged,
                "in_flight_kept": tally.in_flight,
                "torn": tally.torn,
                "unopened": tally.unopened,
                "lost": tally.lost,
                "wrong": tally.wrong,
                "open_ms_median": round(statistics.median(reopening), 1),
                "open_ms_most": round(max(reopening), 1),
                "seed": seed,
                "python": platform.python_version(),
                "cores": os.cpu_count(),
                "met": bad == 0,
            }
        )
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
