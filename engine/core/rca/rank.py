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
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.rca.burden import Burden, burdens, figure, unexplained
from engine.core.rca.derived import ANSWER, WAY, ways
from engine.core.rca.reference import TINY
from engine.core.rca.scene import Scene, scene
from engine.core.rca.signals import RESOURCES, Frame, Kind, Topology

NOTABLE = 3.0
"""Shifts below this many scales are nothing special."""
ACTIVITY = (Kind.TRAFFIC, Kind.NETWORK, Kind.CPU, Kind.OTHER)
SYMPTOM = 0.8
"""How much slowness, errors or silence count beside a resource or a way that is used up: what is seen of a cause, not the cause."""
SMALL = 0.02
"""A share of the cost of all below which nobody would notice."""
FAINT = 0.3
"""A cost that shifted by less is not worth a word."""
HINT = 1.0
"""A resource that shifted by this much stands for a slowness of its own node that nothing else explains, and for nothing alone."""
WORDS = 3
"""So many sentences say what speaks for a suspect, the strongest ones."""
UNSEEN = 0.05
"""How much speaks for a node of which there is no sample at all: as little as this, and more than for those that are seen to be well."""


SERVICE, UNKNOWN = "service", "unknown"
"""What is at fault where no resource is: what the node does, or nobody knows what."""


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
    """The series of the scene that shows it best."""
    culprit: str | None = None


def strength(shift: float, relevance: float = 1.0) -> float:
    """Return how much a shift (in scales) speaks for a suspect: the logarithm, so that no unit outshouts all, and little below `NOTABLE`.

    `relevance` (0..1) is the share of the trouble that it could account for.
    """
    return math.log1p(shift) * -math.expm1(-shift / NOTABLE) * math.sqrt(min(1.0, relevance)) if shift > 0 else 0.0


def rank(past: Frame, now: Frame, topology: Topology, alarm: Alarm | None = None) -> tuple[Ranked, ...]:
    """Return the suspects for what began with the first row of `now`, the strongest first.

    `past` is how it was before. With an `alarm`, suspects are the nodes that its node reaches through calls, and
    slowness and errors count only of its kind.
    """
    return ranked(scene(past, now, topology), alarm)


def ranked(seen: Scene, alarm: Alarm | None = None, more: Iterable[Ranked] = ()) -> tuple[Ranked, ...]:
    """Return the suspects of a scene, the strongest first; see `rank`. There are `more` suspects by other evidence than the scene's."""
    topology = seen.topology
    near = set(topology.below(alarm.node)) if alarm is not None and alarm.node in topology.callees else None
    peaks = seen.furthest
    seen_to_fail = blamed([*costs(seen, alarm), *silence(seen), *unseen(seen)], topology)
    suspects = [*resources(seen, peaks), *slow_ways(seen, peaks), *seen_to_fail, *more]
    found: dict[tuple[str, str], list[Ranked]] = {}
    for suspect in suspects:
        if near is None or suspect.node in near:
            found.setdefault((suspect.node, suspect.resource), []).append(suspect)
    best = [together(each) for each in found.values()]
    return tuple(sorted(settled(best, seen), key=lambda each: (-each.strength, each.node, each.resource)))


def together(same: list[Ranked]) -> Ranked:
    """Return what speaks for one resource of one node as one suspect: the strongest, with the words of the next ones and the first culprit named."""
    if len(same) == 1:
        return same[0]
    same.sort(key=lambda each: -each.strength)
    first, notable = same[0], [each for each in same[1:] if each.strength >= strength(NOTABLE)]
    more = tuple(sentence for each in notable[: WORDS - 1] for sentence in each.evidence)
    culprit = next((each.culprit for each in (first, *notable) if each.culprit is not None), None)
    column = next((each.column for each in same if each.column is not None), None)
    return replace(first, evidence=first.evidence + more, culprit=culprit, column=column)


def resources(seen: Scene, peaks: np.ndarray) -> Iterable[Ranked]:
    """Yield what is used far more than usual."""
    for column in np.flatnonzero(peaks >= HINT).tolist():
        signal = seen.now.signals[column]
        if signal.kind in RESOURCES and signal.peer is None:
            weight = strength(float(peaks[column]))
            yield Ranked(
                signal.node, signal.kind, weight, (moved(seen, column, peaks[column]),), column, signal.culprit
            )


def moved(seen: Scene, column: int, shift: float) -> str:
    """Say how far a series went."""
    after = seen.now.values[int(np.nanargmax(seen.shifts[:, column])), column]
    before, scale = seen.usual.level[column], seen.usual.scale[column]
    name = seen.now.signals[column].name
    return f"{name} {after:.4g} at its worst, {before:.4g} before: off by {shift:.3g} times its usual spread of {scale:.2g}"


def slow_ways(seen: Scene, peaks: np.ndarray) -> Iterable[Ranked]:
    """Yield nodes the way to which takes longer than before: callers wait more, and the node does not answer later."""
    places = {(s.node, s.peer): i for i, s in enumerate(seen.now.signals) if s.name == WAY and s.kind is Kind.NETWORK}
    if not places:
        return
    answer: dict[str, float] = {}
    for signal, _, answers in ways(seen.past.signals):
        column = places[signal.node, signal.peer]
        shift = float(peaks[column])
        gap = shift * float(seen.usual.scale[column])
        worst = np.nanmax(seen.shifts[:, answers]) if np.isfinite(seen.shifts[:, answers]).any() else 0.0
        own = float(worst) * float(seen.usual.scale[answers])
        if shift < HINT or gap <= own:  # then the node itself is slow, and calls queue before it
            continue
        peer = str(signal.peer)
        if peer not in answer:
            answer[peer] = _usual_answer(seen, peer)
        relevance = gap / answer[peer] if answer[peer] > 0 else 1.0
        text = (
            f"{peer} waits {gap:.3g} s longer for {signal.node} than {signal.node} takes to answer, "
            f"{shift:.1f} times what is usual for the way"
        )
        yield Ranked(signal.node, Kind.NETWORK, strength(shift, relevance), (text,), column)


def _usual_answer(seen: Scene, node: str) -> float:
    """Return how long a node usually takes to answer; 0 where that is not known."""
    column = figure(seen, seen.columns.get(node, ()), Kind.LATENCY)
    level = 0.0 if column is None else float(seen.usual.level[column])
    return level if math.isfinite(level) else 0.0


def costs(seen: Scene, alarm: Alarm | None) -> Iterable[Ranked]:
    """Yield nodes whose slowness or errors no node that they call explains."""
    kinds = (Kind.LATENCY, Kind.ERRORS)
    for kind in kinds if alarm is None or alarm.kind not in kinds else (alarm.kind,):
        found = burdens(seen, kind)
        near = seen.topology.below(alarm.node) if alarm is not None else found
        noticed = (burden.cost for node, burden in found.items() if node in near and burden.shift >= HINT)
        most = max(noticed, default=0.0)
        for node, burden in found.items():
            whole = max(most, burden.cost, TINY)
            if burden.shift < FAINT or burden.cost < SMALL * whole:
                continue
            left = unexplained(node, found, seen.topology)
            if left >= SMALL * whole:
                weight = SYMPTOM * strength(burden.shift, left / whole)
                yield Ranked(
                    node, kind, weight, (cost_said(seen.now.signals[burden.column].name, burden, left),), burden.column
                )


def cost_said(name: str, burden: Burden, left: float) -> str:
    """Return a burden in words."""
    unit = "s of waiting" if burden.kind is Kind.LATENCY else "failures"
    calls = "" if burden.calls is None else f" at {burden.calls:.4g} calls an interval"
    return (
        f"{name} {burden.after:.4g} at its worst, {burden.before:.4g} before{calls}: "
        f"{burden.cost:.3g} {unit} an interval beyond the usual, {left:.3g} of which no callee explains"
    )


def silence(seen: Scene) -> Iterable[Ranked]:
    """Yield nodes whose callees do less than usual while they themselves are asked for no less: they fail before they call.

    What several callees have lost adds up as independent evidence does; one that has other callers says less of each.
    """
    topology = seen.topology
    quiet = drops(seen)
    asked = quiet | drops(seen, (Kind.TRAFFIC,))
    for node, names in topology.callees.items():
        lost: dict[str, float] = {}
        for name in names:
            if name in quiet and name != node:
                others = [caller for caller in topology.callers[name] if caller in quiet and caller != node]
                left = quiet[name] - max(0.0, asked.get(node, 0.0)) - HINT
                lost[name] = max(0.0, left) / (1 + len(others))
        total = math.hypot(*lost.values())
        if total > 0:
            worst = max(lost, key=lambda name: lost[name])
            many = sum(value > 0 for value in lost.values())
            text = (
                f"{many} of {len(names)} nodes that it calls do less than usual ({worst} by {quiet[worst]:.1f} times what is usual for it), "
                f"and {node} is not asked for less"
            )
            yield Ranked(node, SERVICE, SYMPTOM * strength(total + HINT), (text,))


def drops(seen: Scene, kinds: Collection[Kind] = ACTIVITY) -> dict[str, float]:
    """Return by how many scales each node that calls or is called does less than usual, the median over whatever of these kinds counts its doings."""
    if not len(seen.shifts):
        return {}
    nodes = set(seen.topology.nodes)
    signals = seen.now.signals
    columns = [
        column
        for column, signal in enumerate(signals)
        if signal.kind in kinds and signal.peer is None and signal.node in nodes
    ]
    signs = np.array([signals[column].sign for column in columns])
    lowest = np.fmin.reduce(seen.shifts[:, columns] * signs, axis=0).tolist()
    found: dict[str, list[float]] = {}
    for column, low in zip(columns, lowest, strict=True):
        if math.isfinite(low):
            found.setdefault(signals[column].node, []).append(-low)
    return {node: statistics.median(each) for node, each in found.items()}


def blamed(suspects: Sequence[Ranked], topology: Topology) -> Iterable[Ranked]:
    """Let errors that no callee's figures explain follow the node below that fails before it calls, where one is seen to.

    A call that fails at an early step is followed by none of the later ones: whose callees fall silent is where it fails.
    """
    quiet = {each.node: each for each in suspects if each.resource == SERVICE}
    dark = [each for each in suspects if each.resource == UNKNOWN]
    raised: dict[str, Ranked] = {}
    for failing in suspects:
        if failing.resource is not Kind.ERRORS or failing.strength < SYMPTOM * strength(NOTABLE):
            continue
        below = topology.below(failing.node)
        where = max((each for each in quiet.values() if each.node in below), key=_weight, default=None)
        if where is not None and where.node != failing.node:
            raised[where.node] = replace(
                where, strength=1.01 * failing.strength, evidence=where.evidence + failing.evidence
            )
        for each in dark:
            if each.node in below:
                raised[each.node] = replace(each, strength=0.5 * failing.strength)
    for each in suspects:
        yield raised.get(each.node, each) if each.resource in (SERVICE, UNKNOWN) else each


def _weight(each: Ranked) -> float:
    return each.strength


def settled(suspects: Sequence[Ranked], seen: Scene) -> Iterable[Ranked]:
    """Let what is used up first stand for what slows and for what is used up later on the same node, and drop resources that shifted a little where nothing slowed.

    With thousands of series some always are a little off: alone that is no cause.
    """
    used: dict[str, list[Ranked]] = {}
    slow: dict[str, Ranked] = {}
    for each in sorted(suspects, key=lambda each: -each.strength):
        if each.resource in RESOURCES:
            used.setdefault(each.node, []).append(each)
        elif each.resource is Kind.LATENCY:
            slow.setdefault(each.node, each)
    causes: dict[str, Ranked] = {}
    followers: dict[int, float] = {}
    for node, own in ((node, shown(each)) for node, each in used.items()):
        symptom = slow.get(node)
        if symptom is None:
            continue
        start = begun(seen, symptom)
        first = next((each for each in own if begun(seen, each) <= start + 1), own[0])
        later = [each for each in own if begun(seen, each) > start + 1 and each is not first]
        most = max(each.strength for each in (first, symptom, *later))
        evidence = first.evidence + symptom.evidence if symptom.strength > first.strength else first.evidence
        causes[node] = replace(first, strength=most, evidence=evidence)
        for place, each in enumerate((first, symptom, *later)):
            followers[id(each)] = min(each.strength, (1 - 0.01 * place) * most)
    for each in suspects:
        cause = causes.get(each.node)
        if cause is not None and each.resource == cause.resource:
            yield cause
        elif id(each) in followers:
            yield replace(each, strength=followers[id(each)])
        elif each.resource not in RESOURCES or each.strength >= strength(NOTABLE):
            yield each


def shown(own: list[Ranked]) -> list[Ranked]:
    """Return what a node may have used up, without what is only heard of where something is seen to have gone."""
    there = [each for each in own if each.column is not None]
    return there if any(each.strength >= strength(NOTABLE) for each in there) else own


def begun(seen: Scene, suspect: Ranked) -> int:
    """Return the first row in which a suspect's series was half as far off as it came; 0 where no series shows it."""
    if suspect.column is None or not len(seen.shifts):
        return 0
    course = np.nan_to_num(seen.shifts[:, suspect.column])
    highest = course.max()
    return int(np.flatnonzero(course >= highest / 2)[0]) if highest > 0 else 0


def unseen(seen: Scene) -> Iterable[Ranked]:
    """Yield nodes that are called and of which nothing is known: where all that is seen is well, it is the ones unseen."""
    topology = seen.topology
    here = np.isfinite(seen.now.values).any(axis=0)
    known = {
        node
        for node in topology.nodes
        if any(
            here[column] and (signal := seen.now.signals[column]).peer is None and signal.name != ANSWER
            for column in seen.columns.get(node, ())
        )
    }
    for node in topology.callers.keys() - known:
        if any(caller in known for caller in topology.callers[node]):
            yield Ranked(node, UNKNOWN, UNSEEN, ("it has no samples of its own, so nothing speaks for it",))
