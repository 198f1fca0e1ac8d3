"""A node that breaks and can be mended, and an engine in a process of its own that watches it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from engine.model.incident import Outcome
from engine.records.errors import RecordError
from engine.records.history import History
from engine.records.store import Record
from tests.fakes.prometheus import Server

PATIENCE = 90.0
SETTINGS = """\
interval: 500ms
inventory: hosts.yml
runbooks: runbooks
playbooks: playbooks
state: state
sources:
  host: false
  exposition: [{{job: node, hosts: all, url: "http://127.0.0.1:{port}/node-1", timeout: 2s}}]
limits: {{reopen: 1s}}
executor: {{warm: false}}
"""
HOSTS = """\
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts: {node-1: {}}
"""
RUNBOOK = """\
runbook: broken
summary: The node is broken.
mode: auto
trigger: {alert: Broken, expr: broken > 0}
localize: {resource: node}
guards: {max_attempts: 100}
remedies: [{name: Mend, steps: [{playbook: mend.yml, timeout: 60s}]}]
verify: {expr: broken == 0, for: 500ms, within: 60s}
"""
PLAYBOOK = """\
- name: Mend
  hosts: all
  gather_facts: false
  tasks:
    - name: Write down that it was done, then mend
      ansible.builtin.shell: echo "{{ mendbook_attempt }}" >> acts && rm -f broken
      args: {chdir: "{{ playbook_dir }}/../node"}
"""
PROGRAM = "import sys; from engine.cli.main import main; sys.argv[0] = 'mendbook'; main()"
TURNED = """
import time
from pathlib import Path
true = time.time
def turned():
    try:
        return true() + float(Path("turned").read_text() or 0)
    except (OSError, ValueError):
        return true()
time.time = turned
"""
"""A program whose wall clock people can turn by a file; its monotonic clock goes on."""


class Watched:
    """The node and its engine; `where` is the record, a file below `root` unless it is said."""

    def __init__(self, root: Path, where: str | None = None, program: str = PROGRAM) -> None:
        self.root = root
        self.program = program
        self.where = where or str(root / "state" / "record.sqlite3")
        self.environment = {**os.environ, **({"MENDBOOK_DATABASE_URL": where} if where else {})}
        self.server = Server()
        self.engine: subprocess.Popen[str] | None = None
        self.log = root / "log"
        for name, text in {
            "mendbook.yml": SETTINGS.format(port=self.server.port),
            "hosts.yml": HOSTS,
            "runbooks/broken.yml": RUNBOOK,
            "playbooks/mend.yml": PLAYBOOK,
            "node/acts": "",
        }.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        self.broken = root / "node" / "broken"
        self.server.pages = Pages(self.broken)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.server.close()

    def start(self) -> subprocess.Popen[str]:
        """Start the engine."""
        self.engine = subprocess.Popen(
            [sys.executable, "-c", self.program, "watch", "--lines"],
            cwd=self.root, env=self.environment, stdout=subprocess.DEVNULL, stderr=self.log.open("a"), text=True,
        )  # fmt: skip
        return self.engine

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the engine, if one was started."""
        if self.engine is not None:
            self.engine.send_signal(number)
            self.engine.wait(60)
            self.engine = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project."""
        return subprocess.run(
            [sys.executable, "-c", self.program, *arguments],
            cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip

    def said(self) -> str:
        """Return what the engine has said so far."""
        return self.log.read_text() if self.log.exists() else ""

    def breaks(self) -> None:
        """Break the node."""
        self.broken.touch()

    def healed(self, count: int) -> bool:
        """Return whether that many attempts have ended well, and the node is whole."""
        if self.broken.exists():
            return False
        with Record(self.where, read_only=True) as record:
            attempts = History(record).attempts()
        return sum(attempt.outcome is Outcome.RESOLVED for attempt in attempts) >= count

    def ticked(self) -> float:
        """Return when the last tick was committed; 0 when none was."""
        try:
            with Record(self.where, read_only=True) as record:
                return record.standing(time.time()).last_tick or 0.0
        except RecordError:  # it is just being made
            return 0.0

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until it holds; an engine that ended meanwhile, or what takes too long, is told with what the engine said."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert self.engine is None or self.engine.poll() is None, f"the engine ended: {self.said()}"
            assert time.monotonic() < deadline, f"not {what}: {self.said()}"
            time.sleep(0.05)

    def check(self, count: int) -> None:
        """Assert that nothing was lost and nothing doubled: so many attempts acted once each, and ended; the chain holds."""
        acts = (self.root / "node" / "acts").read_text().split()
        with Record(self.where, read_only=True) as record:
            history = History(record)
            attempts, executions = history.attempts(), history.executions()
            assert isinstance(history.verify_chain(), int)
            assert not [incident for incident in history.incidents() if incident.state.live]
            assert len(attempts) == count
        assert sorted(acts) == sorted(attempt.id for attempt in attempts)
        assert {execution.attempt for execution in executions} == set(acts)
        assert not [execution for execution in executions if execution.state.active]
        assert "Traceback" not in self.said()


class Pages(dict[str, tuple[int, Mapping[str, str], bytes]]):
    """The node's metrics, as it is now."""

    def __init__(self, broken: Path) -> None:
        super().__init__()
        self.broken = broken

    def get(self, path: str, otherwise: object = None) -> tuple[int, Mapping[str, str], bytes]:  # type: ignore[override]
        return 200, {}, b"broken %d\n" % self.broken.exists()
