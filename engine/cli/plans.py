"""Plans in files: what a tick would do, written to be read by a person, approved, and run later or refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from engine.cli.exits import Exit, Failure
from engine.cli.output import clean, moment, plain
from engine.cli.times import LATEST
from engine.cli.words import line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.core.orders import Order
    from engine.model.decision import Verdict
    from engine.model.incident import Proposal

VERSION = 1
LARGEST = 4 * 1024 * 1024
LONGEST = 86_400.0
"""Seconds that a plan holds at most: attempts are counted over as long, and by that count it is known not to have been run."""
SKEW = 60.0
"""Seconds by which the clock of the machine on which a plan was made may be ahead of this one's."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that was read from a file and is whole; times in seconds since the epoch."""

    created: float
    expires_at: float
    runs: tuple[Proposal, ...]


def write_plan(path: Path, orders: Sequence[Order], *, now: float, age: float, by: str, environment: str) -> None:
    """Write what would be run, with a digest over each run and one over the whole."""
    from engine.core.orders import row_of

    content: dict[str, Any] = {
        "version": VERSION,
        "created": now,
        "created_at": moment(now),
        "age_limit": min(age, LONGEST),
        "by": by,
        "environment": environment,
        "runs": [
            plain(
                {
                    **row_of(order.proposal),
                    "decision": "held_for_approval" if order.waits else "run",
                    "verdicts": order.verdicts,
                }
            )
            for order in orders
        ],
    }
    content["digest"] = digest(content)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def digest(content: Mapping[str, Any]) -> str:
    """Return the digest over everything that a plan's file says but itself."""
    rest = {name: value for name, value in content.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_plan(path: Path, now: float, environment: str = "") -> Plan:
    """Return what a file says. A Failure when it is no plan, is not as it was written, is another's, or is not of its time."""
    try:
        content, runs = read_content(path)
    except OSError as error:
        raise Failure(clean(f"{path}: {error.strerror or error}")) from error
    except ValueError as error:
        raise Failure(clean(f"{path} is no plan: {error}"), Exit.REFUSED) from error
    except RecursionError as error:
        raise Failure(clean(f"{path} is no plan: it is nested without end"), Exit.REFUSED) from error
    created, age = content.get("created"), content.get("age_limit")
    if None in runs or not is_time(created) or not is_time(age):
        raise Failure(clean(f"{path} is not as it was written: the digest of a run does not fit"), Exit.REFUSED)
    if not runs:
        raise Failure(clean(f"{path} says nothing that could be run"), Exit.REFUSED)
    if content.get("environment") != environment:
        here, there = environment or "without a name", line(content.get("environment") or "without a name")
        raise Failure(clean(f"{path} is a plan for the environment {there}, and this one is {here}"), Exit.REFUSED)
    if created > now + SKEW:
        ahead = f"{path} is from {moment(created)}, which is yet to come: the clock there or here is wrong"
        raise Failure(clean(ahead), Exit.REFUSED)
    expires = created + min(age, LONGEST)
    if now >= expires:
        raise Failure(
            clean(f"{path} is from {moment(created)} and held until {moment(expires)}: plan anew"), Exit.DENIED
        )
    return Plan(created, expires, tuple(run for run in runs if run is not None))


def read_content(path: Path) -> tuple[Mapping[str, Any], list[Proposal | None]]:
    """Return what a file says whose digest fits, and its runs. May raise OSError, ValueError, RecursionError and Failure."""
    from engine.core.orders import read_row

    with path.open("rb") as stream:
        raw = stream.read(LARGEST + 1)
    content = json.loads(raw) if len(raw) <= LARGEST else None
    if not isinstance(content, dict) or "version" not in content or not isinstance(content.get("runs"), list):
        raise Failure(clean(f"{path} is no plan that `mendbook plan --out` wrote"), Exit.REFUSED)
    if content["version"] != VERSION:
        raise Failure(clean(f"{path} has version {line(content['version'])}, {VERSION} is known"), Exit.REFUSED)
    if content.get("digest") != digest(content):
        raise Failure(clean(f"{path} is not as it was written: its digest does not fit"), Exit.REFUSED)
    return content, [read_row(row) for row in content["runs"]]


def is_time(value: object) -> TypeGuard[float]:
    """Return whether a value is a number of seconds that a clock could show."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LATEST


def shown(proposal: Proposal, verdicts: Sequence[Verdict] = ()) -> Iterator[str]:
    """Yield the lines that say exactly what would be run, and what each guard says."""
    culprit = f", culprit {proposal.culprit}" if proposal.culprit else ""
    yield line(f"{proposal.runbook}: {proposal.remedy!r} for {proposal.resource} of {proposal.target}{culprit}")
    if proposal.why:
        yield line(f"  because {proposal.why}")
    yield line(f"  attempt {proposal.number} in 24h, rung {proposal.rung + 1}, digest {proposal.digest[:16]}")
    for step in proposal.steps:
        last = " (whatever happens before)" if step.always else ""
        yield line(f"  {step.playbook} on {', '.join(step.hosts)}{last}")
        for name, value in step.vars.items():
            yield line(f"    {name}: {json.dumps(plain(value), ensure_ascii=False)}")
    for verdict in verdicts:
        mark = "✓" if verdict.allowed else "✗"
        yield line(f"  {mark} {verdict.guard}: {verdict.sentence}")
