"""Learning: what came back, and which remedies work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from engine.model.incident import Attempt, Outcome


@dataclass(frozen=True, slots=True)
class Recurrence:
    """How often a runbook had to act on a target: attempts, incidents, and the mean time between two incidents in seconds."""

    target: str
    runbook: str
    incidents: int
    attempts: int
    mean_interval: float | None


@dataclass(frozen=True, slots=True)
class Success:
    """How a remedy has done: of `attempts` that ended, `healed` were verified; `rate` in 0..1, None before the first."""

    runbook: str
    remedy: str
    attempts: int
    healed: int
    rate: float | None
    mean_seconds: float | None


def recurrence(attempts: Iterable[Attempt]) -> tuple[Recurrence, ...]:
    """Return a row for each target and runbook, the most recurrent first."""
    groups: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        groups.setdefault((attempt.target, attempt.runbook), []).append(attempt)
    rows = []
    for (target, runbook), tried in groups.items():
        starts: dict[str, float] = {}
        for attempt in tried:
            starts[attempt.incident] = min(attempt.started_at, starts.get(attempt.incident, attempt.started_at))
        first, last = min(starts.values()), max(starts.values())
        mean = (last - first) / (len(starts) - 1) if len(starts) > 1 else None
        rows.append(Recurrence(target, runbook, len(starts), len(tried), mean))
    return tuple(sorted(rows, key=lambda row: (-row.incidents, row.target, row.runbook)))


def success(attempts: Iterable[Attempt]) -> tuple[Success, ...]:
    """Return a row for each remedy of each runbook; attempts that have not ended count for nothing yet."""
    ended: Counter[tuple[str, str]] = Counter()
    healed: Counter[tuple[str, str]] = Counter()
    seconds: dict[tuple[str, str], list[float]] = {}
    for attempt in attempts:
        key = (attempt.runbook, attempt.remedy)
        if attempt.outcome is None:
            continue
        ended[key] += 1
        if attempt.outcome is Outcome.RESOLVED:
            healed[key] += 1
            if attempt.ended_at is not None:
                seconds.setdefault(key, []).append(attempt.ended_at - attempt.started_at)
    return tuple(
        Success(
            runbook,
            remedy,
            count,
            healed[runbook, remedy],
            healed[runbook, remedy] / count,
            sum(times) / len(times) if (times := seconds.get((runbook, remedy))) else None,
        )
        for (runbook, remedy), count in sorted(ended.items())
    )
