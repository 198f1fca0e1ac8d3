"""The folder of one execution: the names of its files, and how they are written so that a crash leaves none half."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.executor import groups
from engine.executor.groups import Group

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_GROUP = "group.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def checked(execution: str) -> str:
    """Return the id if it can name a folder; raises ValueError."""
    if not _NAME.fullmatch(execution):
        raise ValueError(f"an execution's id is letters, digits, dots, dashes and underscores, not {execution!r}")
    return execution


def write_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in such a way that after a crash the file is there whole, or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(content, indent=1).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> dict[str, Any] | None:
    """Return the JSON mapping in a file; None when there is no such file, or it holds no such thing."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def read_list(path: Path) -> list[str]:
    """Return the JSON list of texts in a file; empty when there is no such file, or it holds no such thing."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [str(one) for one in content] if isinstance(content, list) else []


def stamp() -> dict[str, Any]:
    """Return this moment as one that no change of the wall clock moves: which boot, and how long after it.

    A container that was started anew is another boot: its first process began later, and all that ran before is gone.
    """
    try:
        first = Path("/proc/1/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        first = space = ""
    boot = f"{_BOOT.read_text().strip()} {space} {first}"
    return {"boot": boot, "since_boot": time.clock_gettime(time.CLOCK_BOOTTIME)}


def age(moment: Mapping[str, Any]) -> float:
    """Return the seconds since a stamp was made; those of an earlier boot are infinitely old."""
    now = stamp()
    if moment.get("boot") != now["boot"]:
        return float("inf")
    return float(now["since_boot"]) - float(moment.get("since_boot", 0.0))


@dataclass(frozen=True, slots=True)
class Folder:
    """Where one execution keeps its files."""

    path: Path

    @property
    def intent(self) -> Path:
        """What was ordered; it is there from the folder's first moment."""
        return self.path / "intent.json"

    @property
    def lock(self) -> Path:
        """Locked while the supervisor lives."""
        return self.path / "lock"

    @property
    def events(self) -> Path:
        """What happened, a line each."""
        return self.path / "events.jsonl"

    @property
    def result(self) -> Path:
        """How it ended."""
        return self.path / "result.json"

    @property
    def tombstone(self) -> Path:
        """Says that the execution was declared lost: a supervisor that comes late must not begin."""
        return self.path / "tombstone"

    @property
    def cancel(self) -> Path:
        """Being there, it asks the supervisor to end everything; it may hold the reason."""
        return self.path / "cancel"

    def keep_group(self, group: Group) -> None:
        """Write down in which control group everything of the run will be, before anything is."""
        write_whole(self.path / _GROUP, {"path": str(group.path)})

    def disown_group(self) -> None:
        """Forget the control group: not everything of the run is in it."""
        (self.path / _GROUP).unlink(missing_ok=True)

    def group(self) -> Group | None:
        """Return the control group that everything of the run is in; None when there is none."""
        content = read(self.path / _GROUP)
        return groups.at(str(content["path"])) if content is not None else None

    def remote(self) -> list[str]:
        """Return the other machines on which something of the steps may run, as far as their playbooks told."""
        return sorted({host for step in self._steps() for host in read_list(step / "env" / "remote")})

    def became(self) -> bool:
        """Return whether something of the steps ran as another user than the one who logged in."""
        return any((step / "env" / "became").exists() for step in self._steps())

    def _steps(self) -> list[Path]:
        try:
            return list(self.steps.iterdir())
        except OSError:
            return []

    @property
    def log(self) -> Path:
        """What the supervisor itself complained about."""
        return self.path / "supervisor.log"

    @property
    def steps(self) -> Path:
        """The private folders of the steps."""
        return self.path / "steps"

    def step(self, number: int) -> Path:
        """Return the private folder of a step."""
        return self.steps / str(number)

    @contextmanager
    def locked(self, *, wait: bool) -> Iterator[bool]:
        """Hold the lock within; yields whether it was got."""
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def forget_secrets(self) -> None:
        """Remove what only a running step needs: variables, environments, what Ansible kept; our own scrubbed output stays."""
        for step in self._steps():
            for name in ("env", "artifacts", "tmp", "ssh"):
                shutil.rmtree(step / name, ignore_errors=True)


def create(directory: Path, execution: str, intent: Mapping[str, Any]) -> Folder | None:
    """Make an execution's folder, its intent within, in one move; None when there is one already.

    A folder without an intent cannot be seen: the folder is filled under another name, and a rename never replaces
    a folder that holds something.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    final = directory / checked(execution)
    if final.exists():
        return None
    fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=directory))
    try:
        write_whole(fresh / "intent.json", intent)
        fresh.rename(final)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return None
        raise
    sync(directory)
    return Folder(final)
