"""Plans in files: what a tick would do, written to be read by a person, approved, and run later or refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.exits import Exit, Failure
from engine.cli.output import clean, moment, plain
from engine.cli.words import line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.core.orders import Order
    from engine.model.decision import Verdict
    from engine.model.incident import Proposal

VERSION = 1
LARGEST = 4 * 1024 * 1024


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
        "age_limit": age,
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


def read_plan(path: Path, now: float) -> Plan:
    """Return what a file says. A Failure when it is no plan, is not as it was written, or is too old."""
    from engine.core.orders import read_row

    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
        content = json.loads(raw) if len(raw) <= LARGEST else None
    except OSError as error:
        raise Failure(clean(f"{path}: {error.strerror or error}")) from error
    except ValueError as error:
        raise Failure(clean(f"{path} is no plan: {error}"), Exit.REFUSED) from error
    if not isinstance(content, dict) or "version" not in content or not isinstance(content.get("runs"), list):
        raise Failure(clean(f"{path} is no plan that `mendbook plan --out` wrote"), Exit.REFUSED)
    if content["version"] != VERSION:
        raise Failure(clean(f"{path} has version {line(content['version'])}, {VERSION} is known"), Exit.REFUSED)
    if content.get("digest") != digest(content):
        raise Failure(clean(f"{path} is not as it was written: its digest does not fit"), Exit.REFUSED)
    runs = [read_row(row) for row in content["runs"]]
    created, age = content.get("created"), content.get("age_limit")
    if None in runs or not isinstance(created, int | float) or not isinstance(age, int | float):
        raise Failure(clean(f"{path} is not as it was written: the digest of a run does not fit"), Exit.REFUSED)
    if not runs:
        raise Failure(clean(f"{path} says nothing that could be run"), Exit.REFUSED)
    if now >= created + age:
        old = f"{path} is from {moment(created)} and held until {moment(created + age)}: plan anew"
        raise Failure(clean(old), Exit.DENIED)
    return Plan(created, created + age, tuple(run for run in runs if run is not None))


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
