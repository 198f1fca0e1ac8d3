"""Operators between two expressions: arithmetic, comparisons, and the vector matching that brings series together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from engine.model.labels import METRIC_NAME, Labels
from engine.promql.block import Values
from engine.promql.errors import EvaluationError
from engine.promql.frame import Frame
from engine.promql.kept import KEPT
from engine.promql.sets import combine, matching_keys
from engine.promql.syntax import COMPARISONS, SETS, Binary, Matching, Side
from engine.promql.values import (
    METADATA,
    Grid,
    Indexes,
    Mask,
    Value,
    distinct,
    drop_labels,
    drop_metadata,
    empty_grid,
    joined,
    keep_labels,
    number_groups,
)


def _power(base: Values, exponent: Values) -> Values:
    """Return the power as IEEE 754 has it; numpy takes the root instead, which -Inf and -0 have none of."""
    power: Values = np.power(base, exponent)
    rooted = exponent == 0.5  # noqa: PLR2004  (the one exponent that numpy does so with)
    return (
        np.where(rooted & (base <= 0) & (np.isinf(base) | (base == 0)), np.abs(base), power) if rooted.any() else power
    )


ARITHMETIC: Mapping[str, Callable[[Values, Values], Values]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": _power,
    "atan2": np.arctan2,
}
COMPARE: Mapping[str, Callable[[Values, Values], Mask]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def binary(node: Binary, frame: Frame) -> Value:
    """Return the value of an operator between two expressions."""
    left = frame.evaluator.value(node.left, frame)
    right = frame.evaluator.value(node.right, frame)
    match left, right:
        case Grid(), Grid():
            return combine(node, left, right) if node.operator in SETS else _matched(node, left, right)
        case Grid(), np.ndarray():
            return _with_scalar(node, left, left.values, right, left.values)
        case np.ndarray(), Grid():
            return _with_scalar(node, right, left, right.values, right.values)
        case np.ndarray(), np.ndarray():
            if node.operator in COMPARISONS:
                return COMPARE[node.operator](left, right).astype(np.float64)
            return ARITHMETIC[node.operator](left, right)
        case _:
            raise EvaluationError(f"{node.operator} works on scalars and instant vectors", node.span)


def _with_scalar(node: Binary, vector: Grid, left: Values, right: Values, kept: Values) -> Grid:
    """Return the vector that an operator between a vector and a scalar gives; a filter keeps the vector's values."""
    if node.operator not in COMPARISONS:
        values = ARITHMETIC[node.operator](left, right)
        return vector.holding(values).nameless(node.span)
    holds = COMPARE[node.operator](left, right)
    if node.bool:
        return vector.holding(holds.astype(np.float64)).nameless(node.span)
    return vector.holding(kept).where(holds)


def _matched(node: Binary, left: Grid, right: Grid) -> Grid:
    """Return the vector that an operator between two vectors gives, series by matching series."""
    one_is_left = node.matching.many is Side.RIGHT
    many, one = (right, left) if one_is_left else (left, right)
    if _fills(node.matching):
        many, one = _filled(node.matching, many, one)
        left, right = (one, many) if one_is_left else (many, one)
    if not left.series or not right.series:
        return empty_grid(left.values.shape[1])
    many_rows, one_rows = _pairs(node, many, one)
    left_rows, right_rows = (one_rows, many_rows) if one_is_left else (many_rows, one_rows)
    a, b = left.values[left_rows], right.values[right_rows]
    present = many.present[many_rows] & one.present[one_rows]
    names_last = many.unnamed is not None or one.unnamed is not None
    what = ("result", node.operator in COMPARISONS, node.bool, node.matching, names_last)
    work = partial(_result_labels, node, many_rows, one_rows, names_last=names_last)
    series = KEPT.get(what, work, many.series, one.series)
    if node.operator in COMPARISONS:
        holds = COMPARE[node.operator](a, b)
        values, kept = (holds.astype(np.float64), present) if node.bool else (a, present & holds)
    else:
        values, kept = ARITHMETIC[node.operator](a, b), present
    if node.matching.many is not Side.NEITHER:
        _refuse_same_result(node, series, present)
    # a comparison forgets which names were to go, in Prometheus too
    unnamed = np.full(len(series), node.bool) if names_last else None
    result = Grid(series, values, kept, unnamed).compact()
    return result.relabelled(result.series, node.span)


def _fills(matching: Matching) -> bool:
    return matching.fill_left is not None or matching.fill_right is not None


def _filled(matching: Matching, many: Grid, one: Grid) -> tuple[Grid, Grid]:
    """Return both sides with a series for each match group that only the other side has, at the instants it is alone.

    With group_right, Prometheus turns the sides round before it fills: `fill_left` then fills the side of the many.
    """
    filled_many, filled_one = many, one
    if matching.fill_left is not None:
        filled_many = _with_partners(matching, many, one, matching.fill_left)
    if matching.fill_right is not None:
        filled_one = _with_partners(matching, one, many, matching.fill_right)
    return filled_many, filled_one


def _with_partners(matching: Matching, lacking: Grid, there: Grid, value: float) -> Grid:
    """Return `lacking` with a series of `value` for each match group of `there`, wherever it has none itself."""
    key = matching_keys(matching)
    numbers, groups = number_groups(map(key, there.series))
    alone: Mask = np.zeros((len(numbers), there.values.shape[1]), dtype=np.bool_)
    np.logical_or.at(alone, np.array(groups, dtype=np.int64), there.present)
    for row, labels in enumerate(lacking.series):
        group = numbers.get(key(labels))
        if group is not None:
            alone[group] &= ~lacking.present[row]
    return joined(lacking, Grid(tuple(numbers), np.full(alone.shape, value), alone).compact())


def _pairs(node: Binary, many: Grid, one: Grid) -> tuple[Indexes, Indexes]:
    """Return the rows that match; raises EvaluationError where the matching is not what the operator says."""
    what = ("partners", node.matching.on, node.matching.labels)
    partners = KEPT.get(what, partial(_partners, node.matching), many.series, one.series)
    if len(partners.keys) < len(partners.one_groups):
        _refuse_many_on_one_side(node, many, one, partners.one_groups, partners.keys)
    if node.matching.many is Side.NEITHER and partners.crowded:
        _refuse_many_on_many_side(node, many, one, partners.many_groups, partners.one_groups)
    return partners.many_rows, partners.one_rows


@dataclass(frozen=True, slots=True)
class _Partners:
    """Which series of two sides match: the match groups, the group of each series (-1 for none), the rows in pairs.

    `crowded`: several series of the many are in one group.
    """

    keys: list[Labels]
    one_groups: list[int]
    many_groups: list[int]
    many_rows: Indexes
    one_rows: Indexes
    crowded: bool


def _partners(matching: Matching, many: tuple[Labels, ...], one: tuple[Labels, ...]) -> _Partners:
    key = matching_keys(matching)
    numbers, one_groups = number_groups(map(key, one))
    many_groups = [numbers.get(key(labels), -1) for labels in many]
    matched = [group for group in many_groups if group >= 0]
    crowded = len(set(matched)) < len(matched)
    if len(numbers) == len(one_groups):
        groups = np.array(many_groups, dtype=np.int64)
        rows = np.flatnonzero(groups >= 0)
        # groups are numbered as their rows are
        return _Partners(list(numbers), one_groups, many_groups, rows, groups[rows], crowded)
    members: dict[int, list[int]] = {}
    for row, group in enumerate(one_groups):
        members.setdefault(group, []).append(row)
    found = [(row, other) for row, group in enumerate(many_groups) for other in members.get(group, ())]
    table = np.array(found, dtype=np.int64).reshape(-1, 2)
    return _Partners(list(numbers), one_groups, many_groups, table[:, 0], table[:, 1], crowded)


def _crowded(groups: list[int], present: Mask, where: Mask) -> tuple[int, list[int]] | None:
    """Return a group of which several rows are present at one instant, and those rows."""
    rows_of: dict[int, list[int]] = {}
    for row, group in enumerate(groups):
        if group >= 0:
            rows_of.setdefault(group, []).append(row)
    for group, rows in rows_of.items():
        if len(rows) > 1:
            columns = np.flatnonzero((present[rows].sum(axis=0) > 1) & where[group])
            if columns.size:
                return group, [row for row in rows if present[row, columns[0]]]
    return None


def _refuse_many_on_one_side(node: Binary, many: Grid, one: Grid, groups: list[int], keys: list[Labels]) -> None:
    # where the other side is empty nothing is going to match, and nothing is wrong
    meets = many.present.any(axis=0) | _fills(node.matching)
    anything = np.broadcast_to(meets, (len(keys), many.present.shape[1]))
    crowd = _crowded(groups, one.present, anything)
    if crowd is None:
        return
    group, rows = crowd
    names = sorted(_in_braces(one.series[row]) for row in rows)
    side = "left" if node.matching.many is Side.RIGHT else "right"
    message = (
        f"found duplicate series for the match group {_in_braces(keys[group])} on the {side} hand-side of the operation: "
        f"[{', '.join(names[:2])}];many-to-many matching not allowed: matching labels must be unique on one side"
    )
    raise EvaluationError(message, node.span)


def _refuse_many_on_many_side(node: Binary, many: Grid, one: Grid, groups: list[int], one_groups: list[int]) -> None:
    met = np.zeros((max(one_groups) + 1, many.present.shape[1]), dtype=np.bool_)
    np.logical_or.at(met, np.array(one_groups), one.present)
    crowd = _crowded(groups, many.present, met)
    if crowd is not None:
        names = ", ".join(sorted(_in_braces(many.series[row]) for row in crowd[1][:2]))
        message = (
            "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right); "
            f"[{names}] match the same series"
        )
        raise EvaluationError(message, node.span)


def _refuse_same_result(node: Binary, series: tuple[Labels, ...], present: Mask) -> None:
    if KEPT.get("distinct", distinct, series):
        return
    numbers, groups = number_groups(series)
    crowd = _crowded(groups, present, np.ones((len(numbers), present.shape[1]), dtype=np.bool_))
    if crowd is not None:
        message = (
            f"multiple matches for labels: grouping labels must ensure unique matches, {series[crowd[1][0]]} does not"
        )
        raise EvaluationError(message, node.span)


def _in_braces(labels: Labels) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.pairs) + "}"


def _result_labels(
    node: Binary,
    many_rows: Indexes,
    one_rows: Indexes,
    many: tuple[Labels, ...],
    one: tuple[Labels, ...],
    *,
    names_last: bool,
) -> tuple[Labels, ...]:
    matching = node.matching
    keeps_name = node.operator in COMPARISONS and (names_last or not node.bool)
    if matching.many is Side.NEITHER:
        if matching.on:
            names = matching.labels if keeps_name else tuple(name for name in matching.labels if name not in METADATA)
            return tuple(keep_labels(many[row], names) for row in many_rows.tolist())
        if keeps_name:
            if not matching.labels:
                return tuple(many[row] for row in many_rows.tolist())
            return tuple(many[row].without(*matching.labels) for row in many_rows.tolist())
        bare = [drop_metadata(many[row]) for row in many_rows.tolist()]
        return tuple(drop_labels(labels, matching.labels) for labels in bare) if matching.labels else tuple(bare)
    base = [many[row] if keeps_name else drop_metadata(many[row]) for row in many_rows.tolist()]
    include = matching.include
    if node.bool and not keeps_name:  # whatever was included: what is 0 or 1 has no name
        include = tuple(name for name in include if name != METRIC_NAME)
    if not include:
        return tuple(base)
    return tuple(
        labels.with_({name: one[row].get(name, "") for name in include})
        for labels, row in zip(base, one_rows.tolist(), strict=True)
    )
