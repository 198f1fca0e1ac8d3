"""What is to be done about one open incident: by which runbook, with which remedy, and what holds it back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from engine.core.case import Case, hold
from engine.core.decide import choose, decide
from engine.core.draft import Scene, case_for
from engine.core.localize import Findings
from engine.core.review import resource_of
from engine.model.decision import Decision, Escalate, Hold, Verdict
from engine.model.incident import Alert, AlertState, Incident
from engine.model.runbook import Runbook
from engine.model.standing import Standing


@dataclass(frozen=True, slots=True)
class Weighed:
    """An open incident on its rung of the runbook that would act, that runbook, the decision, and what the guards looked at."""

    incident: Incident
    runbook: Runbook | None
    decision: Decision
    case: Case | None = None


def weigh(scene: Scene, findings: Findings, standing: Standing, incident: Incident) -> Weighed:
    """Return what is to be done about an open incident now."""
    symptom = findings.symptoms.get(incident.key)
    if symptom is not None:
        return Weighed(incident, None, Hold((hold("cause", "symptom", symptom),)))
    target = scene.fleet.get(incident.target)
    if target is None:
        strange = hold("inventory", "unknown_host", f"{incident.target} is not in the inventory")
        return Weighed(incident, None, Hold((strange,)))
    fault = next((each for each in findings.faults if (each.suspect.node, each.suspect.resource) == incident.key), None)
    if fault is None:
        return Weighed(incident, None, Hold((hold("signal", "no_data", why_silent(scene, incident)),)))
    chosen = choose(fault.runbooks, scene.catalog)
    if isinstance(chosen, Verdict):
        nobody = chosen.code == "no_runbook"
        return Weighed(incident, None, Escalate(chosen.code, chosen.sentence) if nobody else Hold((chosen,)))
    if incident.runbook is not None and incident.runbook != chosen.name:
        incident = replace(incident, runbook=chosen.name, rung=0)  # each runbook's ladder is climbed from its foot
    if incident.rung >= len(chosen.ladder):
        return Weighed(incident, chosen, exhausted(chosen))
    remedy = chosen.ladder[incident.rung]
    alert = strongest(scene.alerts, chosen, incident.target)
    prepared = scene.prepare(chosen, remedy, incident, alert)
    if prepared.refusal is not None:
        refused = Hold((hold("targets", "refused", prepared.refusal),))
        return Weighed(incident, chosen, unheld(refused, chosen, incident.rung))
    case = case_for(scene, standing, chosen, remedy, prepared.steps, incident, target, alert=alert)
    return Weighed(incident, chosen, unheld(decide(case), chosen, incident.rung), case)


def exhausted(runbook: Runbook, of_rescue: str = "", verdicts: tuple[Verdict, ...] = ()) -> Escalate:
    """Return the call for a human when nothing is left to be tried; `of_rescue` says what became of the rescue."""
    count = len(runbook.remedies)
    tried = f"all {count} remedies of {runbook.name} were tried" if count else "it declares no remedy"
    return Escalate("ladder_exhausted", f"{runbook.name}: {tried}{of_rescue and '; ' + of_rescue}", verdicts)


def unheld(decision: Decision, runbook: Runbook, rung: int) -> Decision:
    """Return the decision; a rescue that is held calls the human at once, who must not wait for what comes before the call."""
    if not isinstance(decision, Hold) or not runbook.is_rescue(rung):
        return decision
    against = "; ".join(verdict.sentence for verdict in decision.verdicts if not verdict.allowed)
    return exhausted(runbook, f"its rescue was held: {against}", decision.verdicts)


def why_silent(scene: Scene, incident: Incident) -> str:
    """Say why an open incident has no fault this tick."""
    for alert in scene.alerts:
        if alert.target == incident.target and resource_of(alert, scene) == incident.resource:
            return f"{alert.name} is {alert.state}: {alert.reason or alert.condition}"
    return f"no trigger for {incident.resource} of {incident.target} can be judged"


def strongest(alerts: Iterable[Alert], runbook: Runbook, target: str) -> Alert | None:
    """Return the runbook's own firing alert on the target; its oldest, so that the choice is stable."""
    own = [
        alert
        for alert in alerts
        if alert.runbook == runbook.variant and alert.target == target and alert.state is AlertState.FIRING
    ]
    return min(own, key=lambda alert: (alert.active_since, alert.fingerprint), default=None)
