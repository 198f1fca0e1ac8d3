"""The undo journal: what is to be taken back is on disk before it is done, so that no end of a drill can lose it.

One file per injection, written whole and synced before anything happens, removed when its undo succeeded. What is still there when a
drill starts was left by one that ended badly, and is undone first.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.chaos.place import DrillError
from engine.model.runbook import Scalar


@dataclass(frozen=True, slots=True)
class Undo:
    """What takes one injection back, with all that it needs: nothing but this file is read for it."""

    id: str
    drill: str
    action: str
    node: str
    parameters: Mapping[str, Scalar]
    inventory: str
    """The inventory of that node as it was when the injection was made."""
    duration: float
    at: float


class Journal:
    """The undo journal in a folder; every method may raise OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, undo: Undo) -> None:
        """Have the undo on disk; when this returns, no crash loses it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path(undo.id)
        fresh = path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump(asdict(undo), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync(self.folder)

    def done(self, undo: Undo) -> None:
        """Forget an undo that succeeded; safe to repeat."""
        self.path(undo.id).unlink(missing_ok=True)
        sync(self.folder)

    def pending(self) -> tuple[Undo, ...]:
        """Return what is still to be undone, the newest first. Raises DrillError for a file that cannot be read."""
        found = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else ():
            try:
                found.append(Undo(**json.loads(path.read_text())))
            except (ValueError, TypeError) as error:
                raise DrillError(
                    f"{path} cannot be read ({error}): undo by hand what it names, then remove it"
                ) from error
        return tuple(sorted(found, key=lambda undo: (undo.at, undo.id), reverse=True))

    def path(self, name: str) -> Path:
        """Return the file of one undo."""
        return self.folder / f"{name}.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the journal against any other drill. Raises DrillError when one runs."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DrillError(f"another drill works in {self.folder.parent}; one at a time") from error
            yield


def sync(folder: Path) -> None:
    """Have the folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
