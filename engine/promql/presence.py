"""`absent` and `absent_over_time`: something, because there is nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.model.labels import METRIC_NAME, Labels
from engine.promql.block import Matcher, MatchOperator
from engine.promql.frame import Frame, Function
from engine.promql.patterns import admits_empty
from engine.promql.syntax import Call, Expression, RangeSelector, Selector, Type
from engine.promql.values import Grid, Mask, one_row


def expected_labels(node: Expression) -> Labels:
    """Return the labels that the missing series would have: what a selector's matchers pin down.

    As in Prometheus, a label that is pinned twice is left out, and one that some other matcher is about behind it; matchers
    that take series away (those that refuse something and admit the empty value) stand behind all others.
    """
    matchers: tuple[Matcher, ...] = ()
    match node:
        case Selector(matchers=matchers) | RangeSelector(selector=Selector(matchers=matchers)):
            pass
        case _:
            return Labels()
    pinned: dict[str, str] = {}
    for matcher in sorted(matchers, key=_takes_away):
        if matcher.operator is MatchOperator.EQUAL and matcher.name not in pinned:
            pinned[matcher.name] = matcher.value
        elif matcher.name in pinned:
            pinned[matcher.name] = ""
    return Labels(pinned).without(METRIC_NAME)


def _takes_away(matcher: Matcher) -> bool:
    refuses = matcher.operator in {MatchOperator.NOT_EQUAL, MatchOperator.NOT_REGEX}
    return refuses and admits_empty(matcher)


def _absent(frame: Frame, node: Call) -> Grid:
    grid = frame.vector(node.arguments[0])
    missing: Mask = np.logical_not(np.any(grid.present, axis=0))
    return one_row(np.ones(frame.times.size), missing, expected_labels(node.arguments[0]))


def _absent_over_time(frame: Frame, node: Call) -> Grid:
    windows = frame.windows(node.arguments[0])
    missing: Mask = np.logical_not(np.any(windows.high > windows.low, axis=0))
    return one_row(np.ones(frame.times.size), missing, expected_labels(node.arguments[0]))


FUNCTIONS: Mapping[str, Function] = {
    "absent": Function((Type.VECTOR,), Type.VECTOR, _absent),
    "absent_over_time": Function((Type.RANGE,), Type.VECTOR, _absent_over_time),
}
