"""The end of an execution that has lost its supervisor: it is written down, and what is left of it is ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from engine.executor import folder as folders
from engine.executor import groups, jobs, processes
from engine.executor.folder import Folder

_KILL = 1.0
_LEFT = "processes of it are left"
_UNPROVED = "whether anything of it still runs on this machine cannot be proved"
GONE = "its supervisor is gone and left no result"


def bury(
    execution: str, folder: Folder, *, family: bool = False, elsewhere: Callable[[], list[str]] | None = None
) -> dict[str, Any]:
    """Leave a tombstone, then end what is left of an execution, and return what the tombstone says.

    To be called with the lock held. It says `contained` only when that is proved: by the family when the caller is whom
    every orphan of the execution came to, by the kernel when all of it ran in a control group, and by there having been
    nothing when it had not begun, or the machine was started anew. `elsewhere` ends what runs on other machines and names those
    where it cannot prove it; without it, none of those that something ran on is proved. Raises OSError when no tombstone can be left.
    """
    grave = folders.read(folder.tombstone)
    if grave is not None and grave["contained"]:
        return grave
    if grave is None:
        grave = {"at": time.time(), "contained": False, "why": _UNPROVED, "remote": []}
        folders.write_whole(folder.tombstone, grave)
    why = _end(execution, folder, family=family)
    remote = folder.remote() or grave.get("remote", [])  # what the steps told is forgotten with their secrets
    if elsewhere is not None and folder.remote():
        remote = elsewhere()
    if not why and remote:
        why = unproved(remote)
    folder.forget_secrets()
    jobs.forget(execution)
    groups.forget(execution)
    grave = {"at": grave["at"], "contained": not why, "why": why, "remote": remote}
    folders.write_whole(folder.tombstone, grave)
    return grave


def unproved(hosts: list[str]) -> str:
    """Return the sentence about hosts that could not be asked whether everything on them has ended."""
    return f"whether what ran on {', '.join(hosts)} has ended cannot be proved"


def _end(execution: str, folder: Folder, *, family: bool) -> str:
    """End what is left on this machine; return why that is not proved, empty when it is."""
    begun = folder.events.exists()
    group = folder.group()
    root = os.getpid() if family else None

    def left() -> set[processes.Process]:
        return {each for each in processes.members(execution, group, root) if each.pid != os.getpid()}

    hard = group.kill if group is not None else None
    if not processes.end(left, grace=0.0, limit=_KILL, hard=hard, meanwhile=processes.reap if family else _nothing):
        return _LEFT
    launched = (folders.read(folder.intent) or {}).get("launched", {})
    if group is not None and group.empty:
        group.remove()
        return ""
    return "" if family or not begun or folders.age(launched) == float("inf") else _UNPROVED


def _nothing() -> None:
    """Reap nobody: the engine's children are its own business."""
