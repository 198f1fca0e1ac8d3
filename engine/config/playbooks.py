"""Playbooks that runbooks name: found in the playbook folders, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.config.document import Document
from engine.config.errors import Problem, did_you_mean, quoted, shown
from engine.config.tree import KeyPath
from engine.model.runbook import Value

SUFFIXES = (".yml", ".yaml")


def find_playbook(name: str, folders: Sequence[Path]) -> Path | None:
    """Return where a playbook is, links followed; None when it is in none of the folders, or leads out of them."""
    for folder in folders:
        try:
            root = folder.resolve(strict=True)
            found = (root / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            continue
        if found.is_file() and found.is_relative_to(root):
            return found
    return None


def _yaml_in(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)
    except OSError:
        return []


def playbook_problems(data: Mapping[str, Value], document: Document, folders: Sequence[Path]) -> tuple[Problem, ...]:
    """Return a problem for each playbook of a runbook that is missing or lies outside the folders."""
    return tuple(
        problem
        for key in ("remedies", "rescue")
        for path, name in _named(data.get(key), (key,))
        if (problem := _problem(name, path, document, folders)) is not None
    )


def _named(value: Value, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield every playbook that is named below remedies, steps, finally and rescue."""
    for number, each in enumerate(value if isinstance(value, tuple) else ()):
        if not isinstance(each, Mapping):
            continue
        name = each.get("playbook")
        if isinstance(name, str) and name:
            yield (*path, number, "playbook"), name
        for key in ("steps", "finally"):
            yield from _named(each.get(key), (*path, number, key))


def _problem(name: str, path: KeyPath, document: Document, folders: Sequence[Path]) -> Problem | None:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        message = f"{quoted(name)} leads out of the playbook folders"
        return document.problem("bad-playbook", message, path, fix="name a file below them")
    if find_playbook(name, folders) is not None:
        return None
    there = [each.name for folder in folders for each in _yaml_in(folder)]
    looked = ", ".join(shown(folder) for folder in folders) or "no folder"
    message = f"there is no playbook {quoted(name)} (looked in {looked})"
    return document.problem("missing-playbook", message, path, fix=did_you_mean(name, there))
