"""Executions: the launch of one attempt on frozen targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from engine.model.runbook import Value


class ExecutionState(StrEnum):
    """The life of an execution."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELED = "canceled"
    LOST = "lost"

    @property
    def active(self) -> bool:
        """Return whether it has not ended."""
        return self in (ExecutionState.PENDING, ExecutionState.RUNNING)


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One playbook with its hosts resolved to exact inventory names and its variables rendered."""

    playbook: str
    hosts: tuple[str, ...]
    vars: Mapping[str, Value] = field(default_factory=dict)
    timeout: float = 600.0
    always: bool = False
    """Run it even when an earlier step failed (the remedy's `finally`)."""


@dataclass(frozen=True, slots=True)
class Execution:
    """The launch of one attempt; everything it needs is frozen here before it starts.

    `triggered_by` is "engine" or an operator's name.
    """

    id: str
    attempt: str
    incident: str
    runbook: str
    digest: str
    remedy: str
    target: str
    steps: tuple[PlannedStep, ...]
    state: ExecutionState = ExecutionState.PENDING
    created_at: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    check: bool = False
    diff: bool = False
    triggered_by: str = "engine"
    reason: str = ""
    message: str = ""

    @property
    def targets(self) -> frozenset[str]:
        """Return every host that any step may touch."""
        return frozenset({self.target}.union(*(step.hosts for step in self.steps)))


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """Something that happened in an execution, in order of `number` (from 1); texts are scrubbed of secrets and bounded.

    `kind` is one of: step_started, play_started, task_started, ok, changed, failed, unreachable, skipped, step_ended, message.
    """

    number: int
    at: float
    kind: str
    step: int = 0
    host: str = ""
    task: str = ""
    text: str = ""
    data: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """What the executor knows of one execution right now.

    `contained` says that no process of it is left. `events` are those after the number that was asked for.
    """

    id: str
    state: ExecutionState
    events: tuple[TaskEvent, ...] = ()
    message: str = ""
    contained: bool = True
    started_at: float | None = None
    ended_at: float | None = None
    unreachable: tuple[str, ...] = ()
