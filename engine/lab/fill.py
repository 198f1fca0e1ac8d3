"""The process that fills a node's cache: `python -m engine.lab.fill NODE_DIRECTORY PARENT`.

It writes junk until the node's directory has reached its limit, or until somebody clears what it wrote.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from engine.lab import figures, process
from engine.lab.settings import DIRECTORY_LIMIT, FILL_BYTES_PER_SECOND

PREFIX = "junk-"
_EVERY = 0.1


def fill(directory: Path, limit: int = DIRECTORY_LIMIT) -> None:
    """Write junk files into a node's `cache` at a steady rate, never beyond the limit of its directory."""
    cache = directory / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    first = cache / f"{PREFIX}{os.getpid()}-0"
    number = 0
    due = time.monotonic()
    while number == 0 or first.exists():
        room = limit - figures.bytes_below(directory)
        if room <= 0:
            return
        size = min(room, int(FILL_BYTES_PER_SECOND * _EVERY))
        (cache / f"{PREFIX}{os.getpid()}-{number}").write_bytes(os.urandom(size))
        number += 1
        due += _EVERY
        time.sleep(max(0.0, due - time.monotonic()))


def main() -> None:
    """Fill the directory given; end with the parent process."""
    process.die_with_parent(int(sys.argv[2]))
    try:
        fill(Path(sys.argv[1]))
    except FileNotFoundError:  # the cache's folder was removed under us: cleared all the same
        return


if __name__ == "__main__":
    main()
