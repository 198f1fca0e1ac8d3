"""Who ticks: one engine for one record, by the kernel's lock on a file beside it.

The kernel gives the lock up when its holder ends, however it ends; the text in the file only says who that is, and means nothing
without the lock. The file is never removed: a second one under the same name could be locked as well.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engine.records.errors import RecordError

TRIES = 20
PATIENCE = 0.005
"""Someone who asks who holds the lock has it shared for a moment: that is waited out, so many times so many seconds."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The engine that ticks on a record."""

    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.since))
        return f"process {self.pid} on {self.host}, since {since}"


class Leadership:
    """The right to tick on the record at `path`: held by one process at a time, given up when it ends."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(f"{path}.lock").absolute()
        self.descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock if no other engine has it; return whether it is ours. Raises RecordError when the file cannot be made."""
        if self.descriptor is not None:
            return True
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = error.strerror or str(error)
            raise RecordError(message, path=str(self.path), fix="check the path and its rights") from error
        for _ in range(TRIES):
            if locked(descriptor, fcntl.LOCK_EX):
                self.descriptor = descriptor
                CLOSED_IN_CHILDREN.add(self)
                sign(descriptor)
                return True
            if not momentary(descriptor):
                break
            time.sleep(PATIENCE)
        os.close(descriptor)
        return False

    @property
    def held(self) -> bool:
        """Whether this process leads."""
        return self.descriptor is not None

    def confirm(self) -> bool:
        """Return whether this process leads; the kernel never takes the lock away."""
        return self.held

    def holder(self) -> Holder | None:
        """Return who ticks on the record; None when no one does."""
        if self.descriptor is not None:
            return read_holder(self.descriptor)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return None if locked(descriptor, fcntl.LOCK_SH) else read_holder(descriptor)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        """Give the lock up."""
        if self.descriptor is not None:
            os.ftruncate(self.descriptor, 0)
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)  # also of a child forked a moment ago
            self.forget()

    def forget(self) -> None:
        """Close the file; the lock stays with any other process that has it open."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


CLOSED_IN_CHILDREN: weakref.WeakSet[Leadership] = weakref.WeakSet()


def close_in_child() -> None:
    """Close the locks a forked child was born with, or it would keep them when the engine is dead."""
    for leadership in list(CLOSED_IN_CHILDREN):
        leadership.forget()


os.register_at_fork(after_in_child=close_in_child)


def locked(descriptor: int, kind: int) -> bool:
    """Take the kernel's lock if it is free; return whether it was."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def momentary(descriptor: int) -> bool:
    """Return whether no engine holds the lock, only others who ask as we do."""
    if not locked(descriptor, fcntl.LOCK_SH):
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def sign(descriptor: int) -> None:
    """Write who we are into the file."""
    line = f"{os.getpid()} {socket.gethostname() or '-'} {time.time()!r}\n".encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, line, 0)


def read_holder(descriptor: int) -> Holder:
    """Return what the file says; a holder that has not signed yet is process 0."""
    words = os.pread(descriptor, 1_000, 0).decode("utf-8", "replace").split()
    try:
        pid, host, since = words
        return Holder(int(pid), host, float(since))
    except ValueError:
        return Holder(0, "unknown", 0.0)
