"""A step that runs in a forked process: what it tells, whether it lives, and what its end means."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.executor import processes
from engine.executor.groups import Group
from engine.executor.processes import Process
from engine.model.execution import ExecutionState

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Ending:
    """How a step ended, and why in words."""

    state: ExecutionState
    message: str = ""
    unreachable: tuple[str, ...] = ()


@dataclass(slots=True)
class Running:
    """A process forked to run a step; `end` is the last thing it tells."""

    pid: int
    pipe: int
    learn: Callable[[list[str]], None]
    open: bool = True
    ended: bool = False
    end: Mapping[str, Any] | None = None
    _rest: bytes = b""
    _had_child: bool = False
    _lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Return whether it has ended and everything that it told was heard."""
        return self.ended and not self.open

    def listen(self, seconds: float) -> None:
        """Take in what it tells, waiting at most so long for the first of it."""
        if not self.open:
            self._await(seconds)
            return
        if not select.select([self.pipe], [], [], seconds)[0]:
            return
        chunk = os.read(self.pipe, _CHUNK)
        if not chunk:
            os.close(self.pipe)
            self.open = False
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "end" in told:
                self.end = told["end"]
            elif "secrets" in told:
                self.learn(told["secrets"])
            else:
                self._lines.append(told)

    def _await(self, seconds: float) -> None:
        """Wait at most so long for its end."""
        try:
            descriptor = os.pidfd_open(self.pid)  # not reaped yet, or gone: then there is nothing to wait for
        except OSError:
            return
        try:
            select.select([descriptor], [], [], seconds)
        finally:
            os.close(descriptor)

    def told(self) -> list[dict[str, Any]]:
        """Return the events told since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def reap(self) -> None:
        """Take the status of the children that have ended: its own and those of orphans."""
        try:
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                self.ended = self.ended or pid == self.pid
        except ChildProcessError:
            self.ended = True

    def abandoned(self) -> bool:
        """Return whether it lives though the ansible-playbook that it started does not."""
        if self.ended:
            return False
        child = any(process.parent == self.pid for process in processes.running().values())
        self._had_child = self._had_child or child
        return self._had_child and not child

    def others(self, execution: str, group: Group | None = None) -> set[Process]:
        """Return every other process of the execution."""
        found = processes.members(execution, group, os.getpid())
        return {process for process in found if process.pid not in (self.pid, os.getpid())}

    def kill(self) -> None:
        """End it by force and take in what it had told."""
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so that the number is still its own
            os.waitpid(self.pid, 0)
            self.ended = True
        while self.open:
            self.listen(1.0)


def fork(work: Callable[[int], None], learn: Callable[[list[str]], None]) -> Running:
    """Do the work in a process of its own, which dies with this one; it is given the pipe that is listened to.

    Secrets that it tells of are handed to `learn` before any event that it tells after them.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Running(pid, reading, learn)
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        processes.die_with_parent(parent)
        os.close(reading)
        work(writing)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as if it were the supervisor
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def judge(end: Mapping[str, Any] | None) -> Ending:
    """Return what the end of ansible-playbook means: its statistics say it, its exit status alone never does."""
    failed = ExecutionState.FAILED
    if end is None:
        return Ending(failed, "the process that ran ansible-playbook died")
    complaints = str(end["complaints"]).strip()
    if (stats := end["stats"]) is None:
        return Ending(failed, complaints or f"ansible-playbook ended with {end['rc']} before it ran anything")
    unreachable = tuple(sorted(stats["dark"]))
    if stats["failures"] or unreachable:
        parts = []
        if stats["failures"]:
            parts.append("failed on " + ", ".join(sorted(stats["failures"])))
        if unreachable:
            parts.append("unreachable: " + ", ".join(unreachable))
        return Ending(failed, "; ".join(parts), unreachable)
    if end["unmatched"] or not stats["processed"]:
        plays = ", ".join(map(repr, end["unmatched"]))
        return Ending(failed, f"no host matched{f' the play {plays}' if plays else ''}")
    if end["rc"] != 0:
        return Ending(failed, complaints or f"ansible-playbook ended with {end['rc']} though no task failed")
    return Ending(ExecutionState.SUCCESSFUL)
