"""The keys of a runbook file: one class per mapping, in the order of life.

What a key means stands in its description, which is also what an editor shows from the JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from engine.config.fields import (
    AnyText,
    ApprovalChoice,
    AtLeast,
    Count,
    Duration,
    Expr,
    Flag,
    HostVariable,
    Integer,
    LabelName,
    ModeChoice,
    Name,
    OrText,
    Param,
    PurposeChoice,
    ScopeChoice,
    Section,
    Text,
    Time,
    Variables,
    wrong,
)
from engine.config.hours import hours
from engine.model.runbook import Approval, Mode, Purpose, Scope


class ConditionSection(Section):
    """A condition: an expression, and whether it is about the fault's target or the fleet."""

    expr: Expr = Field(description="PromQL; it holds where it has a result.")
    scope: ScopeChoice = Field(
        Scope.TARGET, description="target: joined to the fault's target. fleet: about all hosts."
    )


def _condition(value: object) -> object:
    return {"expr": value} if isinstance(value, str) else value


Requirement = Annotated[ConditionSection, BeforeValidator(_condition), OrText()]


class TriggerSection(Section):
    """A Prometheus alerting rule."""

    alert: Text = Field(description="The alert's name.")
    expr: Expr = Field(description="PromQL; each series of its result is an alert.")
    for_: Duration = Field(0.0, alias="for", description="For how long it must hold without a break.")
    keep_firing_for: Duration = Field(0.0, description="For how long the alert outlives its condition.")
    labels: Mapping[LabelName, AnyText] = Field({}, description="Labels that the alert gets.")
    annotations: Mapping[LabelName, AnyText] = Field({}, description="Sentences for people; {{ $value }} is filled in.")
    scope: ScopeChoice = Field(
        Scope.TARGET, description="fleet: the condition is on the whole fleet; localize.target then names the host."
    )


class CulpritSection(Section):
    """Where the culprit's name is read: a label of the strongest sample of an expression, or of the alert."""

    expr: Expr | None = Field(
        None, description="PromQL, joined to the target; without it, the alert's own labels count."
    )
    label: LabelName = Field(description="The label whose value names the culprit.")


class LocalizeSection(Section):
    """What a fault found by this runbook is."""

    resource: Name = Field(description="node, service, memory, cpu, disk, data, capacity, errors, ...")
    culprit: CulpritSection | None = Field(None, description="Where the culprit's name is read.")
    target: Text | None = Field(None, description="The host that a trigger with scope: fleet acts on.")


class MinHealthySection(Section):
    """How many members of a group must stay healthy."""

    group: Text = Field(description="A group of the inventory.")
    at_least: AtLeast = Field(description="A number of hosts, or a share such as 50%.")


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _own_approval(value: Approval) -> Approval:
    if value is Approval.NEVER:
        fix = "say it in mendbook.yml, as in 'approval: {groups: {lab: never}}'"
        raise wrong("wrong-value", "a runbook cannot say that nobody is asked: an environment can", fix)
    return value


_TIMES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
Times = Annotated[tuple[Annotated[Any, BeforeValidator(hours)], ...], BeforeValidator(_listed), WithJsonSchema(_TIMES)]
OwnApproval = Annotated[
    ApprovalChoice,
    AfterValidator(_own_approval),
    WithJsonSchema({"type": "string", "enum": [Approval.ALWAYS, Approval.DESTRUCTIVE]}),
]


class WindowSection(Section):
    """Times of the week, such as Mon-Fri 09:00-17:00 Europe/Berlin; one text, or a list of them."""

    only: Times | None = Field(None, description="It may act within any of these and at no other time.")
    not_: Times | None = Field(None, alias="not", description="It never acts within any of these.")

    HINT: ClassVar[str | None] = "say 'only' or 'not', or both"

    @model_validator(mode="after")
    def says_when(self) -> WindowSection:
        """A window says when; one that does not would be open always, or never."""
        if not self.only and not self.not_:
            raise wrong("missing-key", "a window needs 'only' or 'not', with at least one time in it")
        if self.only == () or self.not_ == ():
            raise wrong("wrong-value", "a list without times says nothing: leave it out")
        return self


class GuardsSection(Section):
    """The limits that a runbook sets itself."""

    cooldown: Duration = Field(0.0, description="Per target, between incidents.")
    max_attempts: Count = Field(3, description="Per target in 24 h; then a human is called.")
    min_healthy: MinHealthySection | None = Field(None, description="Who must stay healthy for a remedy to start.")
    max_per_hour: Count | None = Field(None, description="Remedies of this runbook in an hour, across all targets.")
    max_concurrent: Count | None = Field(None, description="Remedies of this runbook at the same time.")
    require: tuple[Requirement, ...] = Field((), description="Conditions that must be true, or nothing is touched.")
    serial: HostVariable | None = Field(
        None, description="A host variable: one execution at a time where it has the same value."
    )
    window: WindowSection | None = Field(None, description="Times of the week at which it may act, or may not.")
    approval: OwnApproval = Field(
        Approval.DESTRUCTIVE, description="always: a person approves each remedy; destructive: those that are."
    )
    grace: Duration | None = Field(
        None, description="After a run: new troubles of its hosts are its side effects for so long. Else limits.grace."
    )


class StepSection(Section):
    """One playbook run."""

    playbook: Text = Field(description="A file in a playbook folder.")
    hosts: Text | None = Field(None, description="An Ansible pattern; without it, the fault's target.")
    vars: Variables = Field(
        {}, description="Extra variables; {{ target }}, {{ fault.culprit }} and params are filled in."
    )
    timeout: Time = Field(600.0, description="How long the playbook may run.")


class RemedySection(Section):
    """One rung of the ladder: a playbook, or several steps."""

    name: Text = Field(description="What it does, in a few words.")
    playbook: Text | None = Field(None, description="A file in a playbook folder; or else `steps`.")
    hosts: Text | None = Field(None, description="An Ansible pattern; without it, the fault's target.")
    vars: Variables = Field({}, description="Extra variables of the playbook.")
    timeout: Time = Field(600.0, description="How long the playbook may run.")
    steps: tuple[StepSection, ...] | None = Field(None, description="Playbooks, one after another.")
    finally_: tuple[StepSection, ...] = Field((), alias="finally", description="Steps that run even when one failed.")
    destructive: Flag = Field(False, description="It may lose something; a person must approve it.")

    ELSEWHERE: ClassVar[Mapping[str, str]] = {"approval": "it stands in 'guards', for the whole runbook"}


class VerifySection(Section):
    """The original signal, which alone says that a remedy worked."""

    expr: Expr = Field(description="PromQL; true when all is well again. Joined to the target.")
    for_: Duration = Field(0.0, alias="for", description="For how long it must hold.")
    within: Time = Field(300.0, description="The time with data that a remedy has; then the next one is tried.")
    scope: ScopeChoice = Field(Scope.TARGET, description="fleet: the condition is on the whole fleet.")


class RunbookFile(Section):
    """A runbook."""

    model_config = ConfigDict(title="Mendbook runbook")

    runbook: Name = Field(description="The runbook's name.")
    summary: Text = Field(description="What goes wrong and what is done about it, in a sentence.")
    purpose: PurposeChoice = Field(
        Purpose.RECOVERY, description="recovery heals; prevention keeps the next fault away."
    )
    mode: ModeChoice = Field(Mode.SHADOW, description="shadow only records what it would do; approve waits; auto acts.")
    priority: Integer = Field(0, description="Among runbooks that match one incident the highest acts; a tie holds.")
    params: Mapping[str, Param] = Field({}, description="Knobs with defaults; mendbook.yml overrides them.")
    trigger: TriggerSection
    localize: LocalizeSection
    guards: GuardsSection = Field(GuardsSection.model_construct(), description="The limits that it sets itself.")
    remedies: tuple[RemedySection, ...] = Field(description="Tried in order until one is verified.")
    verify: VerifySection
    rescue: tuple[StepSection, ...] = Field(
        (), description="Steps that run when every remedy failed, before a human is called."
    )
