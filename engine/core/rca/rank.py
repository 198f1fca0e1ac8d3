"""Which node, which resource: suspects ranked by evidence with a causal reason.

Three kinds of evidence, in the order in which they come about:
1. a resource of the node itself is used far more than usual and goes on so (what saturates comes before what merely slows);
2. the way to a node is slow: those who call it wait longer than it takes to answer;
3. a node is slow or fails, and no node that it calls is so (`engine.core.rca.burden`);
and one that only hints: a node's callees are called less while the node itself is not.
The method is that of causal traversals of call graphs (as MicroRCA, Wu et al. 2020, and the traversal baseline of PetShop, Hardt et al. 2023), with
cost in place of correlation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from engine.core.rca.burden import Burden, burdens, figure, unexplained
from engine.core.rca.reference import Reference, reference, sustained
from engine.core.rca.signals import RESOURCES, Frame, Kind, Side, Signal, Topology

NOTABLE = 3.0
"""Shifts below this many scales are nothing special."""
ACTIVITY = (Kind.TRAFFIC, Kind.NETWORK, Kind.CPU, Kind.OTHER)
SYMPTOM = 0.8
"""How much slowness, errors or silence count beside a resource or a way that is used up: what is seen of a cause, not the cause."""
SMALL = 0.02
"""A share of the cost of all below which nobody would notice."""
HINT = 1.0
"""A resource that shifted by this much stands for a slowness of its own node that nothing else explains, and for nothing alone."""
UNSEEN = 0.05
"""How much speaks for a node of which there is no sample at all: as little as this, and more than for those that are seen to be well."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Where people noticed it: a node, and what kind of figure of it."""

    node: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Ranked:
    """A suspect: node and resource, a strength above 0 that only compares within one ranking, and sentences with numbers."""

    node: str
    resource: str
    strength: float
    evidence: tuple[str, ...]
    column: int | None = None
    """The series that shows it best."""


def strength(shift: float, relevance: float = 1.0) -> float:
    """Return how much a shift (in scales) speaks for a suspect: the logarithm, so that no unit outshouts all, and little below `NOTABLE`.

    `relevance` (0..1) is the share of the trouble that it could account for.
    """
    return math.log1p(shift) * -math.expm1(-shift / NOTABLE) * math.sqrt(min(1.0, relevance)) if shift > 0 else 0.0


def rank(past: Frame, now: Frame, topology: Topology, alarm: Alarm | None = None) -> tuple[Ranked, ...]:
    """Return the suspects for what began with the first row of `now`, the strongest first.

    `past` is how it was before, without earlier trouble. With an `alarm`, suspects are the nodes that its node reaches through calls, and
    slowness and errors count only of its kind.
    """
    near = set(topology.below(alarm.node)) if alarm is not None and alarm.node in topology.callees else None
    suspects: list[Ranked] = []
    usual = reference(past.values)
    shifts = peak(usual, now)
    suspects += resources(now, usual, shifts)
    suspects += ways(past, now)
    suspects += costs(past, now, topology, alarm)
    suspects += silence(now, usual, topology)
    suspects += unseen(now, topology)
    best: dict[tuple[str, str], Ranked] = {}
    for suspect in suspects:
        key = (suspect.node, suspect.resource)
        if (near is None or suspect.node in near) and (key not in best or best[key].strength < suspect.strength):
            best[key] = suspect
    return tuple(sorted(settled(best.values()), key=lambda each: (-each.strength, each.node, each.resource)))


def peak(usual: Reference, now: Frame) -> np.ndarray:
    """Return the furthest sustained shift (S,) of each series in its worse direction; 0 where nothing is known."""
    signs = np.array([signal.sign for signal in now.signals], dtype=float)
    shifts = usual.shift(sustained(now.values)) * signs
    if not len(shifts):
        return np.zeros(len(signs))
    peaks: np.ndarray = np.nan_to_num(np.max(np.where(np.isfinite(shifts), shifts, -np.inf), axis=0), neginf=0.0)
    return peaks


def resources(now: Frame, usual: Reference, shifts: np.ndarray) -> Iterable[Ranked]:
    """Yield what is used far more than usual."""
    for column, signal in enumerate(now.signals):
        if signal.kind in RESOURCES and signal.peer is None and shifts[column] >= HINT:
            after = float(np.nanmedian(now.values[:, column]))
            text = f"{signal.name} went from {usual.level[column]:.4g} to {after:.4g}, {shifts[column]:.1f} times its usual spread"
            yield Ranked(signal.node, signal.kind, strength(float(shifts[column])), (text,), column)


def ways(past: Frame, now: Frame) -> Iterable[Ranked]:
    """Yield nodes the way to which takes longer than before: callers wait more, and the node does not answer later."""
    client = {(s.node, s.peer, s.name): i for i, s in enumerate(now.signals) if pair(s) and s.side is Side.CLIENT}
    server = {(s.node, s.peer, s.name): i for i, s in enumerate(now.signals) if pair(s) and s.side is Side.SERVER}
    waited = {
        node: max(float(np.nanmedian(past.values[:, column])), 1e-9)
        for node in {str(signal.peer) for signal in now.signals if pair(signal)}
        if (column := figure(now.signals, node, Kind.LATENCY)) is not None and np.isfinite(past.values[:, column]).any()
    }
    for key in client.keys() & server.keys():
        waits, answers = client[key], server[key]
        floor = 0.1 * np.nanmedian(past.values[:, waits]) if np.isfinite(past.values[:, waits]).any() else 0.0
        both = past.values[:, [waits]] - past.values[:, [answers]]
        usual = reference(both, floor)
        gaps = sustained(now.values[:, [waits]] - now.values[:, [answers]])
        if not np.isfinite(gaps).any() or not np.isfinite(usual.level).all():
            continue
        gap = float(np.nanmax(gaps) - usual.level[0])
        shift = gap / float(usual.scale[0])
        own = float(np.nanmax(sustained(now.values[:, [answers]])) - np.nanmedian(past.values[:, answers]))
        if shift >= 1 and gap > own:  # else the node itself is slow, and calls queue before it
            node, peer, _ = key
            relevance = gap / waited.get(str(peer), gap)
            text = f"{peer} waits {gap:.4g} s longer for {node} than {node} takes to answer, {shift:.1f} times the usual spread"
            yield Ranked(node, Kind.NETWORK, strength(shift, relevance), (text,), waits)


def pair(signal: Signal) -> bool:
    """Return whether a series is the latency of one caller's calls."""
    return signal.kind is Kind.LATENCY and signal.peer is not None


def costs(past: Frame, now: Frame, topology: Topology, alarm: Alarm | None) -> Iterable[Ranked]:
    """Yield nodes whose slowness or errors no node that they call explains."""
    kinds = (Kind.LATENCY, Kind.ERRORS)
    for kind in kinds if alarm is None or alarm.kind not in kinds else (alarm.kind,):
        found = burdens(kind, past, now)
        near = topology.below(alarm.node) if alarm is not None else found
        most = max((burden.cost for node, burden in found.items() if node in near), default=0.0)
        if most <= 0:
            continue
        for node, left in unexplained(found, topology).items():
            share = left / most
            if share >= SMALL and found[node].shift > 0:
                weight = SYMPTOM * strength(found[node].shift, share)
                yield Ranked(node, kind, weight, (cost_said(found[node], left),))


def cost_said(burden: Burden, left: float) -> str:
    """Return a burden in words."""
    unit = "s of waiting" if burden.kind is Kind.LATENCY else "failures"
    calls = "" if burden.calls is None else f" at {burden.calls:.4g} calls an interval"
    return (
        f"{burden.kind} went from {burden.before:.4g} to {burden.after:.4g}{calls}: "
        f"{burden.cost:.3g} {unit} an interval beyond the usual, {left:.3g} of which no callee explains"
    )


def silence(now: Frame, usual: Reference, topology: Topology) -> Iterable[Ranked]:
    """Yield nodes whose callees do less than usual while they themselves do not: they fail before they call."""
    quiet = drops(now, usual)
    for node, names in topology.callees.items():
        known = [name for name in names if name in quiet and name != node]
        if not known:
            continue
        worst = max(known, key=lambda name: quiet[name])
        lost = quiet[worst] - max(0.0, quiet.get(node, 0.0))
        others = [quiet[caller] for caller in topology.callers[worst] if caller in quiet and caller != node]
        if lost > 0:
            text = f"{worst}, which it calls, does less than usual by {quiet[worst]:.1f} times its spread, and {node} does not"
            relevance = 1 / (1 + len(others))
            yield Ranked(node, Kind.TRAFFIC, SYMPTOM * strength(lost, relevance), (text,))


def drops(now: Frame, usual: Reference) -> dict[str, float]:
    """Return by how many scales each node does less than usual, the median over whatever counts its doings."""
    shifts = usual.shift(sustained(now.values))
    lows = np.nanmin(np.where(np.isfinite(shifts), shifts, np.inf), axis=0) if len(shifts) else np.array([])
    found: dict[str, list[float]] = {}
    for column, signal in enumerate(now.signals if len(lows) else ()):
        if signal.kind in ACTIVITY and signal.peer is None and np.isfinite(lows[column]):
            found.setdefault(signal.node, []).append(-float(lows[column]))
    return {node: float(np.median(each)) for node, each in found.items()}


def settled(suspects: Iterable[Ranked]) -> Iterable[Ranked]:
    """Let what merely slows follow what is used up on the same node, and drop resources that shifted a little where nothing slowed.

    With thousands of series some always are a little off: alone that is no cause.
    """
    found = list(suspects)
    used: dict[str, Ranked] = {}
    slow: dict[str, Ranked] = {}
    for each in sorted(found, key=lambda each: each.strength):
        if each.resource in RESOURCES:
            used[each.node] = each
        elif each.resource is Kind.LATENCY:
            slow[each.node] = each
    for each in found:
        cause, symptom = used.get(each.node), slow.get(each.node)
        if each is cause and symptom is not None and symptom.strength > each.strength:
            yield replace(each, strength=symptom.strength, evidence=each.evidence + symptom.evidence)
        elif each is symptom and cause is not None:
            yield replace(each, strength=0.99 * each.strength)
        elif each.resource not in RESOURCES or each.strength >= strength(NOTABLE):
            yield each


def unseen(now: Frame, topology: Topology) -> Iterable[Ranked]:
    """Yield nodes that are called and of which nothing is known: where all that is seen is well, it is the ones unseen."""
    known = {s.node for c, s in enumerate(now.signals) if s.peer is None and np.isfinite(now.values[:, c]).any()}
    for node in topology.callers.keys() - known:
        if any(caller in known for caller in topology.callers[node]):
            yield Ranked(node, Kind.OTHER, UNSEEN, ("it has no samples of its own, so nothing speaks for it",))
