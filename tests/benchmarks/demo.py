"""Run the demo many times, each time with another seed, and say how it went.

    python tests/benchmarks/demo.py --runs 20       all six injections, a line per run in tests/benchmarks/logs/demo.jsonl
    python tests/benchmarks/demo.py --runs 2 --quick  two injections only, and no log unless --log names one

It uses the console script beside the interpreter, in an empty folder per run. The last line is one JSON object. Exit code
1 when a run did not localize, heal and verify every injection.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

MENDBOOK = Path(sys.executable).with_name("mendbook")
LOG = Path(__file__).parent / "logs" / "demo.jsonl"
LONGEST = 360.0
"""Seconds that one run may take: six injections, each with the lab's own limits, on a busy machine."""
QUICK = ("killed", "corrupt")
FIGURES = {
    "detected": "detected_after",
    "localized": "localized_after",
    "recovered": "recovered_after",
    "lost": "requests_lost",
}

Outcome = dict[str, Any]


def main() -> int:
    """Run, print, keep the log; return the exit code."""
    parser = argparse.ArgumentParser(description="Run the demo many times, each time with another seed.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further run takes the next")
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}")
    parser.add_argument("--log", type=Path, help=f"where a line per run is added; without --quick {LOG.name} in logs/")
    told = parser.parse_args()
    log = told.log or (None if told.quick else LOG)
    outcomes = []
    for seed in range(told.seed, told.seed + told.runs):
        outcome = run(seed, QUICK if told.quick else ())
        outcomes.append(outcome)
        print(sentence(outcome), file=sys.stderr, flush=True)
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcome) + "\n")
    summary = summarize(outcomes)
    print(table(summary))
    print(json.dumps(summary))
    return 0 if summary["all_healed"] else 1


def run(seed: int, names: Sequence[str]) -> Outcome:
    """Run one demo in a folder of its own and return what came of it."""
    command = [str(MENDBOOK), "demo", "-o", "json", "--seed", str(seed)]
    command += [word for name in names for word in ("--inject", name)]
    with tempfile.TemporaryDirectory(prefix="mendbook-benchmark-") as place:
        began = time.monotonic()
        demo = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, told = demo.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            demo.kill()  # its cluster ends with it
            out, told = demo.communicate()
        seconds = time.monotonic() - began
    rows = read(out)
    healed = demo.returncode == 0 and bool(rows) and all(row["good"] for row in rows)
    if not healed:
        print(told, file=sys.stderr)
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seed": seed,
        "healed": healed,
        "exit_code": demo.returncode,
        "seconds": round(seconds, 1),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "injections": rows,
    }


def read(out: str) -> list[Outcome]:
    """Return the demo's rows; none when it did not come as far as to print them."""
    try:
        rows = json.loads(out)
    except ValueError:
        return []
    return rows if isinstance(rows, list) else []


def sentence(outcome: Outcome) -> str:
    """Say how one run went."""
    bad = [
        f"{row['injection']}: {row['localized']} {row['remark']}" for row in outcome["injections"] if not row["good"]
    ]
    verdict = "all healed" if outcome["healed"] else f"NOT HEALED (exit code {outcome['exit_code']}) {'; '.join(bad)}"
    return f"seed {outcome['seed']}: {verdict} in {outcome['seconds']:.0f} s"


def summarize(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the spread of every figure of every injection over all runs."""
    names = dict.fromkeys(row["injection"] for outcome in outcomes for row in outcome["injections"])
    rows = {
        name: [row for outcome in outcomes for row in outcome["injections"] if row["injection"] == name]
        for name in names
    }
    return {
        "benchmark": "demo",
        "runs": len(outcomes),
        "healed": sum(outcome["healed"] for outcome in outcomes),
        "all_healed": bool(outcomes) and all(outcome["healed"] for outcome in outcomes),
        "seconds": spread(outcome["seconds"] for outcome in outcomes),
        "injections": {
            name: {
                "healed": sum(row["good"] for row in own),
                "runs": len(own),
                **{figure: spread(row.get(key) for row in own) for figure, key in FIGURES.items()},
            }
            for name, own in rows.items()
        },
    }


def spread(values: Iterable[float | None]) -> Outcome | None:
    """Return the least, the middle and the greatest of what was measured; None when nothing was."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {
        "min": round(min(known), 1),
        "median": round(statistics.median(known), 1),
        "max": round(max(known), 1),
    }


def table(summary: Outcome) -> str:
    """Return the spreads for people: min / median / max, times in seconds from the injection's effect."""
    line = "{:<10} {:>7}  {:>18}  {:>18}  {:>18}  {:>16}".format
    lines = [line("INJECTION", "HEALED", "DETECTED s", "LOCALIZED s", "RECOVERED s", "REQUESTS LOST")]
    for name, each in summary["injections"].items():
        cells = (told(each[figure], ".1f" if figure != "lost" else ".0f") for figure in FIGURES)
        lines.append(line(name, f"{each['healed']}/{each['runs']}", *cells))
    lines.append(
        f"{summary['healed']} of {summary['runs']} runs healed everything; "
        f"a run takes {told(summary['seconds'], '.0f')} s (min / median / max)"
    )
    return "\n".join(lines)


def told(figures: Outcome | None, form: str) -> str:
    """Return a spread in one cell."""
    return "-" if figures is None else " / ".join(format(figures[key], form) for key in ("min", "median", "max"))


if __name__ == "__main__":
    sys.exit(main())
