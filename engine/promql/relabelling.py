"""Functions that write or read labels: `label_replace`, `label_join`, `sort_by_label`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from engine.model.labels import METRIC_NAME
from engine.promql.aggregation import refuse_label_name
from engine.promql.errors import EvaluationError
from engine.promql.frame import Frame, Function
from engine.promql.patterns import Match, Pattern, PatternError, compile_pattern
from engine.promql.syntax import Call, Type
from engine.promql.values import Grid, Mask

REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")
DIGITS = re.compile(r"(\d+)")


def _replace(frame: Frame, node: Call) -> Grid:
    """Write the replacement into the destination wherever the pattern matches the whole source."""
    grid = frame.vector(node.arguments[0])
    target, replacement, source, expression = (frame.text(argument) for argument in node.arguments[1:])
    try:
        pattern = compile_pattern(expression)
    except PatternError as wrong:
        message = f"invalid regular expression in label_replace(): {wrong}"
        raise EvaluationError(message, node.arguments[4].span) from None
    refuse_label_name(target, node.arguments[1].span, "destination label name in label_replace():")
    series = []
    written = np.zeros(len(grid.series), dtype=np.bool_)
    for row, labels in enumerate(grid.series):
        found = pattern.fullmatch(labels.get(source, ""))
        series.append(labels if found is None else labels.with_({target: expand(replacement, pattern, found)}))
        written[row] = found is not None
    return _written(grid, target, written).relabelled(tuple(series), node.span)


def _written(grid: Grid, target: str, rows: Mask) -> Grid:
    """Return `grid`, of which these rows have got a new `target`: a name that was written is to stay."""
    if target != METRIC_NAME or grid.unnamed is None:
        return grid
    return replace(grid, unnamed=grid.unnamed & ~rows)


def expand(template: str, pattern: Pattern, found: Match) -> str:
    """Return `template` with `$1`, `${1}`, `$name` and `$$` filled in; groups that do not exist, as `$01`, are empty."""

    def value(reference: re.Match[str]) -> str:
        name = reference.group(1) or reference.group(2)
        if name is None:
            return "$"
        if name.isascii() and name.isdigit() and (name == "0" or name[0] != "0"):
            return (found.group(int(name)) or "") if int(name) <= pattern.groups else ""
        return (found.group(name) or "") if name in pattern.groupindex else ""

    return REFERENCE.sub(value, template)


def _join(frame: Frame, node: Call) -> Grid:
    """Write the values of the sources, joined, into the destination."""
    grid = frame.vector(node.arguments[0])
    target, separator, *sources = (frame.text(argument) for argument in node.arguments[1:])
    refuse_label_name(target, node.arguments[1].span, "destination label name in label_join():")
    for source, argument in zip(sources, node.arguments[3:], strict=True):
        refuse_label_name(source, argument.span, "source label name in label_join():")
    series = tuple(
        labels.with_({target: separator.join(labels.get(source, "") for source in sources)}) for labels in grid.series
    )
    written = np.ones(len(series), dtype=np.bool_)
    return _written(grid, target, written).relabelled(series, node.span)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts numbers within text by their value."""
    parts = DIGITS.split(text)
    return tuple((0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts if part)


def _sorted(*, descending: bool) -> Function:
    def compute(frame: Frame, node: Call) -> Grid:
        grid = frame.vector(node.arguments[0])
        if frame.times.size != 1:
            return grid  # over a range there is no order to give
        names = [frame.text(argument) for argument in node.arguments[1:]]

        def key(row: int) -> tuple[object, ...]:
            labels = grid.series[row]
            return (*(natural(labels.get(name, "")) for name in names), labels.pairs)

        order = sorted(range(len(grid.series)), key=key, reverse=descending)
        return grid.rows(np.array(order, dtype=np.int64))

    return Function((Type.VECTOR, Type.TEXT), Type.VECTOR, compute, optional=1, repeats=True, experimental=True)


TEXTS = (Type.TEXT, Type.TEXT, Type.TEXT, Type.TEXT)
FUNCTIONS: Mapping[str, Function] = {
    "label_replace": Function((Type.VECTOR, *TEXTS), Type.VECTOR, _replace),
    "label_join": Function((Type.VECTOR, *TEXTS[:3]), Type.VECTOR, _join, optional=1, repeats=True),
    "sort_by_label": _sorted(descending=False),
    "sort_by_label_desc": _sorted(descending=True),
}
