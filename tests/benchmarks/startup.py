"""Measure how long people wait before anything happens: `mendbook --help`, and `mendbook audit` beyond its sampling wait.

    python tests/benchmarks/startup.py [--times 20]

Warm, interleaved with `python -c pass`, the median of all; audit works on a project that `mendbook init` laid out on this
machine. The last line is one JSON object. Exit code 1 when a goal is missed; on a machine with more to do than cores, where the
clock says more about the others, when the CPU's time alone misses it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

MENDBOOK = str(Path(sys.executable).with_name("mendbook"))
WAIT = 1.0
"""Seconds that audit waits between its two collections; they are not counted."""
WARM = 2
SURROUNDINGS = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Warm means compiled: without this, a checkout would be compiled anew at every start."""
GOALS = {"help": 0.3, "audit": 2.0}

COMMANDS: Mapping[str, list[str]] = {
    "pass": [sys.executable, "-c", "pass"],
    "help": [MENDBOOK, "--help"],
    "audit": [MENDBOOK, "audit", "--wait", str(WAIT)],
}


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure how long people wait before anything happens.")
    parser.add_argument("--times", type=int, default=20)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place:
        subprocess.run([MENDBOOK, "init"], cwd=place, check=True, capture_output=True)
        taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
        worked: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for number in range(times + WARM):
            for name, command in COMMANDS.items():
                seconds, cpu = timed(command, place)
                if number >= WARM:
                    taken[name].append(seconds)
                    worked[name].append(cpu)
    taken["audit"] = [seconds - WAIT for seconds in taken["audit"]]
    medians = {name: statistics.median(each) for name, each in taken.items()}
    cpu_medians = {name: statistics.median(each) for name, each in worked.items()}
    for name, each in taken.items():
        goal = f", goal {GOALS[name] * 1000:.0f} ms" if name in GOALS else ""
        print(
            f"{name:<6} {medians[name] * 1000:7.0f} ms median of {times} "
            f"({min(each) * 1000:.0f} to {max(each) * 1000:.0f}), "
            f"{cpu_medians[name] * 1000:.0f} of the CPU, {medians[name] / medians['pass']:.1f} times `python -c pass`{goal}"
        )
    met = all(medians[name] < goal for name, goal in GOALS.items())
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    print(
        json.dumps(
            {
                "benchmark": "startup",
                "times": times,
                "load": round(os.getloadavg()[0], 1),
                "seconds": {name: round(median, 4) for name, median in medians.items()},
                "cpu_seconds": {name: round(median, 4) for name, median in cpu_medians.items()},
                "ratios": {name: round(medians[name] / medians["pass"], 1) for name in GOALS},
                "goals": GOALS,
                "met": met,
                "busy": busy,
            }
        )
    )
    return 0 if met or (busy and all(cpu_medians[name] < goal for name, goal in GOALS.items())) else 1


def timed(command: list[str], place: str) -> tuple[float, float]:
    """Return the seconds that a command takes by the clock, and of the CPU; it must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, cwd=place, env=SURROUNDINGS, check=True, capture_output=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
