"""How a process that was forked looks from outside: what /proc says of its environment and its command is made true of itself.

A forked process shows the environment and the command that the first of its ancestors was started with. Containment looks
for an execution's mark in that environment, and people look at `ps`. Both texts lie in the process's own memory, where the
kernel reads them, so a process may write over its own, as long as room was left.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from pathlib import Path

from engine.executor.processes import MARK

_ROOM_FOR_MARK = 160
_ROOM_FOR_COMMAND = 384
_SELF = Path("/proc/self")
_ARGUMENTS, _ENVIRONMENT = 45, 47
"""Where /proc/self/stat tells the ends of either, counted behind the process's name."""

BLANK = " " * _ROOM_FOR_COMMAND
"""A last argument for the program that forks; nobody reads it."""


def room() -> dict[str, str]:
    """Return what the environment of the program that forks must hold: an empty mark, with room for a real one."""
    return {MARK: " " * _ROOM_FOR_MARK}


def mark(execution: str) -> None:
    """Carry the mark of an execution from now on, as what is forked off will; raises OSError where there is no room for it."""
    start, end = _extent(_ENVIRONMENT)
    name = f"{MARK}=".encode()
    text = ctypes.string_at(start, end - start)
    at = 0 if text.startswith(name) else text.find(b"\0" + name) + 1
    length = text.find(b"\0", at) - at if text[at:].startswith(name) else 0
    wanted = name + execution.encode()
    if len(wanted) > length:
        raise OSError(f"the environment has no room for {MARK}={execution}")
    ctypes.memmove(start + at, wanted.ljust(length, b"\0"), length)


def rename(words: Sequence[str], program: str = "") -> None:
    """Be shown under this command, as much of it as there is room for; `program` is the short name, when not the first word's."""
    start, end = _extent(_ARGUMENTS)
    text = "\0".join(words).encode("utf-8", "replace")[: end - start - 1]
    ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)
    with contextlib.suppress(OSError):
        (_SELF / "comm").write_text(Path(program or words[0]).name)


def _extent(field: int) -> tuple[int, int]:
    """Return where a text begins and ends in this process's memory."""
    fields = (_SELF / "stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(fields[field]), int(fields[field + 1])
    if not 0 < start < end:
        raise OSError("the kernel does not say where the environment lies")
    return start, end
