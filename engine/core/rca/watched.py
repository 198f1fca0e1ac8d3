"""What the default watch was alarmed by, as evidence: it remembers days and hours of the day, where an inquiry compares with an hour.

An alarm says that, not how much: scales of the watch and of an inquiry are not the same, and the same series seen twice is no second witness.
So it adds its sentence to a suspect that is there for other reasons. It makes a suspect of its own only of what is used up or wrong still and
what an inquiry cannot see, since it came slowly, or came before what an inquiry looks at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engine.core.rca.live import CPU_SECONDS, IDLE, Owners, about, said
from engine.core.rca.rank import NOTABLE, Ranked, strength
from engine.core.rca.signals import RESOURCES, Kind
from engine.core.watching.nature import Worse, nature_of, part_of
from engine.core.watching.roster import ANOMALY
from engine.core.watching.roster import Kind as Alert
from engine.model.labels import METRIC_NAME
from engine.model.target import Fleet
from engine.promql import Block

AS_MUCH: Final = 10.0
"""A score beyond this says no more than this."""
BESIDE: Final = 0.7
"""How much an alarm counts beside what an inquiry sees itself: what it sees not is not new."""
TROUBLES: Final = (*RESOURCES, Kind.LATENCY, Kind.ERRORS)
"""What an alarm can be about for there to be a suspect: of calls that come or do not, it says not who is at fault."""
HOW: Final = {
    Alert.LEVEL: "off its level",
    Alert.DRIFT: "off its level, to which it has come slowly",
    Alert.FULL: "off its level, with little left of its limit",
}


@dataclass(frozen=True, slots=True)
class Watched:
    """An alarm of the default watch: what it is about, since when and until when it is or was on, and its highest score.

    `worse` says whether it is known that this way is the worse one for this series.
    """

    node: str
    kind: Kind
    name: str
    culprit: str | None
    alert: Alert
    score: float
    since: float
    until: float
    worse: bool


def watched(block: Block, fleet: Fleet, at: float, step: float, back: float) -> tuple[Watched, ...]:
    """Return the alarms in a block that were on within `back` seconds before `at`, each as it was on last, the highest scores first.

    Of a series that was in alarm more than once it is the last time; between samples further apart than three steps it was off.
    """
    owners, found = Owners(fleet), []
    for place, labels in enumerate(block.series):
        if labels.get(METRIC_NAME) != ANOMALY:
            continue
        name, node = labels.get("metric", ""), owners.of(labels)
        if (
            node is None
            or not said(name)
            or (name == CPU_SECONDS and labels.get("mode") in IDLE)
            or name.endswith("_sum")
        ):
            continue
        samples = slice(int(block.offsets[place]), int(block.offsets[place + 1]))
        spell = last_spell(block.times[samples] / 1000, block.values[samples], 3 * step)
        if spell is None or spell[1] < at - back:
            continue
        since, until, score = spell
        own = labels.with_({METRIC_NAME: name}).without("metric", "kind")
        signal, nature = about(node, own), nature_of(name, part_of(labels))
        worse = nature is not None and nature.worse is not Worse.BOTH
        alert = Alert(labels["kind"]) if labels.get("kind") in set(Alert) else Alert.LEVEL
        found.append(Watched(node, signal.kind, signal.name, signal.culprit, alert, score, since, until, worse))
    return tuple(sorted(found, key=lambda each: (-each.score, each.node, each.name)))


def last_spell(times: np.ndarray, scores: np.ndarray, apart: float) -> tuple[float, float, float] | None:
    """Return when a series of scores was there last, from when until when, and the highest of them; None where it never was."""
    there = np.flatnonzero(np.isfinite(scores))
    if not len(there):
        return None
    last = there[-1]
    ends = np.flatnonzero((np.diff(times[there]) > apart) | (np.diff(there) > 1))
    first = there[ends[-1] + 1] if len(ends) else there[0]
    return float(times[first]), float(times[last]), float(scores[first : last + 1].max())


def suspects(alarms: Sequence[Watched], now: float, step: float) -> Iterator[Ranked]:
    """Yield a suspect for what is in alarm still."""
    for each in alarms:
        if each.until > now - 3 * step and each.worse and each.kind in TROUBLES:
            weight = BESIDE * strength(min(max(each.score, NOTABLE), AS_MUCH))
            yield Ranked(each.node, each.kind, weight, (sentence(each, now, step),), None, each.culprit)


def heard(found: Sequence[Ranked], alarms: Sequence[Watched], now: float, step: float) -> list[Ranked]:
    """Return the suspects, each with the sentence of the highest alarm about it; where it has no culprit, the alarm's is it."""
    best: dict[tuple[str, str], Watched] = {}
    for each in alarms:
        best.setdefault((each.node, each.kind), each)
    told = []
    for suspect in found:
        alarm = best.get((suspect.node, suspect.resource))
        if alarm is None:
            told.append(suspect)
            continue
        text = sentence(alarm, now, step)
        evidence = suspect.evidence if text in suspect.evidence else (*suspect.evidence, text)
        told.append(replace(suspect, evidence=evidence, culprit=suspect.culprit or alarm.culprit))
    return told


def sentence(alarm: Watched, now: float, step: float) -> str:
    """Say what the watch was alarmed by, with numbers."""
    lasted = span(max(alarm.until - alarm.since, step))
    still = alarm.until > now - 3 * step
    when = (
        f"has been in alarm for {lasted}"
        if still
        else f"was in alarm for {lasted}, until {span(now - alarm.until)} before"
    )
    return f"the watch {when}: {alarm.name} is up to {alarm.score:.3g} of its usual spreads {HOW[alarm.alert]}"


def span(seconds: float) -> str:
    """Return a span of time in words."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{math.floor(seconds / 60 + 0.5)} min"  # noqa: PLR2004  two minutes


def since_when(node: str, resource: str, alarms: Sequence[Watched]) -> float | None:
    """Return when the first of the alarms about a resource of a node began; None where there is none."""
    return min((each.since for each in alarms if (each.node, each.kind) == (node, resource)), default=None)
