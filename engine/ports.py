"""The seams: what the controller asks of the world. No protocol has more than four methods."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from engine.model.decision import Change
from engine.model.execution import Execution, Report, TaskEvent
from engine.model.labels import Batch
from engine.model.notice import Notice
from engine.model.standing import Standing
from engine.model.truth import Answer, Query


class Clock(Protocol):
    """Time that never jumps, and the wall's time, which may."""

    def now(self) -> float:
        """Return seconds since the epoch, steady: the wall's time at the start plus the monotonic time since."""
        ...

    def wall(self) -> float:
        """Return what the wall clock says now."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait, or return sooner when the engine is told to stop."""
        ...


class Source(Protocol):
    """Where samples come from."""

    def collect(self, at: float) -> Batch:
        """Return what there is to see now, within the source's own time limit; a bad endpoint is `up 0`, never an error."""
        ...


@runtime_checkable
class Feed(Protocol):
    """A source of many endpoints that looks at each in its own time."""

    def feed(self, interval: float, clock: Clock, stop: threading.Event) -> Iterator[Batch]:
        """Yield samples until told to stop, of each endpoint once an interval (seconds)."""
        ...


class Samples(Protocol):
    """Where samples go."""

    def append(self, batch: Batch) -> None:
        """Store a batch; when it returns, a SIGKILL loses nothing of it."""
        ...


class Evaluator(Protocol):
    """Says what expressions say."""

    def answer(self, queries: Sequence[Query], at: float) -> tuple[Answer, ...]:
        """Return one answer for each query, in order; an expression that errs has an answer with `error` set."""
        ...


class Records(Protocol):
    """What is remembered."""

    def standing(self, now: float) -> Standing:
        """Return one consistent reading of everything a tick needs."""
        ...

    def commit(self, change: Change) -> bool:
        """Store the change durably if the record still is at its version; return whether it was stored."""
        ...

    def follow(self, execution: str) -> int:
        """Return the number of the last event stored of this execution (0 for none)."""
        ...

    def events(self, execution: str, events: Sequence[TaskEvent]) -> None:
        """Store events of an execution; one that is stored already is not stored again."""
        ...


class Executor(Protocol):
    """Starts work and says how it goes; never waits for it."""

    def start(self, execution: Execution) -> None:
        """Begin; starting again what was started already does nothing."""
        ...

    def report(self, execution: str, after: int) -> Report:
        """Return the state of an execution and its events after that number; declares lost what is neither held nor finished.

        A directory that does not exist is a pending execution.
        """
        ...

    def cancel(self, execution: str, reason: str) -> None:
        """Have every process of the execution ended; the report says when none is left."""
        ...


class Notifier(Protocol):
    """A way to tell people."""

    def tell(self, notice: Notice) -> str | None:
        """Tell people; return None when it was delivered, else why not, in words without secrets. May take its time."""
        ...
