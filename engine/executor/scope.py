"""A scope of systemd's for a supervisor: whoever stops, restarts or upgrades the engine's service does not end what it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

_RUNS = Path("/run/systemd/system")
_PATIENCE = 5.0
_MOVE = 2.0


def runs() -> bool:
    """Return whether systemd is this machine's service manager."""
    return _RUNS.is_dir()


def name(execution: str) -> str:
    """Return what the scope of an execution is called."""
    return f"mendbook-{execution}.scope"


def call(execution: str, pid: int, *, user: bool) -> Sequence[str]:
    """Return the command that asks systemd to put a process into a scope of its own, groups within being the process's business."""
    properties = [
        ("PIDs", "au", "1", str(pid)),
        ("Delegate", "b", "true"),
        ("Description", "s", f"Mendbook execution {execution}"),
        ("CollectMode", "s", "inactive-or-failed"),
    ]
    return [
        *("busctl", "--user" if user else "--system", "call"),
        *("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"),
        *("StartTransientUnit", "ssa(sv)a(sa(sv))", name(execution), "fail"),
        *(str(len(properties)), *(word for each in properties for word in each)),
        "0",
    ]


def move(execution: str) -> bool:
    """Move this process into a scope of its own, and return whether it is there.

    Where systemd does not run, or will not, it stays where it is, and the supervisor's log says why.
    """
    if not runs():
        return False
    command = call(execution, os.getpid(), user=os.geteuid() != 0)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _stays(str(error))
    if done.returncode != 0:
        return _stays(done.stderr.strip() or f"busctl ended with {done.returncode}")
    end = time.monotonic() + _MOVE
    while name(execution) not in Path("/proc/self/cgroup").read_text():
        if time.monotonic() > end:
            return _stays("systemd made it, and did not move us there")
        time.sleep(0.01)
    return True


def _stays(why: str) -> bool:
    sys.stderr.write(f"no scope of its own: {why}\n")
    return False
