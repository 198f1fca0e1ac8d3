"""Aggregations: from many series to one for each group, or to some of each group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from engine.model.labels import Labels
from engine.promql import segments
from engine.promql.block import Values
from engine.promql.errors import EvaluationError
from engine.promql.frame import Frame
from engine.promql.kept import KEPT
from engine.promql.literals import print_plain
from engine.promql.sampling import place
from engine.promql.segments import Segments, segments_of
from engine.promql.syntax import Aggregation
from engine.promql.values import Grid, Indexes, Mask, drop_labels, drop_name, empty_grid, keep_labels, number_groups


def _counts(group: Segments) -> Values:
    return group.lengths.astype(np.float64)


def _ones(group: Segments) -> Values:
    return np.ones(group.lengths.size)


def _deviation(group: Segments) -> Values:
    return np.sqrt(segments.variance(group))


REDUCTIONS: Mapping[str, Callable[[Segments], Values]] = {
    "sum": segments.summed,
    "avg": segments.mean,
    "min": segments.minimum,
    "max": segments.maximum,
    "count": _counts,
    "group": _ones,
    "stddev": _deviation,
    "stdvar": segments.variance,
}


def aggregate(node: Aggregation, frame: Frame) -> Grid:
    """Return the value of an aggregation."""
    match node.operator:
        case "topk" | "bottomk" | "limitk":
            return _some_of_each(node, frame)
        case "limit_ratio":
            return _share_of_each(node, frame)
        case "count_values":
            return _count_values(node, frame)
        case "quantile" if node.parameter is not None:
            shares = frame.scalar(node.parameter)
            return _reduced(node, frame.vector(node.expression), segments.quantile, shares)
        case operator:
            reduction = REDUCTIONS[operator]
            return _reduced(node, frame.vector(node.expression), lambda group, _: reduction(group), None)


def group_key(node: Aggregation) -> Callable[[Labels], Labels]:
    """Return the function from a series to the labels of its group."""
    if not node.without:
        return partial(_kept, names=node.grouping)
    return partial(_dropped, names=node.grouping) if node.grouping else drop_name


def _kept(labels: Labels, names: tuple[str, ...]) -> Labels:
    return keep_labels(labels, names)


def _dropped(labels: Labels, names: tuple[str, ...]) -> Labels:
    return drop_labels(labels, names)


def groups_of(node: Aggregation, series: tuple[Labels, ...]) -> tuple[tuple[Labels, ...], Indexes]:
    """Return the groups in the order of first appearance, and the group of each series."""
    if not node.without and not node.grouping:
        return (Labels(),), np.zeros(len(series), dtype=np.int64)
    return KEPT.get(("group", node.without, node.grouping), partial(_grouped, node), series)


def _grouped(node: Aggregation, series: tuple[Labels, ...]) -> tuple[tuple[Labels, ...], Indexes]:
    numbers, groups = number_groups(map(group_key(node), series))
    return tuple(numbers), np.array(groups, dtype=np.int64)


def _reduced(
    node: Aggregation, grid: Grid, reduction: Callable[[Segments, Values], Values], parameter: Values | None
) -> Grid:
    """Return one number for each group at each instant."""
    instants = grid.values.shape[1]
    if not grid.series:
        return empty_grid(instants)
    labels, groups = groups_of(node, grid.series)
    order = np.argsort(groups, kind="stable")
    # by instant, then by group, then in the order of the series: the samples of a group stand side by side
    columns, places = np.nonzero(grid.present[order].T)
    cells = columns * len(labels) + groups[order][places]
    where, lengths = np.unique(cells, return_counts=True)
    values = grid.values[order[places], columns]
    result = np.zeros((instants, len(labels)))
    present = np.zeros(result.shape, dtype=np.bool_)
    shares = np.zeros(0) if parameter is None else parameter[where // len(labels)]
    result.flat[where] = reduction(segments_of(values, lengths.astype(np.int64)), shares)
    present.flat[where] = True
    if grid.unnamed is None:
        return Grid(labels, result.T, present.T)
    # a group loses its name as soon as one of its series does
    unnamed = np.zeros(len(labels), dtype=np.bool_)
    np.logical_or.at(unnamed, groups, grid.unnamed)
    return Grid(labels, result.T, present.T, unnamed)


def _whole_numbers(node: Aggregation, frame: Frame) -> Values:
    if node.parameter is None:
        raise EvaluationError(f"{node.operator} needs a number", node.span)
    wanted = frame.scalar(node.parameter)
    if np.isnan(wanted).any():
        raise EvaluationError("Parameter value is NaN", node.parameter.span)
    if (wanted < 1).all():
        return wanted
    if (np.abs(wanted) >= 2.0**63).any():
        raise EvaluationError(f"{node.operator}: the number is out of range", node.parameter.span)
    return np.trunc(wanted)


def _some_of_each(node: Aggregation, frame: Frame) -> Grid:
    """Return the k greatest, least or first series of each group; an instant query's come in that order."""
    grid = frame.vector(node.expression)
    wanted = _whole_numbers(node, frame)
    if not grid.series or (wanted < 1).all():
        return empty_grid(wanted.size)
    _, groups = groups_of(node, grid.series)
    columns, rows = np.nonzero(grid.present.T)
    values = grid.values[rows, columns]
    missing = np.isnan(values)
    if node.operator == "limitk":
        rank = np.zeros(values.size)
    else:
        rank = np.where(missing, 0.0, -values if node.operator == "topk" else values)
    order = np.lexsort((rows, rank, missing, groups[rows], columns))
    cells = columns[order] * (int(groups.max()) + 1) + groups[rows[order]]
    starts = np.flatnonzero(np.concatenate(([True], cells[1:] != cells[:-1])))
    place = np.arange(order.size) - np.repeat(starts, np.diff(np.append(starts, order.size)))
    chosen = order[place < wanted[columns[order]]]
    present: Mask = np.zeros(grid.present.shape, dtype=np.bool_)
    present[rows[chosen], columns[chosen]] = True
    kept = Grid(grid.series, grid.values, present, grid.unnamed)
    return kept.rows(rows[chosen]) if grid.values.shape[1] == 1 else kept.compact()


def _share_of_each(node: Aggregation, frame: Frame) -> Grid:
    """Return about a share of the series, always the same ones; a negative share returns those that 1 + share leaves."""
    if node.parameter is None:
        raise EvaluationError("limit_ratio needs a number", node.span)
    ratio = frame.scalar(node.parameter)
    if np.isnan(ratio).any():
        raise EvaluationError("Ratio value is NaN", node.parameter.span)
    ratio = np.clip(ratio, -1.0, 1.0)
    grid = frame.vector(node.expression)
    places = np.array([place(labels) for labels in grid.series]).reshape(-1, 1)
    return grid.where(np.where(ratio >= 0, places < ratio, places >= 1.0 + ratio))


def _count_values(node: Aggregation, frame: Frame) -> Grid:
    """Return how many series of each group have which value."""
    if node.parameter is None:
        raise EvaluationError("count_values needs a label's name", node.span)
    name = frame.text(node.parameter)
    refuse_label_name(name, node.parameter.span)
    grid = frame.vector(node.expression)
    key = group_key(node)
    counts: Counter[tuple[Labels, int]] = Counter()
    for row, labels in enumerate(grid.series):
        for column in np.flatnonzero(grid.present[row]).tolist():
            counted = {name: print_plain(float(grid.values[row, column]))}
            # the label is written first: `without` may name it, too
            group = key(labels.with_(counted)) if node.without else key(labels).with_(counted)
            counts[group, column] += 1
    numbers, rows = number_groups(labels for labels, _ in counts)
    values = np.zeros((len(numbers), grid.values.shape[1]))
    for row, ((_, column), count) in zip(rows, counts.items(), strict=True):
        values[row, column] = count
    return Grid(tuple(numbers), values, values > 0, None if grid.unnamed is None else np.zeros(len(numbers), np.bool_))


def refuse_label_name(name: str, span: tuple[int, int], what: str = "label name") -> None:
    """Raise EvaluationError unless `name` can name a label: UTF-8 and not empty; `what` says what it is to name."""
    try:
        valid = bool(name.encode())
    except UnicodeEncodeError:
        valid = False
    if not valid:
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise EvaluationError(f'invalid {what} "{shown}"', span)
