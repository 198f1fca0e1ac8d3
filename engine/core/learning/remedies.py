"""Which remedies work, which never do, which guards held, and how long everything took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.core.learning.chances import Interval, share_interval
from engine.core.learning.facts import Happened, Past, Tried, median, quantile

DOUBTFUL = 0.5
"""A remedy that heals less often than this fails often."""
FEW = 3
"""Fewer attempts say nothing."""
TRUST = ("shadow", "held_for_approval")
"""Guards that hold for want of trust."""


@dataclass(frozen=True, slots=True)
class Success:
    """How one remedy has done: `healed` of `attempts` that ended were verified; the interval is exact (Clopper and Pearson)."""

    runbook: str
    remedy: str
    attempts: int
    healed: int
    outcomes: Mapping[str, int]
    interval: Interval
    seconds: float | None
    """The median until a success was verified."""
    last: float
    verdict: str
    """works · never worked · does harm · fails often · too early"""

    @property
    def rate(self) -> float:
        """Return the share that healed."""
        return self.healed / self.attempts

    @property
    def works(self) -> bool:
        """Return whether nothing speaks against it."""
        return self.verdict in ("works", "too early")


def successes(past: Past, since: float) -> tuple[Success, ...]:
    """Return a row for each remedy that was tried since then, those that do not work first."""
    groups: dict[tuple[str, str], list[Tried]] = {}
    for each in past.tried:
        if each.started_at >= since and each.outcome is not None:
            groups.setdefault((each.runbook, each.remedy), []).append(each)
    rows = [success_of(runbook, remedy, own) for (runbook, remedy), own in groups.items()]
    return tuple(sorted(rows, key=lambda row: (row.works, row.rate, -row.attempts, row.runbook, row.remedy)))


def success_of(runbook: str, remedy: str, own: Sequence[Tried]) -> Success:
    """Return how one remedy has done."""
    outcomes = Counter(str(each.outcome) for each in own)
    healed = outcomes["resolved"]
    took = [each.ended_at - each.started_at for each in own if each.outcome == "resolved" and each.ended_at is not None]
    interval = share_interval(healed, len(own))
    return Success(
        runbook,
        remedy,
        len(own),
        healed,
        dict(outcomes.most_common()),
        interval,
        median(took),
        max(each.started_at for each in own),
        verdict_of(len(own), healed, outcomes["harmful"]),
    )


def verdict_of(attempts: int, healed: int, harmful: int) -> str:
    """Say what the numbers of a remedy say."""
    if harmful and harmful >= healed:
        return "does harm"
    if attempts < FEW:
        return "too early"
    if not healed:
        return "never worked"
    return "fails often" if healed / attempts < DOUBTFUL else "works"


@dataclass(frozen=True, slots=True)
class Runbook:
    """How a runbook has done: of its incidents that ended, in how many one of its remedies healed."""

    name: str
    incidents: int
    healed: int
    interval: Interval

    @property
    def never(self) -> bool:
        """Return whether it was tried often enough, and never healed."""
        return self.incidents >= FEW and not self.healed


def runbooks(past: Past, since: float) -> tuple[Runbook, ...]:
    """Return a row for each runbook that tried something since then, those that never healed first."""
    tried: dict[str, dict[str, bool]] = {}
    for each in past.tried:
        if each.started_at >= since and each.outcome is not None:
            own = tried.setdefault(each.runbook, {})
            own[each.incident] = own.get(each.incident, False) or each.outcome == "resolved"
    rows = [
        Runbook(name, len(own), sum(own.values()), share_interval(sum(own.values()), len(own)))
        for name, own in tried.items()
    ]
    return tuple(sorted(rows, key=lambda row: (not row.never, row.healed / row.incidents, -row.incidents, row.name)))


@dataclass(frozen=True, slots=True)
class Guarded:
    """What a guard held: decisions, incidents, and how many of these healed without help afterwards."""

    code: str
    decisions: int
    incidents: int
    targets: int
    healed_alone: int
    remedied: int
    last: float
    sentence: str
    runbooks: Mapping[str, int]


def guards(past: Past, since: float) -> tuple[Guarded, ...]:
    """Return a row for each guard that held since then, the most frequent first."""
    about = {each.id: each for each in past.happened}
    groups: dict[str, list[int]] = {}
    for number, each in enumerate(past.held):
        if each.at >= since:
            for code in each.code.split(","):
                groups.setdefault(code, []).append(number)
    rows = []
    for code, numbers in groups.items():
        own = [past.held[number] for number in numbers]
        named = {each.incident for each in own}
        ended = [about[name] for name in named if name in about]
        last = max(own, key=lambda each: each.at)
        rows.append(
            Guarded(
                code,
                len(own),
                len(named),
                len({each.target for each in own}),
                sum(each.state == "self_healed" for each in ended),
                sum(each.outcome == "resolved" for each in ended),
                last.at,
                last.sentence.removeprefix("Hold: "),
                dict(Counter(each.runbook for each in own).most_common()),
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.code in TRUST, -row.incidents, row.code)))


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, in seconds: of `count` the median, the worst tenth's least, and the worst."""

    count: int
    median: float | None
    tenth: float | None
    worst: float | None
    values: tuple[float, ...] = ()


def times_of(values: Sequence[float]) -> Times:
    """Return what is told of some times."""
    own = tuple(max(0.0, each) for each in values)
    return Times(len(own), median(own), quantile(own, 0.9), max(own, default=None), own)


@dataclass(frozen=True, slots=True)
class Measures:
    """The measures of a period: times to detect, to localize and to recover, and how its faults ended."""

    faults: int
    endings: Mapping[str, int]
    detect: Times
    localize: Times
    recover: Times
    alone: Times
    """To recover where nobody did anything."""


def measures(past: Past, since: float) -> Measures:
    """Return the measures of all faults since then.

    Detection counts from when the first alert became active, localization and recovery from when the incident was opened; what
    a person closed was not measured.
    """
    own = [each for each in past.faults() if each.opened_at >= since]
    healed = [each for each in own if each.outcome == "resolved" and each.ended_at is not None]
    alone = [each for each in own if each.outcome == "self_healed" and each.ended_at is not None]
    return Measures(
        len(own),
        dict(Counter(ending(each) for each in own).most_common()),
        times_of([each.opened_at - each.began_at for each in own]),
        times_of([each.localized_at - each.opened_at for each in own if each.localized_at is not None]),
        times_of([(each.ended_at or 0.0) - each.opened_at for each in healed]),
        times_of([(each.ended_at or 0.0) - each.opened_at for each in alone]),
    )


def ending(each: Happened) -> str:
    """Return how an incident ended, in one word or two."""
    if each.outcome == "resolved":
        return "healed by a remedy"
    if each.outcome == "self_healed":
        return "healed unaided"
    if each.ended_at is not None:
        return "closed, not measured"
    return "waiting for a person" if each.state == "escalated" else "open"
