"""Why an expression says what it says: every part of it with its value."""

from __future__ import annotations

from dataclasses import dataclass

from engine.promql.block import Storage
from engine.promql.errors import EvaluationError
from engine.promql.evaluate import LOOKBACK, evaluate
from engine.promql.literals import print_number, print_string
from engine.promql.printing import format_expression
from engine.promql.reading import Remembering
from engine.promql.syntax import Expression, NumberLiteral, RangeSelector, Span, StringLiteral, children
from engine.promql.values import Matrix, Result, Scalar, Text, Vector

SHOWN = 3
"""So many series are named; of the rest it is said how many they are."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A part of an expression, its place in the text, what it evaluates to in words, and its own parts."""

    text: str
    span: Span
    value: str
    parts: tuple[Explanation, ...] = ()


def explain(expr: Expression, storage: Storage, at: int, lookback: int = LOOKBACK) -> Explanation:
    """Return every part of `expr` with its value at `at`; what cannot be evaluated says why."""
    return _explained(expr, Remembering(storage), at, lookback)


def _explained(expr: Expression, storage: Storage, at: int, lookback: int) -> Explanation:
    try:
        value = summary(evaluate(expr, storage, at, lookback))
    except EvaluationError as wrong:
        value = f"error: {wrong.message}"
    below = () if isinstance(expr, RangeSelector) else children(expr)
    shown = (child for child in below if not isinstance(child, NumberLiteral | StringLiteral))
    parts = tuple(_explained(child, storage, at, lookback) for child in shown)
    return Explanation(format_expression(expr), expr.span, value, parts)


def summary(result: Result) -> str:
    """Return a result in a line."""
    match result:
        case Scalar(value=value):
            return print_number(value)
        case Text(value=value):
            return print_string(value)
        case Vector(series=series, values=values):
            lines = [
                f"{labels} {print_number(value)}"
                for labels, value in zip(series[:SHOWN], values[:SHOWN].tolist(), strict=True)
            ]
            return _listed(lines, len(series))
        case Matrix(series=rows):
            lines = [
                f"{row.labels} {row.times.size} samples, last {print_number(float(row.values[-1]))}"
                for row in rows[:SHOWN]
            ]
            return _listed(lines, len(rows))


def _listed(lines: list[str], count: int) -> str:
    if not lines:
        return "nothing"
    more = f", and {count - len(lines)} more" if count > len(lines) else ""
    return f"{count} series: {', '.join(lines)}{more}"
