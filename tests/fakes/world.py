"""A small world for the controller: metrics that follow from what is broken, and playbooks that mend it.

Time is a number that tests move on; a crash is an exception at the k-th commit or effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.controller import Controller, Declared, Tick
from engine.model.decision import Change, Preparation
from engine.model.execution import Execution, ExecutionState, PlannedStep, Report, TaskEvent
from engine.model.incident import Alert, Incident
from engine.model.labels import Batch, Labels, Sample
from engine.model.runbook import (
    Catalog,
    Guards,
    Limits,
    Localization,
    Mode,
    Remedy,
    Runbook,
    Step,
    Trigger,
    Verify,
)
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer, Coverage, Query
from tests.fakes.records import MemoryRecords


class Crash(Exception):  # noqa: N818  it is not an error of the engine's
    """The engine was killed here."""


@dataclass
class FakeClock:
    """Steady time and wall time, both moved by hand."""

    time: float = 1_000_000.0
    shift: float = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time + self.shift

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class World:
    """What is really the case: which expressions are true on which hosts, and which hosts give data."""

    hosts: tuple[str, ...]
    true: dict[str, set[str]] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    """Expressions whose evaluation errs."""

    def answer(self, queries: Sequence[Query], at: float) -> tuple[Answer, ...]:
        return tuple(self.one(query) for query in queries)

    def one(self, query: Query) -> Answer:
        if query.expr in self.broken:
            return Answer(query, error="the evaluator erred")
        needs = (Coverage(query.expr, frozenset(self.hosts) - self.silent),)
        if query.expr in ("up", "probe_success"):
            down = self.true.get("down", set())
            return Answer(query, tuple(sample(host, float(host not in down)) for host in self.hosts), needs)
        values = self.values.get(query.expr)
        if values is not None:
            return Answer(query, tuple(sample(host, value) for host, value in values.items()), needs)
        if query.expr.startswith("not "):
            sick = self.true.get(query.expr.removeprefix("not "), set())
            hosts = [host for host in self.hosts if host not in sick]
        else:
            hosts = [host for host in self.hosts if host in self.true.get(query.expr, set())]
        return Answer(query, tuple(sample(host, 1.0) for host in hosts if host not in self.silent), needs)


def sample(host: str, value: float) -> Sample:
    return Sample(Labels({"instance": host, "job": "web"}), value)


@dataclass
class FakeExecutor:
    """Runs for `length` seconds of the clock, then calls `work` and ends as it says."""

    clock: FakeClock
    work: Callable[[Execution], ExecutionState]
    length: float = 2.0
    started: list[str] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    ended: dict[str, ExecutionState] = field(default_factory=dict)
    canceled: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    contained: bool = True

    def start(self, execution: Execution) -> None:
        if execution.id in self.begun:
            return
        self.started.append(execution.id)
        self.begun[execution.id] = self.clock.now()
        self.executions[execution.id] = execution

    def report(self, execution: str, after: int) -> Report:
        if execution not in self.begun:
            return Report(execution, ExecutionState.PENDING)
        started = self.begun[execution]
        if execution in self.lost:
            return Report(execution, ExecutionState.LOST, message="the supervisor died", contained=self.contained)
        if execution in self.canceled:
            return Report(execution, ExecutionState.CANCELED, message="canceled", contained=self.contained)
        if self.clock.now() - started < self.length:
            events = () if after else (TaskEvent(1, started, "step_started"),)
            return Report(execution, ExecutionState.RUNNING, events, started_at=started)
        if execution not in self.ended:
            self.ended[execution] = self.work(self.executions[execution])
        return Report(execution, self.ended[execution], started_at=started, ended_at=started + self.length)

    def cancel(self, execution: str, reason: str) -> None:
        self.canceled.add(execution)


class CrashingRecords(MemoryRecords):
    """Dies before or after the k-th commit."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock.now)
        self.crash_at: int | None = None
        self.after = False
        self.count = 0

    def commit(self, change: Change) -> bool:
        self.count += 1
        if self.count == self.crash_at and not self.after:
            raise Crash
        stored = super().commit(change)
        if self.count == self.crash_at and self.after:
            raise Crash
        return stored


class Dropped:
    """Samples that nobody reads."""

    def append(self, batch: Batch) -> None:
        self.batch = batch


def runbook(
    name: str = "web-down",
    *,
    expr: str = "down",
    resource: str = "node",
    mode: Mode = Mode.AUTO,
    remedies: tuple[str, ...] = ("restart",),
    guards: Guards | None = None,
    for_: float = 0.0,
    within: float = 60.0,
    held: float = 2.0,
    priority: int = 0,
    destructive: bool = False,
    longest_range: float = 0.0,
    keep_firing_for: float = 0.0,
    localize: Localization | None = None,
    verify: str | None = None,
) -> Runbook:
    return Runbook(
        name=name,
        summary="",
        trigger=Trigger(name.title(), expr, for_=for_, keep_firing_for=keep_firing_for),
        localize=localize or Localization(resource),
        remedies=tuple(Remedy(each, (Step(f"{each}.yml"),), destructive=destructive) for each in remedies),
        verify=Verify(verify or f"not {expr}", held, within),
        guards=guards or Guards(),
        mode=mode,
        priority=priority,
        longest_range=longest_range,
    )


def prepare(book: Runbook, remedy: Remedy, incident: Incident, alert: Alert | None) -> Preparation:
    steps = tuple(PlannedStep(each.playbook, (each.hosts or incident.target,), each.vars) for each in remedy.steps)
    return Preparation(steps)


class House:
    """A controller on fakes, and the means to watch it for as long as it takes."""

    def __init__(
        self,
        *runbooks: Runbook,
        hosts: Sequence[str] = ("web-1", "web-2", "web-3"),
        depends_on: dict[str, tuple[str, ...]] | None = None,
        limits: Limits | None = None,
        groups: dict[str, tuple[str, ...]] | None = None,
        automatic: bool = True,
        protected: frozenset[str] = frozenset(),
    ) -> None:
        self.clock = FakeClock()
        self.world = World(tuple(hosts))
        self.records = CrashingRecords(self.clock)
        self.runbooks = runbooks
        self.limits = limits or Limits(interval=1.0, max_targets=1.0, grace=0.0)
        self.protected = protected
        self.fleet = Fleet(
            {
                name: Target(
                    name,
                    frozenset({"web"} | {group for group, members in (groups or {}).items() if name in members}),
                    frozenset({name}),
                    (depends_on or {}).get(name, ()),
                )
                for name in hosts
            }
        )
        self.automatic = automatic
        self.mends = True
        self.executor = FakeExecutor(self.clock, self.work)
        self.controller = self.boot()

    def work(self, execution: Execution) -> ExecutionState:
        """Mend what the runbook is about on its target, as a good playbook would."""
        book = next(each for each in self.runbooks if each.name == execution.runbook)
        if self.mends:
            self.world.true.get(book.trigger.expr, set()).discard(execution.target)
        return ExecutionState.SUCCESSFUL

    def boot(self) -> Controller:
        """Start an engine on the record as it stands."""
        return Controller(
            clock=self.clock,
            records=self.records,
            evaluator=self.world,
            executor=self.executor,
            samples=Dropped(),
            declared=lambda: Declared(
                Catalog(tuple(self.runbooks), limits=self.limits, protected=self.protected), self.fleet, prepare
            ),
            automatic=self.automatic,
        )

    def breaks(self, host: str, expr: str = "down") -> None:
        self.world.true.setdefault(expr, set()).add(host)

    def mended(self, host: str, expr: str = "down") -> None:
        self.world.true.get(expr, set()).discard(host)

    def run(self, seconds: float) -> None:
        """Tick once a second; a crash boots a new engine a moment later."""
        end = self.clock.time + seconds
        while self.clock.time < end:
            try:
                self.ticked(self.controller.tick())
            except Crash:
                self.controller = self.boot()
            self.clock.time += 1.0

    def ticked(self, tick: Tick) -> None:
        """Look at a tick that came to its end."""

    @property
    def standing(self) -> Standing:
        return self.records.standing(self.clock.now())

    @property
    def incidents(self) -> list[Incident]:
        return sorted(self.records.incidents.values(), key=lambda each: each.opened_at)

    def incident(self, target: str) -> Incident:
        return next(each for each in self.incidents if each.target == target)
