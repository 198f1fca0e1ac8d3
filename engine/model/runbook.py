"""Runbooks: what people declare, parsed and filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Scalar = str | int | float | bool | None
Value = Scalar | tuple["Value", ...] | Mapping[str, "Value"]
"""What YAML can say, immutable."""


class Mode(StrEnum):
    """How far a runbook may go by itself."""

    SHADOW = "shadow"
    APPROVE = "approve"
    AUTO = "auto"


class Purpose(StrEnum):
    """Whether a runbook heals a fault or keeps the next one away."""

    RECOVERY = "recovery"
    PREVENTION = "prevention"


class Scope(StrEnum):
    """Whether a condition is about the fault's target or about the fleet as a whole."""

    TARGET = "target"
    FLEET = "fleet"


class Approval(StrEnum):
    """Which remedies a person must approve before they start; `mode: approve` asks for all of them anyway."""

    ALWAYS = "always"
    DESTRUCTIVE = "destructive"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a file something was written (line and column count from 1)."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression and what it is about."""

    expr: str
    scope: Scope = Scope.TARGET


@dataclass(frozen=True, slots=True)
class Trigger:
    """A Prometheus alerting rule; durations in seconds."""

    alert: str
    expr: str
    for_: float = 0.0
    keep_firing_for: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    scope: Scope = Scope.TARGET


@dataclass(frozen=True, slots=True)
class Localization:
    """What a fault found by this runbook is: the resource, and where to read the culprit.

    The culprit is the value of `culprit_label` on the strongest sample of `culprit_expr` at the target, or, without an
    expression, on the alert itself. `target` names the host that a fleet-wide trigger acts on.
    """

    resource: str
    culprit_expr: str | None = None
    culprit_label: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class MinHealthy:
    """At least this many members of the group must stay healthy: a number, or a share of the group in (0, 1]."""

    group: str
    at_least: float
    share: bool = False


@dataclass(frozen=True, slots=True)
class Hours:
    """Times of the week in a zone: on `days` (Monday is 0) from `start` to `end`, in minutes since midnight by the zone's clocks.

    Where `end` is not after `start` they run into the next day, and belong to the day on which they begin. `text` is what was
    written.
    """

    text: str
    days: frozenset[int]
    start: int
    end: int
    zone: str


@dataclass(frozen=True, slots=True)
class Window:
    """When a runbook may act: within any of `only` (without one, always) and within none of `never`."""

    only: tuple[Hours, ...] = ()
    never: tuple[Hours, ...] = ()


@dataclass(frozen=True, slots=True)
class Guards:
    """The limits a runbook sets itself; durations in seconds, None where it sets none.

    `serial` names the host variable of whose each value one execution at a time may touch hosts. `grace` is for how long
    after a run of this runbook new troubles of the hosts that it touched count as its side effects; None is the engine's.
    """

    cooldown: float = 0.0
    max_attempts: int = 3
    min_healthy: MinHealthy | None = None
    max_per_hour: int | None = None
    max_concurrent: int | None = None
    require: tuple[Condition, ...] = ()
    serial: str | None = None
    window: Window | None = None
    approval: Approval = Approval.DESTRUCTIVE
    grace: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One playbook run; `hosts` is an Ansible pattern (a template), None for the fault's target."""

    playbook: str
    hosts: str | None = None
    vars: Mapping[str, Value] = field(default_factory=dict)
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class Remedy:
    """One rung of the ladder."""

    name: str
    steps: tuple[Step, ...]
    finally_: tuple[Step, ...] = ()
    destructive: bool = False


RESCUE = "Rescue"
"""The name that the last rung goes by."""


@dataclass(frozen=True, slots=True)
class Verify:
    """The original signal: must hold for `for_` seconds, within `within` seconds of time with data."""

    expr: str
    for_: float = 0.0
    within: float = 300.0
    scope: Scope = Scope.TARGET


@dataclass(frozen=True, slots=True)
class Runbook:
    """One runbook variant: params filled in, every expression checked.

    `name` is the file's; `digest` covers the file, its playbooks and their roles. `hosts` restricts a variant to the targets
    whose overrides it carries; None is all targets.
    """

    name: str
    summary: str
    trigger: Trigger
    localize: Localization
    remedies: tuple[Remedy, ...]
    verify: Verify
    guards: Guards = field(default_factory=Guards)
    purpose: Purpose = Purpose.RECOVERY
    mode: Mode = Mode.SHADOW
    priority: int = 0
    digest: str = ""
    hosts: frozenset[str] | None = None
    place: Place | None = None
    longest_range: float = 0.0
    params: Mapping[str, Scalar] = field(default_factory=dict)
    rescue: tuple[Step, ...] = ()
    """What is done when every remedy failed, before a human is called; it heals nothing, and is not verified."""

    @property
    def ladder(self) -> tuple[Remedy, ...]:
        """Return the remedies in order, with the rescue, where there is one, as the last rung."""
        return (*self.remedies, Remedy(RESCUE, self.rescue)) if self.rescue else self.remedies

    def is_rescue(self, rung: int) -> bool:
        """Return whether what stands on a rung is the rescue."""
        return bool(self.rescue) and rung == len(self.remedies)

    @property
    def variant(self) -> str:
        """Return a name that tells this variant from the others of the same file."""
        if self.hosts is None:
            return self.name
        return f"{self.name}@{','.join(sorted(self.hosts))}"

    def applies_to(self, target: str) -> bool:
        """Return whether this variant is the one for `target`."""
        return self.hosts is None or target in self.hosts


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """An expression with a name: its result is written back as an ordinary series."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for the whole engine."""

    interval: float = 15.0
    storm: int = 5
    max_concurrent: int = 4
    max_targets: float = 0.5
    """The largest share of the inventory that one execution may touch (one host is always allowed)."""
    shrink: float = 0.5
    """The largest share of the inventory that may vanish at once before everything is held."""
    reopen: float = 300.0
    """For how long after recovery a re-fire reopens the incident, at the least."""
    grace: float = 120.0
    """For how long after a run new troubles of the hosts that it touched count as its side effects."""
    approval: float = 3600.0
    """For how long a proposal may be approved, and for how long what was approved may start."""
    remind: float = 4 * 3600.0
    """How often people are told again of an escalated incident that nobody acknowledged."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that people declared."""

    runbooks: tuple[Runbook, ...] = ()
    recording: tuple[RecordingRule, ...] = ()
    limits: Limits = field(default_factory=Limits)
    canaries: tuple[Condition, ...] = ()
    protected: frozenset[str] = frozenset()
    """Targets that automation never touches: the engine's own host, record and evaluator."""
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    """What the settings say of approvals on single hosts; of a host that is not named they say `destructive`."""

    def variants(self, name: str) -> tuple[Runbook, ...]:
        """Return the variants of the runbook of that name."""
        return tuple(runbook for runbook in self.runbooks if runbook.name == name)
