"""`and`, `or` and `unless`: vectors as sets of series."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from engine.model.labels import Labels
from engine.promql.kept import KEPT
from engine.promql.syntax import Binary, Matching
from engine.promql.values import Grid, Indexes, Mask, drop_labels, drop_name, joined, keep_labels, number_groups


def matching_keys(matching: Matching) -> Callable[[Labels], Labels]:
    """Return the function from a series to the labels it is matched by."""
    if matching.on:
        return partial(_kept, names=tuple(sorted(matching.labels)))
    if not matching.labels:
        return drop_name
    return partial(_dropped, names=tuple(sorted(matching.labels)))


def _kept(labels: Labels, names: tuple[str, ...]) -> Labels:
    return keep_labels(labels, names)


def _dropped(labels: Labels, names: tuple[str, ...]) -> Labels:
    return drop_labels(labels, names)


def combine(node: Binary, left: Grid, right: Grid) -> Grid:
    """Return the vector that `and`, `or` or `unless` gives, instant by instant."""
    matching = node.matching
    what = ("set", matching.on, matching.labels)
    left_groups, right_groups, count = KEPT.get(what, partial(_groups, matching), left.series, right.series)
    match node.operator:
        case "and":
            return left.where(_present(right, right_groups, count)[left_groups])
        case "unless":
            return left.where(~_present(right, right_groups, count)[left_groups])
        case _:
            more = right.where(~_present(left, left_groups, count)[right_groups])
            if not more.series:
                return left
            both = joined(left, more)
            return both.relabelled(both.series, node.span)


def _groups(matching: Matching, left: tuple[Labels, ...], right: tuple[Labels, ...]) -> tuple[Indexes, Indexes, int]:
    """Return the match group of each series on either side, and how many groups there are."""
    key = matching_keys(matching)
    numbers, left_groups = number_groups(map(key, left))
    right_groups = [numbers.setdefault(key(labels), len(numbers)) for labels in right]
    return np.array(left_groups, dtype=np.int64), np.array(right_groups, dtype=np.int64), len(numbers)


def _present(grid: Grid, groups: Indexes, count: int) -> Mask:
    """Return, for each group and instant, whether any of its series has a sample."""
    found = np.zeros((count, grid.present.shape[1]), dtype=np.bool_)
    np.logical_or.at(found, groups, grid.present)
    return found
