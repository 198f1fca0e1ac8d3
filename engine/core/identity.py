"""Names for things that begin: the same cause gets the same name, so that a repeated tick cannot begin it twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from engine.model.execution import PlannedStep
from engine.model.runbook import Value


def identify(prefix: str, *parts: object) -> str:
    """Return `prefix-` and ten hexadecimal digits that depend on `parts` alone."""
    text = "\xff".join(repr(part) for part in parts)
    return f"{prefix}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def seal(
    steps: Iterable[PlannedStep],
    *,
    runbook: str,
    runbook_digest: str,
    remedy: str,
    rung: int,
    number: int,
    target: str,
    resource: str,
    culprit: str | None,
) -> str:
    """Return 64 hexadecimal digits that change when anything changes of what would be run, on which hosts, or as which attempt."""
    rows = [
        [step.playbook, sorted(step.hosts), _plain(dict(step.vars)), float(step.timeout), step.always] for step in steps
    ]
    content = [runbook, runbook_digest, remedy, rung, number, target, resource, culprit, rows]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(value: Value) -> object:
    """Return a value as JSON has it, whatever kind of mapping or sequence it came as."""
    match value:
        case Mapping():
            return {name: _plain(below) for name, below in value.items()}
        case tuple() | list():
            return [_plain(below) for below in value]
    return value
