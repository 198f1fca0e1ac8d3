"""How runs of ansible-playbook began, warm or cold and why, counted over the life of a project."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

_NAME = ".starts"


class Reason(StrEnum):
    """Why a run began cold."""

    OFF = "off"
    """No fork server was wanted, as for a single command."""
    STARTING = "starting"
    """The server was not ready yet."""
    UNFIT = "unfit"
    """The server cannot do it with this Ansible, or with these settings."""
    CHANGED = "changed"
    """Files that the server had read have changed since."""
    ENVIRONMENT = "environment"
    """The environment, or which settings it leads to, is not the one that the server began with."""
    GONE = "gone"
    """The server died, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Cold:
    """A cold start: why, in one word and in a sentence."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


@dataclass(frozen=True, slots=True)
class Starts:
    """How many runs began warm, how many cold for each reason, and what was said of the last cold one."""

    warm: int = 0
    cold: Mapping[str, int] = field(default_factory=dict)
    last: str = ""


def count(directory: Path, cold: Cold | None) -> None:
    """Count one more, below the folder of all executions; what cannot be written is not counted."""
    try:
        descriptor = os.open(directory / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known = _read(file.read())
        if cold is None:
            known = Starts(known.warm + 1, known.cold, known.last)
        else:
            known = Starts(known.warm, {**known.cold, cold.reason: known.cold.get(cold.reason, 0) + 1}, str(cold))
        text = json.dumps({"warm": known.warm, "cold": dict(known.cold), "last": known.last}).encode()
        try:
            os.pwrite(descriptor, text, 0)
            os.ftruncate(descriptor, len(text))
        except OSError:
            return  # a full disk


def counted(directory: Path) -> Starts:
    """Return what was counted below the folder of all executions."""
    try:
        return _read((directory / _NAME).read_bytes())
    except OSError:
        return Starts()


def _read(text: bytes) -> Starts:
    try:
        content = json.loads(text)
        cold = {str(reason): int(number) for reason, number in content["cold"].items()}
        return Starts(int(content["warm"]), cold, str(content["last"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Starts()
