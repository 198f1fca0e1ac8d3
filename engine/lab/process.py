"""What the kernel says about a process: its parent, its start, its memory and whether it is stopped."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_STATE, _START_TICKS = 0, 19  # fields of /proc/PID/stat counted behind the command's name
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    start_ticks: int
    boot: str

    def alive(self) -> bool:
        """Return whether this very process still runs."""
        return identify(self.pid) == self


def identify(pid: int) -> Identity | None:
    """Return the identity of a running process; None when there is none with this number or it is a zombie."""
    fields = _stat(pid)
    if fields is None or fields[_STATE] in "ZX":
        return None
    return Identity(pid, int(fields[_START_TICKS]), Path("/proc/sys/kernel/random/boot_id").read_text().strip())


def stopped(pid: int) -> bool:
    """Return whether a process exists and is held by SIGSTOP."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] in "Tt"


def resident_bytes(pid: int) -> int:
    """Return the memory a process holds in RAM, in bytes; 0 when it does not exist."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def started_at(pid: int) -> float:
    """Return when a process started, in seconds since the epoch.

    Raises ProcessLookupError when there is no such process.
    """
    fields = _stat(pid)
    if fields is None:
        raise ProcessLookupError(pid)
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + int(fields[_START_TICKS]) / _TICKS


def used_cpu() -> tuple[float, float]:
    """Return this process's own CPU seconds in user and in system mode."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `number` to this process when `parent` dies; exit at once when it is already dead.

    The kernel watches the parent's thread that started us, not its process: a signal other than SIGKILL is a hint.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(1)


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat behind the command's name, which may hold blanks and brackets itself."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
