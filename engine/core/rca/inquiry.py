"""The whole inquiry: from series, calls and a moment to suspects with evidence, the time at which it began, and how sure that is.

What is asked about is the newest stretch of samples up to that moment; what came before is how it usually is. Earlier
trouble in it does not count (`engine.core.rca.reference`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.rca import watched
from engine.core.rca.burden import rank as rank_of
from engine.core.rca.onset import alarmed, began
from engine.core.rca.peers import compared
from engine.core.rca.rank import NOTABLE, SYMPTOM, Alarm, Ranked, ranked, strength
from engine.core.rca.reference import WIDTH
from engine.core.rca.scene import Scene, scene
from engine.core.rca.signals import Frame, Topology
from engine.core.rca.watched import Watched

RECENT = 6
"""So many of the newest rows are what is asked about: trouble that lasted three samples is found until three samples after its end."""
LOOKBACK = 30
"""So many rows before the moment are searched for the time at which it began."""
HISTORY = 240
"""So many rows say how it usually is, at most."""
ENOUGH = 20
"""With fewer rows before it, later rows and rows of a time known to be good are taken as well."""
MOST = 50
"""So many suspects are told of; behind them is what always is a little off."""
FEW = 3
"""When it began is said by the first of so many suspects whose own series shows it."""
OLD = 0.7
"""How much a suspect counts whose trouble is older than the newest by more than twice what is asked about."""
SURE = 0.2
"""A margin below this says little: see `tests/benchmarks/README.md` for how often the first suspect was right above and below it."""


@dataclass(frozen=True, slots=True)
class Accused:
    """A suspect as it is told: `score` (0..1) is its share of what speaks for all suspects, `onset` when its own series changed."""

    node: str
    resource: str
    culprit: str | None
    score: float
    evidence: tuple[str, ...]
    onset: float | None
    column: int | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What an inquiry came to.

    `margin` (0..1) is how far the first suspect is ahead of the first one on another node, as a share of its own score; 0 without
    a suspect. `onset` is when it began, `detected_at` when a detector on the series of the first suspect (and of the alarm's node) would have said so. `history` is
    how many rows say how it usually is, and `remarks` what limits the answer. Where nothing `stands_out`, the suspects are what is least usual
    of what is nothing special.
    """

    at: float
    suspects: tuple[Accused, ...]
    margin: float
    onset: float | None
    detected_at: float | None
    history: int
    scene: Scene
    remarks: tuple[str, ...] = ()
    stands_out: bool = False


def inquire(
    frame: Frame,
    topology: Topology,
    at: float | None = None,
    alarm: Alarm | None = None,
    baseline: Frame | None = None,
    alarms: Sequence[Watched] = (),
    peers: Mapping[str, Sequence[str]] | None = None,
) -> Finding:
    """Return what the samples up to `at` (the newest by default) say about what is wrong then.

    A `baseline` is a time that is known to be good, with the same signals; otherwise it is what comes before, or, where that is too
    little, what comes after as well. `alarms` of the default watch are evidence beside the samples, and so is what the `peers` of a node
    do, who are there for the same. Raises ValueError where there is no row up to `at`.
    """
    frame = finite(frame)
    end = len(frame.times) if at is None else int(np.searchsorted(frame.times, at, side="right"))
    if not end:
        raise ValueError("there is no sample at or before the time that is asked about")
    first = max(0, end - RECENT)
    past, remarks = history(frame, first, end, baseline)
    courses = scene(past, frame.from_row(max(0, min(first - WIDTH + 1, end - LOOKBACK)), end), topology)
    now, step = float(frame.times[end - 1]), step_of(frame)
    more = watched.suspects(alarms, now, step)
    recent = courses.since(float(frame.times[first]))
    among = compared(ranked(recent, alarm, more)[:MOST], recent, peers or {})
    suspects = watched.heard(among, alarms, now, step)
    weighed = newest_first(suspects, courses)
    total = sum(each.strength for each, _ in weighed)
    accused = tuple(_accuse(each, row, total, courses, alarms) for each, row in weighed)
    began_at = next((each.onset for each in accused[:FEW] if each.onset is not None), None)
    detected = None
    if began_at is not None:
        where = {accused[0].node} if alarm is None else {accused[0].node, alarm.node}
        columns = [column for node in sorted(where) for column in courses.columns.get(node, ())]
        told = [each.since for each in alarms if each.node in where and each.since >= began_at]
        said = alarmed(courses, np.array(columns, dtype=int), began_at)
        detected = min((*told, *(() if said is None else (said,))), default=None)
    return Finding(
        at=now,
        suspects=accused,
        margin=margin([each for each, _ in weighed]),
        onset=began_at,
        detected_at=detected,
        history=len(past.times),
        scene=courses,
        remarks=tuple(remarks),
        stands_out=standing_out(suspects, alarms, now, step),
    )


def finite(frame: Frame) -> Frame:
    """Return a frame in which what is endless is no sample."""
    endless = np.isinf(frame.values)
    return Frame(frame.times, np.where(endless, np.nan, frame.values), frame.signals) if endless.any() else frame


def history(frame: Frame, first: int, end: int, baseline: Frame | None) -> tuple[Frame, list[str]]:
    """Return the rows that say how it usually is, and what is to be said of them."""
    before = frame.from_row(max(0, first - HISTORY), first)
    if baseline is not None:
        return baseline, []
    if len(before.times) >= ENOUGH:
        return before, []
    after = frame.from_row(min(end + LOOKBACK, len(frame.times)), end + LOOKBACK + HISTORY)
    both = Frame(
        np.concatenate([before.times, after.times]), np.concatenate([before.values, after.values]), frame.signals
    )
    if len(after.times):
        return both, [
            f"only {len(before.times)} rows come before it: {len(after.times)} later ones say how it usually is, too"
        ]
    return both, [f"only {len(before.times)} rows say how it usually is: an hour of them or more would say it better"]


def when_well(frame: Frame, alarm: Alarm | None) -> Frame:
    """Return the rows in which what the alarm is about was in its better half; all of them without one, or without its figure."""
    own = [
        (rank_of(signal.name), column)
        for column, signal in enumerate(frame.signals)
        if alarm is not None and (signal.node, signal.kind, signal.peer) == (alarm.node, alarm.kind, None)
    ]
    if not own:
        return frame
    column = min(own)[1]
    bad = frame.values[:, column] * frame.signals[column].sign
    chosen = bad <= np.nanmedian(bad) if np.isfinite(bad).any() else np.ones(len(bad), dtype=bool)
    return Frame(frame.times[chosen], frame.values[chosen], frame.signals)


def margin(suspects: Sequence[Ranked]) -> float:
    """Return how far the first suspect is ahead of the first one on another node, as a share of its strength; 0 without one."""
    if not suspects:
        return 0.0
    best = suspects[0]
    second = next((each.strength for each in suspects if each.node != best.node), 0.0)
    return 1.0 - second / best.strength if best.strength > 0 else 0.0


def standing_out(suspects: Sequence[Ranked], alarms: Sequence[Watched], now: float, step: float) -> bool:
    """Return whether a suspect is off by what is worth a word, or the watch still is in alarm about what could make one."""
    seen = any(each.strength >= SYMPTOM * strength(NOTABLE) for each in suspects)
    return seen or any(True for _ in watched.suspects(alarms, now, step))


def since_when(suspects: Sequence[Ranked], courses: Scene) -> list[int | None]:
    """Return for each suspect the row in which its own series changed; None where none shows it."""
    return [None if each.column is None else changed(courses.shifts[:, each.column]) for each in suspects]


def changed(shifts: np.ndarray) -> int | None:
    """Return the row in which a series left its usual level for where it has been last; None where it did not."""
    course = np.nan_to_num(shifts)
    top = int(course[-RECENT:].argmax()) + max(0, len(course) - RECENT)
    if course[top] <= 0:
        return None
    return max(
        0, began(course, float(course[top]), top) - WIDTH // 2
    )  # what lasts lags behind by half of what it takes to last


def newest_first(suspects: Sequence[Ranked], courses: Scene) -> list[tuple[Ranked, int | None]]:
    """Return the suspects with the rows in which they began, the strongest first; what is older than the newest trouble counts less.

    It may be a trouble of its own, but what began with it has been told before.
    """
    rows = since_when(suspects, courses)
    best = suspects[0].strength if suspects else 0.0
    begun = [row for each, row in zip(suspects, rows, strict=True) if row is not None and each.strength >= best / 2]
    oldest = max(begun, default=0) - 2 * RECENT
    weighed = [
        (replace(each, strength=OLD * each.strength) if row is not None and row < oldest else each, row)
        for each, row in zip(suspects, rows, strict=True)
    ]
    return sorted(weighed, key=lambda pair: -pair[0].strength)


def step_of(frame: Frame) -> float:
    """Return how far apart the newest rows are; 0 where there is but one."""
    return float(frame.times[-1] - frame.times[-2]) if len(frame.times) > 1 else 0.0


def _accuse(suspect: Ranked, row: int | None, total: float, courses: Scene, alarms: Sequence[Watched]) -> Accused:
    """Return a suspect as it is told; where its series does not show when it began, or was off before what is looked at, an alarm says so."""
    onset = None if row is None else float(courses.now.times[row])
    heard = watched.since_when(suspect.node, suspect.resource, alarms) if not row else None
    if heard is not None:
        onset = heard if onset is None else min(onset, heard)
    return Accused(
        suspect.node,
        str(suspect.resource),
        suspect.culprit,
        round(suspect.strength / total, 4),
        suspect.evidence,
        onset,
        suspect.column,
    )
