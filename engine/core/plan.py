"""The plan: everything one tick wants to change, in the order in which it is to be committed.

Each change is applied to the standing before the next one is judged, and carries the version of the record that it was
judged on: a tick cannot overcommit, and a change that lost the race takes those behind it along.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from engine.core import lifecycle
from engine.core.decide import choose, decide
from engine.core.detect import named
from engine.core.draft import Draft, Scene, case_for
from engine.core.guards import hold, troubled
from engine.core.identity import identify
from engine.core.intake import take_in
from engine.core.localize import Findings, localize
from engine.core.requests import answer_request
from engine.core.review import STORM, active, cleared, look_again, resource_of
from engine.model.decision import Change, Decision, Entry, Escalate, Hold, Verdict
from engine.model.incident import Alert, AlertState, Fault, Incident, IncidentState
from engine.model.runbook import Runbook
from engine.model.standing import Standing


def plan(scene: Scene, standing: Standing) -> tuple[Change, ...]:
    """Return the changes of one tick; they can be committed in turn from `standing` on.

    First what is seen (alerts), then what ended (executions, verifications), then what is new (faults), then what operators
    ask, then what waits for a decision.
    """
    draft = Draft(standing)
    draft.add(see(scene, standing))
    for execution in standing.executions:
        draft.add(take_in(scene, draft.standing, execution))
    for incident in standing.incidents:
        draft.add(look_again(scene, draft.standing, incident.id))
    findings = localize(scene.alerts, scene.answers, scene.catalog, scene.fleet, draft.standing, scene.now)
    for fault in findings.faults if scene.automatic else ():
        draft.add(meet(scene, draft.standing, fault))
    for request in standing.requests:
        answer_request(request, scene, draft)
    if scene.automatic:
        draft.add(weather(scene, draft.standing))
        waiting = [incident for incident in draft.standing.incidents if incident.state is IncidentState.OPEN]
        for incident in sorted(waiting, key=lambda each: (each.opened_at, each.id)):
            draft.add(step(scene, findings, draft.standing, incident))
    return tuple(draft.changes)


def see(scene: Scene, standing: Standing) -> Change:
    """Store the alerts, with a line for each that changed its state, and the inventory unless it shrank too much."""
    before = {alert.fingerprint: alert.state for alert in standing.alerts}
    entries = tuple(
        alert_entry(alert)
        for alert in scene.alerts
        if alert.state is not AlertState.PENDING and before.get(alert.fingerprint) is not alert.state
    )
    names = frozenset(target.name for target in scene.fleet)
    gone = standing.fleet - names
    shrank = bool(standing.fleet) and len(gone) / len(standing.fleet) > scene.catalog.limits.shrink
    return Change(
        version=0,
        at=scene.now,
        alerts=scene.alerts,
        entries=entries,
        fleet=None if shrank or names == standing.fleet else names,
    )


def alert_entry(alert: Alert) -> Entry:
    """Return the line of an alert that changed its state."""
    where = alert.target or str(alert.labels)
    match alert.state:
        case AlertState.RESOLVED:
            sentence = f"resolved after {alert.last_seen - alert.active_since:.0f}s"
        case AlertState.UNKNOWN:
            sentence = f"unknown: {alert.reason}"
        case _:
            sentence = f"{alert.state}: {alert.condition}" + (f" ({alert.reason})" if alert.reason else "")
    return Entry(
        "alert",
        f"{alert.name} on {where} {sentence}",
        None,
        alert.target,
        named(alert.runbook),
        str(alert.state),
        {
            "fingerprint": alert.fingerprint,
            "value": alert.value,
            "condition": alert.condition,
            "active_since": alert.active_since,
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
        },
    )


def meet(scene: Scene, standing: Standing, fault: Fault) -> Change | None:
    """Give a fault its incident: join the live one, reopen the one that just ended, or open a new one."""
    key = (fault.suspect.node, fault.suspect.resource)
    same = [incident for incident in standing.incidents if incident.key == key]
    live = next((incident for incident in same if incident.state.live), None)
    if live is not None:
        return join(live, fault, scene.now)
    last = max(same, key=lambda incident: incident.ended_at or 0.0, default=None)
    alerts = tuple(alert for alert in scene.alerts if alert.fingerprint in fault.alerts)
    if last is None or last.ended_at is None:
        return lifecycle.open_incident(fault, alerts, scene.now)
    ranges = [
        each.longest_range + each.trigger.keep_firing_for
        for each in scene.catalog.runbooks
        if each.variant in fault.runbooks
    ]
    reach = max(ranges, default=0.0)
    if not last.trigger_cleared and scene.now < last.ended_at + reach:
        return None
    if scene.now - last.ended_at <= scene.catalog.limits.reopen:
        return lifecycle.reopen(last, fault, scene.now)
    return lifecycle.open_incident(fault, alerts, scene.now)


def join(incident: Incident, fault: Fault, now: float) -> Change | None:
    """Let new evidence into a live incident.

    Its culprit is the one that was named first, which the figures spoke of when the fault began: only another runbook
    that joins, with a figure of its own, may name another, and none while an attempt is under way.
    """
    old = incident.fault
    again = old is not None and set(fault.runbooks) <= set(old.runbooks)
    frozen = incident.state is not IncidentState.OPEN or (again and incident.culprit is not None)
    culprit = incident.culprit if frozen or fault.suspect.culprit is None else fault.suspect.culprit
    if old is not None and again and culprit == incident.culprit and set(fault.alerts) <= set(old.alerts):
        return None
    joined = replace(incident, fault=fault, culprit=culprit)
    changed = culprit != incident.culprit or old is None
    entries = (lifecycle.fault_entry(joined, fault),) if changed else ()
    return Change(version=0, at=now, incident=joined, entries=entries)


def weather(scene: Scene, standing: Standing) -> Change | None:
    """Open the storm incident when more targets than the limit are in trouble at once."""
    targets = sorted(troubled(standing))
    if len(targets) <= scene.catalog.limits.storm:
        return None
    if any(incident.key == STORM and incident.state.live for incident in standing.incidents):
        return None
    incident = Incident(
        id=identify("inc", *STORM, scene.now),
        target=STORM[0],
        resource=STORM[1],
        state=IncidentState.ESCALATED,
        opened_at=scene.now,
        first_active=scene.now,
        changed_at=scene.now,
    )
    reason = f"{len(targets)} targets in trouble at once, at most {scene.catalog.limits.storm}: {', '.join(targets)}"
    return lifecycle.escalate(incident, "storm", reason, standing, scene.now)


def step(scene: Scene, findings: Findings, standing: Standing, incident: Incident) -> Change | None:
    """Decide on one open incident."""
    if not active(scene, incident) and cleared(scene, incident):
        return lifecycle.self_heal(incident, "its trigger is seen false", standing, scene.now)
    incident, runbook, decision = weigh(scene, findings, standing, incident)
    return lifecycle.follow(incident, runbook.name if runbook else "", decision, standing, scene.now)


def weigh(
    scene: Scene, findings: Findings, standing: Standing, incident: Incident
) -> tuple[Incident, Runbook | None, Decision]:
    """Return an open incident on its rung of the runbook that would act, that runbook, and the decision."""
    symptom = findings.symptoms.get(incident.key)
    if symptom is not None:
        return incident, None, Hold((hold("cause", "symptom", symptom),))
    target = scene.fleet.get(incident.target)
    if target is None:
        strange = hold("inventory", "unknown_host", f"{incident.target} is not in the inventory")
        return incident, None, Hold((strange,))
    fault = next((each for each in findings.faults if (each.suspect.node, each.suspect.resource) == incident.key), None)
    if fault is None:
        return incident, None, Hold((hold("signal", "no_data", why_silent(scene, incident)),))
    chosen = choose(fault.runbooks, scene.catalog)
    if isinstance(chosen, Verdict):
        nobody = chosen.code == "no_runbook"
        return incident, None, Escalate(chosen.code, chosen.sentence) if nobody else Hold((chosen,))
    if incident.runbook is not None and incident.runbook != chosen.name:
        incident = replace(incident, runbook=chosen.name, rung=0)  # each runbook's ladder is climbed from its foot
    if incident.rung >= len(chosen.remedies):
        tried = (
            f"all {incident.rung} remedies of {chosen.name} were tried" if incident.rung else "it declares no remedy"
        )
        return incident, chosen, Escalate("ladder_exhausted", f"{chosen.name}: {tried}")
    remedy = chosen.remedies[incident.rung]
    alert = strongest(scene.alerts, chosen, incident.target)
    prepared = scene.prepare(chosen, remedy, incident, alert)
    if prepared.refusal is not None:
        return incident, chosen, Hold((hold("targets", "refused", prepared.refusal),))
    case = case_for(scene, standing, chosen, remedy, prepared.steps, incident, target, alert=alert)
    return incident, chosen, decide(case)


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
