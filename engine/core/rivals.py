"""How sure a culprit is: what else at the target has nearly as much, and when a person must say which of them it is."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from engine.model.incident import Fault, Suspect
from engine.model.labels import Sample
from engine.model.runbook import Remedy
from engine.promql import ParseError, format_expression, parse
from engine.promql.syntax import Aggregation, NumberLiteral

UNSURE = 0.2
"""A culprit that is ahead of the next one by less than this share of its own figure may as well be the other one."""
LOCALIZED = "fault.culprit"


SEVERAL = 4.0
DEVICE = "device"


@lru_cache(maxsize=1024)
def wider(expr: str) -> str | None:
    """Return the expression that has the strongest few where `expr` has the strongest alone; None where it is of another kind."""
    try:
        tree = parse(expr)
    except ParseError:
        return None
    match tree:
        case Aggregation(operator="topk", parameter=NumberLiteral(value=1.0) as one):
            return format_expression(replace(tree, parameter=replace(one, value=SEVERAL)))
    return None


def acts_on_culprit(remedy: Remedy) -> bool:
    """Return whether any step of a remedy is told the culprit."""
    steps = (*remedy.steps, *remedy.finally_)
    return any(LOCALIZED in str(value) for step in steps for value in (step.hosts, *step.vars.values()))


def lead(fault: Fault | None, culprit: str | None) -> tuple[float, Suspect | None]:
    """Return by which share of its own score the culprit is ahead of the next one at its place, and that one; 1 and None without one."""
    if fault is None or culprit is None:
        return 1.0, None
    place = (fault.suspect.node, fault.suspect.resource)
    named = [
        each
        for each in (fault.suspect, *fault.others)
        if (each.node, each.resource) == place and each.culprit is not None
    ]
    own = max((each.score for each in named if each.culprit == culprit), default=0.0)
    rival = max((each for each in named if each.culprit != culprit), key=_score, default=None)
    if rival is None:
        return 1.0, None
    return (max(0.0, 1.0 - rival.score / own) if own > 0 else 0.0), rival


def ahead(first: float, second: float) -> float:
    """Return by which share a figure is ahead of one that is not above it: 0 where they are the same, 1 where the other has nothing of it."""
    larger = max(abs(first), abs(second))
    return min(1.0, (first - second) / larger) if larger > 0 else 0.0


def same_thing(one: Sample, other: Sample) -> bool:
    """Return whether two samples are one thing under two names, as a device that is mounted twice."""
    return one.value == other.value and one.labels.get(DEVICE, "") == other.labels.get(DEVICE) != ""


def doubt(fault: Fault | None, culprit: str | None) -> str:
    """Say why the culprit may be another one; "" where it is sure enough."""
    share, rival = lead(fault, culprit)
    if rival is None or share >= UNSURE:
        return ""
    return f"culprit {culprit} is only {share:.0%} ahead of {rival.culprit} and should be {UNSURE:.0%}"


def _score(suspect: Suspect) -> float:
    return suspect.score
