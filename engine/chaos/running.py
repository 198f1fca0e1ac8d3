"""The engine under test: a process of its own, started as in production, of which a drill reads nothing but the record."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.app import App
from engine.chaos.place import DrillError, Place
from engine.chaos.score import Story
from engine.model.incident import Alert, AlertState, Incident
from engine.model.truth import Query
from engine.records.errors import RecordError
from engine.records.history import History
from engine.records.leader import Holder, Leadership
from engine.records.store import Record

LONGEST_START = 60.0
LONGEST_STOP = 30.0


@dataclass(slots=True)
class Engine:
    """The engine of a lab; `own` is the process when a drill started it."""

    place: Place
    log: Path
    own: subprocess.Popen[bytes] | None = None

    def holder(self) -> Holder | None:
        """Return who ticks on the lab's record."""
        return Leadership(self.place.settings.record).holder()

    def start(self) -> None:
        """Have an engine tick, one that runs already or a new one. Raises DrillError when it does not begin to."""
        if self.holder() is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-c", "from engine.cli.main import main; main()"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MENDBOOK_")}
        with self.log.open("ab") as log:
            self.own = subprocess.Popen(
                [*command, "-C", str(self.place.directory), "watch", "--lines"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.place.directory,
                start_new_session=True,  # it goes on when the drill is interrupted, as in production
            )
        end = time.monotonic() + LONGEST_START
        while self.holder() is None or not self.place.settings.record.exists():
            if self.own.poll() is not None or time.monotonic() > end:
                raise DrillError(f"the engine does not start: {self.log} says why")
            time.sleep(0.1)

    def stop(self) -> None:
        """Have no engine tick; what it runs goes on. Raises DrillError when it does not end."""
        holder = self.holder()
        if holder is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGTERM)
        self.gone()

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        holder = self.holder()
        if holder is None:
            raise DrillError("there is no engine to be killed")
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGKILL)
        self.gone()

    def gone(self) -> None:
        """Wait until nobody ticks."""
        end = time.monotonic() + LONGEST_STOP
        while self.holder() is not None:
            if time.monotonic() > end:
                raise DrillError("the engine does not end")
            time.sleep(0.1)
        if self.own is not None:
            self.own.wait()
            self.own = None

    def afresh(self, aside: Path) -> None:
        """Have an engine that remembers no earlier drill: its record is moved aside, its samples stay.

        A drill is judged by itself: cooldowns, attempts within 24 h and incidents of the one before would bear on it.
        """
        self.stop()
        settings = self.place.settings
        for path in (settings.record, settings.executions, *settings.record.parent.glob(f"{settings.record.name}-*")):
            if path.exists():
                aside.mkdir(parents=True, exist_ok=True)
                path.rename(aside / path.name)
        settings.record.with_suffix(".mark").unlink(missing_ok=True)
        self.start()


@contextmanager
def reading(place: Place) -> Iterator[History]:
    """Give the lab's record, to be read beside the engine. Raises DrillError where that is not possible."""
    where = place.settings.database or place.settings.record
    try:
        record = Record(where, read_only=True)
    except RecordError as error:
        raise DrillError(f"the engine's record cannot be read: {error}") from error
    try:
        yield History(record)
    finally:
        record.close()


def story(history: History, since: float) -> Story:
    """Return what the record says since a moment."""
    return Story(
        history.incidents(since=since), history.executions(since=since), history.entries(since=since, limit=10_000)
    )


def unrest(history: History) -> list[str]:
    """Say what is not quiet: incidents that are open, alerts that are pending or firing."""
    said = [f"incident {each.resource} of {each.target} is {each.state}" for each in live(history)]
    return said + [f"alert {each.name} on {each.target} is {each.state}" for each in alarming(history)]


def live(history: History) -> list[Incident]:
    """Return the incidents that have not ended."""
    return [each for each in history.incidents() if each.state.live]


def alarming(history: History) -> list[Alert]:
    """Return the alerts that fire or are about to."""
    return [each for each in history.alerts() if each.state in (AlertState.PENDING, AlertState.FIRING)]


def unseen(place: Place) -> list[str]:
    """Say which nodes the engine has no good metrics of: what it cannot see it cannot heal, and without data it is never quiet."""
    with App(place.settings) as app:
        store = app.read_samples()
        (answer,) = app.evaluator(store).answer((Query("min by (instance) (up)"),), time.time())
    seen = {sample.labels.get("instance", ""): sample.value for sample in answer.samples}
    return [
        f"the engine {'cannot read metrics of' if name in seen else 'has no metrics of'} {name}"
        for name in place.nodes
        if seen.get(name) != 1
    ]
