"""What expressions evaluate to: inside, over all instants of a query at once; outside, one result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from engine.model.labels import METRIC_NAME, Labels, Sample
from engine.promql.block import Times, Values
from engine.promql.errors import EvaluationError
from engine.promql.kept import KEPT
from engine.promql.syntax import Span

Mask = npt.NDArray[np.bool_]
Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grid:
    """An instant vector at every instant of a query: a row for each series, a column for each instant.

    A cell that is not `present` holds no sample, whatever its value. Where names are removed at the end of a query,
    `unnamed` says which rows are going to lose theirs; elsewhere it is None, and names go at once.
    """

    series: tuple[Labels, ...]
    values: Values
    present: Mask
    unnamed: Mask | None = None

    def holding(self, values: Values) -> Grid:
        """Return other values for the same samples."""
        return Grid(self.series, values, self.present, self.unnamed)

    def where(self, mask: Mask) -> Grid:
        """Return the cells where `mask` is true as well, without rows that have none left."""
        return Grid(self.series, self.values, self.present & mask, self.unnamed).compact()

    def compact(self) -> Grid:
        """Return this without rows that have no sample."""
        rows: Mask = self.present[:, 0] if self.present.shape[1] == 1 else np.any(self.present, axis=1)
        if rows.all():
            return self
        return self.rows(np.flatnonzero(rows))

    def rows(self, order: Indexes) -> Grid:
        """Return the rows named, in that order."""
        series = tuple(self.series[row] for row in order.tolist())
        unnamed = None if self.unnamed is None else self.unnamed[order]
        return Grid(series, self.values[order], self.present[order], unnamed)

    def relabelled(self, series: tuple[Labels, ...], span: Span) -> Grid:
        """Return this under other labels; rows that are now the same series become one.

        Raises EvaluationError where they have samples at the same instant.
        """
        if KEPT.get("distinct", distinct, series):
            return Grid(series, self.values, self.present, self.unnamed)
        places: dict[Labels, int] = {}
        rows = np.fromiter((places.setdefault(labels, len(places)) for labels in series), np.int64, len(series))
        values = np.zeros((len(places), self.values.shape[1]))
        present = np.zeros(values.shape, dtype=np.bool_)
        for row, target in enumerate(rows.tolist()):
            here = self.present[row]
            if (present[target] & here).any():
                message = f"vector cannot contain metrics with the same labelset: {series[row]} comes twice"
                raise EvaluationError(message, span)
            values[target, here] = self.values[row, here]
            present[target] |= here
        unnamed = None if self.unnamed is None else self.unnamed[np.unique(rows, return_index=True)[1]]
        return Grid(tuple(places), values, present, unnamed)

    def nameless(self, span: Span) -> Grid:
        """Return this without metric names, as results of calculations are, or marked to lose them at the end."""
        if self.unnamed is not None:
            return Grid(self.series, self.values, self.present, np.ones_like(self.unnamed))
        return self.relabelled(KEPT.get("nameless", without_metadata, self.series), span)

    def named_at_last(self, span: Span) -> Grid:
        """Return this with names removed from the rows that were marked, now that the query is done."""
        if self.unnamed is None:
            return self
        pairs = zip(self.series, self.unnamed.tolist(), strict=True)
        series = tuple(drop_metadata(labels) if marked else labels for labels, marked in pairs)
        return Grid(series, self.values, self.present).relabelled(series, span)


def distinct(series: tuple[Labels, ...]) -> bool:
    """Return whether no two series are the same."""
    return len(set(series)) == len(series)


def without_metadata(series: tuple[Labels, ...]) -> tuple[Labels, ...]:
    """Return the series without what says what they are."""
    return tuple(map(drop_metadata, series))


def those(series: tuple[Labels, ...], holds: Mask) -> tuple[Labels, ...]:
    """Return the series for which it holds; while that does not change, the identical tuple."""
    return KEPT.get(("those", holds.tobytes()), partial(_those, np.flatnonzero(holds)), series)


def _those(rows: Indexes, series: tuple[Labels, ...]) -> tuple[Labels, ...]:
    return tuple(series[row] for row in rows.tolist())


def joined(first: Grid, second: Grid) -> Grid:
    """Return the rows of both, one behind the other."""
    unnamed = None
    if first.unnamed is not None or second.unnamed is not None:
        unnamed = np.concatenate((marks(first), marks(second)))
    values, present = np.concatenate((first.values, second.values)), np.concatenate((first.present, second.present))
    return Grid(first.series + second.series, values, present, unnamed)


def marks(grid: Grid) -> Mask:
    """Return which rows are going to lose their names: none where names go at once."""
    return np.zeros(len(grid.series), dtype=np.bool_) if grid.unnamed is None else grid.unnamed


def empty_grid(instants: int) -> Grid:
    """Return a vector without series."""
    return Grid((), np.zeros((0, instants)), np.zeros((0, instants), dtype=np.bool_))


def one_row(values: Values, present: Mask | None = None, labels: Labels | None = None) -> Grid:
    """Return a vector of one series, present everywhere unless told."""
    mask = np.ones((1, values.size), dtype=np.bool_) if present is None else present.reshape(1, -1)
    return Grid((Labels() if labels is None else labels,), values.reshape(1, -1), mask).compact()


Value = Grid | Values | str
"""A vector, a scalar (one number for each instant) or a string."""


@lru_cache(maxsize=1 << 16)
def drop_name(labels: Labels) -> Labels:
    """Return `labels` without the metric's name."""
    return labels.without(METRIC_NAME)


METADATA = (METRIC_NAME, "__type__", "__unit__")
"""The labels that say what a series is: a calculation's result is something else."""


@lru_cache(maxsize=1 << 16)
def drop_metadata(labels: Labels) -> Labels:
    """Return `labels` without the metric's name, type and unit."""
    return labels.without(*METADATA)


@lru_cache(maxsize=1 << 16)
def drop_labels(labels: Labels, names: tuple[str, ...]) -> Labels:
    """Return `labels` without the metric's name and without `names`."""
    return labels.without(METRIC_NAME, *names)


@lru_cache(maxsize=1 << 16)
def keep_labels(labels: Labels, names: tuple[str, ...]) -> Labels:
    """Return those of `labels` that `names` name."""
    return labels.only(*names)


def number_groups(keys: Iterable[Labels]) -> tuple[dict[Labels, int], list[int]]:
    """Return numbers for different keys, in the order of first appearance, and the number of each key in turn."""
    numbers: dict[Labels, int] = {}
    return numbers, [numbers.setdefault(key, len(numbers)) for key in keys]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number, at one instant (milliseconds)."""

    time: int
    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A string, at one instant (milliseconds)."""

    time: int
    value: str


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """Samples of several series at one instant (milliseconds), in the language's order."""

    time: int
    series: tuple[Labels, ...]
    values: Values

    def samples(self) -> tuple[Sample, ...]:
        """Return the samples one by one."""
        return tuple(map(Sample, self.series, self.values.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Samples of one series over time (milliseconds, ascending)."""

    labels: Labels
    times: Times
    values: Values


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Series of samples over time."""

    series: Sequence[Points]


Result = Vector | Scalar | Text | Matrix
