"""Functions of single values, and those between vectors and scalars."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from engine.promql.block import Values
from engine.promql.frame import Frame, Function
from engine.promql.syntax import Call, Type
from engine.promql.values import Grid, Value, empty_grid, one_row


def _elementwise(calculation: Callable[[Values], Values]) -> Function:
    def compute(frame: Frame, node: Call) -> Grid:
        grid = frame.vector(node.arguments[0])
        return grid.holding(calculation(grid.values)).nameless(node.span)

    return Function((Type.VECTOR,), Type.VECTOR, compute)


def _greater(bound: Values, values: Values) -> Values:
    """Return the greater of two, NaN where either is; but nothing is greater than infinity."""
    return np.where((bound == np.inf) | (values == np.inf), np.inf, np.maximum(bound, values))


def _lesser(bound: Values, values: Values) -> Values:
    return np.where((bound == -np.inf) | (values == -np.inf), -np.inf, np.minimum(bound, values))


def _clamp(frame: Frame, node: Call) -> Grid:
    low, high = frame.scalar(node.arguments[1]), frame.scalar(node.arguments[2])
    grid = frame.vector(node.arguments[0])
    values = _greater(low, _lesser(high, grid.values))
    # bounds the wrong way round admit nothing
    return grid.holding(values).where(~(high < low)).nameless(node.span)


def _clamp_min(frame: Frame, node: Call) -> Grid:
    grid = frame.vector(node.arguments[0])
    values = _greater(frame.scalar(node.arguments[1]), grid.values)
    return grid.holding(values).nameless(node.span)


def _clamp_max(frame: Frame, node: Call) -> Grid:
    grid = frame.vector(node.arguments[0])
    values = _lesser(frame.scalar(node.arguments[1]), grid.values)
    return grid.holding(values).nameless(node.span)


def _round(frame: Frame, node: Call) -> Grid:
    """Round to the nearest multiple; half way, up."""
    nearest = frame.scalar(node.arguments[1]) if len(node.arguments) > 1 else np.ones(frame.times.size)
    grid = frame.vector(node.arguments[0])
    # the inverse keeps decimal steps such as 0.1 exact
    inverse = 1.0 / nearest
    values = np.floor(grid.values * inverse + 0.5) / inverse
    return grid.holding(values).nameless(node.span)


def _vector(frame: Frame, node: Call) -> Grid:
    return one_row(frame.scalar(node.arguments[0]))


def _scalar(frame: Frame, node: Call) -> Value:
    """Return the value of the only series there is; NaN where there are none or several."""
    grid = frame.vector(node.arguments[0])
    if not grid.series:
        return np.full(frame.times.size, np.nan)
    total = np.where(grid.present, grid.values, 0.0).sum(axis=0)
    return np.where(grid.present.sum(axis=0) == 1, total, np.nan)


def _pi(frame: Frame, _: Call) -> Value:
    return np.full(frame.times.size, np.pi)


def _pairwise(calculation: Callable[[Values, Values], Values]) -> Function:
    def compute(frame: Frame, node: Call) -> Value:
        return calculation(frame.scalar(node.arguments[0]), frame.scalar(node.arguments[1]))

    return Function((Type.SCALAR, Type.SCALAR), Type.SCALAR, compute, experimental=True)


def _sorted(*, descending: bool) -> Function:
    def compute(frame: Frame, node: Call) -> Grid:
        grid = frame.vector(node.arguments[0])
        if frame.times.size != 1 or not grid.series:
            return grid  # over a range there is no order to give
        values = grid.values[:, 0]
        missing = np.isnan(values)
        rank = np.where(missing, 0.0, -values if descending else values)
        return grid.rows(np.lexsort((rank, missing)))

    return Function((Type.VECTOR,), Type.VECTOR, compute)


def _nothing(frame: Frame, _: Call) -> Grid:
    return empty_grid(frame.times.size)


def _unsupported(takes: tuple[Type, ...], reason: str, *, optional: int = 0, repeats: bool = False) -> Function:
    return Function(takes, Type.VECTOR, _nothing, optional, repeats, unsupported=reason)


NATIVE = "reads native histograms, which are not kept here: use classic buckets"

FUNCTIONS: Mapping[str, Function] = {
    "abs": _elementwise(np.abs),
    "ceil": _elementwise(np.ceil),
    "floor": _elementwise(np.floor),
    "exp": _elementwise(np.exp),
    "ln": _elementwise(np.log),
    "log2": _elementwise(np.log2),
    "log10": _elementwise(np.log10),
    "sqrt": _elementwise(np.sqrt),
    "sgn": _elementwise(np.sign),
    "sin": _elementwise(np.sin),
    "cos": _elementwise(np.cos),
    "tan": _elementwise(np.tan),
    "asin": _elementwise(np.arcsin),
    "acos": _elementwise(np.arccos),
    "atan": _elementwise(np.arctan),
    "sinh": _elementwise(np.sinh),
    "cosh": _elementwise(np.cosh),
    "tanh": _elementwise(np.tanh),
    "asinh": _elementwise(np.arcsinh),
    "acosh": _elementwise(np.arccosh),
    "atanh": _elementwise(np.arctanh),
    "deg": _elementwise(np.degrees),
    "rad": _elementwise(np.radians),
    "pi": Function((), Type.SCALAR, _pi),
    "clamp": Function((Type.VECTOR, Type.SCALAR, Type.SCALAR), Type.VECTOR, _clamp),
    "clamp_min": Function((Type.VECTOR, Type.SCALAR), Type.VECTOR, _clamp_min),
    "clamp_max": Function((Type.VECTOR, Type.SCALAR), Type.VECTOR, _clamp_max),
    "round": Function((Type.VECTOR, Type.SCALAR), Type.VECTOR, _round, optional=1),
    "vector": Function((Type.SCALAR,), Type.VECTOR, _vector),
    "scalar": Function((Type.VECTOR,), Type.SCALAR, _scalar),
    "min_of": _pairwise(np.minimum),
    "max_of": _pairwise(np.maximum),
    "sort": _sorted(descending=False),
    "sort_desc": _sorted(descending=True),
    "histogram_count": _unsupported((Type.VECTOR,), NATIVE),
    "histogram_sum": _unsupported((Type.VECTOR,), NATIVE),
    "histogram_avg": _unsupported((Type.VECTOR,), NATIVE),
    "histogram_stddev": _unsupported((Type.VECTOR,), NATIVE),
    "histogram_stdvar": _unsupported((Type.VECTOR,), NATIVE),
    "info": _unsupported((Type.VECTOR, Type.VECTOR), "is not supported: join with group_left instead", optional=1),
}
