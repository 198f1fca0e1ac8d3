#!/usr/bin/python3
"""A service with a fault: it holds memory, files, children or a deleted file, and goes on until it is ended.

It does so once: started again, as a remedy does, it is a good service for a while, which a real leak is, too. What it did
is noted in the unit's runtime folder.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO

UNITS = {
    "": 1,
    "K": 2**10,
    "M": 2**20,
    "G": 2**30,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
STEP = 1 << 20


def main() -> None:
    """Do what the first argument says, unless it was done before, and wait."""
    kind, *arguments = sys.argv[1:]
    held: list[object] = []  # for as long as this runs
    mark = os.path.join(os.environ.get("RUNTIME_DIRECTORY", "/run/chaos"), f"{os.path.basename(sys.argv[0])}.done")
    if not os.path.exists(mark):
        with open(mark, "w"):
            pass
        held.append(FAULTS[kind](*arguments))
    while True:
        signal.pause()


def memory(size: str, ramp: str) -> list[bytearray]:
    """Hold memory, every page of it touched, reached evenly after the ramp."""
    held = []
    steps = max(1, size_of(size) // STEP)
    pause = seconds_of(ramp) / steps
    for _ in range(steps):
        held.append(bytearray(os.urandom(4096) * (STEP // 4096)))
        time.sleep(pause)
    return held


def descriptors(limit: str) -> list[int]:
    """Open files until no more may be."""
    held: list[int] = []
    try:
        while len(held) < int(limit):
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    return held


def zombies(count: str) -> None:
    """Have children that end, and wait for none of them."""
    for _ in range(int(count)):
        if os.fork() == 0:
            os._exit(0)


def deleted(path: str, size: str) -> IO[bytes]:
    """Write a file, delete it, and keep it open."""
    held = open(path, "wb")
    os.posix_fallocate(held.fileno(), 0, size_of(size))
    os.unlink(path)
    return held


def size_of(text: str) -> int:
    """Return the bytes of a size such as 400MB, or a percentage of all memory."""
    number, unit = parts(text)
    if unit == "%":
        with open("/proc/meminfo") as file:
            first = file.readline()  # MemTotal: … kB
        return int(first.split()[1]) * 1024 * int(number) // 100
    return int(number) * UNITS[unit]


def seconds_of(text: str) -> float:
    """Return the seconds of a duration such as 90s or 2m."""
    number, unit = parts(text)
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def parts(text: str) -> tuple[str, str]:
    """Return the number and the unit of a text."""
    unit = text.lstrip("0123456789")
    return text[: len(text) - len(unit)], unit


FAULTS: Mapping[str, Callable[..., object]] = {
    "memory": memory,
    "descriptors": descriptors,
    "zombies": zombies,
    "deleted": deleted,
}

if __name__ == "__main__":
    main()
