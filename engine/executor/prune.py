"""Removes the folders of executions that ended long ago, or when all of them together have become too large."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.executor import folder as folders
from engine.executor.folder import Folder

_FORGOTTEN = 3600.0
_NEWEST = 20
"""So many stay whatever their age and size: people look at what happened last."""


@dataclass(frozen=True, slots=True, order=True)
class _Ended:
    at: float
    name: str
    size: int


def prune(
    directory: Path,
    closed: Callable[[str], bool],
    *,
    older_than: float = 30 * 86_400.0,
    most_bytes: int = 1 << 30,
    newest: int = _NEWEST,
) -> tuple[str, ...]:
    """Remove what ended more than `older_than` seconds ago, and the oldest of what is more than `most_bytes`; return the ids, oldest first.

    What runs, may still begin, has a process left, or is not closed in the record is never removed: to the executor a folder
    that was removed is one that never was. `closed` says whether the record has taken in an execution's end.
    """
    now = time.time()
    ended = sorted(_ended(directory))
    total = _size(directory)
    removed = []
    for each in ended[: max(0, len(ended) - newest)]:
        if now - each.at <= older_than and total <= most_bytes:
            break
        if closed(each.name):
            _remove(directory, each.name)
            total -= each.size
            removed.append(each.name)
    for rest in directory.glob(".*-*"):
        if rest.name.startswith(".old-") or (rest.name.startswith(".new-") and _age(rest, now) > _FORGOTTEN):
            shutil.rmtree(rest, ignore_errors=True)  # a crash came between
    return tuple(removed)


def _ended(directory: Path) -> Iterator[_Ended]:
    """Yield each execution that is over."""
    for path in directory.glob("[!.]*/"):
        folder = Folder(path)
        result, grave = folders.read(folder.result), folders.read(folder.tombstone)
        if result is not None:
            yield _Ended(float(result["ended_at"]), path.name, _size(path))
        elif grave is not None and grave["contained"]:
            yield _Ended(float(grave["at"]), path.name, _size(path))


def _size(path: Path) -> int:
    """Return what is taken up on the disk below a folder; what vanishes meanwhile takes up nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_blocks * 512
            except OSError:
                continue
    return total


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(directory: Path, name: str) -> None:
    """Make the folder disappear at once, then take its time."""
    old = directory / f".old-{name}"
    (directory / name).rename(old)
    shutil.rmtree(old, ignore_errors=True)
