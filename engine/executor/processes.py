"""The processes of an execution: found by their control group, their descent and the mark in their environment, and ended.

A task may call setsid(), daemonize or outlive its parent; none of that changes the group that it is in, the environment
that it was started with, nor, while the supervisor is the subreaper, whose descendant it is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.executor.groups import Group

MARK = "MENDBOOK_EXECUTION"
_PROC = Path("/proc")
_SET_DEATH_SIGNAL = 1
_SET_SUBREAPER = 36
_PAUSE = 0.03


@dataclass(frozen=True, slots=True)
class Process:
    """A process that runs; its number and the tick of its start are an identity that is never used again."""

    pid: int
    parent: int
    started: int


def _control(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _control(_SET_SUBREAPER, 1)


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent dies; exits at once when it is dead already."""
    _control(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _read(pid: int) -> Process | None:
    try:
        line = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    fields = line[line.rindex(b")") + 2 :].split()  # the name before it may contain anything
    if fields[0] in b"ZX":
        return None
    return Process(pid, int(fields[1]), int(fields[19]))


def running() -> dict[int, Process]:
    """Return every process that runs, by its number; one that is dead and not yet reaped does not run."""
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())
    return {process.pid: process for pid in pids if (process := _read(pid)) is not None}


def descendants(root: int, table: Mapping[int, Process] | None = None) -> set[Process]:
    """Return the children of a process, their children, and so on."""
    table = running() if table is None else table
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found: set[Process] = set()
    waiting = [root]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process not in found:
                found.add(process)
                waiting.append(process.pid)
    return found


def marked(execution: str, table: Mapping[int, Process] | None = None) -> set[Process]:
    """Return the processes that carry the execution's mark in the environment they were started with."""
    table = running() if table is None else table
    wanted = f"{MARK}={execution}".encode()
    found = set()
    for process in table.values():
        try:
            environment = (_PROC / str(process.pid) / "environ").read_bytes()
        except OSError:  # gone, or another user's: then only its descent tells
            continue
        if wanted in environment.split(b"\0"):
            found.add(process)
    return found


def members(
    execution: str, group: Group | None = None, root: int | None = None, table: Mapping[int, Process] | None = None
) -> set[Process]:
    """Return what belongs to an execution: what its group holds, what descends from `root`, what carries its mark.

    What descends from a process of the group belongs to it too, since a login as another user may have led out of the group.
    """
    table = running() if table is None else table
    found = marked(execution, table)
    inside = group.pids() if group is not None else set()
    found |= {table[pid] for pid in inside if pid in table}
    for pid in inside if root is None else {*inside, root}:
        found |= descendants(pid, table)
    return found


def send(process: Process, number: signal.Signals) -> None:
    """Send a signal to this very process; nothing happens when it is gone or is another user's."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        current = _read(
            process.pid
        )  # looked at with the descriptor in hand: the number cannot change its owner any more
        if current is not None and current.started == process.started:
            signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return
    finally:
        os.close(descriptor)


def reap() -> None:
    """Take the status of every child that has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def end(
    find: Callable[[], Collection[Process]],
    *,
    grace: float,
    limit: float,
    meanwhile: Callable[[], None] = reap,
    hard: Callable[[], None] | None = None,
) -> bool:
    """End what is found, over and over until nothing is, and return whether nothing is left.

    SIGTERM first, SIGKILL to what is there after `grace` seconds, and `hard` with it; gives up after `limit` more. `meanwhile` is
    called between two looks.
    """
    asked: set[Process] = set()
    begun = time.monotonic()
    while left := set(find()):
        waited = time.monotonic() - begun
        if waited > grace + limit:
            return False
        if waited >= grace:
            if hard is not None:
                hard()
            for process in left:
                send(process, signal.SIGKILL)
        else:
            for process in left - asked:
                send(process, signal.SIGTERM)
            asked |= left
        meanwhile()
        time.sleep(_PAUSE)
    return True
