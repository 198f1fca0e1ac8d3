"""What the tests of the cluster wait for and look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def eventually(claim: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until a claim is true; fail when it is not within some seconds."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.05)


def command_lines(needle: str) -> list[str]:
    """Return the command lines of all processes that mention a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if needle in line:
            found.append(line)
    return found
