"""Silences: which alerts one covers."""

from __future__ import annotations

from functools import lru_cache

from engine.model.incident import Alert
from engine.promql import Matcher, MatchOperator, ParseError, compile_pattern, parse
from engine.promql.syntax import Selector

NAME = "alertname"


@lru_cache(maxsize=1024)
def matchers(selector: str) -> tuple[Matcher, ...]:
    """Return what a silence asks of labels; `HostDown{instance="a"}` is short for `{alertname="HostDown", instance="a"}`.

    Raises ParseError for what is no selector, and for one that would match everything.
    """
    tree = parse(selector)
    if not isinstance(tree, Selector) or tree.offset != 0 or tree.at is not None or tree.extension is not None:
        raise ParseError(
            'this is no selector: write it like {alertname="HostDown", instance=~"db.*"}', 0, len(selector), selector
        )
    return tuple(
        Matcher(NAME, matcher.operator, matcher.value) if matcher.name == "__name__" else matcher
        for matcher in tree.matchers
    )


def covers(selector: str, alert: Alert) -> bool:
    """Return whether a silence covers an alert, by its labels and `target`; one that cannot be read covers everything."""
    try:
        asked = matchers(selector)
    except ParseError:
        return True
    labels = {**alert.labels, NAME: alert.name, **({"target": alert.target} if alert.target else {})}
    return all(admits(matcher, labels.get(matcher.name, "")) for matcher in asked)


def admits(matcher: Matcher, value: str) -> bool:
    """Return whether a label's value is what a matcher asks for."""
    match matcher.operator:
        case MatchOperator.EQUAL:
            return value == matcher.value
        case MatchOperator.NOT_EQUAL:
            return value != matcher.value
        case MatchOperator.REGEX:
            return compile_pattern(matcher.value).fullmatch(value) is not None
        case MatchOperator.NOT_REGEX:
            return compile_pattern(matcher.value).fullmatch(value) is None
