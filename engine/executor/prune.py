"""Removes the folders of executions that ended long ago."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from engine.executor import folder as folders
from engine.executor.folder import Folder

_FORGOTTEN = 3600.0


def prune(directory: Path, *, keep: int = 200, older_than: float = 7 * 86400.0) -> tuple[str, ...]:
    """Remove what ended more than `older_than` seconds ago, save the newest `keep`; return the ids removed, oldest first.

    What runs, may still begin, or has a process left is never removed. To the executor a folder that was removed is
    one that never was: prune only what the record has closed, which a generous age makes sure of.
    """
    now = time.time()
    ended = sorted(_ended(directory), reverse=True)
    removed = []
    for at, name in reversed(ended[keep:]):
        if now - at > older_than:
            _remove(directory, name)
            removed.append(name)
    for rest in directory.glob(".*-*"):
        if rest.name.startswith(".old-") or (rest.name.startswith(".new-") and now - rest.stat().st_mtime > _FORGOTTEN):
            shutil.rmtree(rest, ignore_errors=True)  # a crash came between
    return tuple(removed)


def _ended(directory: Path) -> Iterator[tuple[float, str]]:
    """Yield when each execution that is over ended, and its id."""
    for path in directory.glob("[!.]*/"):
        folder = Folder(path)
        result, grave = folders.read(folder.result), folders.read(folder.tombstone)
        if result is not None:
            yield float(result["ended_at"]), path.name
        elif grave is not None and grave["contained"]:
            yield float(grave["at"]), path.name


def _remove(directory: Path, name: str) -> None:
    """Make the folder disappear at once, then take its time."""
    old = directory / f".old-{name}"
    (directory / name).rename(old)
    shutil.rmtree(old, ignore_errors=True)
