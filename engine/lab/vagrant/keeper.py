"""Who containers belong to: a podman of the lab's own that waits for orders, as the service manager of a machine does.

A container that is started by a program belongs to that program, as its child's child. A remedy that gives a node its power back would take it
again when its run is over, since a run ends with all that it started. So whoever switches a node on asks this process to do it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from engine.lab.vagrant.commands import Commands, environment
from engine.lab.vagrant.place import Place

_PATIENCE = 20.0
_LONGEST = 100
"""A socket's address holds 107 bytes."""


def address(place: Place) -> str:
    """Return where the keeper listens."""
    return f"unix://{place.root / 'podman.sock'}"


def start(commands: Commands) -> str:
    """Have the keeper listen; return "" once it does, or why it does not. Safe to repeat."""
    place = commands.lab.place
    if listens(commands):
        return ""
    stop(place)
    if len(os.fsencode(place.root / "podman.sock")) > _LONGEST:
        return f"{place.root} is too long a name for a socket: a node that a remedy switches on goes off again when the remedy is over"
    with place.log.open("ab") as log:
        program = subprocess.Popen(
            ["podman", "system", "service", "--time", "0", address(place)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=environment(commands.lab),
        )
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and program.poll() is None:
        if listens(commands):
            return ""
        time.sleep(0.1)
    stop(place)
    return f"podman does not listen, see {place.log}: a node that a remedy switches on goes off again when the remedy is over"


def listens(commands: Commands) -> bool:
    """Return whether the keeper answers."""
    place = commands.lab.place
    if not (place.root / "podman.sock").exists() or not running(place):
        return False
    return bool(commands.run("podman", "--url", address(place), "version", "--format", "ok", check=False).strip())


def words(commands: Commands) -> tuple[str, ...]:
    """Return how podman is called where what it starts is to stay: by way of the keeper, where there is one."""
    return ("podman", "--url", address(commands.lab.place)) if listens(commands) else ("podman",)


def stop(place: Place) -> None:
    """End the keeper; what it started runs on. Safe to repeat."""
    for pid in running(place):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    (place.root / "podman.sock").unlink(missing_ok=True)


def running(place: Place) -> list[int]:
    """Return the processes that are this lab's keeper: known by the address that they were started with."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            told = (each / "cmdline").read_bytes().split(b"\0")
            if b"service" in told and os.fsencode(address(place)) in told:
                found.append(int(each.name))
    return found
