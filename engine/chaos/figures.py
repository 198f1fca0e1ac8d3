"""The score in numbers: medians, worst cases and shares over many drills."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.chaos.experiment import Ending
from engine.chaos.result import Found, Result


@dataclass(frozen=True, slots=True)
class Times:
    """Of some times in seconds: how many there are, the median and the worst."""

    count: int = 0
    median: float | None = None
    worst: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What many drills come to; `first` and `third` are how often the right suspect was the first, and among the first three, of `named`."""

    drills: int
    passed: int
    detected: Times
    localized: Times
    recovered: Times
    verified: Times
    named: int
    first: int
    third: int
    requests: int
    failed: int
    acknowledged: int
    lost: int
    unknown: int
    """Drills after which nobody could count what was lost."""
    acts: int
    false_alarms: int
    recurred: int


@dataclass(frozen=True, slots=True)
class Proof:
    """When a runbook was last proved, on what, and how often of how many times."""

    runbook: str
    at: float
    experiments: tuple[str, ...]
    passed: int
    drills: int
    version: str
    digest: str


def times(values: Iterable[float | None]) -> Times:
    """Return what some times come to; those that never came are left out."""
    known = [each for each in values if each is not None]
    return Times(len(known), round(statistics.median(known), 3), max(known)) if known else Times()


def figures(results: Sequence[Result]) -> Figures:
    """Return what these drills come to."""
    found = [each for result in results for each in result.found]
    healed = [each for each in found if each.expect is Ending.HEALED]
    named = [each for each in found if each.expect is not Ending.HELD]
    return Figures(
        drills=len(results),
        passed=sum(each.passed for each in results),
        detected=times(each.detected for each in found),
        localized=times(each.named for each in found),
        recovered=times(recovery(each) for each in healed),
        verified=times(each.verified for each in healed),
        named=len(named),
        first=sum(each.first for each in named),
        third=sum(each.third for each in named),
        requests=sum(each.harm.requests for each in results),
        failed=sum(each.harm.failed for each in results),
        acknowledged=sum(each.harm.acknowledged for each in results),
        lost=sum(each.harm.lost or 0 for each in results),
        unknown=sum(each.harm.lost is None for each in results),
        acts=sum(len(each.harm.acts) for each in results),
        false_alarms=sum(len(each.false_alarms) for each in results),
        recurred=sum(each.recurred for each in found),
    )


def on_each(results: Sequence[Result]) -> dict[str, Figures]:
    """Return what the drills of each experiment come to, by its name."""
    names = sorted({each.experiment for each in results})
    return {name: figures([each for each in results if each.experiment == name]) for name in names}


def recovery(found: Found) -> float | None:
    """Return when it was over: as seen from outside, or by the engine's verification where nothing is to be seen outside."""
    return found.recovered if found.recovered is not None else found.verified


def proofs(results: Sequence[Result]) -> tuple[Proof, ...]:
    """Return for each runbook that acted when it was last proved, by name."""
    by: dict[str, list[tuple[Result, Found]]] = {}
    for result in results:
        for found in result.found:
            for runbook in found.runbooks:
                by.setdefault(runbook, []).append((result, found))
    proved = []
    for runbook, ran in sorted(by.items()):
        good = [(result, found) for result, found in ran if result.passed]
        if not good:
            continue
        last, found = max(good, key=lambda each: each[0].at)
        place = found.runbooks.index(runbook)
        digest = found.digests[place] if place < len(found.digests) else ""
        experiments = tuple(dict.fromkeys(result.experiment for result, _ in good))
        proved.append(Proof(runbook, last.at, experiments, len(good), len(ran), last.version, digest))
    return tuple(proved)
