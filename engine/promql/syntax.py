"""The tree of an expression: small frozen nodes, each with its place in the text.

Trees are equal when they mean the same, wherever they stood in a text: spans take no part in comparing.
Parentheses leave no node behind; the printer puts back those that are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from engine.promql.block import Matcher

Span = tuple[int, int]
NOWHERE: Span = (0, 0)


class Type(StrEnum):
    """What an expression evaluates to, in the language's own words."""

    SCALAR = "scalar"
    VECTOR = "instant vector"
    RANGE = "range vector"
    TEXT = "string"


class Side(StrEnum):
    """Which side of an operator may have several series for one on the other."""

    NEITHER = "one-to-one"
    LEFT = "group_left"
    RIGHT = "group_right"


class Edge(StrEnum):
    """The ends of a query, as `@` can name them."""

    START = "start()"
    END = "end()"


class Extension(StrEnum):
    """How a selector looks beyond its range."""

    ANCHORED = "anchored"
    SMOOTHED = "smoothed"


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    """A number; a duration such as `5m` is its seconds."""

    value: float
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class StringLiteral:
    """A string, unescaped."""

    value: str
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Selector:
    """An instant vector selector: the series that all matchers admit.

    `offset` is in milliseconds, or an expression over `step()` and `range()`; `at` is milliseconds since the epoch.
    """

    matchers: tuple[Matcher, ...]
    offset: Duration = 0
    at: int | Edge | None = None
    extension: Extension | None = None
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class RangeSelector:
    """A selector with a range: `selector[range]`, its modifiers kept on the selector."""

    selector: Selector
    range: Duration
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Subquery:
    """An instant vector evaluated at every `step` (the default's when None) over a range."""

    expression: Expression
    range: Duration
    step: Duration | None = None
    offset: Duration = 0
    at: int | Edge | None = None
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function applied to arguments."""

    function: str
    arguments: tuple[Expression, ...]
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """An aggregation over groups of series that agree on the labels in `grouping` (or on all but those)."""

    operator: str
    expression: Expression
    parameter: Expression | None = None
    grouping: tuple[str, ...] = ()
    without: bool = False
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Matching:
    """How series of two sides find each other: by the labels named (`on`), or by all but those.

    A series without a partner meets a `fill_left` on its left or a `fill_right` on its right, where there is one.
    """

    on: bool = False
    labels: tuple[str, ...] = ()
    many: Side = Side.NEITHER
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two expressions; `bool` makes a comparison answer 0 or 1 instead of filtering."""

    operator: str
    left: Expression
    right: Expression
    bool: bool = False
    matching: Matching = Matching()
    span: Span = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Negation:
    """Unary minus."""

    expression: Expression
    span: Span = field(default=NOWHERE, compare=False)


Expression = (
    NumberLiteral | StringLiteral | Selector | RangeSelector | Subquery | Call | Aggregation | Binary | Negation
)
Duration = int | Expression

ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "^", "atan2"})
COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SETS = frozenset({"and", "or", "unless"})

PRECEDENCE = {
    "or": 1,
    "and": 2,
    "unless": 2,
    **dict.fromkeys(COMPARISONS, 3),
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
    "atan2": 5,
    "^": 7,
}
"""How tightly an operator binds; unary minus stands at 6, between `*` and `^`."""
UNARY = 6


def children(node: Expression) -> tuple[Expression, ...]:
    """Return the expressions directly below `node`, in the order of the text (durations are no children)."""
    match node:
        case NumberLiteral() | StringLiteral() | Selector():
            return ()
        case RangeSelector(selector=selector):
            return (selector,)
        case Subquery(expression=below) | Negation(expression=below):
            return (below,)
        case Call(arguments=arguments):
            return arguments
        case Aggregation(expression=below, parameter=parameter):
            return (below,) if parameter is None else (parameter, below)
        case Binary(left=left, right=right):
            return (left, right)


def walk(node: Expression) -> Iterator[Expression]:
    """Yield `node` and all below it, parents first, in the order of the text."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(reversed(children(current)))


def metric_name(matchers: tuple[Matcher, ...]) -> str | None:
    """Return the metric name that `matchers` ask for, if they ask for exactly one."""
    names = [matcher for matcher in matchers if matcher.name == "__name__"]
    return names[0].value if len(names) == 1 and names[0].operator == "=" else None
