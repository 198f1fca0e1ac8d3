"""Keeps secrets out of what is kept: by name where there is a name, by value wherever the value turns up."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import quote, quote_plus

from engine.model.secrecy import WORDS, looks_secret

HIDDEN = "********"

_SHORTEST = 4
_SHORTEST_ENCODED = 8
"""What is shorter leaves so little in base64 that it would be found where it is not."""
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
_MARK = "\x00"
_AROUND = re.compile(rf"[A-Za-z0-9+/_-]{{0,4}}{_MARK}[A-Za-z0-9+/=_-]{{0,6}}")
"""What stands beside a secret in base64 belongs to it in part."""
_SAFE = str.maketrans("+/", "-_")


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
    """Hides known values, however they are written, and what stands where a secret usually stands."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._plain: set[str] = set()
        self._encoded: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._letters: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Hide these as well from now on; what is very short or an ordinary word cannot be hidden everywhere."""
        fresh = set()
        for secret in secrets:
            for text in (secret, *secret.splitlines()):
                bare = text.strip()
                if len(bare) >= _SHORTEST and bare.lower() not in _HARMLESS:
                    fresh.add(bare)
        fresh -= self._known
        if not fresh:
            return
        self._known |= fresh
        for bare in fresh:
            self._plain.update(_written(bare))
            self._encoded.update(_in_base64(bare))
        self._pattern = self._letters = None

    def __call__(self, text: str) -> str:
        """Return the text with everything that should not be shown hidden."""
        if self._known:
            if self._pattern is None:  # secrets may come in one by one: only now is it worth the while
                self._pattern = _any_of(self._plain)
                self._letters = _any_of(self._encoded) if self._encoded else None
            text = self._pattern.sub(HIDDEN, text)
        if self._letters is not None and (marked := self._letters.sub(_MARK, text)) != text:
            text = _AROUND.sub(HIDDEN, marked)
        text = _BLOCK.sub(HIDDEN, text)
        text = _HEADER.sub(rf"\g<kind> {HIDDEN}", text)
        text = _LOGIN.sub(rf"\g<scheme>:{HIDDEN}@", text)
        return _INLINE.sub(lambda match: match["name"] + match["sign"] + HIDDEN, text)


def _written(secret: str) -> Iterator[str]:
    """Yield a secret as it is, and as JSON (with and without letters beyond ASCII, once or twice), shells and addresses write it."""
    yield secret
    for letters in (True, False):
        once = json.dumps(secret, ensure_ascii=letters)[1:-1]
        yield from (once, json.dumps(once, ensure_ascii=letters)[1:-1])
    yield secret.replace("'", "'\"'\"'")
    yield secret.replace("'", "''")
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))


def _in_base64(secret: str) -> Iterator[str]:
    """Yield the letters of base64 that are the secret's alone, wherever in what was encoded it began."""
    raw = secret.encode("utf-8", "surrogatepass")
    if len(raw) < _SHORTEST_ENCODED:
        return
    for before in range(3):
        letters = base64.b64encode(bytes(before) + raw).decode()
        own = letters[4 if before else 0 : (before + len(raw)) // 3 * 4]
        yield from (own, own.translate(_SAFE))


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of any of these, a longer one first; told apart by their first letter, so that many cost little."""
    ordered = sorted(texts, key=lambda text: (text[0], -len(text), text))
    groups = [
        f"{re.escape(first)}(?:{'|'.join(re.escape(text[1:]) for text in some)})"
        for first, some in groupby(ordered, key=itemgetter(0))
    ]
    return re.compile("|".join(groups))
