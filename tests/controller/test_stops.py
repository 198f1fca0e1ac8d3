"""Whole incidents, stopped before and after every commit and every effect: each comes to the same end, and nothing begins twice.

A story is told once without a stop; then it is told again for the k-th commit and for the k-th effect (a start, a cancel), for every k that
the first telling had, with the engine dead right before it and right after it, and another one booted a second later.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from engine.model.decision import Preparation
from engine.model.execution import Execution, ExecutionState, PlannedStep, Report
from engine.model.incident import Alert, Incident, IncidentState
from engine.model.runbook import Limits, Remedy, Runbook, Step
from engine.model.standing import Pause, Request
from tests.fakes import world
from tests.fakes.world import Crash, FakeExecutor, House, runbook

SUCCESSFUL, FAILED, TIMEOUT = ExecutionState.SUCCESSFUL, ExecutionState.FAILED, ExecutionState.TIMEOUT


@dataclass
class Stopping(FakeExecutor):
    """Counts effects, and has the engine die before or after the k-th."""

    stop_at: int | None = None
    after: bool = False
    effects: int = 0
    double: list[str] = field(default_factory=list)

    def start(self, execution: Execution) -> None:
        self.around(lambda: FakeExecutor.start(self, execution), counts=execution.id not in self.begun)

    def cancel(self, execution: str, reason: str) -> None:
        self.around(lambda: FakeExecutor.cancel(self, execution, reason), counts=True)

    def around(self, effect: Callable[[], None], *, counts: bool) -> None:
        self.effects += counts
        dies = counts and self.effects == self.stop_at
        if dies and not self.after:
            raise Crash
        effect()
        if dies:
            raise Crash


class Stage(House):
    """A house whose executions end as the story says, and whose engine dies where it is told to."""

    def __init__(self, *books: Runbook, ends: tuple[ExecutionState, ...] = (), **given: object) -> None:
        super().__init__(*books, **given)  # type: ignore[arg-type]
        self.ends = list(ends)
        self.stopping = Stopping(self.clock, self.work)
        self.executor = self.stopping
        self.controller = self.boot()

    def work(self, execution: Execution) -> ExecutionState:
        state = self.ends.pop(0) if self.ends else SUCCESSFUL
        return super().work(execution) if state is SUCCESSFUL else state

    def until(self, holds: Callable[[], object]) -> None:
        """Tick until something holds."""
        for _ in range(60):
            if holds():
                return
            self.run(1)
        raise AssertionError("it never came to that")

    def ask(self, name: str, kind: str, subject: str, *targets: str) -> None:
        self.records.request(Request(name, kind, "ann", "try", self.clock.now(), subject, targets))

    def live(self) -> list[Incident]:
        return [each for each in self.incidents if each.state.live]


def ladder(**given: object) -> Runbook:
    return runbook(remedies=("first", "second", "third"), within=5.0, **given)  # type: ignore[arg-type]


def heals() -> Iterator[Stage]:
    yield (stage := Stage(ladder()))
    stage.run(2)
    stage.breaks("web-1")
    stage.run(30)


def climbs_after_failures() -> Iterator[Stage]:
    yield (stage := Stage(ladder(), ends=(FAILED, TIMEOUT)))
    stage.breaks("web-1")
    stage.run(60)


def exhausts_the_ladder_and_recovers() -> Iterator[Stage]:
    yield (stage := Stage(ladder()))
    stage.mends = False
    stage.breaks("web-1")
    stage.until(lambda: any(each.state is IncidentState.ESCALATED for each in stage.incidents))
    stage.ask("r1", "acknowledge", stage.incidents[0].id)
    stage.run(5)
    stage.mended("web-1")
    stage.run(30)


def is_canceled_by_an_operator() -> Iterator[Stage]:
    yield (stage := Stage(ladder()))
    stage.stopping.length = 1000.0
    stage.breaks("web-1")
    stage.until(lambda: stage.stopping.started)
    stage.ask("r1", "cancel", stage.stopping.started[0])
    stage.run(20)
    stage.mended("web-1")
    stage.run(30)


def loses_its_supervisor() -> Iterator[Stage]:
    yield (stage := Stage(ladder()))
    stage.stopping.length = 1000.0
    stage.breaks("web-1")
    stage.until(lambda: stage.stopping.started)
    stage.stopping.lost.add(stage.stopping.started[0])
    stage.stopping.length = 2.0
    stage.run(40)


def loses_it_and_cannot_prove_the_end() -> Iterator[Stage]:
    yield (stage := Stage(ladder()))
    stage.stopping.length, stage.stopping.contained = 1000.0, False
    stage.breaks("web-1")
    stage.until(lambda: stage.stopping.started)
    stage.stopping.lost.add(stage.stopping.started[0])
    stage.run(20)
    stage.mended("web-1")
    stage.run(30)


def is_an_operators_run() -> Iterator[Stage]:
    yield (stage := Stage(ladder()))
    stage.run(2)
    stage.ask("r1", "run", "web-down", "web-1", "web-2")
    stage.run(30)


def is_a_storm() -> Iterator[Stage]:
    hosts = tuple(f"web-{number}" for number in range(1, 5))
    yield (stage := Stage(ladder(), hosts=hosts, limits=Limits(interval=1.0, max_targets=1.0, storm=2)))
    for host in hosts:
        stage.breaks(host)
    stage.run(6)
    for host in hosts:
        stage.mended(host)
    stage.run(12)


def is_held_by_a_pause() -> Iterator[Stage]:
    yield (stage := Stage(ladder()))
    stage.records.pause(Pause("all", "ann", "maintenance", stage.clock.now(), stage.clock.wall() + 10))
    stage.breaks("web-1")
    stage.run(50)


def comes_back_and_is_reopened() -> Iterator[Stage]:
    yield (stage := Stage(ladder()))
    stage.breaks("web-1")
    stage.until(lambda: stage.incidents and not stage.live())
    stage.run(3)
    stage.breaks("web-1")
    stage.run(40)


STORIES = (
    heals, climbs_after_failures, exhausts_the_ladder_and_recovers, is_canceled_by_an_operator, loses_its_supervisor,
    loses_it_and_cannot_prove_the_end, is_an_operators_run, is_a_storm, is_held_by_a_pause, comes_back_and_is_reopened,
)  # fmt: skip


def prepare(_: Runbook, remedy: Remedy, incident: Incident, __: Alert | None) -> Preparation:
    """Prepare a remedy with something that is done whatever comes of it, as `finally` is."""
    steps = [PlannedStep(each.playbook, (incident.target,)) for each in (*remedy.steps, Step("attach.yml"))]
    return Preparation((*steps[:-1], replace(steps[-1], always=True)))


def tell(story: Callable[[], Iterator[Stage]], arrange: Callable[[Stage], None]) -> Stage:
    """Tell a story to its end."""
    telling = story()
    stage = next(telling)
    arrange(stage)
    for _ in telling:
        pass
    return stage


def picture(stage: Stage) -> object:
    """Return what it came to: what people would read."""
    attempts = Counter(
        (each.target, each.rung, each.remedy, each.outcome, each.unproved) for each in stage.records.attempts.values()
    )
    incidents = Counter(
        (each.target, each.resource, each.state, each.outcome, each.reopened) for each in stage.incidents
    )
    return attempts, incidents, {lock.target for lock in stage.standing.locks}


def check(stage: Stage) -> None:
    """Hold what must be true wherever it stopped."""
    executions = stage.records.executions
    assert max(Counter(stage.stopping.started).values(), default=1) == 1, "begun twice"
    assert set(stage.stopping.started) <= set(executions), "begun without being in the record"
    assert not [each for each in executions.values() if each.state.active], "without an end"
    attempts = Counter(each.attempt for each in executions.values())
    assert max(attempts.values(), default=1) == 1, "two executions of one attempt"
    decided = Counter(each.incident for each in stage.records.entries if each.kind == "decision" and each.code == "run")
    begun = Counter(each.incident for each in executions.values())
    assert all(decided[incident] >= times for incident, times in begun.items()), "begun without a decision"
    ended = Counter(each.incident for each in stage.records.entries if each.kind == "execution")
    assert all(ended[incident] >= times for incident, times in begun.items()), "its end is not in the record"
    assert all(each.steps[-1].always for each in executions.values()), "what is done in any case was left out"
    for name in stage.records.requests:
        state, result = stage.records.request_state(name) or ("", "")
        assert state == "finished"
        assert json.loads(result or "[]") is not None


@pytest.fixture(autouse=True)
def _finally(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "prepare", prepare)


@pytest.mark.parametrize("story", STORIES)
def test_an_incident_comes_to_the_same_end_wherever_the_engine_stops(story: Callable[[], Iterator[Stage]]) -> None:
    whole = tell(story, lambda _: None)
    check(whole)
    assert whole.stopping.effects + len(whole.incidents) > 0
    expected, commits, effects = picture(whole), whole.records.count, whole.stopping.effects
    for after in (False, True):
        for at in range(1, commits + 1):
            stage = tell(story, lambda each, at=at, after=after: stop_commit(each, at, after=after))
            check(stage)
            assert picture(stage) == expected, f"commit {at} of {commits}, {'after' if after else 'before'} it"
        for at in range(1, effects + 1):
            stage = tell(story, lambda each, at=at, after=after: stop_effect(each, at, after=after))
            check(stage)
            assert picture(stage) == expected, f"effect {at} of {effects}, {'after' if after else 'before'} it"


def stop_commit(stage: Stage, at: int, *, after: bool) -> None:
    stage.records.crash_at, stage.records.after = at, after


def stop_effect(stage: Stage, at: int, *, after: bool) -> None:
    stage.stopping.stop_at, stage.stopping.after = at, after


def test_a_report_of_an_execution_that_was_never_begun_says_so() -> None:
    """What the stories rest on: the fake keeps to what the real executor promises."""
    stage = Stage(ladder())
    assert stage.stopping.report("never", 0) == Report("never", ExecutionState.PENDING)
