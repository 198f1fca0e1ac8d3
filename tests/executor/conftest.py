from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.executor import processes
from engine.executor.local import LocalExecutor
from engine.model.execution import Execution, PlannedStep, Report, TaskEvent
from tests.executor.node import MISSING, Node, found

_PATIENCE = 60.0
_numbers = itertools.count(1)


def wait(condition: Callable[[], object], what: str) -> None:
    """Look again and again until the condition holds; a failure says what did not come."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {_PATIENCE:g} s"
        time.sleep(0.02)


def play(*tasks: str, hosts: str = "all") -> str:
    lines = [f"- hosts: {hosts}", "  gather_facts: false", "  tasks:"]
    return "\n".join(lines + [f"    - {line}" for task in tasks for line in [task.replace("\n", "\n      ")]]) + "\n"


@dataclass(frozen=True)
class Told:
    """A whole execution as it was told, report by report."""

    report: Report
    events: tuple[TaskEvent, ...]

    def kinds(self, kind: str) -> list[TaskEvent]:
        return [event for event in self.events if event.kind == kind]

    @property
    def text(self) -> str:
        return "\n".join(event.text for event in self.events)


@dataclass
class Bench:
    """A place to run playbooks on this machine."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    grace: float = 10.0
    inventories: tuple[str, ...] = ("inventory.yml",)
    started: list[str] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.root / "executions"

    @property
    def executor(self) -> LocalExecutor:
        return LocalExecutor(
            self.directory,
            inventory=tuple(self.root / name for name in self.inventories),
            playbooks=(self.root / "playbooks",),
            environment=self.environment,
            grace=self.grace,
        )

    def playbook(self, name: str, text: str) -> str:
        (self.root / "playbooks" / name).write_text(text)
        return name

    def execution(self, *steps: PlannedStep, **given: object) -> Execution:
        name = f"x{next(_numbers)}-{os.getpid()}"
        self.started.append(name)
        known = {"id": name, "attempt": "attempt-1", "incident": "incident-1", "target": "one"}
        return Execution(**{**known, "runbook": "r", "digest": "d", "remedy": "m", "steps": steps, **given})

    def follow(self, execution: str, executor: LocalExecutor | None = None) -> Told:
        executor = executor or self.executor
        events: list[TaskEvent] = []
        reports: list[Report] = []

        def over() -> bool:
            reports[:] = [executor.report(execution, events[-1].number if events else 0)]
            events.extend(reports[0].events)
            return not reports[0].state.active

        wait(over, f"the end of {execution}")
        return Told(reports[0], tuple(events))

    def run(self, *steps: PlannedStep, **given: object) -> Told:
        execution = self.execution(*steps, **given)
        executor = self.executor
        executor.start(execution)
        return self.follow(execution.id, executor)

    def started_task(self, execution: str, task: str) -> None:
        """Return once a task of this name has begun."""
        executor = self.executor

        def begun() -> bool:
            report = executor.report(execution, 0)
            assert report.state.active, report
            return any(event.kind == "task_started" and event.task == task for event in report.events)

        wait(begun, f"the task {task}")


INVENTORY = f"""
all:
  vars:
    from_inventory_password: planted-in-the-inventory
  hosts:
    one: {{ansible_connection: local}}
    two: {{ansible_connection: local}}
    gone: {{ansible_host: 127.0.0.1, ansible_port: 9, ansible_connection: ssh}}
  children:
    pair: {{hosts: {{one: , two: }}}}
# {sys.executable} is what local connections use by themselves
"""


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    if not found():
        pytest.skip(MISSING)
    made = Node(tmp_path_factory.mktemp("ssh") / "node")
    yield made
    made.stop()


@pytest.fixture
def far(bench: Bench, node: Node) -> Bench:
    """A bench with one more host, `far`, which is reached over ssh."""
    hosts = {"all": {"hosts": {"far": node.variables}}}
    (bench.root / "far.json").write_text(json.dumps(hosts))
    bench.inventories = (*bench.inventories, "far.json")
    node.start()
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "inventory.yml").write_text(INVENTORY)
    made = Bench(tmp_path)
    yield made
    for name in made.started:
        processes.end(lambda name=name: processes.marked(name), grace=0.0, limit=5.0)
