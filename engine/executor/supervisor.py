"""The process that owns one execution: `python -m engine.executor.supervisor FOLDER`, the order on its standard input.

It holds the folder's lock for its whole life, so that anybody can see whether it lives. It moves into a scope of its own
where systemd runs, and puts its playbooks into a control group where it may. It adopts every orphan of theirs, ends every
process before it says that the execution has ended, and writes the result after the last event. It needs nothing of the
engine, which may be gone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from engine.executor import burial, groups, jobs, processes, running, scope, sweep, warden, worker
from engine.executor import folder as folders
from engine.executor import order as orders
from engine.executor.folder import Folder
from engine.executor.groups import Group
from engine.executor.inputs import Refused, Step
from engine.executor.journal import Journal, printable, shortened
from engine.executor.order import Order
from engine.executor.processes import Process
from engine.executor.running import Ending, Running
from engine.executor.scrub import Scrubber
from engine.model.execution import ExecutionState

if TYPE_CHECKING:
    from engine.executor.warm.stage import Stage

_LOOK = 0.1
_GRACE = 2.0
_LIMIT = 8.0
_STRAY = 0.4
_FULL_DISK = 60.0


class Supervisor:
    """Runs the steps of one order."""

    def __init__(
        self, folder: Folder, order: Order, journal: Journal, group: Group | None = None, stage: Stage | None = None
    ) -> None:
        self._folder = folder
        self._order = order
        self._journal = journal
        self._group = group
        self._stage = stage
        self._stop = ""
        self.left: list[Process] = []
        """What could not be ended."""
        self.remote: list[str] = []
        """The other machines on which something may still run."""

    def stop(self, number: int, _: FrameType | None) -> None:
        """Cancel, because a signal came."""
        self._stop = self._stop or f"the supervisor got {signal.Signals(number).name}"

    def canceled(self) -> str:
        """Return why everything is to end; empty when it is not."""
        if not self._stop and self._folder.cancel.exists():
            try:
                reason = self._folder.cancel.read_text(encoding="utf-8", errors="replace").strip()
            except OSError:
                reason = ""
            self._stop = reason or "no reason was given"
        return self._stop

    def run(self) -> Ending:
        """Run the steps in order; after one that failed only those that run always, after a cancel none."""
        try:
            steps = self._order.steps()
        except Refused as refused:
            return Ending(ExecutionState.FAILED, str(refused))
        bad: Ending | None = None
        unreachable: list[str] = []
        for step in steps:
            if self.canceled():
                self._skip(step, "canceled")
                bad = self._cancellation()
            elif bad is not None and not step.always:
                self._skip(step, "an earlier step failed")
            else:
                ending = self._run(step)
                unreachable += ending.unreachable
                if ending.state is ExecutionState.CANCELED:
                    bad = ending
                elif ending.state is not ExecutionState.SUCCESSFUL:
                    bad = bad or ending
        bad = bad or Ending(ExecutionState.SUCCESSFUL)
        return Ending(bad.state, bad.message, tuple(dict.fromkeys(unreachable)))

    def _cancellation(self) -> Ending:
        return Ending(ExecutionState.CANCELED, f"canceled: {self.canceled()}")

    def _skip(self, step: Step, why: str) -> None:
        self._journal.write("message", step=step.number, task=step.name, text=f"{step.name} was not run: {why}")

    def _run(self, step: Step) -> Ending:
        self._journal.write("step_started", step=step.number, task=step.name, data={"hosts": list(step.hosts)})
        begun = time.monotonic()
        private = self._folder.step(step.number)
        try:
            private.mkdir(mode=0o700, parents=True)
            run = running.fork(lambda pipe: self._work(step, private, pipe), self._journal.scrubber.learn)
        except OSError as error:
            return Ending(ExecutionState.FAILED, f"{step.name} could not be started: {error.strerror}")
        ending = self._follow(step, run, begun + step.timeout)
        self.left = self._contain(step, run)
        if self.left:
            self._journal.write("message", step=step.number, text="not every process of this step could be ended")
        ending = ending or running.judge(run.end)
        self._sweep(step)
        self._folder.forget_secrets()
        data = {"state": str(ending.state), "duration": round(time.monotonic() - begun, 3)}
        self._journal.write("step_ended", step=step.number, task=step.name, text=ending.message, data=data)
        return ending

    def _work(self, step: Step, private: Path, pipe: int) -> None:
        """Run the step, in the group where there is one; a group that cannot be entered proves nothing from then on."""
        if self._group is not None:
            try:
                self._group.enter()
            except OSError:
                self._folder.disown_group()
        worker.run(step, self._order, private, pipe, self._stage)

    def _follow(self, step: Step, run: Running, deadline: float) -> Ending | None:
        """Write down events until the step is over; return how it was ended when it has not ended by itself."""
        look, stray = time.monotonic() + _STRAY, False
        while not run.over:
            self._hear(step, run, _LOOK)
            if self.canceled():
                return self._cancellation()
            now = time.monotonic()
            if now >= deadline:
                return Ending(ExecutionState.TIMEOUT, f"{step.name} took longer than {step.timeout:g} s")
            if now >= look:
                look = now + _STRAY
                if stray and run.abandoned():
                    # What the playbook left in the background holds its terminal, and ansible-runner waits for that.
                    self._end_others(step, run)
                stray = run.abandoned()
        return None

    def _hear(self, step: Step, run: Running, seconds: float) -> None:
        run.listen(seconds)
        run.reap()
        for line in run.told():
            self._journal.write(step=step.number, **line)

    def _end_others(self, step: Step, run: Running) -> bool:
        return processes.end(
            lambda: run.others(self._order.id, self._group),
            grace=_GRACE,
            limit=_LIMIT,
            meanwhile=lambda: self._hear(step, run, 0.0),
        )

    def _contain(self, step: Step, run: Running) -> list[Process]:
        """End every process of the step and return what is left; the one that tells comes last, so that it can."""
        self._end_others(step, run)
        patience = time.monotonic() + _GRACE
        while not run.over and time.monotonic() < patience:
            self._hear(step, run, _LOOK)
        run.kill()
        self._hear(step, run, 0.0)
        if self._group is not None:
            self._group.kill()
        if self._end_others(step, run):
            return []
        return sorted(run.others(self._order.id, self._group), key=lambda one: one.pid)

    def _sweep(self, step: Step) -> None:
        """End what may still run on other machines; where that is not proved is said, and kept for the result."""

        def hear(run: Running) -> None:
            for line in run.told():
                self._journal.write(step=step.number, **line)

        remote = sweep.unended(self._order, self._folder, self._journal.scrubber.learn, hear)
        if remote:
            self._journal.write("message", step=step.number, text=burial.unproved(remote))
            self.remote = sorted({*self.remote, *remote})


def _write_result(folder: Folder, result: dict[str, object]) -> None:
    """Write the result; while the disk is full, try again for a while."""
    deadline = time.monotonic() + _FULL_DISK
    while True:
        try:
            folders.write_whole(folder.result, result)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
        else:
            return


def supervise(folder: Folder, order: Order, stage: Stage | None = None) -> None:
    """Run an order to its end and write the result; does nothing in a folder where somebody has begun already.

    In a process that was forked off the server of warm starts, `stage` is what ansible-playbook is played on.
    """
    with folder.locked(wait=True):
        if folder.tombstone.exists() or folder.result.exists() or folder.events.exists():
            return
        scope.move(order.id)
        if warden.guarded(order, folder):
            _supervise(folder, order, stage)


def _supervise(folder: Folder, order: Order, stage: Stage | None) -> None:
    folder.lock.write_text(f"{os.getpid()}\n")  # for people: that it is locked is what counts
    started_at = time.time()
    group = groups.create(order.id)
    if group is not None:
        folder.keep_group(group)
    scrubber = Scrubber(order.secrets())
    with Journal(folder.events, scrubber) as journal:
        supervisor = Supervisor(folder, order, journal, group, stage)
        for number in warden.SIGNALS:
            signal.signal(number, supervisor.stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, warden.SIGNALS)
        ending = supervisor.run()
    jobs.forget(order.id)
    if group is not None:
        group.remove()
    parts = [ending.message, burial.unproved(supervisor.remote) if supervisor.remote else "", journal.trouble]
    message = shortened(printable(scrubber("; ".join(part for part in parts if part))), 2048)
    _write_result(
        folder,
        {
            "state": str(ending.state),
            "message": message,
            "remote": supervisor.remote,
            "left": [(process.pid, process.started) for process in supervisor.left],
            "unreachable": list(ending.unreachable),
            "started_at": started_at,
            "ended_at": time.time(),
            "events": journal.last,
        },
    )


def main() -> None:
    """Read the order and supervise."""
    order = orders.load(sys.stdin.buffer.read())
    os.umask(0o077)
    supervise(Folder(Path(sys.argv[1])), order)


if __name__ == "__main__":
    main()
