"""The filters that templates may use; what each makes is bounded by what it is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from engine.promql.literals import print_duration, read_duration

LONGEST_TEXT = 65_536
_MOST_DIGITS = 15


def read_seconds(text: object) -> int | float:
    """Return the seconds of a duration such as `1h30m`; a number is seconds already."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return text
    milliseconds = read_duration(text) if isinstance(text, str) else None
    if milliseconds is None:
        raise ValueError(f"{text!r} is no duration; write it like 90s, 5m or 1h30m")
    whole, rest = divmod(milliseconds, 1000)
    return milliseconds / 1000 if rest else whole


def write_duration(value: object) -> str:
    """Return a number of seconds as a duration such as `1h30m`; a duration stays what it is."""
    return print_duration(round(read_seconds(value) * 1000))


def replace(text: object, old: str, new: str) -> str:
    """Return `text` with every `old` replaced by `new`."""
    whole = str(text)
    if len(whole) + whole.count(old) * len(new) > LONGEST_TEXT:
        raise ValueError(f"replace would make more than {LONGEST_TEXT} characters")
    return whole.replace(old, new)


def join(items: Iterable[object], separator: str = "") -> str:
    """Return the items as one text, with `separator` between them."""
    texts = [str(item) for item in items]
    if sum(map(len, texts)) + len(separator) * len(texts) > LONGEST_TEXT:
        raise ValueError(f"join would make more than {LONGEST_TEXT} characters")
    return separator.join(texts)


def round_to(value: float, digits: int = 0) -> float:
    """Return `value` rounded to at most 15 digits behind the point; a whole number for none."""
    if not 0 <= digits <= _MOST_DIGITS:
        raise ValueError(f"round takes 0 to {_MOST_DIGITS} digits")
    return round(value, digits) if digits else round(value)


def to_json(value: object) -> str:
    """Return `value` as JSON."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


OWN: Mapping[str, Callable[..., object]] = MappingProxyType(
    {
        "seconds": read_seconds,
        "duration": write_duration,
        "replace": replace,
        "join": join,
        "round": round_to,
        "to_json": to_json,
        "tojson": to_json,
    }
)
STANDARD = frozenset(
    {
        "abs",
        "capitalize",
        "d",
        "default",
        "first",
        "float",
        "int",
        "last",
        "length",
        "list",
        "lower",
        "max",
        "min",
        "sort",
        "string",
        "sum",
        "title",
        "trim",
        "unique",
        "upper",
    }
)
"""Those of Jinja2's own filters that can neither run code nor grow what they are given."""
