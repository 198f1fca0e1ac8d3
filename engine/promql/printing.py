"""From tree to text: canonical, and read back as an equal tree."""

from __future__ import annotations

from engine.promql.block import Matcher
from engine.promql.cursor import NO_LABELS
from engine.promql.literals import LEGAL_LABEL, LEGAL_METRIC, print_duration, print_number, print_string
from engine.promql.parser import NO_METRIC
from engine.promql.syntax import (
    PRECEDENCE,
    UNARY,
    Aggregation,
    Binary,
    Call,
    Duration,
    Edge,
    Expression,
    Matching,
    Negation,
    NumberLiteral,
    RangeSelector,
    Selector,
    Side,
    StringLiteral,
    Subquery,
    metric_name,
)

TIGHTEST = 9


def format_expression(node: Expression) -> str:
    """Return `node` as canonical text, which parses back to an equal tree.

    Whatever a label value holds, it stays inside its quotes.
    """
    match node:
        case NumberLiteral(value=value):
            return print_number(value)
        case StringLiteral(value=value):
            return print_string(value)
        case Selector():
            return _selector(node, "")
        case RangeSelector(selector=selector, range=reach):
            return _selector(selector, f"[{_duration(reach)}]")
        case Subquery(expression=below, range=reach, step=step, offset=offset, at=at):
            every = "" if step is None else _duration(step)
            return f"{_enclosed(below, TIGHTEST)}[{_duration(reach)}:{every}]{_modifiers(offset, at)}"
        case Call(function=function, arguments=arguments):
            return f"{function}({', '.join(map(format_expression, arguments))})"
        case Aggregation():
            return _aggregation(node)
        case Negation(expression=below):
            # "- 1" would read as a number, not as a negation of one
            return (
                f"-({print_number(below.value)})" if isinstance(below, NumberLiteral) else f"-{_enclosed(below, UNARY)}"
            )
        case Binary():
            return _binary(node)


def format_matchers(matchers: tuple[Matcher, ...]) -> str:
    """Return a selector without modifiers."""
    return _selector(Selector(matchers), "")


def _precedence(node: Expression) -> int:
    match node:
        case Binary(operator=operator):
            return PRECEDENCE[operator]
        case Negation():
            return UNARY
        case NumberLiteral() if print_number(node.value).startswith(("-", "+")):
            return UNARY
        case _:
            return TIGHTEST


def _enclosed(node: Expression, binding: int) -> str:
    """Return `node` as an operand of something that binds this tightly, in parentheses where it needs them."""
    text = format_expression(node)
    return f"({text})" if _precedence(node) < binding else text


def _selector(node: Selector, reach: str) -> str:
    name = metric_name(node.matchers)
    matchers = node.matchers
    reach += "" if node.extension is None else f" {node.extension}"
    text = ""
    if name is not None and matchers[0].name == "__name__":
        if LEGAL_METRIC.fullmatch(name) and name.lower() not in NO_METRIC | {"inf", "nan"}:
            text, matchers = name, matchers[1:]
        else:
            rest = "".join(f", {_matcher(matcher)}" for matcher in matchers[1:])
            return f"{{{print_string(name)}{rest}}}{reach}{_modifiers(node.offset, node.at)}"
    if matchers or not text:
        text += "{" + ", ".join(map(_matcher, matchers)) + "}"
    return text + reach + _modifiers(node.offset, node.at)


def _matcher(matcher: Matcher) -> str:
    return f"{_label(matcher.name)}{matcher.operator}{print_string(matcher.value)}"


def _label(name: str) -> str:
    return name if LEGAL_LABEL.fullmatch(name) else print_string(name)


def _labels(names: tuple[str, ...]) -> str:
    return f"({', '.join(print_string(name) if name.lower() in NO_LABELS else _label(name) for name in names)})"


def _modifiers(offset: Duration, at: int | Edge | None) -> str:
    pinned = "" if at is None else f" @ {at if isinstance(at, Edge) else _seconds(at)}"
    if isinstance(offset, int):
        return pinned if offset == 0 else f"{pinned} offset {print_duration(offset)}"
    return f"{pinned} offset ({format_expression(offset)})"


def _seconds(milliseconds: int) -> str:
    sign = "-" if milliseconds < 0 else ""
    whole, rest = divmod(abs(milliseconds), 1000)
    return f"{sign}{whole}" + (f".{rest:03d}" if rest else "")


def _duration(duration: Duration) -> str:
    return print_duration(duration) if isinstance(duration, int) else format_expression(duration)


def _aggregation(node: Aggregation) -> str:
    grouping = ""
    if node.without or node.grouping:
        grouping = f" {'without' if node.without else 'by'} {_labels(node.grouping)} "
    parameter = "" if node.parameter is None else f"{format_expression(node.parameter)}, "
    return f"{node.operator}{grouping}({parameter}{format_expression(node.expression)})"


def _binary(node: Binary) -> str:
    binding = PRECEDENCE[node.operator]
    right_to_left = node.operator == "^"
    left = _enclosed(node.left, binding + right_to_left)
    right = _enclosed(node.right, binding + (not right_to_left))
    return f"{left} {node.operator}{_matching(node)} {right}"


def _matching(node: Binary) -> str:
    words = " bool" if node.bool else ""
    matching = node.matching
    if matching.on or matching.labels or matching.many is not Side.NEITHER:
        words += f" {'on' if matching.on else 'ignoring'} {_labels(matching.labels)}"
    if matching.many is not Side.NEITHER:
        words += f" {matching.many} {_labels(matching.include)}"
    return words + _fills(matching)


def _fills(matching: Matching) -> str:
    fills = {"fill_left": matching.fill_left, "fill_right": matching.fill_right}
    return "".join(f" {word} ({print_number(value)})" for word, value in fills.items() if value is not None)
