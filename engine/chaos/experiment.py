"""What a drill is made of: experiments, what they inject and when, and what is true of each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from engine.model.runbook import Scalar


class Pick(StrEnum):
    """How many of the selected nodes are hit, in Chaos Mesh's words; which ones is chosen by the seed."""

    ONE = "one"
    ALL = "all"
    FIXED = "fixed"


class When(StrEnum):
    """At which moment of a drill something is injected."""

    BEFORE = "before"
    """Once the cluster is steady, and not counted as the drill's beginning: what lies in wait, such as a broken backup."""
    START = "start"
    REMEDY = "remedy"
    """As soon as an execution of the engine runs."""


class Ending(StrEnum):
    """How a drill is to end, or ended."""

    HEALED = "healed"
    """By a remedy, verified by the engine and seen from outside."""
    HELD = "held"
    """Nothing was touched, and it was over when the injection was."""
    ESCALATED = "escalated"
    """A person was called."""
    MISSED = "missed"
    """Nothing was noticed."""
    UNHEALED = "unhealed"
    """Noticed, and not over within the limit."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one injection, which the engine cannot read, and how it is to end.

    Texts may say `{node}` for the node that is hit. `culprits` are the names that count as right: a process and its unit, say.
    `runbooks` are those that may act, on `hosts` alone; `symptoms` are hosts on which alerts are no false alarm.
    """

    resource: str
    culprits: tuple[str, ...]
    expect: Ending = Ending.HEALED
    within: float = 180.0
    node: str = "{node}"
    runbooks: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ("{node}",)
    symptoms: tuple[str, ...] = ()

    def at(self, node: str) -> Truth:
        """Return the truth once the node is chosen."""

        def told(texts: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(text.replace("{node}", node) for text in texts)

        return Truth(
            resource=self.resource,
            culprits=told(self.culprits),
            expect=self.expect,
            within=self.within,
            node=self.node.replace("{node}", node),
            runbooks=self.runbooks,
            hosts=told(self.hosts),
            symptoms=told(self.symptoms),
        )


@dataclass(frozen=True, slots=True)
class Injection:
    """One document of a manifest: what is done, where and when, and how its effect is seen to be over.

    `action` is Chaos Mesh's word or, where it has none, what the annotation `inject` says. `hosts` and `groups` are what may be hit.
    `recovered` is a line of shell that succeeds, on the node `watched`, when nothing of it is left.
    """

    name: str
    action: str
    parameters: Mapping[str, Scalar]
    duration: float
    hosts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    role: str = ""
    """primary or replica: which of the database servers is meant, by what they are when the drill begins."""
    pick: Pick = Pick.ONE
    count: int = 1
    when: When = When.START
    truth: Truth | None = None
    recovered: str = ""
    watched: str = "{node}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One file: injections that belong together. `digest` changes with every byte of it."""

    name: str
    summary: str
    injections: tuple[Injection, ...]
    file: Path
    digest: str
    observe: float = 30.0
    """For so long after recovery it is watched for the fault to come back, in seconds."""

    @property
    def truths(self) -> tuple[Truth, ...]:
        """What is true of the injections that count."""
        return tuple(each.truth for each in self.injections if each.truth is not None)

    @property
    def limit(self) -> float:
        """So many seconds it may take until everything is over."""
        return max((truth.within for truth in self.truths), default=0.0)


@dataclass(frozen=True, slots=True)
class Hit:
    """An injection with the node that was chosen for it; `truth` is that of this node."""

    injection: Injection
    node: str
    truth: Truth | None
    parameters: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def recovered(self) -> str:
        """The line of shell that succeeds when it is over."""
        return self.injection.recovered.replace("{node}", self.node)

    @property
    def watched(self) -> str:
        """The host on which that is asked."""
        return self.injection.watched.replace("{node}", self.node)
