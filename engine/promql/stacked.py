"""Aggregations at many instants at once: the series of each group are laid one upon the other, an instant's column each.

Every group adds its series in their order, with the compensation that asking one instant alone uses: the same numbers come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from engine.promql.aggregation import groups_of
from engine.promql.block import Values
from engine.promql.syntax import Aggregation
from engine.promql.values import Grid, Indexes, Mask

STACKED: Final = frozenset({"sum", "avg", "min", "max", "count", "group"})


def stack(node: Aggregation, grid: Grid) -> Grid | None:
    """Return one number for each group at each instant; None where this is not the way to work it out."""
    if not grid.series or grid.unnamed is not None:
        return None
    labels, groups = groups_of(node, grid.series)
    counts = np.zeros((len(labels), grid.present.shape[1]))
    for here, rows in layers(groups):
        counts[here] += grid.present[rows]
    present: Mask = counts > 0
    match node.operator:
        case "count":
            values = counts
        case "group":
            values = np.ones(counts.shape)
        case "min" | "max":
            values = extreme(grid, groups, np.fmin if node.operator == "min" else np.fmax, counts.shape)
        case _:
            total, lost = summed(grid, groups, counts.shape)
            if np.isinf(total).any():  # what overflows depends on more than the sum
                return None
            count = np.maximum(counts, 1) if node.operator == "avg" else np.ones(counts.shape)
            values = total / count + lost / count
    return Grid(labels, values, present)


def layers(groups: Indexes) -> Iterator[tuple[Indexes, Indexes]]:
    """Yield the groups that have a first series and that series' rows, then those that have a second, and so on."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    place = np.arange(order.size) - np.repeat(begins, np.diff(np.append(begins, order.size)))
    for layer in range(int(place.max()) + 1):
        rows = order[place == layer]
        yield groups[rows], rows


def summed(grid: Grid, groups: Indexes, shape: tuple[int, ...]) -> tuple[Values, Values]:
    """Return the sums, and what rounding lost of them (Neumaier 1974)."""
    total, lost = np.zeros(shape), np.zeros(shape)
    for here, rows in layers(groups):
        step = np.where(grid.present[rows], grid.values[rows], 0.0)
        before = total[here]
        after = before + step
        error = np.where(np.abs(before) >= np.abs(step), (before - after) + step, (step - after) + before)
        lost[here] += np.where(np.isinf(after), 0.0, error)
        total[here] = after
    return total, lost


def extreme(grid: Grid, groups: Indexes, of: np.ufunc, shape: tuple[int, ...]) -> Values:
    """Return the least or greatest; NaN only where there is nothing else."""
    found = np.full(shape, np.nan)
    for here, rows in layers(groups):
        found[here] = of(found[here], np.where(grid.present[rows], grid.values[rows], np.nan))
    return found
