"""A YAML file as a tree whose every part knows where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.config.errors import Problem, Severity
from engine.model.runbook import Place, Scalar, Value

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar: what it means, its text, how it was written, and where."""

    value: Scalar
    text: str
    style: str
    start: int
    size: int = 1


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    items: tuple[Tree, ...]
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and what it holds."""

    key: Leaf
    value: Tree


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping, in the order of the file."""

    entries: Mapping[str, Entry]
    start: int
    size: int


Tree = Leaf | Items | Table


def plain(tree: Tree) -> Value:
    """Return a tree as plain values."""
    match tree:
        case Leaf(value=value):
            return value
        case Items(items=items):
            return tuple(plain(item) for item in items)
        case Table(entries=entries):
            return {name: plain(entry.value) for name, entry in entries.items()}


def place_of(file: str, text: str, index: int) -> Place:
    """Return line and column of a place in a text."""
    line = text.count("\n", 0, index) + 1
    return Place(file, line, index - (text.rfind("\n", 0, index) + 1) + 1)


def problem_at(
    file: str,
    text: str,
    index: int,
    code: str,
    message: str,
    *,
    width: int = 1,
    fix: str | None = None,
    severity: Severity = Severity.ERROR,
) -> Problem:
    """Return a problem at a place in a text, with the line that stands there."""
    begin = text.rfind("\n", 0, index) + 1
    end = text.find("\n", index)
    line = text[begin : end if end >= 0 else len(text)].rstrip("\r")
    return Problem(code, message, place_of(file, text, index), line, width, fix, severity)
