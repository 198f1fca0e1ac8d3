"""Each node's own CPU and memory figures: an lxcfs of this lab, whose files take the place of some in the nodes' /proc."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from engine.lab.vagrant.commands import Commands, environment
from engine.lab.vagrant.disks import mounts_below
from engine.lab.vagrant.place import Place

FILES = ("cpuinfo", "loadavg", "meminfo", "stat", "swaps", "uptime")
_PATIENCE = 5.0


def start(commands: Commands) -> str:
    """Have an lxcfs of this lab's own; return "" once it shows figures, or why there is none. Safe to repeat."""
    place = commands.lab.place
    if shows(place):
        return ""
    if shutil.which("lxcfs") is None:
        return "CPU and memory figures are this machine's, the same on every node: lxcfs is not installed"
    stop(commands)
    place.figures.mkdir(parents=True, exist_ok=True)
    with place.figures_log.open("wb") as log:  # with `--enable-cfs` a node sees as many processors as it may use
        program = subprocess.Popen(
            ["lxcfs", "-f", "-l", "--enable-cfs", "-p", place.figures_pid, place.figures],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=environment(commands.lab),
        )
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and program.poll() is None:
        if shows(place):
            return ""
        time.sleep(0.02)
    stop(commands)
    return f"CPU and memory figures are this machine's, the same on every node: lxcfs does not start, see {place.figures_log}"


def shows(place: Place) -> bool:
    """Return whether figures can be read."""
    try:
        return bool((place.figures / "proc" / "meminfo").read_text())
    except OSError:
        return False


def stop(commands: Commands) -> None:
    """End this lab's lxcfs and unmount it. Safe to repeat."""
    place = commands.lab.place
    for where in mounts_below(place.figures):
        commands.run("umount", "-l", where, check=False)
    end = time.monotonic() + _PATIENCE
    while (left := running(place)) and time.monotonic() < end:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.05)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    place.figures_pid.unlink(missing_ok=True)
    with suppress(OSError):
        place.figures.rmdir()


def running(place: Place) -> list[int]:
    """Return the processes that are this lab's lxcfs: known by the folder that they were started with."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (each / "cmdline").read_bytes().split(b"\0")
            if words[0].rpartition(b"/")[2] == b"lxcfs" and os.fsencode(place.figures) in words:
                found.append(int(each.name))
    return found
