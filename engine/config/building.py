"""From a file's checked content to the nouns that the engine works with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.config.document import Document
from engine.config.runbook_file import GuardsSection, RemedySection, RunbookFile, StepSection, TriggerSection
from engine.config.variants import Variant
from engine.model.runbook import (
    Condition,
    Guards,
    Localization,
    MinHealthy,
    Remedy,
    Runbook,
    Scalar,
    Step,
    Trigger,
    Verify,
    Window,
)


def build(
    content: RunbookFile, variant: Variant, params: Mapping[str, Scalar], longest: float, document: Document
) -> Runbook:
    """Return the runbook that a file without errors describes, as this variant of it."""
    culprit = content.localize.culprit
    return Runbook(
        name=content.runbook,
        summary=content.summary,
        trigger=_trigger(content.trigger),
        localize=Localization(
            content.localize.resource,
            culprit.expr if culprit else None,
            culprit.label if culprit else None,
            content.localize.target,
        ),
        remedies=tuple(map(_remedy, content.remedies)),
        verify=Verify(content.verify.expr, content.verify.for_, content.verify.within, content.verify.scope),
        guards=_guards(content.guards),
        purpose=content.purpose,
        mode=variant.mode or content.mode,
        priority=content.priority,
        hosts=variant.hosts,
        place=document.place(("runbook",), at_key=True),
        longest_range=longest,
        params=dict(params),
        rescue=_steps(content.rescue),
    )


def _guards(section: GuardsSection) -> Guards:
    healthy = section.min_healthy
    return Guards(
        section.cooldown,
        section.max_attempts,
        None if healthy is None else MinHealthy(healthy.group, *healthy.at_least),
        section.max_per_hour,
        section.max_concurrent,
        tuple(Condition(each.expr, each.scope) for each in section.require),
        section.serial,
        None if section.window is None else Window(section.window.only or (), section.window.not_ or ()),
        section.approval,
        section.grace,
    )


def _remedy(section: RemedySection) -> Remedy:
    if section.playbook is not None:
        steps: tuple[Step, ...] = (Step(section.playbook, section.hosts, dict(section.vars), section.timeout),)
    else:
        steps = _steps(section.steps or ())
    return Remedy(section.name, steps, _steps(section.finally_), section.destructive)


def _steps(sections: Sequence[StepSection]) -> tuple[Step, ...]:
    return tuple(Step(each.playbook, each.hosts, dict(each.vars), each.timeout) for each in sections)


def _trigger(section: TriggerSection) -> Trigger:
    return Trigger(
        section.alert,
        section.expr,
        section.for_,
        section.keep_firing_for,
        dict(section.labels),
        dict(section.annotations),
        section.scope,
    )
