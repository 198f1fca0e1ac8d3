"""What of people's files may be shown and kept: everything but what looks secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from engine.model.secrecy import looks_secret

VEIL = "•"
_LOGIN = re.compile(r"[a-z0-9]://[^\s:/@]{0,128}:[^\s/@]{1,256}@", re.IGNORECASE)
_BLOCK = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_REFERENCE = re.compile(r"\s*\{\{[^'\"{}]*\}\}\s*")
_ASSIGNED = re.compile(
    r"(?P<name>[A-Za-z0-9_-]{1,80})(?P<sign>[\"']?\s{0,4}[:=]\s{0,4})(?P<value>\"[^\"\n]*\"?|'[^'\n]*'?|[^\s,\"'\[\]{}]+)"
)
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?P<rest>[^\s\"']+)")
_PARTS = re.compile(r"(?<=:)[^/@:]+(?=@)|(?<==)[^&\s]+|(?<![^/])(?=[^/?]*\d)[A-Za-z0-9_-]{12,}")
"""Of an address of the web: the password, what it asks for, and parts of its path that no person would have thought of."""
_WEB = frozenset({"http://", "https://", "postgresql://", "postgres://"})
_BEARER = re.compile(r"(?<=Bearer )\S+|(?<=Basic )\S+")


def without_secrets(value: Any) -> Any:
    """Return nested values without what stands under a name that looks secret, and without texts that hold a password or a key."""
    if isinstance(value, Mapping):
        return {
            name: without_secrets(one)
            for name, one in value.items()
            if not looks_secret(str(name)) and not is_secret_text(one)
        }
    if isinstance(value, (list, tuple)):
        return tuple(without_secrets(one) for one in value if not is_secret_text(one))
    return value


def has_secrets(value: Any) -> bool:
    """Return whether nested values hold something secret; a template that only names another variable is none."""
    if isinstance(value, Mapping):
        return any(
            has_secrets(one)
            or (looks_secret(str(name)) and any(not _REFERENCE.fullmatch(text) for text in _leaves(one)))
            for name, one in value.items()
        )
    if isinstance(value, (list, tuple)):
        return any(map(has_secrets, value))
    return is_secret_text(value)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = () if "__ansible_vault" in value else list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _leaves(one)
    elif value not in (None, "") and not isinstance(value, bool):
        yield str(value)


def is_secret_text(value: Any) -> bool:
    """Return whether a text holds an address with a password, or a private key."""
    return isinstance(value, str) and bool(_LOGIN.search(value) or _BLOCK.search(value))


def veiled(line: str) -> str:
    """Return a line of somebody's file with what may be secret hidden letter by letter, so that all else keeps its column."""

    def assigned(match: re.Match[str]) -> str:
        name, sign, value = match["name"], match["sign"], match["value"]
        if not looks_secret(name) or "{{" in value:
            return match.group()
        inner = value.strip("\"'")
        return name + sign + value.replace(inner, VEIL * len(inner), 1) if inner else match.group()

    def address(match: re.Match[str]) -> str:
        scheme, rest = match["scheme"], match["rest"]
        if scheme.lower() in _WEB:
            return scheme + _PARTS.sub(lambda part: VEIL * len(part.group()), rest)
        end = len(rest.rstrip("}],"))
        return scheme + VEIL * end + rest[end:]

    line = _BEARER.sub(lambda match: VEIL * len(match.group()), line)
    return _ASSIGNED.sub(assigned, _ADDRESS.sub(address, line))
