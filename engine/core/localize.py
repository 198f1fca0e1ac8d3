"""Localization: which node, which resource, which culprit; which alerts are only symptoms.

An alert is a symptom when another fault explains it: a deeper resource on the same node (a dead node explains everything on it),
or a fault on a node that this one depends on. What nobody explains is a root, and each root is a fault. The method is the
causal pruning of dependency-graph localization (a fault is looked for at the anomalous node none of whose dependencies is
anomalous), with the order of resources in place of a learned graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.core.detect import Answers
from engine.core.rivals import ahead, same_thing, wider
from engine.model.incident import Alert, AlertState, Fault, Incident, Suspect
from engine.model.labels import Sample
from engine.model.runbook import Catalog, Runbook
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer

NODE = "node"

SAME_NODE: Mapping[str, frozenset[str]] = {
    "service": frozenset({"latency", "errors", "traffic", "cpu"}),
    "database": frozenset({"service", "latency", "errors", "traffic"}),
    "disk": frozenset({"service", "database", "latency", "errors", "traffic"}),
    "memory": frozenset({"service", "database", "cpu", "latency", "errors", "traffic"}),
    "cpu": frozenset({"latency", "errors", "traffic"}),
    "data": frozenset({"service", "database", "latency", "errors", "traffic"}),
    "network": frozenset({"service", "database", "latency", "errors", "traffic"}),
    "filesystem": frozenset({"data", "service", "unit", "latency", "errors", "traffic"}),
    "inodes": frozenset({"service", "unit", "latency", "errors", "traffic"}),
    "descriptors": frozenset({"service", "unit", "latency", "errors", "traffic"}),
    "processes": frozenset({"service", "unit", "latency", "errors", "traffic"}),
    "certificate": frozenset({"errors", "traffic"}),
    "capacity": frozenset({"latency", "errors", "traffic"}),
    "latency": frozenset({"traffic"}),
    "errors": frozenset({"traffic"}),
}
"""What a fault of one resource explains on its own node; a fault of the node itself explains all. A strict order: no cycles."""

DEPENDENTS: Mapping[str, frozenset[str]] = {
    NODE: frozenset({"service", "capacity", "latency", "errors", "traffic"}),
    "service": frozenset({"capacity", "latency", "errors", "traffic"}),
    "database": frozenset({"service", "capacity", "latency", "errors", "traffic"}),
    "disk": frozenset({"latency", "errors", "traffic"}),
    "memory": frozenset({"latency", "errors", "traffic"}),
    "cpu": frozenset({"latency", "traffic"}),
    "data": frozenset({"service", "capacity", "latency", "errors", "traffic"}),
    "network": frozenset({"service", "capacity", "latency", "errors", "traffic"}),
    "filesystem": frozenset({"capacity", "latency", "errors", "traffic"}),
    "inodes": frozenset({"latency", "errors", "traffic"}),
    "descriptors": frozenset({"capacity", "latency", "errors", "traffic"}),
    "processes": frozenset({"latency", "errors", "traffic"}),
    "latency": frozenset({"latency", "traffic"}),
    "errors": frozenset({"errors", "traffic"}),
}
"""What a fault of one resource explains on the nodes that depend on it."""

DEPENDENCIES: Mapping[str, frozenset[str]] = {"capacity": frozenset({"cpu", "latency", "traffic"})}
"""What it explains on the nodes it depends on: too few replicas behind a balancer run hot."""

OWN, NEAR, FAR = 1.0, 0.8, 0.6
"""How much an alert counts for a suspect: its own, one on the same node, one on a neighbour."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is wrong: the key of an incident."""

    node: str
    resource: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All faults, and for each symptom what explains it."""

    faults: tuple[Fault, ...] = ()
    symptoms: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """A sentence for each (target, resource) that another fault explains."""


def localize(
    alerts: Iterable[Alert], answers: Answers, catalog: Catalog, fleet: Fleet, standing: Standing, now: float
) -> Findings:
    """Return a fault for every root, the strongest first."""
    variants = {runbook.variant: runbook for runbook in catalog.runbooks}
    firing: dict[Place, list[Alert]] = {}
    pending: set[Place] = set()
    for alert in alerts:
        runbook = variants.get(alert.runbook)
        if runbook is None or alert.target is None:
            continue
        where = Place(alert.target, runbook.localize.resource)
        if alert.state is AlertState.FIRING:
            firing.setdefault(where, []).append(alert)
        elif alert.state is AlertState.PENDING:
            pending.add(where)
    firing = dict(sorted(firing.items(), key=lambda item: (item[0].node, item[0].resource)))
    reaches = {where: max(variants[alert.runbook].longest_range for alert in own) for where, own in firing.items()}
    faults: list[Fault] = []
    symptoms: dict[tuple[str, str], str] = {}
    for where, own in firing.items():
        cause = explained_by(where, {*firing, *pending}, standing.incidents, fleet, now - reaches[where])
        if cause is not None:
            symptoms[where.node, where.resource] = cause
            continue
        faults.append(conclude(where, own, firing, variants, answers, fleet))
    faults.sort(key=lambda fault: (-fault.suspect.score, fault.suspect.node, fault.suspect.resource))
    return Findings(tuple(faults), symptoms)


def explained_by(
    where: Place, known: Iterable[Place], incidents: Iterable[Incident], fleet: Fleet, since: float
) -> str | None:
    """Say what explains the trouble at `where`, the deepest cause there is; None when nothing known does.

    What was wrong until a moment ago explains too: the symptom's own window (from `since` on) still looks back on it.
    """
    causes = {other: link for other in known if other != where and (link := brings_about(other, where, fleet))}
    for other in sorted(causes, key=lambda place: (place.node, place.resource)):
        if not any(brings_about(deeper, other, fleet) for deeper in causes if deeper != other):
            return f"{other.resource} of {other.node} explains it: {causes[other]}"
    for incident in incidents:
        other = Place(incident.target, incident.resource)
        recent = incident.ended_at is not None and incident.ended_at >= since
        if other != where and (incident.state.live or recent) and (link := brings_about(other, where, fleet)):
            return f"incident {incident.id} ({other.resource} of {other.node}) explains it: {link}"
    return None


def brings_about(cause: Place, effect: Place, fleet: Fleet) -> str | None:
    """Say how a fault at `cause` brings about trouble at `effect`, as `explains` does, but not when it might as well be the other way round.

    Hosts that depend on each other in a ring would otherwise explain one another, and nothing would be left to mend.
    """
    link = explains(cause, effect, fleet)
    return link if link and not explains(effect, cause, fleet) else None


def explains(cause: Place, effect: Place, fleet: Fleet) -> str | None:
    """Say how a fault at `cause` brings about trouble at `effect`; None when it does not."""
    if cause.node == effect.node:
        if cause.resource == NODE and effect.resource != NODE:
            return "a dead node takes its services with it"
        return "same node, deeper cause" if effect.resource in SAME_NODE.get(cause.resource, ()) else None
    if effect.resource in DEPENDENTS.get(cause.resource, ()) and reaches(effect.node, cause.node, fleet):
        return f"{effect.node} depends on {cause.node}"
    if effect.resource in DEPENDENCIES.get(cause.resource, ()) and reaches(cause.node, effect.node, fleet):
        return f"{effect.node} carries the load of {cause.node}"
    return None


def reaches(start: str, end: str, fleet: Fleet) -> bool:
    """Return whether `start` depends on `end`, directly or through others."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        target = fleet.get(todo.pop())
        for name in target.depends_on if target is not None else ():
            if name == end:
                return True
            if name not in seen:
                seen.add(name)
                todo.append(name)
    return False


def conclude(
    where: Place,
    own: list[Alert],
    firing: Mapping[Place, list[Alert]],
    variants: Mapping[str, Runbook],
    answers: Answers,
    fleet: Fleet,
) -> Fault:
    """Return the fault at a root: its suspects ranked, its symptoms joined."""
    near = {where: list(own)}
    for other, theirs in firing.items():
        related = explains(where, other, fleet) or other.node == where.node
        if other != where and related:
            near[other] = theirs
    total = sum(len(theirs) for theirs in near.values())
    suspects = sorted(
        (suspect_at(place, near, total, variants, answers, fleet) for place in near),
        key=lambda suspect: (-suspect.score, suspect.node, suspect.resource),
    )
    best = next(suspect for suspect in suspects if (suspect.node, suspect.resource) == (where.node, where.resource))
    rivals = rivals_of(best, own, variants, answers, fleet.get(where.node))
    rest = [suspect for suspect in suspects if suspect is not best]
    others = tuple(sorted((*rest, *rivals), key=lambda suspect: (-suspect.score, suspect.node, suspect.resource)))
    symptoms = [
        alert.fingerprint for place, theirs in near.items() if explains(where, place, fleet) for alert in theirs
    ]
    return Fault(
        suspect=best,
        margin=round(max(0.0, best.score - max((other.score for other in others), default=0.0)), 3),
        runbooks=tuple(sorted({alert.runbook for alert in own})),
        alerts=tuple(alert.fingerprint for alert in own) + tuple(symptoms),
        others=others,
    )


def suspect_at(
    where: Place,
    near: Mapping[Place, list[Alert]],
    total: int,
    variants: Mapping[str, Runbook],
    answers: Answers,
    fleet: Fleet,
) -> Suspect:
    """Return the suspect at one place: its score is the share of the alerts around it that it accounts for."""
    own = near[where]
    weight = OWN * len(own)
    evidence = [f"{alert.name}: {alert.condition}" for alert in own]
    for other, theirs in near.items():
        link = explains(where, other, fleet) if other != where else None
        if link:
            weight += (NEAR if other.node == where.node else FAR) * len(theirs)
            evidence.append(f"accounts for {len(theirs)} alert(s) of {other.resource} on {other.node}: {link}")
    culprit, ground = None, ""
    for alert in own:
        culprit, ground = culprit_of(variants[alert.runbook], alert, answers, fleet.get(where.node))
        if culprit is not None:
            evidence.append(ground)
            break
    return Suspect(where.node, where.resource, culprit, round(weight / total, 3), tuple(evidence))


def culprit_of(runbook: Runbook, alert: Alert, answers: Answers, target: Target | None) -> tuple[str | None, str]:
    """Return what uses up the resource, and the figure that says so; None when nothing at the target matches."""
    label = runbook.localize.culprit_label
    if label is None:
        return None, ""
    if runbook.localize.culprit_expr is None:
        value = alert.labels.get(label)
        return value, f"culprit {value}: label {label} of the alert"
    samples = figures(answers.get(runbook.localize.culprit_expr), label, target)
    if not samples:
        return None, ""
    strongest = max(samples, key=lambda sample: sample.value)
    return strongest.labels[label], f"culprit {strongest.labels[label]}: {strongest.value:.6g} by its own figure"


def rivals_of(
    best: Suspect, own: Iterable[Alert], variants: Mapping[str, Runbook], answers: Answers, target: Target | None
) -> tuple[Suspect, ...]:
    """Return who else may be the culprit: the next one by the same figure, as suspect as it has a share of it."""
    for runbook in (variants[alert.runbook] for alert in own):
        label, expr = runbook.localize.culprit_label, runbook.localize.culprit_expr
        if label is None or expr is None:
            continue
        known = (*figures(answers.get(expr), label, target), *figures(answers.get(wider(expr) or expr), label, target))
        mine = [each for each in known if each.labels[label] == best.culprit]
        first = max(mine, key=lambda sample: sample.value, default=None)
        rivals = [each for each in known if each.labels[label] != best.culprit]
        second = max(
            (each for each in rivals if first is not None and not same_thing(each, first)),
            key=lambda sample: sample.value,
            default=None,
        )
        if first is None or second is None:
            continue
        name, share = second.labels[label], 1.0 - ahead(first.value, second.value)
        evidence = (f"culprit {name}: {second.value:.6g} by its own figure",)
        return (Suspect(best.node, best.resource, name, round(best.score * max(0.0, min(1.0, share)), 3), evidence),)
    return ()


def figures(answer: Answer | None, label: str, target: Target | None) -> list[Sample]:
    """Return the samples at the target that name a culprit; those that are no number say nothing."""
    if answer is None or target is None:
        return []
    return [each for each in answer.about(target.instances) if each.labels.get(label) and not math.isnan(each.value)]
