"""Which names are those of secrets. It stands alone: a callback inside ansible-playbook loads it by its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

WORDS = r"pass(?:word|wd|phrase)|secret|token|credential|api[_-]?key|(?:private|access|auth|encryption|signing)[_-]?key"
_NAME = re.compile(rf"{WORDS}|(?:^|[_-])(?:keys?|pass|pw|pwd|auth|bearer|cookie)$", re.IGNORECASE)
_POINTER = re.compile(r"[_-](?:files?|paths?|dir|sock|checking|plugins?)$", re.IGNORECASE)


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
