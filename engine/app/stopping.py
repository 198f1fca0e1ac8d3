"""Emergency stop: everything is paused, and everything that runs is ended; with an engine, without one, or beside one that hangs.

What runs is found in the folders of executions, and ended by the files that their supervisors watch: neither needs the
record or an engine that answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.app.wiring import App
from engine.executor.folder import Folder
from engine.model.execution import Execution, Report
from engine.model.standing import Pause
from engine.records.errors import RecordError

LOOK_EVERY = 0.1


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of one execution; `report` is None for one that was never begun."""

    id: str
    execution: Execution | None
    report: Report | None

    @property
    def over(self) -> bool:
        """Return whether no process of it is left."""
        return self.report is None or (not self.report.state.active and self.report.contained)


def unfinished(directory: Path) -> frozenset[str]:
    """Return the ids of the executions that have a folder and no end in it."""
    try:
        folders = [Folder(path) for path in directory.iterdir() if not path.name.startswith(".") and path.is_dir()]
    except OSError:
        return frozenset()
    return frozenset(each.path.name for each in folders if not (each.result.exists() or each.tombstone.exists()))


class Stop:
    """One emergency stop: `cancel` at once, `pause` as soon as the record takes it, `wait` until nothing is left."""

    def __init__(self, app: App, by: str, reason: str) -> None:
        self.app = app
        self.by = by
        self.reason = reason
        self.canceled: set[str] = set()

    def cancel(self) -> None:
        """Have everything ended that has begun; again, for what began meanwhile."""
        executor = self.app.executor
        for execution in unfinished(self.app.settings.executions):
            executor.cancel(execution, f"stopped by {self.by}: {self.reason}")
            self.canceled.add(execution)

    def pause(self) -> str:
        """Pause everything until a human resumes; return why that could not be stored, empty when it was."""
        try:
            self.app.desk.pause(Pause("all", self.by, self.reason, time.time(), stop=True))
        except RecordError as error:
            return str(error)
        return ""

    def wait(self, patience: float, told: Callable[[Stopped], None]) -> tuple[Stopped, ...]:
        """Wait until what was canceled has ended, at most `patience` seconds; tell of each as it ends, return them all."""
        end = time.monotonic() + patience
        ended: dict[str, Stopped] = {}
        while True:
            self.cancel()
            for execution in sorted(self.canceled - ended.keys()):
                report = self.app.executor.report(execution, 0)
                if not report.state.active:
                    ended[execution] = Stopped(execution, self.known(execution), report)
                    told(ended[execution])
            left = self.canceled - ended.keys()
            if not left or time.monotonic() > end:
                return (*ended.values(), *self.still(left))
            time.sleep(LOOK_EVERY)

    def still(self, left: Collection[str]) -> Iterator[Stopped]:
        """Yield what has not ended."""
        for execution in sorted(left):
            yield Stopped(execution, self.known(execution), self.app.executor.report(execution, 0))

    def never_begun(self) -> tuple[Stopped, ...]:
        """Return what was committed and never begun: under a pause it is withdrawn."""
        try:
            active = self.app.record.standing(time.time()).executions
        except RecordError:
            return ()
        folders = self.app.settings.executions
        return tuple(Stopped(each.id, each, None) for each in active if not (folders / each.id).exists())

    def known(self, execution: str) -> Execution | None:
        """Return what the record knows of an execution."""
        try:
            return self.app.history.execution(execution)
        except RecordError:
            return None
