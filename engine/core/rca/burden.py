"""What slowness and errors cost: calls times (seconds, or share of failures, beyond what is usual), and whose cost explains whose.

Deviations in units of their own spread mislead: a service that is called twice an hour may be a hundred spreads too slow and
nobody notices. Cost adds up along calls instead: who waits for a slow service is slow by what it waits. So a node's cost that its
callees carry too is a symptom, and the cause is the deepest node that still carries it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from engine.core.rca.reference import SHARE, median, reference, sustained
from engine.core.rca.scene import Scene
from engine.core.rca.signals import SPLIT, Frame, Kind, Side, Topology

MEANS = frozenset({"average", "mean", "avg"})
FAILING = 0.001
"""A share of failing calls that is nothing special."""
ALIKE = 0.5
"""Two views of the same calls cost at least this share of one another."""
ALIKE_LEAST = 1.0
"""A cost that shifted by less is nobody's explanation."""
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


def burdens(seen: Scene, kind: Kind) -> dict[str, Burden]:
    """Return the burden of each node that has a figure of this kind (latency or errors) now and in the past."""
    fitting = own_columns(seen, kind)
    figures = {node: best for node, own in fitting.items() if (best := figure(seen, own, kind)) is not None}
    if not figures or not len(seen.now.times):
        return {}
    nodes, columns = list(figures), list(figures.values())
    whole = [seen.now.signals[column].counted for column in columns]
    calls_of = {node: own[0] for node, own in own_columns(seen, Kind.TRAFFIC).items()}
    counters = [
        () if known else counted(node, calls_of, seen.topology) for node, known in zip(nodes, whole, strict=True)
    ]
    level = seen.usual.level[columns]
    unit = np.array([seen.now.signals[column].sign for column in columns], dtype=float)
    before, after = seen.past.values[:, columns], seen.now.values[:, columns]
    if kind is Kind.ERRORS:
        percent = (np.fmax.reduce(np.abs(before), axis=0) > PERCENT) & ~np.array(whole)
        unit = np.where(percent, 0.01, 1.0) * unit
    count_before, count_after = totals(seen.past, counters), totals(seen.now, counters)
    costs = unit * (after - level) * count_after
    calls = median(np.ascontiguousarray(count_before.T))
    floors = np.array([seen.now.signals[column].floor for column in columns])
    least = (np.maximum(SHARE * np.abs(level), floors) if kind is Kind.LATENCY else FAILING) * np.nan_to_num(calls)
    spread = reference(sustained(unit * (before - level) * count_before), least).scale
    told = np.isfinite(costs).any(axis=0) & np.isfinite(spread)
    worst = np.where(np.isfinite(costs), costs, -np.inf).argmax(axis=0)
    each = np.arange(len(nodes))
    shifts = (costs[worst, each] / spread).tolist()
    levels, reached, many = level.tolist(), after[worst, each].tolist(), count_after[worst, each].tolist()
    rows = worst.tolist()
    return {
        nodes[place]: Burden(
            node=nodes[place],
            kind=kind,
            costs=costs[:, place],
            worst=rows[place],
            shift=shifts[place],
            before=levels[place],
            after=reached[place],
            calls=many[place] if counters[place] else None,
            column=columns[place],
        )
        for place in np.flatnonzero(told).tolist()
    }


def figure(seen: Scene, own: Iterable[int], kind: Kind) -> int | None:
    """Return which of a node's `own` columns tells most about all of its calls: a mean before a quantile, a low quantile before a high one.

    One that never moved tells nothing where there is another; of several of a kind it is the one that is furthest from usual.
    """
    fitting = [
        (not seen.moving[column], rank(signal.name), -seen.furthest[column], column)
        for column in own
        if (signal := seen.now.signals[column]).kind is kind
        and signal.peer is None
        and signal.side is Side.SERVER
        and seen.known[column]
    ]
    return min(fitting)[3] if fitting else None


@lru_cache(maxsize=1 << 12)
def rank(name: str) -> tuple[int, float]:
    """Return the place of a statistic by its name: means first, then quantiles from the median up."""
    words = [word.lower() for word in SPLIT.split(name) if word]
    if MEANS & set(words):
        return 0, 0.0
    numbers = [float(word) for word in words if word.isdigit()]
    return 1, numbers[-1] if numbers else 0.0


def own_columns(seen: Scene, kind: Kind) -> dict[str, list[int]]:
    """Return the columns of each node that are of a kind, about all of its calls, and known from the past."""
    found: dict[str, list[int]] = {}
    known = seen.known.tolist()
    for column, signal in enumerate(seen.now.signals):
        if signal.kind is kind and signal.peer is None and known[column]:
            found.setdefault(signal.node, []).append(column)
    return found


def counted(node: str, calls_of: Mapping[str, int], topology: Topology) -> tuple[int, ...]:
    """Return what counts a node's calls: its own count, or else the counts of those who call it; nothing where there is none."""
    if node in calls_of:
        return (calls_of[node],)
    return tuple(calls_of[caller] for caller in topology.callers.get(node, ()) if caller in calls_of)


def totals(frame: Frame, counters: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Return for each node the sum of its counts in each row; 1 where nothing counts."""
    total: np.ndarray = np.ones((len(frame.times), len(counters)))
    single = [place for place, columns in enumerate(counters) if len(columns) == 1]
    total[:, single] = frame.values[:, [counters[place][0] for place in single]]
    for place, columns in enumerate(counters):
        if len(columns) > 1:
            total[:, place] = frame.values[:, columns].sum(axis=1)
    return total


def unexplained(node: str, found: Mapping[str, Burden], topology: Topology) -> float:
    """Return how much of a node's cost, when it was at its worst, nobody else carried at that time (never below 0)."""
    own = found[node]
    below = [found[callee] for callee in topology.callees.get(node, ()) if callee in found and callee != node]
    carried = sum(cost for each in below if (cost := each.costs[own.worst]) > 0)
    return max(0.0, own.cost - float(carried) - mirrored(own, found, topology))


def mirrored(own: Burden, found: Mapping[str, Burden], topology: Topology) -> float:
    """Return how much of a node's cost may be another node's, seen from afar.

    Of a node that calls nobody there may be no more than its callers' view: an address, a balancer. Where such a caller calls another node
    as well, one that is known to call others, and that one costs about as much at the same time, they are the same calls, seen twice.
    """
    if own.cost <= 0 or topology.callees.get(own.node):
        return 0.0
    least, most = ALIKE * own.cost, 0.0
    for caller in topology.callers.get(own.node, ()):
        for name in topology.callees[caller]:
            other = found.get(name)
            if other is None or other.shift < ALIKE_LEAST or not topology.callees.get(name):
                continue
            cost = float(other.costs[own.worst])
            if cost >= max(least, most) and own.node not in topology.below(name):
                most = cost
    return most
