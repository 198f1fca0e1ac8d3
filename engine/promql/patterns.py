"""Regular expressions as Prometheus 3 reads them: RE2, anchored at both ends, a dot matching every character."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Protocol

import re2

from engine.promql.block import Matcher, MatchOperator

ESCAPES = re.compile(r"\\Q.*?(?:\\E|$)|\\.", re.DOTALL)
LARGEST_PROGRAM = 8 << 20
"""Bytes that one compiled pattern may take; what people write is bounded."""


class Match(Protocol):
    """What a pattern found."""

    def group(self, index: int | str) -> str | None:
        """Return the text of a group."""
        ...


class Pattern(Protocol):
    """A compiled pattern."""

    groupindex: dict[str, int]
    groups: int

    def fullmatch(self, text: str) -> Match | None:
        """Return the match of the whole `text`, if it is one."""
        ...


class PatternError(ValueError):
    """The text is no regular expression."""


@lru_cache(maxsize=1024)
def compile_pattern(text: str) -> Pattern:
    """Return the pattern; raises PatternError with RE2's words."""
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = LARGEST_PROGRAM
    try:
        pattern: Pattern = re2.compile(text, options)
    except re2.error as wrong:
        reason = wrong.args[0] if wrong.args else "not a regular expression"
        raise PatternError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None
    except UnicodeEncodeError:
        raise PatternError("not UTF-8") from None
    if not all(name.isascii() for name in pattern.groupindex):
        raise PatternError("invalid named capture")
    if any(escape == r"\C" for escape in ESCAPES.findall(text)):
        raise PatternError(r"invalid escape sequence: \C")
    return pattern


def admits_empty(matcher: Matcher) -> bool:
    """Return whether a matcher admits the empty value, and so series without its label."""
    match matcher.operator:
        case MatchOperator.EQUAL:
            return matcher.value == ""
        case MatchOperator.NOT_EQUAL:
            return matcher.value != ""
        case MatchOperator.REGEX:
            return compile_pattern(matcher.value).fullmatch("") is not None
        case MatchOperator.NOT_REGEX:
            return compile_pattern(matcher.value).fullmatch("") is None
