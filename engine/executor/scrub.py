"""Keeps secrets out of what is kept: by name where there is a name, by value wherever the value turns up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.model.secrecy import WORDS, looks_secret

HIDDEN = "********"

_SHORTEST = 4
_HARMLESS = frozenset({"true", "false", "none", "null", "yes", "no", "omit"})
# Text comes from anywhere and is long: each repetition is bounded or cannot fail, so that no text takes more than linear time.
_INLINE = re.compile(
    rf"(?P<name>(?:{WORDS})[\w-]{{0,40}})(?P<sign>[\"']?\s{{0,4}}[=:]\s{{0,4}})(?P<value>\"[^\"\n]*\"?|'[^'\n]*'?|[^\s,;'\"]+)",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(?P<kind>Bearer|Basic)\s{1,4}[A-Za-z0-9._~+/=-]{8,}")
_LOGIN = re.compile(r"(?P<scheme>[a-z0-9]://[^\s:/@]{1,128}):[^\s/@]{1,256}@", re.IGNORECASE)
_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)


def secrets_in(values: Any) -> set[str]:
    """Return the texts in nested mappings that stand under a name that looks secret."""
    found: set[str] = set()
    if isinstance(values, Mapping):
        for name, value in values.items():
            found |= set(_texts(value)) if looks_secret(str(name)) else secrets_in(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            found |= secrets_in(value)
    return found


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def redacted(values: Any) -> Any:
    """Return a copy in which everything under a name that looks secret is hidden."""
    if isinstance(values, Mapping):
        return {
            str(name): HIDDEN if looks_secret(str(name)) and value is not None else redacted(value)
            for name, value in values.items()
        }
    if isinstance(values, (list, tuple)):
        return [redacted(value) for value in values]
    return values


class Scrubber:
    """Hides known values, and what stands where a secret usually stands."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these as well from now on; what is very short or an ordinary word cannot be hidden everywhere."""
        fresh = set()
        for secret in secrets:
            for text in (secret, *secret.splitlines()):
                bare = text.strip()
                if len(bare) >= _SHORTEST and bare.lower() not in _HARMLESS:
                    fresh |= {bare, bare.replace("\\", "\\\\").replace('"', '\\"')}
        if fresh <= self._known:
            return
        self._known |= fresh
        longest_first = sorted(self._known, key=lambda secret: (-len(secret), secret))
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        """Return the text with everything that should not be shown hidden."""
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        text = _BLOCK.sub(HIDDEN, text)
        text = _HEADER.sub(rf"\g<kind> {HIDDEN}", text)
        text = _LOGIN.sub(rf"\g<scheme>:{HIDDEN}@", text)
        return _INLINE.sub(lambda match: match["name"] + match["sign"] + HIDDEN, text)
