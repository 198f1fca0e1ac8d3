"""Measure how long it takes from the decision to act until a playbook acts: warm, cold, and beside bare `ansible-playbook`.

    python tests/benchmarks/warm_start.py [--quick] [--times N] [--row N] [--log FILE]

One playbook of one task, on this machine over a local connection and over ssh (a server on loopback with keys of its own). From the
moment at which the executor is told to start, or `ansible-playbook` is: until the first task's event is in the journal, or its line is
printed; and until the task's command runs on the node, by the node's own word. All on one machine, so that all clocks are one.
Every run has ssh connections of its own, as an act after a quiet hour has.

The kinds of runs take turns. What counts are ratios of medians. The last line is one JSON object: `first_task_local`,
`first_task_ssh`, `on_node_local` and `on_node_ssh` are warm to bare, `cold` holds the same for executions without a fork server; `met` says
whether the goals are. Exit code 1 when a run that should have been warm was not.

With `--row N` it measures nothing of that: N executions run one after the other off one server, whose memory and open files are
looked at after each; it must be the same server at the end, with as many open files, and not more than 1 MiB larger than after the tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.executor.local import LocalExecutor
from engine.executor.warm import starts
from engine.executor.warm.keeper import Keeper
from engine.model.execution import Execution, ExecutionState, PlannedStep
from tests.executor.node import MISSING, Node, found

TIMES, QUICK = 20, 5
WARM_UP = 1
GROWTH = 1 << 20
PATIENCE = 120.0
GOALS = {"first_task": 0.25, "on_node": 0.5}
KINDS = ("bare", "cold", "warm")
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Act
      ansible.builtin.shell: date +%s.%N > {{ place }}
"""


@dataclass
class Taken:
    """Seconds from the decision, a list for each kind of run and node."""

    first_task: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    on_node: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, key: tuple[str, str], first_task: float, on_node: float) -> None:
        self.first_task.setdefault(key, []).append(first_task)
        self.on_node.setdefault(key, []).append(on_node)


class Bench:
    """A project with two nodes, both of which are this machine."""

    def __init__(self, root: Path, nodes: Mapping[str, Mapping[str, object]]) -> None:
        self.root = root
        self.playbooks = root / "playbooks"
        self.playbooks.mkdir()
        (self.playbooks / "act.yml").write_text(PLAYBOOK)
        self.inventory = root / "inventory.json"
        self.inventory.write_text(json.dumps({"all": {"hosts": nodes}}))
        self.numbers = 0

    def executor(self, name: str) -> LocalExecutor:
        return LocalExecutor(self.root / name, inventory=(self.inventory,), playbooks=(self.playbooks,))

    def place(self) -> Path:
        """Return where the next run says when it was on the node."""
        self.numbers += 1
        return self.root / f"acted-{self.numbers}"

    def bare(self, node: str) -> tuple[float, float]:
        """Run `ansible-playbook` as people do; return both times."""
        place = self.place()
        with tempfile.TemporaryDirectory(prefix="cp-") as connections:
            words = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(self.inventory)]
            words += ["--limit", node, "-e", f"place={place}", str(self.playbooks / "act.yml")]
            surroundings = {
                **os.environ,
                "LC_ALL": "C.UTF-8",
                "PYTHONUNBUFFERED": "1",
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": connections,
            }
            first = None
            decided = time.time()
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=surroundings, cwd=self.root) as run:
                for line in run.stdout or ():
                    if first is None and line.startswith("TASK ["):
                        first = time.time()
            for socket in Path(connections).iterdir():
                subprocess.run(
                    ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "x"], capture_output=True, check=False
                )
        if run.returncode != 0 or first is None:
            raise SystemExit(f"ansible-playbook ended with {run.returncode}")
        return first - decided, float(place.read_text()) - decided

    def executed(self, executor: LocalExecutor, node: str) -> tuple[float, float]:
        """Run an execution; return both times."""
        place = self.place()
        step = PlannedStep("act.yml", (node,), {"place": str(place)})
        execution = Execution(f"execution-{self.numbers}", "a", "i", "r", "d", "m", node, (step,))
        decided = time.time()
        executor.start(execution)
        end = time.monotonic() + PATIENCE
        while (report := executor.report(execution.id, 0)).state.active and time.monotonic() < end:
            time.sleep(0.02)
        if report.state is not ExecutionState.SUCCESSFUL:
            raise SystemExit(f"{execution.id}: {report.state} {report.message}")
        first = next(event.at for event in report.events if event.kind == "task_started")
        return first - decided, float(place.read_text()) - decided


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure how long it takes from the decision until a playbook acts.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} times each instead of {TIMES}")
    parser.add_argument("--times", type=int)
    parser.add_argument("--row", type=int, default=0, help="so many executions in a row off one server")
    parser.add_argument("--log", type=Path, help="append the last line to this file, too")
    options = parser.parse_args()
    if not found():
        raise SystemExit(MISSING)
    times = options.times or (QUICK if options.quick else TIMES)
    with tempfile.TemporaryDirectory(prefix="mb-") as place, ExitStack() as ending:
        node = Node(Path(place) / "node")
        ending.callback(node.stop)
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        bench = Bench(Path(place), {"local": local, "ssh": node.variables})
        cold, warm = bench.executor("cold"), bench.executor("warm")
        ending.callback(warm.close)
        began = time.monotonic()
        keeper = warm.keep_warm()
        why = keeper.wait(PATIENCE)
        ready = time.monotonic() - began
        if why is not None:
            raise SystemExit(f"nothing can begin warm: {why}")
        if options.row:
            return row(bench, warm, keeper, options.row, options.log)
        taken = measure(bench, cold, warm, times)
        counted = starts.counted(Path(place) / "warm")
    return say(taken, times, ready, counted, options.log)


def measure(bench: Bench, cold: LocalExecutor, warm: LocalExecutor, times: int) -> Taken:
    """Let the kinds of runs take turns on both nodes; the first turn does not count."""
    taken = Taken()
    for number in range(times + WARM_UP):
        for node in ("local", "ssh"):
            for kind in KINDS:
                match kind:
                    case "bare":
                        found = bench.bare(node)
                    case "cold":
                        found = bench.executed(cold, node)
                    case _:
                        found = bench.executed(warm, node)
                if number >= WARM_UP:
                    taken.add((kind, node), *found)
    return taken


def row(bench: Bench, executor: LocalExecutor, keeper: Keeper, number: int, log: Path | None) -> int:
    """Run so many executions one after the other, print what became of the server, and return the exit code."""
    server = keeper.server
    files, sizes, taken = [], [], []
    for _ in range(number):
        taken.append(bench.executed(executor, "local")[0])
        shutil.rmtree(bench.root / "warm" / f"execution-{bench.numbers}", ignore_errors=True)
        files.append(len(list(Path(f"/proc/{server}/fd").iterdir())))
        sizes.append(int(Path(f"/proc/{server}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    counted = starts.counted(bench.root / "warm")
    settled = sizes[min(10, number - 1)]
    good = keeper.server == server and counted.warm == number and not counted.cold
    good = good and len(set(files)) == 1 and sizes[-1] - settled <= GROWTH
    print(f"{number} in a row: {files[0]} to {files[-1]} open files, {settled >> 10} to {sizes[-1] >> 10} KiB")
    return finish(
        {
            "benchmark": "warm_start_row",
            **circumstances(),
            "row": number,
            "warm": counted.warm,
            "open_files": [files[0], max(files), files[-1]],
            "resident_bytes": [sizes[0], settled, max(sizes), sizes[-1]],
            "first_task_seconds": [round(each, 4) for each in statistics.quantiles(taken, n=4)],
            "met": good,
        },
        log,
        good=good,
    )


def circumstances() -> dict[str, object]:
    """Return when and on what it was measured."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def finish(content: dict[str, object], log: Path | None, *, good: bool) -> int:
    """Print the last line, keep it where that is wanted, and return the exit code."""
    line = json.dumps(content)
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    print(line)
    return 0 if good else 1


def say(taken: Taken, times: int, ready: float, counted: starts.Starts, log: Path | None) -> int:
    """Print what was measured, a table and a line; return the exit code."""
    print(f"seconds from the decision, medians of {times}; the fork server was ready after {ready:.1f} s")
    print(f"{'':<22}{'bare':>8}{'cold':>8}{'warm':>8}{'cold/bare':>11}{'warm/bare':>11}{'goal':>7}")
    ratios: dict[str, dict[str, float]] = {"cold": {}, "warm": {}}
    seconds: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for what, goal in GOALS.items():
        for node in ("local", "ssh"):
            name = f"{what}_{node}"
            medians = {kind: statistics.median(getattr(taken, what)[kind, node]) for kind in KINDS}
            for kind in KINDS:
                seconds[kind][name] = round(medians[kind], 4)
            for kind in ("cold", "warm"):
                ratios[kind][name] = round(medians[kind] / medians["bare"], 3)
            columns = "".join(f"{medians[kind]:8.3f}" for kind in KINDS)
            print(f"{name:<22}{columns}{ratios['cold'][name]:11.2f}{ratios['warm'][name]:11.2f}{goal:7.2f}")
    met = all(ratios["warm"][f"{what}_{node}"] <= goal for what, goal in GOALS.items() for node in ("local", "ssh"))
    all_warm = not counted.cold
    if not all_warm:
        print(f"not every run was warm: {counted.last}")
    return finish(
        {
            "benchmark": "warm_start",
            **circumstances(),
            "times": times,
            **ratios["warm"],
            "cold": ratios["cold"],
            "seconds": seconds,
            "ready_seconds": round(ready, 2),
            "goals": GOALS,
            "met": met and all_warm,
        },
        log,
        good=all_warm,
    )


if __name__ == "__main__":
    sys.exit(main())
