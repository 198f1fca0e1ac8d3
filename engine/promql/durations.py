"""Spans of time in selectors: constants, and small arithmetic over the query's step and range."""

from __future__ import annotations

import math

from engine.promql.literals import LONGEST_DURATION
from engine.promql.syntax import ARITHMETIC, Binary, Call, Duration, Expression, Negation, NumberLiteral

KNOWN_LATER = frozenset({"step", "range"})
TWO_NUMBERS = {"min_of": min, "max_of": max}


class NoDurationError(ValueError):
    """An expression stands where a span of time should; `node` is the part that cannot be one."""

    def __init__(self, message: str, node: Expression) -> None:
        super().__init__(message)
        self.node = node


def seconds(node: Expression, step: float | None = None, reach: float | None = None) -> float | None:
    """Return the seconds that `node` stands for; None when that depends on a `step` or a `reach` which is not given.

    Raises NoDurationError where `node` is not made of numbers, arithmetic, step(), range(), min_of() and max_of().
    """
    match node:
        case NumberLiteral(value=value):
            return value
        case Negation(expression=below):
            inner = seconds(below, step, reach)
            return None if inner is None else -inner
        case Call(function="step", arguments=()):
            return step
        case Call(function="range", arguments=()):
            return reach
        case Call(function=name, arguments=(first, second)) if name in TWO_NUMBERS:
            left, right = seconds(first, step, reach), seconds(second, step, reach)
            return None if left is None or right is None else TWO_NUMBERS[name](left, right)
        case Binary(operator=operator, left=first, right=second) if operator in ARITHMETIC:
            left, right = seconds(first, step, reach), seconds(second, step, reach)
            return None if left is None or right is None else _arithmetic(node, left, right)
        case _:
            raise NoDurationError("expected a duration, such as 5m", node)


def _arithmetic(node: Binary, left: float, right: float) -> float:
    if right == 0 and node.operator in {"/", "%"}:
        raise NoDurationError(f"{'division' if node.operator == '/' else 'modulo'} by zero in a duration", node)
    try:
        match node.operator:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "/":
                return left / right
            case "%":
                return math.fmod(left, right)
            case "^":
                return float(math.pow(left, right))
            case _:
                return math.atan2(left, right)
    except (OverflowError, ValueError):
        raise NoDurationError("duration out of range", node) from None


def milliseconds(duration: Duration, step: int, reach: int) -> int:
    """Return the whole milliseconds of `duration` in a query of this `step` and `reach` (milliseconds)."""
    if isinstance(duration, int):
        return duration
    value = seconds(duration, step / 1000, reach / 1000)
    if value is None or not abs(value) <= LONGEST_DURATION:  # seconds, and far too many; NaN, too
        raise NoDurationError("duration out of range", duration)
    return whole_milliseconds(value)


def whole_milliseconds(value: float) -> int:
    """Return the whole milliseconds in so many seconds, as Prometheus counts them: nanoseconds, rounded, come first."""
    nanoseconds = round(value * 1e9)
    return nanoseconds // 1_000_000 if nanoseconds >= 0 else -(-nanoseconds // 1_000_000)
