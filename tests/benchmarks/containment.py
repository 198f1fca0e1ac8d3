"""Cancel playbooks that do everything to live on, let others run into their timeout, and count what is left of them.

    python tests/benchmarks/containment.py [--quick] [--each N] [--seed N] [--log FILE]

The playbooks fork, daemonize, clear their environment, ignore SIGTERM, or use `async`; half of them do so on this machine, and half on
a node that is reached over ssh (an sshd of our own on loopback; without one all of them run here, and the last line says so). Four run
at a time. Each process that they begin carries a word of its own in its command line, by which it is counted, whatever the
executor believes: `left` are those that live when their execution is said to have ended.

100 cancels and 100 timeouts; with `--quick`, as in CI, 8 of each. The last line is one JSON object. Exit code 1 when anything is
left, or an execution was not called contained.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.executor import processes
from engine.executor.local import LocalExecutor
from engine.model.execution import Execution, ExecutionState, PlannedStep, Report
from tests.executor.node import MISSING, Node, found

STAY = "import signal, time; [signal.signal(each, signal.SIG_IGN) for each in (1, 2, 3, 15)]; time.sleep(300)"
FORK = "import os, time; [os.fork() for _ in range(3)]; time.sleep(300)"
DAEMON = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); [os.close(each) for each in range(3)]; time.sleep(300)"
FUGITIVE = "import os, time; end = time.time() + 60\nwhile time.time() < end:\n    time.sleep(0.01)\n    if os.fork(): os._exit(0)"
KINDS = {
    "forks": "{python} -c '{fork} # {word}' & sleep 300",
    "daemonizes": "{python} -c '{daemon} # {word}'; sleep 300",
    "ignores SIGTERM": "{python} -c '{stay} # {word}'",
    "clears its environment": "env -i setsid {python} -c '{stay} # {word}' & sleep 300",
    "changes its number": "{python} -c '{fugitive} # {word}'; sleep 300",
    "async": "{python} -c '{stay} # {word}'",
    "async, waited for": "{python} -c '{stay} # {word}'",
}
JOBS = {"async": 0, "async, waited for": 1}
"""How often is looked whether they are done."""
AWAY = tuple(kind for kind in KINDS if kind != "clears its environment")
"""What is done on the node. A process without environment whose parent is gone is told from others by a control group alone, and
there is none on another machine."""
PATIENCE = 120.0


@dataclass(slots=True)
class Tally:
    """What was done and seen."""

    left: int = 0
    not_contained: int = 0
    canceled: int = 0
    timed_out: int = 0
    other: int = 0
    """Ended otherwise, such as a playbook that failed before anything was done to it."""
    here: int = 0
    away: int = 0
    begun: int = 0
    """Processes that were seen to live before."""
    seconds_to_end: float = 0.0
    """From the cancel to the end, the longest."""


def alive(word: str) -> list[int]:
    """Return the interpreters whose command line contains the word."""
    found_ = []
    for process in processes.running().values():
        try:
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 2 and words[1] == b"-c" and word.encode() in words[2] and b"python" in words[0]:
            found_.append(process.pid)
    return found_


class Bench:
    """A place to run them."""

    def __init__(self, root: Path, node: Node | None, dice: random.Random) -> None:
        self.root = root
        self.dice = dice
        self.tally = Tally()
        self.lock = Lock()
        (root / "playbooks").mkdir()
        hosts = {"here": {"ansible_connection": "local"}, **({} if node is None else {"away": node.variables})}
        (root / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        self.hosts = tuple(hosts)
        self.executor = LocalExecutor(
            root / "executions", inventory=(root / "hosts.json",), playbooks=(root / "playbooks",)
        )

    def playbook(self, name: str, kind: str, word: str) -> str:
        """Write the playbook of a kind."""
        words = {"fork": FORK, "daemon": DAEMON, "stay": STAY, "fugitive": FUGITIVE, "python": sys.executable}
        wait = [sys.executable, "-c", f"import time; time.sleep(300) # {word}"]
        begin: dict[str, object] = {"name": "Begin", "ansible.builtin.shell": KINDS[kind].format(word=word, **words)}
        if kind in JOBS:
            begin |= {"async": 200, "poll": JOBS[kind]}
        tasks = [begin, {"name": "Wait", "ansible.builtin.command": {"argv": wait}}]
        plays = [{"name": "Live on", "hosts": "all", "gather_facts": False, "tasks": tasks}]
        (self.root / "playbooks" / name).write_text(json.dumps(plays))
        return name

    def one(self, number: int, how: str, where: str, kind: str, wait: float) -> None:
        """Run one, cancel it or let it time out, and count what is left."""
        word = f"word-{os.getpid()}-{number}-"
        name = f"bench-{os.getpid()}-{number}"
        timeout = PATIENCE if how == "cancel" else wait + (3.0 if where == "here" else 5.0)
        step = PlannedStep(self.playbook(f"{number}.yml", kind, word), (where,), timeout=timeout)
        execution = Execution(name, name, name, "bench", "", kind, where, (step,))
        with self.lock:
            self.executor.start(execution)
        end, seen = time.monotonic() + 60.0, 0
        while how == "cancel" and not seen and time.monotonic() < end:
            time.sleep(0.1)
            seen = len(alive(word))
        asked = time.monotonic()
        if how == "cancel":
            time.sleep(wait)
            seen = max(seen, len(alive(word)))
            asked = time.monotonic()
            with self.lock:
                self.executor.cancel(name, "the benchmark wants it")
        report, seen = self.ended(name, word, seen)
        left = alive(word)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.count(report, len(left), where, seen, time.monotonic() - asked if how == "cancel" else 0.0)
        if left or not report.contained:
            print(f"LEFT  {len(left)} of {kind!r} {where} after a {how}: {report.state} {report.message}", flush=True)

    def ended(self, name: str, word: str, seen: int) -> tuple[Report, int]:
        """Wait for the end."""
        while True:
            time.sleep(0.1)
            with self.lock:
                report = self.executor.report(name, 0)
            if not report.state.active:
                return report, seen
            seen = max(seen, len(alive(word)))

    def count(self, report: Report, left: int, where: str, seen: int, seconds: float) -> None:
        with self.lock:
            tally = self.tally
            tally.left += left
            tally.not_contained += not report.contained
            tally.canceled += report.state is ExecutionState.CANCELED
            tally.timed_out += report.state is ExecutionState.TIMEOUT
            tally.other += report.state not in (ExecutionState.CANCELED, ExecutionState.TIMEOUT)
            tally.here += where == "here"
            tally.away += where != "here"
            tally.begun += seen
            tally.seconds_to_end = round(max(tally.seconds_to_end, seconds), 1)


def measure(bench: Bench, each: int) -> None:
    """Run as many of each, four at a time."""
    with ThreadPoolExecutor(4) as pool:
        futures = []
        for number in range(2 * each):
            where = bench.hosts[number // 2 % len(bench.hosts)]
            kinds = tuple(KINDS) if where == "here" else AWAY
            how = ("cancel", "timeout")[number % 2]
            kind = kinds[number // 4 % len(kinds)]
            futures.append(pool.submit(bench.one, number, how, where, kind, bench.dice.uniform(0.0, 3.0)))
        for number, future in enumerate(futures, start=1):
            future.result()
            if number % 20 == 0:
                print(f"{number} ended, {bench.tally.left} processes left", flush=True)


def main() -> int:
    """Run, count, and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Cancel playbooks that do everything to live on, and count what is left."
    )
    parser.add_argument("--quick", action="store_true", help="8 cancels and 8 timeouts")
    parser.add_argument("--each", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--log", type=Path, help="append the last line to this file")
    options = parser.parse_args()
    each = options.each or (8 if options.quick else 100)
    root = Path(tempfile.mkdtemp(prefix="mendbook-containment-"))
    node = Node(root / "node") if found() else None
    if node is None:
        print(f"everything runs on this machine: {MISSING}")
    begun = time.monotonic()
    bench = Bench(root, node, random.Random(options.seed))
    try:
        measure(bench, each)
    finally:
        if node is not None:
            node.stop()
    tally = bench.tally
    met = tally.left == 0 and tally.not_contained == 0 and tally.canceled + tally.timed_out == 2 * each
    for name, value in asdict(tally).items():
        print(f"{name.replace('_', ' '):<20} {value}")
    last = json.dumps(
        {
            "benchmark": "containment",
            **asdict(tally),
            "node": node is not None,
            "seconds": round(time.monotonic() - begun),
            "seed": options.seed,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "met": met,
        }
    )
    if options.log is not None:
        with options.log.open("a") as log:
            log.write(last + "\n")
    if met:
        shutil.rmtree(root, ignore_errors=True)
    else:
        print(f"the executions are kept in {root}")
    print(last)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
