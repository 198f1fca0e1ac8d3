"""Control groups of the kernel: what runs in one cannot leave it by itself, whatever it does to its session or environment.

Version 2 where it is there (`cgroup.kill` ends all at once, and also what forks faster than one can look); otherwise the
freezer of version 1, or its counter of processes. Where none is writable there is no group, and others must tell.
"""

from __future__ import annotations

import glob
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "mendbook-"
_PROCS = "cgroup.procs"
_FREEZING = 1.0
_FIRST = ("", "freezer", "pids")
"""Hierarchies in the order in which they are tried; version 2 has no name."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of our own, with everything below it."""

    path: Path

    def enter(self) -> None:
        """Move this process into it; raises OSError."""
        (self.path / _PROCS).write_text("0")

    def pids(self) -> set[int]:
        """Return the numbers of the processes in it; none when it is not there."""
        found: set[int] = set()
        for folder in self._folders():
            try:
                found.update(map(int, (folder / _PROCS).read_text().split()))
            except OSError:
                continue  # removed since
        return found - {0}  # somebody of another namespace, whom we cannot name

    @property
    def empty(self) -> bool:
        """Return whether no process is in it: the kernel's word, which knows of no way out."""
        try:
            return not any((folder / _PROCS).read_text().strip() for folder in self._folders())
        except FileNotFoundError:
            return not self.path.exists()  # an emptied one can be removed, and a full one cannot
        except OSError:
            return False

    def kill(self) -> None:
        """Kill everything in it at once; raises nothing: who asks looks afterwards."""
        try:
            (self.path / "cgroup.kill").write_text("1")
        except OSError:
            self._kill_frozen()

    def _kill_frozen(self) -> None:
        """Kill one by one, frozen where that is possible, so that none forks meanwhile."""
        self._freeze(frozen=True)
        try:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue
        finally:
            self._freeze(frozen=False)

    def _freeze(self, *, frozen: bool) -> None:
        word = "FROZEN" if frozen else "THAWED"
        state = self.path / "freezer.state"
        if not state.exists():
            return
        try:
            state.write_text(word)
            end = time.monotonic() + _FREEZING
            while state.read_text().strip() != word and time.monotonic() < end:
                time.sleep(0.01)
        except OSError:
            return

    def remove(self) -> None:
        """Remove it; one that holds a process stays."""
        for folder in self._folders():
            try:
                folder.rmdir()
            except OSError:
                continue

    def _folders(self) -> list[Path]:
        """Return the group and all below it, the innermost first."""
        return [Path(folder) for folder, _, _ in os.walk(self.path, topdown=False)]


def create(name: str, parents: Iterable[Path] | None = None) -> Group | None:
    """Return a new group below the one that this process is in; None where there can be none."""
    for parent in places() if parents is None else parents:
        path = parent / f"{_PREFIX}{name}-{os.getpid()}"
        try:
            path.mkdir()
        except OSError:
            continue
        if os.access(path / _PROCS, os.W_OK):
            return Group(path)
        Group(path).remove()
    return None


def forget(name: str) -> None:
    """Remove what was made for somebody who was killed before it was written down: empty, and beside what this process would make."""
    for parent in places():
        for path in parent.glob(f"{_PREFIX}{glob.escape(name)}-*"):
            Group(path).remove()


def at(path: str) -> Group | None:
    """Return the group that was once created there; None for what cannot be one of ours."""
    place = Path(path)
    ours = place.name.startswith(_PREFIX) and ".." not in place.parts
    return Group(place) if ours and any(place.is_relative_to(mount) for mount, _, _ in _mounts()) else None


def join(pid: int) -> None:
    """Move this process into the group of ours that another one is in; does nothing when it is in none. Raises OSError."""
    for place in places(pid):
        for folder in (place, *place.parents):
            if folder.name.startswith(_PREFIX):
                (place / _PROCS).write_text("0")
                return


def places(pid: int | None = None) -> Iterator[Path]:
    """Yield where a process (this one) stands in each hierarchy, the best first."""
    try:
        lines = Path(f"/proc/{pid or 'self'}/cgroup").read_text().splitlines()
    except OSError:
        return
    names = {kind: path for line in lines for _, kinds, path in [line.split(":", 2)] for kind in kinds.split(",")}
    mounts = {kind: (mount, root) for mount, root, kinds in reversed(_mounts()) for kind in kinds}
    for kind in _FIRST:
        if kind in names and kind in mounts:
            mount, root = mounts[kind]
            path = names[kind]
            below = path.removeprefix(root) if root != "/" else path
            yield mount / below.lstrip("/")


def _mounts() -> list[tuple[Path, str, tuple[str, ...]]]:
    """Return where hierarchies are mounted, which part of them, and what they are called."""
    found: list[tuple[Path, str, tuple[str, ...]]] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        _, _, _, root, mount, *_ = before.split(" ")
        if kind == "cgroup2":
            found.append((Path(mount), root, ("",)))
        elif kind == "cgroup":
            found.append((Path(mount), root, tuple(options.split(" ")[-1].split(","))))
    return found
