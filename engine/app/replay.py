"""The loop over a past: the controller itself, on samples as they were, a record of its own and runs that are assumed.

Nothing of the engine is done again here. Triggers, localization, guards and the life of incidents are the loop's own; what is
other is what it stands on. It ticks only where something can change: while nothing is going on, that is where a trigger has a
result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from engine.controller import Controller, Declared, Tick
from engine.core.draft import apply
from engine.core.questions import triggers
from engine.model.decision import Change
from engine.model.execution import Execution, ExecutionState, Report, TaskEvent
from engine.model.incident import Incident
from engine.model.labels import Batch
from engine.model.standing import Pause, Silence, Standing
from engine.model.truth import Answer, Query
from engine.promql.sweep import Sweep

DAY: Final = 86_400.0
RECENT: Final = 1_000
"""As in the record: ended incidents are looked back at for a day, and so many of them at most."""

Held = Callable[[float], tuple[tuple[Pause, ...], tuple[Silence, ...]]]
"""Says which pauses and silences were in force at a moment."""


def nothing_held(_: float) -> tuple[tuple[Pause, ...], tuple[Silence, ...]]:
    """Say that nothing was paused or silenced."""
    return (), ()


@dataclass(slots=True)
class Then:
    """The clock of a moment that is over."""

    moment: float

    def now(self) -> float:
        """Return that moment."""
        return self.moment

    def wall(self) -> float:
        """Return that moment: nobody knows how the wall clock went then."""
        return self.moment

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.moment += seconds


class Imagined:
    """A record in memory that begins empty: what the loop commits, and what people held back then."""

    def __init__(self, held: Held = nothing_held) -> None:
        self._held = held
        self._standing = Standing()

    def standing(self, now: float) -> Standing:
        """Return what stands, by the same rules and in the same order as the record does."""
        standing = self._standing
        ended = [each for each in standing.incidents if not each.state.live and now - end_of(each) <= DAY]
        ended = sorted(ended, key=lambda each: (end_of(each), each.id), reverse=True)[:RECENT]
        live = [each for each in standing.incidents if each.state.live]
        pauses, silences = self._held(now)
        self._standing = replace(
            standing,
            incidents=tuple(sorted([*live, *ended], key=lambda each: (each.opened_at, each.id))),
            attempts=tuple(
                sorted(
                    (each for each in standing.attempts if each.started_at >= now - DAY),
                    key=lambda each: (each.started_at, each.id),
                )
            ),
            executions=tuple(sorted(standing.executions, key=lambda each: (each.created_at, each.id))),
            locks=tuple(sorted(standing.locks, key=lambda each: each.target)),
            pauses=pauses,
            silences=silences,
        )
        return self._standing

    def commit(self, change: Change) -> bool:
        """Take a change in; nobody else writes."""
        self._standing = apply(self._standing, change)
        return True

    def follow(self, execution: str) -> int:
        """Return 0: runs that are assumed have no events."""
        del execution
        return 0

    def events(self, execution: str, events: Sequence[TaskEvent]) -> None:
        """Keep nothing: there are none."""

    def quiet(self) -> bool:
        """Return whether nothing is going on that could change without a result of a trigger."""
        standing = self._standing
        calm = all(not each.state.live and each.trigger_cleared for each in standing.incidents)
        return calm and not (standing.alerts or standing.executions or standing.requests)


def end_of(incident: Incident) -> float:
    """Return when an incident ended, or was last changed."""
    return incident.changed_at if incident.ended_at is None else incident.ended_at


class Assumed:
    """Runs that nobody starts: each takes as long as all others, ends well, and changes nothing about the samples."""

    def __init__(self, clock: Then, takes: float) -> None:
        self._clock, self._takes = clock, takes
        self._begun: dict[str, float] = {}

    def start(self, execution: Execution) -> None:
        """Note when it would have begun."""
        self._begun.setdefault(execution.id, self._clock.now())

    def report(self, execution: str, after: int) -> Report:
        """Return how it would go."""
        del after
        began = self._begun.get(execution)
        if began is None:
            return Report(execution, ExecutionState.PENDING)
        if self._clock.now() - began < self._takes:
            return Report(execution, ExecutionState.RUNNING, started_at=began)
        return Report(execution, ExecutionState.SUCCESSFUL, started_at=began, ended_at=began + self._takes)

    def cancel(self, execution: str, reason: str) -> None:
        """End nothing: the loop cancels only by a stop or an operator, and asks again."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What expressions said then."""

    sweep: Sweep

    def answer(self, queries: Sequence[Query], at: float) -> tuple[Answer, ...]:
        """Return one answer for each query, in order."""
        return self.sweep.answers(queries, round(at * 1000))


class Nowhere:
    """Where samples go that a replay must not write."""

    def append(self, batch: Batch) -> None:
        """Keep nothing."""


Seen = Callable[[Tick, Standing], None]
"""Is told of each tick, with what stands in the record after it."""


def replay(
    sweep: Sweep, declared: Declared, *, takes: float, seen: Seen, held: Held = nothing_held, skip: bool = True
) -> int:
    """Replay the past that `sweep` covers; return how many ticks it took.

    With `skip` False every instant is ticked, to the same result. What is declared must not have recording rules: their
    series are among the samples.
    """
    instants = sweep.instants
    clock = Then(instants.start / 1000)
    records = Imagined(held)
    controller = Controller(
        clock=clock,
        records=records,
        evaluator=Recorded(sweep),
        executor=Assumed(clock, takes),
        samples=Nowhere(),
        declared=lambda: declared,
    )
    asked = triggers(declared.catalog)
    number: int | None = 0
    ticks = 0
    while number is not None and number < instants.count:
        clock.moment = (instants.start + instants.step * number) / 1000
        tick = controller.tick()
        ticks += 1
        seen(tick, records.standing(clock.moment))
        number = sweep.next_said(asked, number + 1) if skip and records.quiet() else number + 1
    return ticks
