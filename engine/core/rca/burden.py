"""What slowness and errors cost: calls times (seconds, or share of failures, beyond what is usual), and whose cost explains whose.

Deviations in units of their own spread mislead: a service that is called twice an hour may be a hundred spreads too slow and
nobody notices. Cost adds up along calls instead: who waits for a slow service is slow by what it waits. So a node's cost that its
callees carry too is a symptom, and the cause is the deepest node that still carries it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.core.rca.reference import reference
from engine.core.rca.signals import SPLIT, Frame, Kind, Side, Signal, Topology

MEANS = frozenset({"average", "mean", "avg"})
PERCENT = 1.5
"""A share of calls above this is a percentage."""


@dataclass(frozen=True, slots=True)
class Burden:
    """What a node costs beyond the usual: `cost` (seconds, or failures, an interval), `shift` of it in its own usual spread."""

    node: str
    kind: Kind
    cost: float
    shift: float
    before: float
    """The usual figure, in the series' own unit."""
    after: float
    calls: float | None
    """Calls an interval; None where nothing counts them."""


def burdens(kind: Kind, past: Frame, now: Frame) -> dict[str, Burden]:
    """Return the burden of each node that has a figure of this kind (latency or errors)."""
    columns = {}
    for node in dict.fromkeys(signal.node for signal in now.signals):
        found = figure(now.signals, node, kind)
        if found is not None:
            columns[node] = (found, calls_of(now.signals, node))
    return {
        node: burden
        for node, (column, calls) in columns.items()
        if (burden := _burden(node, kind, column, calls, past, now)) is not None
    }


def figure(signals: Sequence[Signal], node: str, kind: Kind) -> int | None:
    """Return the column that tells most about all calls of a node: a mean before a quantile, a low quantile before a high one."""
    own = [
        (rank(signal.name), index)
        for index, signal in enumerate(signals)
        if signal.node == node and signal.kind is kind and signal.peer is None and signal.side is Side.SERVER
    ]
    return min(own)[1] if own else None


def rank(name: str) -> tuple[int, float]:
    """Return the place of a statistic by its name: means first, then quantiles from the median up."""
    words = [word.lower() for word in SPLIT.split(name) if word]
    if MEANS & set(words):
        return 0, 0.0
    numbers = [float(word) for word in words if word.isdigit()]
    return 1, numbers[-1] if numbers else 0.0


def calls_of(signals: Sequence[Signal], node: str) -> int | None:
    """Return the column that counts a node's calls; None when nothing does."""
    return next(
        (
            index
            for index, signal in enumerate(signals)
            if signal.node == node and signal.kind is Kind.TRAFFIC and signal.peer is None
        ),
        None,
    )


def _burden(node: str, kind: Kind, column: int, calls: int | None, past: Frame, now: Frame) -> Burden | None:
    """Return what one node costs; None without a sample now or in the past."""
    sign = now.signals[column].sign
    before, after = past.values[:, column], now.values[:, column]
    if not np.isfinite(before).any() or not np.isfinite(after).any():
        return None
    level = float(np.nanmedian(before)) if kind is Kind.LATENCY else float(np.nanmean(before))
    unit = 0.01 if kind is Kind.ERRORS and np.nanmax(np.abs(before)) > PERCENT else 1.0
    count_before = past.values[:, calls] if calls is not None else np.ones(len(before))
    count_after = now.values[:, calls] if calls is not None else np.ones(len(after))
    usual = unit * sign * (before - level) * count_before
    costs = unit * sign * (after - level) * count_after
    costs = costs[np.isfinite(costs)]
    if not len(costs):
        return None
    spread = float(reference(usual[:, None], floor=0.1).scale[0]) if np.isfinite(usual).any() else 0.1
    many = float(np.nanmean(count_after)) if calls is not None else None
    return Burden(node, kind, float(costs.mean()), float(costs.mean()) / spread, level, float(np.nanmean(after)), many)


def unexplained(found: dict[str, Burden], topology: Topology) -> dict[str, float]:
    """Return how much of each node's cost none of its callees carries (never below 0)."""
    return {
        node: max(0.0, burden.cost - sum(carried(callees(node, found, topology)))) for node, burden in found.items()
    }


def callees(node: str, found: dict[str, Burden], topology: Topology) -> Iterable[Burden]:
    """Return the burdens of those that a node calls."""
    return (found[callee] for callee in topology.callees.get(node, ()) if callee in found and callee != node)


def carried(below: Iterable[Burden]) -> Iterable[float]:
    """Return the costs that count as an explanation: none that is below the usual."""
    return (max(0.0, burden.cost) for burden in below)
