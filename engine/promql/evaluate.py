"""From an expression and stored samples to a result."""

from __future__ import annotations

import numpy as np

from engine.model.labels import Labels
from engine.promql.aggregation import aggregate
from engine.promql.block import Storage
from engine.promql.catalogue import FUNCTIONS
from engine.promql.errors import EvaluationError
from engine.promql.extended import read_extended, read_smoothed
from engine.promql.frame import Evaluator, Frame, Windows
from engine.promql.operators import binary
from engine.promql.reading import read_instants, read_subquery, read_windows
from engine.promql.syntax import (
    Aggregation,
    Binary,
    Call,
    Expression,
    Extension,
    Negation,
    NumberLiteral,
    RangeSelector,
    Selector,
    StringLiteral,
    Subquery,
)
from engine.promql.track import Tail
from engine.promql.values import Grid, Matrix, Points, Result, Scalar, Text, Value, Vector, drop_metadata

LOOKBACK = 300_000
DEFAULT_STEP = 60_000
MOST_INSTANTS = 11_000


class Interpreter(Evaluator):
    """Evaluates node by node; holds nothing."""

    def value(self, node: Expression, frame: Frame) -> Value:
        """Return the value of an expression that is no range vector, at every instant of `frame`."""
        match node:
            case NumberLiteral(value=number):
                return np.full(frame.times.size, number)
            case StringLiteral(value=text):
                return text
            case Selector(extension=Extension.SMOOTHED):
                return read_smoothed(node, frame)
            case Selector():
                return read_instants(node, frame).grid
            case Call():
                return self._call(node, frame)
            case Aggregation():
                return aggregate(node, frame)
            case Binary():
                return binary(node, frame)
            case Negation(expression=below):
                value = self.value(below, frame)
                if isinstance(value, Grid):
                    return value.holding(-value.values).nameless(node.span)
                if isinstance(value, np.ndarray):
                    return -value
        raise EvaluationError("a range vector has no value by itself: reduce it with a function", node.span)

    def windows(self, node: Expression, frame: Frame) -> Windows:
        """Return a range vector, at every instant of `frame`."""
        match node:
            case RangeSelector(selector=Selector(extension=None)):
                return read_windows(node, frame)
            case RangeSelector():
                return read_extended(node, frame, counter=False)
            case Subquery():
                return read_subquery(node, frame)
            case _:
                raise EvaluationError("a range vector was needed here", node.span)

    def tail(self, node: Expression, frame: Frame) -> Tail | None:  # noqa: ARG002 - nothing is planned here
        """Return None: every range vector is read by itself."""
        return None

    def _call(self, node: Call, frame: Frame) -> Value:
        function = FUNCTIONS[node.function]
        if function.unsupported is not None:
            raise EvaluationError(f"{node.function} {function.unsupported}", node.span)
        return function.compute(frame, node)


def evaluate(
    expr: Expression,
    storage: Storage,
    at: int,
    lookback: int = LOOKBACK,
    default_step: int = DEFAULT_STEP,
    *,
    names_last: bool = False,
) -> Result:
    """Return what `expr` says at one instant (milliseconds since the epoch).

    With `names_last`, metric names are removed at the end, as by a Prometheus with `promql-delayed-name-removal`.
    Raises EvaluationError where the data do not allow an answer.
    """
    times = np.array([at], dtype=np.int64)
    frame = Frame(Interpreter(), storage, times, lookback, at, at, 0, default_step, names_last)
    with np.errstate(all="ignore"):
        if isinstance(expr, RangeSelector | Subquery):
            return _points(frame.windows(expr))
        value = frame.evaluator.value(expr, frame)
    match value:
        case str():
            return Text(at, value)
        case Grid():
            compact = value.compact().named_at_last(expr.span)
            return Vector(at, compact.series, compact.values[:, 0])
        case _:
            return Scalar(at, float(value[0]))


def evaluate_range(
    expr: Expression,
    storage: Storage,
    start: int,
    end: int,
    step: int,
    lookback: int = LOOKBACK,
    default_step: int = DEFAULT_STEP,
    *,
    names_last: bool = False,
) -> Matrix:
    """Return what `expr` says at every `step` from `start` to `end` (milliseconds); a scalar is one series.

    Raises EvaluationError where the data do not allow an answer, or where that are too many instants.
    """
    if step <= 0 or end < start:
        raise EvaluationError("a range query needs a positive step and an end that is not before its start", expr.span)
    if (end - start) // step >= MOST_INSTANTS:
        raise EvaluationError(f"a range query has at most {MOST_INSTANTS} points: take a larger step", expr.span)
    times = np.arange(start, end + 1, step, dtype=np.int64)
    frame = Frame(Interpreter(), storage, times, lookback, start, end, step, default_step, names_last)
    with np.errstate(all="ignore"):
        value = frame.evaluator.value(expr, frame)
    match value:
        case str():
            raise EvaluationError("a string has no course over time", expr.span)
        case Grid():
            named = value.named_at_last(expr.span)
            rows = (named.series, named.values, named.present)
            return Matrix(
                tuple(
                    Points(labels, times[here], values[here])
                    for labels, values, here in zip(*rows, strict=True)
                    if here.any()
                )
            )
        case _:
            return Matrix((Points(Labels(), times, value),))


def _points(windows: Windows) -> Matrix:
    series = windows.series
    if windows.unnamed is not None:
        marked = zip(series, windows.unnamed.tolist(), strict=True)
        series = tuple(drop_metadata(labels) if going else labels for labels, going in marked)
    bounds = zip(series, windows.low[:, 0].tolist(), windows.high[:, 0].tolist(), strict=True)
    return Matrix(
        tuple(
            Points(labels, windows.times[low:high], windows.values[low:high])
            for labels, low, high in bounds
            if high > low
        )
    )
