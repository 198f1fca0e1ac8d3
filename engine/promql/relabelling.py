"""Functions that write or read labels: `label_replace`, `label_join`, `sort_by_label`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.model.labels import METRIC_NAME
from engine.promql.aggregation import refuse_label_name
from engine.promql.errors import EvaluationError
from engine.promql.frame import Frame, Function
from engine.promql.patterns import Pattern, PatternError, compile_pattern
from engine.promql.syntax import Call, Span, Type
from engine.promql.values import Grid, Mask

LONGEST = 1 << 16
"""Characters of a label that is written."""
MOST = 1 << 25
"""Characters, and pieces that they are put together from, of all labels that one call writes."""
REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")
MOST_DIGITS = 6
"""No pattern has as many groups as a number with so many digits says."""
DIGITS = re.compile(r"([0-9]+)")
LARGEST = 2**63
SHORT = 20
"""Digits: fewer make a number that may be smaller than that."""


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
    pieces, writing = pieces_of(replacement, pattern), Writing(node.span)
    series = []
    written = np.zeros(len(grid.series), dtype=np.bool_)
    for row, labels in enumerate(grid.series):
        found = pattern.fullmatch(labels.get(source, ""))
        if found is None:
            series.append(labels)
            continue
        parts = [piece if isinstance(piece, str) else found.group(piece) or "" for piece in pieces]
        series.append(labels.with_({target: writing.joined("", parts)}))
        written[row] = True
    return _written(grid, target, written).relabelled(tuple(series), node.span)


def _written(grid: Grid, target: str, rows: Mask) -> Grid:
    """Return `grid`, of which these rows have got a new `target`: a name that was written is to stay."""
    if target != METRIC_NAME or grid.unnamed is None:
        return grid
    return replace(grid, unnamed=grid.unnamed & ~rows)


def pieces_of(template: str, pattern: Pattern) -> list[str | int]:
    """Return what stands in `template`: text, and the groups that `$1`, `${1}` and `$name` name; `$$` is a dollar.

    Groups that do not exist, as `$01`, are nothing.
    """
    pieces: list[str | int] = []
    end = 0
    for reference in REFERENCE.finditer(template):
        name = reference.group(1) or reference.group(2)
        piece: str | int | None = None
        if name is None:
            piece = "$"
        elif name.isascii() and name.isdigit() and (name == "0" or name[0] != "0"):
            piece = int(name) if len(name) < MOST_DIGITS and int(name) <= pattern.groups else None
        else:
            piece = pattern.groupindex.get(name)
        pieces += [template[end : reference.start()], *(() if piece is None else (piece,))]
        end = reference.end()
    return [piece for piece in (*pieces, template[end:]) if piece != ""]


@dataclass(slots=True)
class Writing:
    """What one call may still write: labels grow twofold with each call that reads what another has written."""

    span: Span
    left: int = MOST

    def joined(self, separator: str, parts: Sequence[str]) -> str:
        """Return the parts of a label joined. Raises EvaluationError where that is too long, before it is made."""
        size = sum(map(len, parts)) + len(separator) * max(len(parts) - 1, 0)
        self.left -= size + len(parts)
        if size > LONGEST:
            raise EvaluationError(f"a label of {size} characters; at most {LONGEST} are written", self.span)
        if self.left < 0:
            raise EvaluationError(f"labels of more than {MOST} characters in all are not written", self.span)
        return separator.join(parts)


def _join(frame: Frame, node: Call) -> Grid:
    """Write the values of the sources, joined, into the destination."""
    grid = frame.vector(node.arguments[0])
    target, separator, *sources = (frame.text(argument) for argument in node.arguments[1:])
    refuse_label_name(target, node.arguments[1].span, "destination label name in label_join():")
    for source, argument in zip(sources, node.arguments[3:], strict=True):
        refuse_label_name(source, argument.span, "source label name in label_join():")
    writing = Writing(node.span)
    series = tuple(
        labels.with_({target: writing.joined(separator, [labels.get(source, "") for source in sources])})
        for labels in grid.series
    )
    written = np.ones(len(series), dtype=np.bool_)
    return _written(grid, target, written).relabelled(series, node.span)


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts numbers within text by their value; what is beyond any counter is text."""

    def key(part: str) -> tuple[int, int, str]:
        short = DIGITS.fullmatch(part) and len(part.lstrip("0")) < SHORT
        number = int(part.lstrip("0") or "0") if short else LARGEST
        return (0, number, part) if number < LARGEST else (1, 0, part)

    return tuple(key(part) for part in DIGITS.split(text) if part)


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
