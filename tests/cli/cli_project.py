"""A project with a past: hosts, runbooks, samples and a record, and the commands that are run on it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.cli.asking import operator
from engine.cli.main import run
from engine.model.decision import Change, Entry, Hold, Verdict
from engine.model.execution import Execution, ExecutionState, PlannedStep, TaskEvent
from engine.model.incident import Alert, AlertState, Attempt, Fault, Incident, IncidentState, Outcome, Suspect
from engine.model.labels import Batch, Labels
from engine.records.store import Record
from engine.samples.store import SampleStore

GOLDEN = Path(__file__).parent / "golden"
REPOSITORY = Path(__file__).parent.parent.parent
HOUR = 3600.0
LATELY = 7800.0
"""Seconds ago that read as 2h, however slow the machine is."""

SETTINGS = """\
sources: {host: false}
runbooks: runbooks
interval: 5m
"""
HOSTS = """\
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  children:
    web: {hosts: {web-1: {}, web-2: {}}}
    store: {hosts: {store-1: {}}}
"""
RUNBOOK = """\
runbook: memory-short
summary: Little memory is free; restart what leaks.
mode: auto
params: {least: 100}
trigger:
  alert: MemoryShort
  expr: memory_free_bytes < {{ least }}
  for: 3h
localize: {resource: memory}
guards: {cooldown: 30m}
remedies:
  - {name: Restart the service, playbook: restart.yml, vars: {service: app}}
verify: {expr: memory_free_bytes > 200, for: 1m, within: 5m}
"""
PLAYBOOK = """\
- name: Restart
  hosts: all
  gather_facts: false
  tasks:
    - name: Say so
      ansible.builtin.debug: {msg: restarted}
"""


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


class Project:
    """A folder in which commands are run."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.capsys = capsys
        monkeypatch.chdir(root)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setenv("LINES", "40")

    def run(self, *arguments: str) -> Result:
        self.capsys.readouterr()
        code = run(arguments)
        shown = self.capsys.readouterr()
        return Result(code, shown.out, shown.err)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    @property
    def record(self) -> Record:
        return Record(self.root / ".mendbook" / "record.sqlite3")

    def golden(self, name: str, result: Result, *, aligned: bool = True) -> None:
        """Compare what was printed with a file; UPDATE_GOLDEN=1 writes the file anew."""
        out, err = self.steady(result.out), self.steady(result.err)
        text = f"exit {result.code}\n--- stdout\n{out}--- stderr\n{err}"
        if not aligned:
            text = re.sub(r"(?<=\S) {2,}", "  ", text)
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text)
        assert path.exists(), f"{path} is missing: UPDATE_GOLDEN=1 writes it"
        assert text == path.read_text()

    def steady(self, text: str) -> str:
        """Return text without what differs from run to run: places, people, moments."""
        for place, name in ((self.root, "<project>"), (REPOSITORY, "<mendbook>"), (operator(), "<operator>")):
            text = text.replace(str(place), name)
        text = re.sub(r"last tick \S+ ago", "last tick <age> ago", text)
        text = re.sub(r"(?<![\w:.'])(\d{4}-\d{2}-\d{2}[ T])?\d{2}:\d{2}(:\d{2})?Z?", "<time>", text)
        return "".join(line.rstrip() + "\n" for line in text.splitlines())


def lay_out(root: Path) -> None:
    """Write the files of the project."""
    for name, text in {
        "mendbook.yml": SETTINGS,
        "inventory/hosts.yml": HOSTS,
        "runbooks/memory-short.yml": RUNBOOK,
        "playbooks/restart.yml": PLAYBOOK,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def collect(root: Path, now: float, minutes: int = 10) -> None:
    """Write samples of the last minutes: web-1's memory runs out, web-2's does not, store-1 says nothing."""
    series = (
        Labels({"__name__": "memory_free_bytes", "instance": "web-1"}),
        Labels({"__name__": "memory_free_bytes", "instance": "web-2"}),
        Labels({"__name__": "up", "instance": "web-1", "job": "node"}),
        Labels({"__name__": "up", "instance": "web-2", "job": "node"}),
    )
    with SampleStore(root / ".mendbook" / "samples") as store:
        for back in range(minutes * 60, -1, -15):
            free = 50.0 + 2.0 * max(0, back - 240)
            store.append(Batch(now - back, series, (free, 500.0, 1.0, 1.0)))


def fault(target: str, score: float = 0.9) -> Fault:
    best = Suspect(target, "memory", "app", score, ("MemoryShort: memory_free_bytes = 50, limit < 100",))
    return Fault(best, 0.5, ("memory-short",), others=(Suspect("store-1", "disk", None, 0.4),))


def healed(now: float) -> Incident:
    """Return an incident of two hours ago that a remedy ended."""
    began = now - 2 * HOUR
    attempt = Attempt(
        "att-1", "inc-healed", "memory-short", "d1", 0, "Restart the service", "app", "run-healed", began + 5,
        began + 65, Outcome.RESOLVED, "web-2",
    )  # fmt: skip
    return Incident(
        id="inc-healed", target="web-2", resource="memory", state=IncidentState.RESOLVED, opened_at=began,
        culprit="app", runbook="memory-short", fault=fault("web-2"), first_active=began - 300, localized_at=began,
        changed_at=began + 65, ended_at=began + 65, outcome=Outcome.RESOLVED, attempt=attempt, code="resolved",
        reason="memory_free_bytes > 200 holds (512)",
    )  # fmt: skip


def escalated(now: float) -> Incident:
    """Return an incident that waits for a human."""
    return Incident(
        id="inc-waits", target="web-1", resource="memory", state=IncidentState.ESCALATED, opened_at=now - 3 * HOUR,
        culprit="app", runbook="memory-short", fault=fault("web-1"), first_active=now - 3 * HOUR,
        localized_at=now - 3 * HOUR, changed_at=now - LATELY, code="max_attempts", reason="3 of 3 attempts in 24h",
    )  # fmt: skip


def execution(now: float) -> Execution:
    began = now - 2 * HOUR + 5
    steps = (PlannedStep("restart.yml", ("web-2",), {"service": "app"}),)
    return Execution(
        "run-healed", "att-1", "inc-healed", "memory-short", "d1f00d", "Restart the service", "web-2", steps,
        ExecutionState.SUCCESSFUL, began, began, began + 12.5, reason="memory_free_bytes = 50, limit < 100",
    )  # fmt: skip


def events(began: float) -> tuple[TaskEvent, ...]:
    return (
        TaskEvent(1, began, "step_started", 1, task="restart.yml"),
        TaskEvent(2, began + 1, "play_started", 1, task="Restart"),
        TaskEvent(3, began + 2, "task_started", 1, task="Say so"),
        TaskEvent(4, began + 3, "changed", 1, host="web-2", task="Say so", text="restarted\n+a second line"),
        TaskEvent(5, began + 12, "step_ended", 1, task="restart.yml", text="successful"),
    )


def remember(record: Record, now: float) -> None:
    """Write the past into the record: one incident healed, one that waits, a lock, an alert that is pending."""
    version = 0

    def commit(at: float, **more: object) -> None:
        nonlocal version
        assert record.commit(Change(version, at, **more))  # type: ignore[arg-type]
        version = record.standing(now).version

    started = execution(now)
    healing, waiting = healed(now), escalated(now)
    opened = Entry("fault", "memory of web-2, culprit app (score 0.90, margin 0.50)", "inc-healed", "web-2")
    commit(now - 2 * HOUR, entries=(opened,), incident=healing)
    commit(now - 2 * HOUR + 5, incident=healing, execution=started)
    record.events(started.id, events(now - 2 * HOUR + 5))
    ended = Entry("outcome", "resolved: memory_free_bytes > 200 holds (512)", "inc-healed", "web-2", code="resolved")
    commit(now - 2 * HOUR + 65, entries=(ended,), incident=healing)
    held = (
        Verdict("mode", True, "ok", "mode is auto"),
        Verdict("cooldown", False, "cooldown", "cooldown of 12000s, 9400s are left", until=now + 9400),
    )
    decision = Entry(
        "decision", "Hold: cooldown of 12000s, 9400s are left", "inc-waits", "web-1", "memory-short", "cooldown"
    )
    commit(now - LATELY - 60, entries=(decision,), decision=Hold(held), incident=waiting)
    handed = Entry("decision", "Escalate: 3 of 3 attempts in 24h", "inc-waits", "web-1", "memory-short", "max_attempts")
    commit(now - LATELY, entries=(handed,), decision=Hold(held), incident=waiting, locks=frozenset({"web-1"}))
    labels = Labels({"instance": "web-1"})
    pending = Alert(
        labels.fingerprint(), "memory-short", "MemoryShort", labels, "web-1", AlertState.PENDING, 50.0, now - LATELY, now,
        now,
    )  # fmt: skip
    commit(now, alerts=(pending,), fleet=frozenset({"web-1", "web-2", "store-1"}))


def wait(condition: Callable[[], object], what: str, patience: float = 30.0) -> None:
    """Look again and again until a condition holds; a failure says what did not come."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)
