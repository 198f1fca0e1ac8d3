"""Measure what the engine adds to Ansible's own time for an execution: supervisor, events, and the record.

    python tests/benchmarks/overhead.py [--quick] [--log FILE]

Playbooks of 1 and 200 tasks that do nothing, on 1 and 100 hosts over local connections: so is the share of the engine the largest. Each
is run by bare `ansible-playbook`, by the executor cold, and warm; each time until it has ended and all events are in the record,
which is read and written as the loop does it, four times a second. The kinds take turns; what counts are medians.

`overhead` is what the engine adds, as a ratio to bare: (ours - bare) / bare; warm it may be below zero. `--quick` leaves out 200 tasks on 100
hosts, and takes fewer turns. The last line is one JSON object. Exit code 1 when a run failed, or events are missing in the record.
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
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.executor.local import LocalExecutor
from engine.model.execution import Execution, ExecutionState, PlannedStep
from engine.records.store import Record

SIZES = {(1, 1): 7, (1, 100): 5, (200, 1): 3, (200, 100): 1}
"""How many turns for so many tasks on so many hosts."""
QUICK = {(1, 1): 3, (1, 100): 1, (200, 1): 1}
KINDS = ("bare", "cold", "warm")
LOOK = 0.25
PATIENCE = 1800.0
PROGRAM = str(Path(sys.executable).with_name("ansible-playbook"))


class Bench:
    """A project with a hundred hosts, all of which are this machine, and a record."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.playbooks = root / "playbooks"
        self.playbooks.mkdir()
        self.inventory = root / "inventory.json"
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.hosts = [f"host-{number:03}" for number in range(100)]
        self.inventory.write_text(json.dumps({"all": {"hosts": dict.fromkeys(self.hosts, local)}}))
        self.record = Record(root / "record.sqlite3")
        self.numbers = 0

    def executor(self, name: str) -> LocalExecutor:
        return LocalExecutor(self.root / name, inventory=(self.inventory,), playbooks=(self.playbooks,))

    def playbook(self, tasks: int) -> str:
        """Return the name of a playbook with so many tasks that do nothing."""
        name = f"tasks-{tasks}.yml"
        lines = ["- hosts: all", "  gather_facts: false", "  tasks:"]
        lines += [f"    - {{name: task {number}, ansible.builtin.debug: {{msg: x}}}}" for number in range(tasks)]
        (self.playbooks / name).write_text("\n".join(lines) + "\n")
        return name

    def bare(self, tasks: int, hosts: int) -> float:
        """Run `ansible-playbook`; return the seconds that it took."""
        words = [PROGRAM, "-i", str(self.inventory), "--limit", ",".join(self.hosts[:hosts])]
        words.append(str(self.playbooks / self.playbook(tasks)))
        began = time.monotonic()
        subprocess.run(
            words, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C.UTF-8"}, cwd=self.root
        )
        return time.monotonic() - began

    def executed(self, executor: LocalExecutor, tasks: int, hosts: int) -> float:
        """Run an execution, taking its events into the record; return the seconds that it took."""
        self.numbers += 1
        step = PlannedStep(self.playbook(tasks), tuple(self.hosts[:hosts]), timeout=PATIENCE)
        execution = Execution(f"execution-{self.numbers}", "a", "i", "r", "d", "m", self.hosts[0], (step,))
        began = time.monotonic()
        executor.start(execution)
        looked = began
        taken = 0
        while True:
            report = executor.report(execution.id, self.record.follow(execution.id))
            self.record.events(execution.id, report.events)
            taken += len(report.events)
            if not report.state.active and not report.events:
                break
            if not report.events:  # as soon as it is over, so that the pace of looking is not measured
                looked += LOOK
                self.await_end(executor, execution.id, looked)
        seconds = time.monotonic() - began
        if report.state is not ExecutionState.SUCCESSFUL:
            raise SystemExit(f"{execution.id}: {report.state} {report.message}")
        if taken < tasks:
            raise SystemExit(f"{execution.id}: only {taken} events are in the record")
        return seconds

    def await_end(self, executor: LocalExecutor, execution: str, until: float) -> None:
        """Wait until it is time to look again, or the result is there."""
        result = self.root / executor_name(executor) / execution / "result.json"
        while time.monotonic() < until and not result.exists():
            time.sleep(0.005)


def executor_name(executor: LocalExecutor) -> str:
    """Return the folder of an executor."""
    return executor._directory.name


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure what the engine adds to Ansible's own time.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--log", type=Path, help="append the last line to this file, too")
    options = parser.parse_args()
    sizes = QUICK if options.quick else SIZES
    seconds: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="mb-") as place, ExitStack() as ending:
        bench = Bench(Path(place))
        ending.callback(bench.record.close)
        cold, warm = bench.executor("cold"), bench.executor("warm")
        ending.callback(warm.close)
        why = warm.keep_warm().wait(PATIENCE)
        if why is not None:
            raise SystemExit(f"nothing can begin warm: {why}")
        for (tasks, hosts), turns in sizes.items():
            taken: dict[str, list[float]] = {kind: [] for kind in KINDS}
            for _ in range(turns):
                taken["bare"].append(bench.bare(tasks, hosts))
                taken["cold"].append(bench.executed(cold, tasks, hosts))
                taken["warm"].append(bench.executed(warm, tasks, hosts))
            for kind in KINDS:
                seconds[kind][f"{tasks}x{hosts}"] = round(statistics.median(taken[kind]), 3)
    return say(seconds, options.log)


def say(seconds: dict[str, dict[str, float]], log: Path | None) -> int:
    """Print what was measured, a table and a line; return the exit code."""
    bare = seconds["bare"]
    overhead = {
        kind: {size: round(taken / bare[size] - 1.0, 3) for size, taken in seconds[kind].items()}
        for kind in ("cold", "warm")
    }
    print("seconds until everything is in the record, medians")
    print(f"{'tasks x hosts':<16}{'bare':>9}{'cold':>9}{'warm':>9}{'cold adds':>11}{'warm adds':>11}")
    for size, taken in bare.items():
        columns = f"{taken:9.2f}{seconds['cold'][size]:9.2f}{seconds['warm'][size]:9.2f}"
        print(f"{size:<16}{columns}{overhead['cold'][size]:11.0%}{overhead['warm'][size]:11.0%}")
    line = json.dumps(
        {
            "benchmark": "overhead",
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "overhead": overhead["warm"],
            "overhead_cold": overhead["cold"],
            "seconds": seconds,
        }
    )
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
