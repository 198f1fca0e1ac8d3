"""One look at the fleet, for commands that judge once: beside a running engine through its samples, else with their own."""

from __future__ import annotations

import time
from dataclasses import dataclass

from engine.app import App
from engine.cli.output import note
from engine.controller import Controller, Look
from engine.model.runbook import Runbook, Scope
from engine.model.target import Target
from engine.model.truth import Truth


@dataclass(frozen=True, slots=True)
class Finding:
    """What one trigger says about one target: `reason` says why it is unknown, or what holds."""

    runbook: str
    alert: str
    target: str
    truth: Truth
    state: str
    value: float | None
    reason: str


def engine_runs(app: App) -> bool:
    """Return whether an engine ticks on this record."""
    return app.leadership.holder() is not None


def glance(app: App, wait: float) -> tuple[Look, Controller]:
    """Look once. Without a running engine everything is collected twice, `wait` seconds apart, so that rates exist."""
    if engine_runs(app):
        controller = app.controller(app.read_samples(), beside=True)
        return controller.look(), controller
    app.lead()
    store = app.samples
    collector = app.collector(store)
    collector.once()
    since = time.monotonic()
    if wait > 0:
        note(f"sampling for {wait:g}s …")
    controller = app.controller(store)  # opens the record, meanwhile
    if wait > 0:
        time.sleep(max(0.0, wait - (time.monotonic() - since)))
        collector.once()
    return controller.look(), controller


def findings(look: Look) -> list[Finding]:
    """Return what every trigger says about every target that it is for, the troubling first."""
    found = [
        finding(runbook, target, look)
        for runbook in look.scene.catalog.runbooks
        for target in look.scene.fleet
        if runbook.applies_to(target.name) and is_for(runbook, target)
    ]
    order = {Truth.TRUE: 0, Truth.UNKNOWN: 1, Truth.FALSE: 2}
    return sorted(found, key=lambda each: (order[each.truth], each.runbook, each.target))


def is_for(runbook: Runbook, target: Target) -> bool:
    """Return whether a trigger says anything about this target: one on the whole fleet names its target itself."""
    return runbook.trigger.scope is not Scope.FLEET or runbook.localize.target == target.name


def finding(runbook: Runbook, target: Target, look: Look) -> Finding:
    """Return what one trigger says about one target."""
    answer = look.scene.answers.get(runbook.trigger.expr)
    fleet_wide = runbook.trigger.scope is Scope.FLEET
    if answer is None:
        return Finding(runbook.name, runbook.trigger.alert, target.name, Truth.UNKNOWN, "unknown", None, "not asked")
    truth = answer.fleet_truth() if fleet_wide else answer.truth(target.instances)
    missing = answer.fleet_missing() if fleet_wide else answer.missing(target.instances)
    samples = answer.samples if fleet_wide else answer.about(target.instances)
    alert = next(
        (each for each in look.scene.alerts if each.runbook == runbook.variant and each.target == target.name), None
    )
    state = str(alert.state) if alert is not None else ("unknown" if truth is Truth.UNKNOWN else "inactive")
    reason = "; ".join(missing) or (alert.condition if alert is not None else "")
    value = samples[0].value if truth is Truth.TRUE and samples else None
    return Finding(runbook.name, runbook.trigger.alert, target.name, truth, state, value, reason)
