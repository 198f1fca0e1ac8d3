"""An order to the supervisor: an execution with everything that it needs besides, as one JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.executor import inputs, scrub
from engine.executor.inputs import Refused, Step
from engine.executor.scrub import Scrubber
from engine.model.execution import Execution


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value


def _scrubbed(value: Any, scrubber: Scrubber) -> Any:
    match value:
        case str():
            return scrubber(value)
        case Mapping():
            return {name: _scrubbed(one, scrubber) for name, one in value.items()}
        case list() | tuple():
            return [_scrubbed(one, scrubber) for one in value]
    return value


@dataclass(frozen=True, slots=True)
class Order:
    """What to run, on what, in which environment. It holds secrets: it is handed over, never stored."""

    execution: Mapping[str, Any]
    inventory: tuple[Path, ...]
    playbooks: tuple[Path, ...]
    environment: Mapping[str, str]
    keep_output: int
    cold: tuple[str, str] = ("off", "")
    """Why ansible-playbook is not begun warm, if it is not: in one word and in a sentence."""

    @property
    def id(self) -> str:
        """Return the execution's id."""
        return str(self.execution["id"])

    def dump(self) -> bytes:
        """Return the order as JSON."""
        return json.dumps(
            {
                "execution": self.execution,
                "inventory": [str(path) for path in self.inventory],
                "playbooks": [str(path) for path in self.playbooks],
                "environment": dict(self.environment),
                "keep_output": self.keep_output,
                "cold": self.cold,
            }
        ).encode()

    def secrets(self) -> set[str]:
        """Return the values whose names look secret, in variables and environment."""
        steps = [step["vars"] for step in self.execution["steps"]]
        return scrub.secrets_in(dict(self.environment)) | scrub.secrets_in(steps)

    def public(self) -> dict[str, Any]:
        """Return what may be kept: the execution with its secret variables hidden, and with what its texts give away."""
        return dict(_scrubbed(scrub.redacted(self.execution), Scrubber(self.secrets())))

    def steps(self) -> list[Step]:
        """Return the steps, all of them checked before the first is run; raises Refused."""
        about = {
            "mendbook_execution": self.execution["id"],
            "mendbook_attempt": self.execution["attempt"],
            "mendbook_incident": self.execution["incident"],
            "mendbook_target": self.execution["target"],
        }
        found = []
        for number, step in enumerate(self.execution["steps"], start=1):
            try:
                found.append(
                    Step(
                        number=number,
                        name=step["playbook"],
                        playbook=inputs.find_playbook(step["playbook"], self.playbooks),
                        limit=inputs.limit(step["hosts"]),
                        hosts=tuple(step["hosts"]),
                        variables=inputs.unsafe_yaml({**step["vars"], **about}),
                        timeout=float(step["timeout"]),
                        always=bool(step["always"]),
                    )
                )
            except Refused as refused:
                raise Refused(f"step {number}: {refused}") from None
        return found


def order(
    execution: Execution,
    *,
    inventory: Sequence[Path],
    playbooks: Sequence[Path],
    environment: Mapping[str, str],
    keep_output: int,
) -> Order:
    """Return the order for an execution; relative paths are made absolute here, where the working directory is known."""
    plain = {
        "id": execution.id,
        "attempt": execution.attempt,
        "incident": execution.incident,
        "runbook": execution.runbook,
        "digest": execution.digest,
        "remedy": execution.remedy,
        "target": execution.target,
        "check": execution.check,
        "diff": execution.diff,
        "triggered_by": execution.triggered_by,
        "reason": execution.reason,
        "steps": [
            {
                "playbook": step.playbook,
                "hosts": list(step.hosts),
                "vars": _plain(step.vars),
                "timeout": step.timeout,
                "always": step.always,
            }
            for step in execution.steps
        ],
    }
    return Order(
        plain,
        tuple(path.absolute() for path in inventory),
        tuple(path.absolute() for path in playbooks),
        dict(environment),
        keep_output,
    )


def load(text: bytes) -> Order:
    """Return the order that `dump` wrote; raises ValueError."""
    try:
        content = json.loads(text)
        return Order(
            content["execution"],
            tuple(map(Path, content["inventory"])),
            tuple(map(Path, content["playbooks"])),
            content["environment"],
            int(content["keep_output"]),
            (str(content["cold"][0]), str(content["cold"][1])),
        )
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"not an order: {error}") from error
