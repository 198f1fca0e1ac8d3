"""Kill the engine and its supervisors while they heal, again and again, and see what became of every remedy.

    python tests/benchmarks/crash.py [--quick] [--engines N] [--supervisors N] [--seed N] [--log FILE]

Six nodes, all of them this machine, break at random; each has a runbook with a ladder of two remedies, both real playbooks, and a
`finally`. `mendbook watch` runs on them at half-second ticks and is killed by SIGKILL: after a random time, at the very moment at which
something is committed, or as the folder of an execution appears; then it is started again. Supervisors of running executions are
killed as well: the one that supervises, the one that watches over it, or both. Every playbook appends the ids of attempt and
execution to a file of its node when it acts, so that the node itself says what was done, and how often.

At last nothing is broken any more, and the engine may finish. Then must hold: no step of a remedy was done twice for one
attempt (`doubled`); every execution has an end in the record, and so has every folder of one, and whatever a node says was done is
in the record (`lost`); every execution has its decision (`undecided`); the chain of the record is whole (`unchained`); no
process of any execution is left (`left`).

300 kills of the engine and 100 of supervisors; with `--quick`, as in CI, 20 and 10. The last line is one JSON object. Exit code 1
when anything of that did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from engine.executor import processes
from engine.executor.folder import Folder
from engine.records.audit import Broken, verify
from engine.records.history import History
from engine.records.store import Record

HOME = Path(__file__).parents[2]
PROGRAM = "import sys; from engine.cli.main import main; sys.argv[0] = 'mendbook'; main()"
NODES = tuple(f"node-{number}" for number in range(1, 7))
SETTINGS = """\
interval: 500ms
inventory: hosts.yml
runbooks: runbooks
playbooks: playbooks
sources:
  host: false
  exposition: [{{job: bench, hosts: all, url: "http://127.0.0.1:{port}/{{{{ inventory_hostname }}}}", timeout: 2s}}]
limits: {{storm: 100, max_concurrent: 4, reopen: 1s}}
"""
RUNBOOK = """\
runbook: broken-{node}
summary: A node is broken.
mode: auto
trigger: {{alert: Broken, expr: 'broken{{instance="{node}"}} > 0'}}
localize: {{resource: {node}}}
guards: {{max_attempts: 100000}}
remedies:
  - name: Try
    steps: [{{playbook: try.yml, timeout: 60s}}]
    finally: [{{playbook: finish.yml, timeout: 60s}}]
  - name: Mend
    steps: [{{playbook: mend.yml, timeout: 60s}}]
    finally: [{{playbook: finish.yml, timeout: 60s}}]
verify: {{expr: 'broken{{instance="{node}"}} == 0', for: 500ms, within: 2s}}
"""
PLAYBOOK = """\
- name: {name}
  hosts: all
  gather_facts: false
  tasks:
    - name: Write it down
      ansible.builtin.shell: echo "{{{{ mendbook_attempt }}}} {{{{ mendbook_execution }}}} {name}" >> acts
      args: {{chdir: "{{{{ playbook_dir }}}}/../nodes/{{{{ inventory_hostname }}}}"}}
    - name: Act
      ansible.builtin.shell: {act}
      args: {{chdir: "{{{{ playbook_dir }}}}/../nodes/{{{{ inventory_hostname }}}}"}}
"""
ACTS = {"try": "test ! -e easy || rm -f broken easy", "mend": "rm -f broken easy", "finish": "sleep 0.1"}
BROKEN_FOR = 9.0
"""A node heals by itself after so many seconds, so that one that the engine has left to people breaks again, too."""
END = 120.0


@dataclass(slots=True)
class Tally:
    """What was done and seen."""

    kills: int = 0
    doubled: int = 0
    lost: int = 0
    unchained: int = 0
    undecided: int = 0
    left: int = 0
    engine_kills: int = 0
    supervisor_kills: int = 0
    at_commit: int = 0
    at_start: int = 0
    executions: int = 0
    lost_executions: int = 0
    """Declared lost, as they must be when their supervisor was killed."""
    not_contained: int = 0
    acts: int = 0

    @property
    def bad(self) -> int:
        return self.doubled + self.lost + self.unchained + self.undecided + self.left


class Fleet:
    """The nodes: a folder each, broken while a file says so, and a page of metrics that tells."""

    def __init__(self, root: Path, dice: random.Random) -> None:
        self.root = root
        self.dice = dice
        self.stop = threading.Event()
        for node in NODES:
            (root / "nodes" / node).mkdir(parents=True)
        fleet = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = fleet.page(self.path.strip("/")).encode()
                with contextlib.suppress(ConnectionError):  # who asked may have been killed meanwhile
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain; version=0.0.4")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.breaker = threading.Thread(target=self.break_on, daemon=True)

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def page(self, node: str) -> str:
        return f"# TYPE broken gauge\nbroken {int(self.broken(node).exists())}\n"

    def broken(self, node: str) -> Path:
        return self.root / "nodes" / node / "broken"

    def break_on(self) -> None:
        """Break each node again and again, some time after it has healed."""
        due = {node: time.monotonic() + self.dice.uniform(0, 3) for node in NODES}
        since: dict[str, float] = {}
        while not self.stop.wait(0.05):
            now = time.monotonic()
            for node in NODES:
                path = self.broken(node)
                if path.exists():
                    if now - since.get(node, now) > BROKEN_FOR:
                        path.unlink(missing_ok=True)
                elif node in since:
                    due[node] = now + self.dice.uniform(1.0, 3.0)
                    del since[node]
                elif now >= due[node]:
                    if self.dice.random() < 0.5:
                        path.with_name("easy").touch()
                    path.touch()
                    since[node] = now

    def calm(self) -> None:
        """Break nothing any more."""
        self.stop.set()
        self.breaker.join()
        for node in NODES:
            self.broken(node).unlink(missing_ok=True)


def lay_out(root: Path, port: int) -> None:
    """Write the project."""
    (root / "runbooks").mkdir()
    (root / "playbooks").mkdir()
    (root / "mendbook.yml").write_text(SETTINGS.format(port=port))
    hosts = ", ".join(f"{node}: {{}}" for node in NODES)
    (root / "hosts.yml").write_text(f"all: {{vars: {{ansible_connection: local}}, hosts: {{{hosts}}}}}\n")
    for node in NODES:
        (root / "runbooks" / f"{node}.yml").write_text(RUNBOOK.format(node=node))
    for name, act in ACTS.items():
        (root / "playbooks" / f"{name}.yml").write_text(PLAYBOOK.format(name=name, act=act))


class Bench:
    """The engine, and who kills it."""

    def __init__(self, root: Path, dice: random.Random, tally: Tally) -> None:
        self.root = root
        self.dice = dice
        self.tally = tally
        self.log = (root / "watch.log").open("ab")

    @property
    def record(self) -> Path:
        return self.root / ".mendbook" / "record.sqlite3"

    @property
    def executions(self) -> Path:
        return self.root / ".mendbook" / "executions"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the engine."""
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "watch", "--lines"],
            cwd=self.root,
            stdout=self.log,
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": str(HOME)},
        )

    def written(self) -> tuple[int, int]:
        """Return something that changes with every commit."""
        try:
            about = Path(f"{self.record}-wal").stat()
        except OSError:
            return (0, 0)
        return (about.st_mtime_ns, about.st_size)

    def folders(self) -> int:
        try:
            return sum(not entry.name.startswith(".") for entry in os.scandir(self.executions))
        except OSError:
            return 0

    def watch(self, look: Callable[[], object], patience: float) -> bool:
        """Wait until what is looked at changes, as closely as this machine lets us."""
        before, end = look(), time.monotonic() + patience
        while time.monotonic() < end:
            if look() != before:
                return True
            time.sleep(0.0002)
        return False

    def kill_engine(self, engine: subprocess.Popen[bytes]) -> None:
        """Kill the engine at a moment that the dice choose."""
        kind = self.dice.choice(["time", "time", "commit", "start"])
        if kind == "time":
            time.sleep(self.dice.uniform(0.0, 6.0))
        elif kind == "commit":
            time.sleep(self.dice.uniform(1.0, 4.0))
            self.tally.at_commit += self.watch(self.written, 3.0)
        else:
            time.sleep(self.dice.uniform(1.0, 4.0))
            self.tally.at_start += self.watch(self.folders, 3.0)
        if kind != "time":
            time.sleep(self.dice.choice([0.0, 0.0, 0.001, 0.004, 0.02]))
        engine.kill()
        engine.wait()
        self.tally.engine_kills += 1

    def supervisors(self) -> Iterator[tuple[int, int]]:
        """Yield the numbers of each that supervises a running execution and of the one that watches over it."""
        for path in self.executions.glob("[!.]*/"):
            folder = Folder(path)
            if folder.result.exists() or folder.tombstone.exists():
                continue
            try:
                pid = int(folder.lock.read_text())
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError):
                continue
            table = processes.running()
            if str(path).rstrip("/").encode() in words and pid in table:
                yield pid, table[pid].parent

    def kill_supervisor(self) -> None:
        """Kill one supervisor, its warden, or both, at a random moment; none when none runs."""
        end = time.monotonic() + 3.0
        while time.monotonic() < end:
            found = list(self.supervisors())
            if not found:
                time.sleep(0.02)
                continue
            time.sleep(self.dice.choice([0.0, 0.1, 0.6, 1.2]) * self.dice.random())
            supervisor, warden = self.dice.choice(found)
            for pid in self.dice.choice([(supervisor,), (supervisor,), (warden,), (warden, supervisor)]):
                try:
                    if b"engine.executor.supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue
            self.tally.supervisor_kills += 1
            return

    def finish(self) -> None:
        """Let the engine bring everything to its end."""
        engine = self.start()
        end = time.monotonic() + END
        while time.monotonic() < end:
            time.sleep(1.0)
            with Record(self.record, read_only=True) as record:
                standing = record.standing(time.time())
            if not standing.executions and not any(each.state.live for each in standing.incidents):
                break
        engine.terminate()
        engine.wait(60)


def judge(bench: Bench, tally: Tally) -> list[str]:
    """Hold the record, the folders and what the nodes say against each other; return what is wrong."""
    wrong: list[str] = []
    with Record(bench.record, read_only=True) as record:
        history = History(record)
        executions = {each.id: each for each in history.executions(limit=10**6)}
        logged = history.entries(limit=10**6)
        with record.reading() as connection:
            chain = verify(connection)
        standing = record.standing(time.time())
    tally.executions = len(executions)
    tally.lost_executions = sum(each.state == "lost" for each in executions.values())
    tally.not_contained = sum(each.unproved for each in standing.attempts)
    if isinstance(chain, Broken):
        tally.unchained += 1
        wrong.append(f"the chain is broken: {chain.reason}")

    acts = [line.split() for node in NODES for line in acts_of(bench.root, node)]
    tally.acts = len(acts)
    for act, times in Counter(map(tuple, acts)).items():
        if times > 1:
            tally.doubled += 1
            wrong.append(f"done {times} times: {' '.join(act)}")
    for attempt, ids in attempts(acts).items():
        if len(ids) > 1:
            tally.doubled += 1
            wrong.append(f"attempt {attempt} was begun as {', '.join(sorted(ids))}")

    folders = {path.name for path in bench.executions.glob("[!.]*/")}
    unknown = (folders | {act[1] for act in acts}) - set(executions)
    active = {name for name, each in executions.items() if each.state.active}
    endless = {
        name
        for name in folders
        if not Folder(bench.executions / name).result.exists()
        and not Folder(bench.executions / name).tombstone.exists()
    }
    tally.lost += len(unknown | active | endless)
    wrong += [f"not in the record: {name}" for name in sorted(unknown)]
    wrong += [f"without an end in the record: {name}" for name in sorted(active)]
    wrong += [f"without an end in its folder: {name}" for name in sorted(endless)]

    decided = Counter(each.entry.incident for each in logged if each.decision == "run")
    started = Counter(each.incident for each in executions.values())
    for incident, times in started.items():
        if decided[incident] < times:
            tally.undecided += times - decided[incident]
            wrong.append(f"{incident}: {times} executions and {decided[incident]} decisions")
    for name in folders:
        if left := processes.marked(name):
            tally.left += len(left)
            wrong.append(f"{len(left)} processes of {name} are left")
    return wrong


def acts_of(root: Path, node: str) -> list[str]:
    path = root / "nodes" / node / "acts"
    return path.read_text().splitlines() if path.exists() else []


def attempts(acts: list[list[str]]) -> dict[str, set[str]]:
    """Return the executions of each attempt, as the nodes say."""
    found: dict[str, set[str]] = {}
    for attempt, execution, _ in acts:
        found.setdefault(attempt, set()).add(execution)
    return found


def measure(root: Path, engines: int, supervisors: int, seed: int) -> tuple[Tally, list[str]]:
    """Kill as often as that and return what was seen."""
    tally = Tally()
    fleet = Fleet(root, random.Random(seed))
    lay_out(root, fleet.port)
    bench = Bench(root, random.Random(seed + 1), tally)
    fleet.breaker.start()
    begun = time.monotonic()
    while tally.engine_kills < engines or tally.supervisor_kills < supervisors:
        engine = bench.start()
        wanted = supervisors - tally.supervisor_kills
        if wanted > 0 and bench.dice.random() < max(0.1, wanted / max(1, engines - tally.engine_kills)):
            bench.kill_supervisor()
        bench.kill_engine(engine)
        done = tally.engine_kills + tally.supervisor_kills
        if done % 20 == 0:
            with Record(bench.record, read_only=True) as record, record.reading() as connection:
                whole = not isinstance(verify(connection), Broken)
            tally.unchained += not whole
            print(f"{time.monotonic() - begun:6.0f} s  {tally.engine_kills} engines, {tally.supervisor_kills} supervisors, "
                  f"{bench.folders()} executions{'' if whole else ', CHAIN BROKEN'}", flush=True)  # fmt: skip
    fleet.calm()
    bench.finish()
    tally.kills = tally.engine_kills + tally.supervisor_kills
    return tally, judge(bench, tally)


def main() -> int:
    """Kill, look, and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Kill the engine and its supervisors, and see what became of every remedy."
    )
    parser.add_argument("--quick", action="store_true", help="20 kills of the engine, 10 of supervisors")
    parser.add_argument("--engines", type=int)
    parser.add_argument("--supervisors", type=int)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--log", type=Path, help="append the last line to this file")
    options = parser.parse_args()
    engines = options.engines or (20 if options.quick else 300)
    supervisors = options.supervisors or (10 if options.quick else 100)
    root = Path(tempfile.mkdtemp(prefix="mendbook-crash-"))
    begun = time.monotonic()
    tally, wrong = measure(root, engines, supervisors, options.seed)
    for line in wrong[:50]:
        print(f"WRONG  {line}")
    for name, value in asdict(tally).items():
        print(f"{name.replace('_', ' '):<20} {value}")
    last = json.dumps(
        {
            "benchmark": "crash",
            **asdict(tally),
            "seconds": round(time.monotonic() - begun),
            "seed": options.seed,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "met": tally.bad == 0,
        }
    )
    if options.log is not None:
        with options.log.open("a") as log:
            log.write(last + "\n")
    if tally.bad:
        print(f"the project is kept in {root}")
    else:
        shutil.rmtree(root, ignore_errors=True)
    print(last)
    return 1 if tally.bad else 0


if __name__ == "__main__":
    sys.exit(main())
