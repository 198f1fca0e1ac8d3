"""Which names are those of secrets. It stands alone: a callback inside ansible-playbook loads it by its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

WORDS = r"pass(?:word|wd|phrase)|secret|token|credential|api[_-]?key|(?:private|access|auth|encryption|signing)[_-]?key"
_NAME = re.compile(rf"{WORDS}|(?:^|[_-])(?:keys?|pass|pw|pwd|auth|bearer|cookie)$", re.IGNORECASE)
_POINTER = re.compile(r"[_-](?:files?|paths?|dir|sock|checking|plugins?)$", re.IGNORECASE)

_TELLING_NOTHING = frozenset(
    {
        *("changed", "failed", "skipped", "rc", "start", "end", "delta", "state", "mode", "owner", "group", "uid", "gid", "size"),
        *("path", "dest", "checksum", "md5sum", "secontext", "ansible_loop_var", "finished", "started", "warnings", "failed_when_result"),
        *("deprecations", "ansible_job_id", "results_file", "attempts", "name", "status"),
    }
)  # fmt: skip
"""Of what a module returned under `no_log`: what says how it went, in words that stand everywhere."""
_WORDY = frozenset({"msg", "cmd", "invocation", "item", "exception"})
"""Likewise: what has ordinary words, too."""
_BRIEFEST = 6
_DEEPEST = 12
_APART = re.compile(r"[\s=:,;\"'(){}\[\]<>|]+")
_PIECE = re.compile(r"(?=\D*\d)(?=[^A-Za-z]*[A-Za-z]).{8,}|.{20,}")
"""What in a text is no word of a language: it has both letters and digits, or is long."""


def looks_secret(name: str) -> bool:
    """Return whether something of this name should not be shown."""
    return bool(_NAME.search(name)) and not _POINTER.search(name)


def secret_names(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path to each text or number in nested mappings that stands under a name that looks secret."""
    for name, value in values.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and not looks_secret(str(name)):
            yield from secret_names(value, path)
        elif looks_secret(str(name)) and value not in (None, "") and not isinstance(value, bool):
            yield path


def texts_in(value: Any, depth: int = 0, *, wordy: bool = False) -> Iterator[str]:
    """Yield the texts in what a module returned and nobody may see, and their parts, but for what only says how it went."""
    if depth > _DEEPEST:
        return
    if isinstance(value, Mapping):
        for name, one in value.items():
            if name not in _TELLING_NOTHING:
                yield from texts_in(one, depth + 1, wordy=wordy or name in _WORDY)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from texts_in(one, depth + 1, wordy=wordy)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool) and len(str(value)) >= _BRIEFEST:
        if not wordy:
            yield str(value)
        yield from filter(
            _PIECE.fullmatch, _APART.split(str(value))
        )  # of `token=…` somebody may take what is behind it
