"""What slowness and errors cost: calls times (seconds, or share of failures, beyond what is usual), and whose cost explains whose.

Deviations in units of their own spread mislead: a service that is called twice an hour may be a hundred spreads too slow and
nobody notices. Cost adds up along calls instead: who waits for a slow service is slow by what it waits. So a node's cost that its
callees carry too is a symptom, and the cause is the deepest node that still carries it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.rca.reference import SHARE, reference, sustained
from engine.core.rca.signals import SPLIT, Frame, Kind, Side, Topology

MEANS = frozenset({"average", "mean", "avg"})
FAILING = 0.001
"""A share of failing calls that is nothing special."""
PERCENT = 1.5
"""A share of calls above this is a percentage."""


@dataclass(frozen=True, slots=True)
class Burden:
    """What a node costs beyond the usual (seconds, or failures, an interval): row by row, and in the row where it was `worst`.

    There, `shift` is how many of its own usual spreads that is; `before` is the usual figure, `after` the figure then, in the series'
    own unit; `calls` an interval are None where nothing counts them.
    """

    node: str
    kind: Kind
    costs: np.ndarray
    worst: int
    shift: float
    before: float
    after: float
    calls: float | None
    column: int

    @property
    def cost(self) -> float:
        """Return the cost where it was worst."""
        return float(self.costs[self.worst])


def burdens(
    kind: Kind, past: Frame, now: Frame, columns: Mapping[str, Sequence[int]], topology: Topology
) -> dict[str, Burden]:
    """Return the burden of each node that has a figure of this kind (latency or errors); `columns` are those of each node."""
    found = {}
    for node, own in columns.items():
        column = figure(past, own, kind)
        if column is not None:
            burden = _burden(node, kind, column, counted(node, past, columns, topology), past, now)
            if burden is not None:
                found[node] = burden
    return found


def figure(past: Frame, own: Iterable[int], kind: Kind) -> int | None:
    """Return which of a node's `own` columns tells most about all of its calls: a mean before a quantile, a low quantile before a high one.

    One that never moved tells nothing where there is another.
    """
    fitting = [
        (still(past.values[:, column]), rank(past.signals[column].name), column)
        for column in own
        if (signal := past.signals[column]).kind is kind and signal.peer is None and signal.side is Side.SERVER
    ]
    return min(fitting)[2] if fitting else None


def still(values: np.ndarray) -> bool:
    """Return whether a series has at most one value."""
    known = values[np.isfinite(values)]
    return not len(known) or bool(known.min() == known.max())


def rank(name: str) -> tuple[int, float]:
    """Return the place of a statistic by its name: means first, then quantiles from the median up."""
    words = [word.lower() for word in SPLIT.split(name) if word]
    if MEANS & set(words):
        return 0, 0.0
    numbers = [float(word) for word in words if word.isdigit()]
    return 1, numbers[-1] if numbers else 0.0


def calls_of(past: Frame, own: Iterable[int]) -> int | None:
    """Return which of a node's `own` columns counts its calls; None when none does."""
    for each in own:
        signal = past.signals[each]
        if signal.kind is Kind.TRAFFIC and signal.peer is None and np.isfinite(past.values[:, each]).any():
            return each
    return None


def counted(node: str, past: Frame, columns: Mapping[str, Sequence[int]], topology: Topology) -> Sequence[int]:
    """Return what counts a node's calls: its own count, or else the counts of those who call it; nothing where there is none."""
    own = calls_of(past, columns.get(node, ()))
    if own is not None:
        return (own,)
    of_callers = (calls_of(past, columns.get(caller, ())) for caller in topology.callers.get(node, ()))
    return tuple(each for each in of_callers if each is not None)


def total(frame: Frame, columns: Sequence[int]) -> np.ndarray:
    """Return the sum of some counts in each row."""
    summed: np.ndarray = frame.values[:, list(columns)].sum(axis=1)
    return summed


def _burden(node: str, kind: Kind, column: int, calls: Sequence[int], past: Frame, now: Frame) -> Burden | None:
    """Return what one node costs; None without a sample now or in the past."""
    sign = now.signals[column].sign
    before, after = past.values[:, column], now.values[:, column]
    known = before[np.isfinite(before)]
    if not len(known) or not np.isfinite(after).any():
        return None
    level = float(np.median(known))
    unit = 0.01 if kind is Kind.ERRORS and np.abs(known).max() > PERCENT else 1.0
    count_before = total(past, calls) if calls else np.ones(len(before))
    count_after = total(now, calls) if calls else np.ones(len(after))
    usual = unit * sign * (before - level) * count_before
    costs = unit * sign * (after - level) * count_after
    if not np.isfinite(usual).any() or not np.isfinite(costs).any():
        return None
    least = (SHARE * abs(level) if kind is Kind.LATENCY else FAILING) * float(np.nanmedian(count_before))
    spread = float(reference(sustained(usual[:, None]), least).scale[0])
    worst = int(np.nanargmax(costs))
    many = float(count_after[worst]) if calls else None
    return Burden(node, kind, costs, worst, float(costs[worst]) / spread, level, float(after[worst]), many, column)


def unexplained(node: str, found: Mapping[str, Burden], topology: Topology) -> float:
    """Return how much of a node's cost, when it was at its worst, none of its callees carried at that time (never below 0)."""
    own = found[node]
    below = [found[callee] for callee in topology.callees.get(node, ()) if callee in found and callee != node]
    carried = sum(max(0.0, float(np.nan_to_num(each.costs[own.worst]))) for each in below)
    return max(0.0, own.cost - carried)
