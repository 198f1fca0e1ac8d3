"""Questions about a tree, and changes to it, that need no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.promql.block import Matcher
from engine.promql.catalogue import FUNCTIONS
from engine.promql.durations import NoDurationError, milliseconds
from engine.promql.printing import format_expression
from engine.promql.syntax import (
    COMPARISONS,
    SETS,
    Aggregation,
    Binary,
    Call,
    Duration,
    Edge,
    Expression,
    Negation,
    NumberLiteral,
    RangeSelector,
    Selector,
    Span,
    StringLiteral,
    Subquery,
    children,
    walk,
)

WITHOUT_DATA = frozenset({"absent", "absent_over_time"})
"""Functions that answer because there is nothing: they can do without their selectors' samples."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison in an expression, as text; `joined` is how it goes with what stands before it: `and`, `or` or `unless`."""

    left: str
    operator: str
    right: str
    joined: str = "and"


@dataclass(frozen=True, slots=True)
class Selected:
    """A selector and everything around it that says which samples it reads.

    `range` is its own range, None for an instant selector. `reach` is how much of the past it needs in all
    (milliseconds, subqueries around it included), up to `offset` before the instant asked about, or before `at`.
    """

    selector: Selector
    range: int | None
    reach: int
    offset: int
    at: int | Edge | None
    needed: bool
    text: str
    span: Span

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """The selector's matchers."""
        return self.selector.matchers


def selectors(expr: Expression) -> tuple[Selected, ...]:
    """Return every selector of `expr` in the order of the text.

    `needed` says whether the expression cannot do without its samples: those below `absent` and `absent_over_time` and
    on the right of `unless` are not.
    """
    found: list[Selected] = []
    _select(expr, Selected(Selector(()), None, 0, 0, None, needed=True, text="", span=(0, 0)), found)
    return tuple(found)


def _select(node: Expression, around: Selected, found: list[Selected]) -> None:
    match node:
        case Selector():
            found.append(_within(around, node, node, None))
        case RangeSelector(selector=selector, range=reach):
            found.append(_within(around, selector, node, _length(reach)))
        case Subquery(expression=below, range=reach, offset=offset, at=at):
            start = around if at is None else replace(around, reach=0, offset=0, at=at)
            inner = replace(start, reach=start.reach + _length(reach), offset=start.offset + _length(offset))
            _select(below, inner, found)
        case Call(function=function, arguments=arguments) if function in WITHOUT_DATA:
            for argument in arguments:
                _select(argument, replace(around, needed=False), found)
        case Binary(operator="unless", left=left, right=right):
            _select(left, around, found)
            _select(right, replace(around, needed=False), found)
        case _:
            for child in children(node):
                _select(child, around, found)


def _within(around: Selected, selector: Selector, whole: Selector | RangeSelector, reach: int | None) -> Selected:
    pinned = selector.at is not None
    return Selected(
        selector,
        reach,
        (0 if pinned else around.reach) + (reach or 0),
        (0 if pinned else around.offset) + _length(selector.offset),
        selector.at if pinned else around.at,
        around.needed,
        format_expression(whole),
        whole.span,
    )


def _length(duration: Duration) -> int:
    """Return the milliseconds of a duration, as in an instant query where it depends on the query."""
    try:
        return milliseconds(duration, 0, 0)
    except NoDurationError:
        return 0


def longest_range(expr: Expression) -> float:
    """Return how many seconds into the past `expr` reaches at most, by ranges and offsets."""
    return max((max(0, each.reach + each.offset) / 1000 for each in selectors(expr) if each.at is None), default=0.0)


def comparisons(expr: Expression, joined: str = "and") -> tuple[Comparison, ...]:
    """Return the comparisons that `expr` is made of, through `and`, `or` and `unless`, in the order of the text."""
    match expr:
        case Binary(operator=operator, left=left, right=right) if operator in SETS:
            return comparisons(left, joined) + comparisons(right, operator)
        case Binary(operator=operator, left=left, right=right) if operator in COMPARISONS:
            return (Comparison(format_expression(left), operator, format_expression(right), joined),)
        case _:
            return ()


def bind(expr: Expression, matchers: Sequence[Matcher]) -> Expression:
    """Return `expr` with `matchers` added to every selector.

    They enter the tree as values: whatever they hold, they cannot become anything else when it is printed.
    """
    more = tuple(matchers)
    match expr:
        case Selector(matchers=own):
            return replace(expr, matchers=own + tuple(matcher for matcher in more if matcher not in own))
        case RangeSelector(selector=selector):
            bound = bind(selector, more)
            return replace(expr, selector=bound) if isinstance(bound, Selector) else expr
        case Subquery(expression=below) | Negation(expression=below):
            return replace(expr, expression=bind(below, more))
        case Call(arguments=arguments):
            return replace(expr, arguments=tuple(bind(argument, more) for argument in arguments))
        case Aggregation(expression=below, parameter=parameter):
            bound_parameter = None if parameter is None else bind(parameter, more)
            return replace(expr, expression=bind(below, more), parameter=bound_parameter)
        case Binary(left=left, right=right):
            return replace(expr, left=bind(left, more), right=bind(right, more))
        case NumberLiteral() | StringLiteral():
            return expr


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to know about a part of an expression that is no error of its text."""

    message: str
    span: Span


def unsupported(expr: Expression) -> tuple[Remark, ...]:
    """Return the parts of `expr` that cannot be evaluated here, though Prometheus could."""
    return tuple(
        Remark(f"{node.function} {reason}", node.span)
        for node in walk(expr)
        if isinstance(node, Call) and (reason := FUNCTIONS[node.function].unsupported) is not None
    )


def own(expr: Expression) -> tuple[Remark, ...]:
    """Return the parts of `expr` that no server knows: functions that are evaluated here alone."""
    return tuple(
        Remark(
            f"{node.function} is Mendbook's own: only its own evaluator knows it, no Prometheus server does", node.span
        )
        for node in walk(expr)
        if isinstance(node, Call) and FUNCTIONS[node.function].own
    )


def experimental(expr: Expression) -> tuple[Remark, ...]:
    """Return the parts of `expr` that a stock Prometheus 3.5 refuses: experimental there, or newer than it."""
    remarks = []
    for node in walk(expr):
        match node:
            case Call(function=name) if FUNCTIONS[name].experimental:
                remarks.append(Remark(f"{name} is experimental", node.span))
            case Aggregation(operator="limitk" | "limit_ratio" as name):
                remarks.append(Remark(f"{name} is experimental", node.span))
            case Selector(extension=extension) if extension is not None:
                remarks.append(Remark(f"{extension} is experimental", node.span))
            case Binary(matching=matching) if matching.fill_left is not None or matching.fill_right is not None:
                remarks.append(Remark("fill is experimental", node.span))
        computed = (duration for duration in _durations(node) if not isinstance(duration, int))
        remarks.extend(Remark("arithmetic in durations is experimental", duration.span) for duration in computed)
    return tuple(remarks)


def _durations(node: Expression) -> tuple[Duration, ...]:
    match node:
        case Selector(offset=offset):
            return (offset,)
        case RangeSelector(range=reach):
            return (reach,)
        case Subquery(range=reach, step=step, offset=offset):
            return (reach, offset) if step is None else (reach, step, offset)
        case _:
            return ()
