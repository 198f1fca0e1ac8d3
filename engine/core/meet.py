"""A fault meets its incident: the live one, one that just ended, or a new one."""

from __future__ import annotations

from dataclasses import replace

from engine.core import lifecycle
from engine.core.draft import Scene
from engine.core.grace import side_effect, touches
from engine.core.rivals import doubt
from engine.model.decision import Change
from engine.model.incident import Alert, Fault, Incident, IncidentState
from engine.model.standing import Standing


def meet(scene: Scene, standing: Standing, fault: Fault) -> Change | None:
    """Give a fault its incident: join the live one, reopen the one that just ended, or open a new one."""
    key = (fault.suspect.node, fault.suspect.resource)
    same = [incident for incident in standing.incidents if incident.key == key]
    live = next((incident for incident in same if incident.state.live), None)
    if live is not None:
        return join(live, fault, scene.now)
    last = max(same, key=lambda incident: incident.ended_at or 0.0, default=None)
    alerts = tuple(alert for alert in scene.alerts if alert.fingerprint in fault.alerts)
    if graced(fault, alerts, scene, standing):
        return None
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


def graced(fault: Fault, alerts: tuple[Alert, ...], scene: Scene, standing: Standing) -> bool:
    """Return whether a fault may be the side effect of a run on its host; one of which any alert is older is not."""
    node, resource = fault.suspect.node, fault.suspect.resource
    own = [alert.active_since for alert in alerts if alert.target == node and alert.runbook in fault.runbooks]
    began = min(own, default=scene.now)
    return side_effect(node, resource, began, touches(standing, scene.catalog, scene.now)) is not None


def join(incident: Incident, fault: Fault, now: float) -> Change | None:
    """Let new evidence into a live incident.

    Its culprit is the one that was named first, which the figures spoke of when the fault began: only another runbook
    that joins, with a figure of its own, may name another, and none while an attempt is under way. How far it is ahead of the next
    one may change until then.
    """
    old = incident.fault
    again = old is not None and set(fault.runbooks) <= set(old.runbooks)
    frozen = incident.state is not IncidentState.OPEN or (again and incident.culprit is not None)
    culprit = incident.culprit if frozen or fault.suspect.culprit is None else fault.suspect.culprit
    same = again and culprit == incident.culprit and set(fault.alerts) <= set(old.alerts if old is not None else ())
    surer = fault.suspect.culprit == culprit and bool(doubt(old, culprit)) != bool(doubt(fault, culprit))
    if old is not None and same and not (surer and incident.state is IncidentState.OPEN):
        return None
    joined = replace(incident, fault=fault, culprit=culprit)
    changed = culprit != incident.culprit or old is None
    entries = (lifecycle.fault_entry(joined, fault),) if changed else ()
    return Change(version=0, at=now, incident=joined, entries=entries)
