"""One check of the engine's health: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, how it is, and what to do about it."""

    name: str
    level: Level
    sentence: str
    fix: str = ""


def ok(name: str, sentence: str) -> Check:
    """Return a check that found nothing amiss."""
    return Check(name, Level.OK, sentence)


def warn(name: str, sentence: str, fix: str) -> Check:
    """Return a check that found something to look at."""
    return Check(name, Level.WARN, sentence, fix)


def fail(name: str, sentence: str, fix: str) -> Check:
    """Return a check that found what keeps the engine from working."""
    return Check(name, Level.FAIL, sentence, fix)
