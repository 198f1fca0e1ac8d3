"""The plan: everything one tick wants to change, in the order in which it is to be committed.

Each change is applied to the standing before the next one is judged, and carries the version of the record that it was
judged on: a tick cannot overcommit, and a change that lost the race takes those behind it along.
"""

from __future__ import annotations

from engine.core import lifecycle
from engine.core.approvals import propose
from engine.core.draft import Draft, Scene
from engine.core.guards import troubled
from engine.core.identity import identify
from engine.core.intake import take_in
from engine.core.localize import Findings, localize
from engine.core.meet import meet
from engine.core.requests import answer_request
from engine.core.review import STORM, active, cleared, look_again, remind
from engine.core.see import see
from engine.core.weigh import weigh
from engine.model.decision import Change
from engine.model.incident import Incident, IncidentState
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
        answer_request(request, scene, findings, draft)
    if scene.automatic:
        for incident in draft.standing.incidents:
            draft.add(remind(incident, scene))
        draft.add(weather(scene, draft.standing))
        waiting = [incident for incident in draft.standing.incidents if incident.state is IncidentState.OPEN]
        for incident in sorted(waiting, key=lambda each: (each.opened_at, each.id)):
            draft.add(step(scene, findings, draft.standing, incident))
    return tuple(draft.changes)


def weather(scene: Scene, standing: Standing) -> Change | None:
    """Open the storm incident when more targets than the limit are in trouble at once."""
    targets = sorted(troubled(standing))
    if len(targets) <= scene.catalog.limits.storm:
        return None
    if any(incident.key == STORM and goes_on(incident, scene) for incident in standing.incidents):
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


def goes_on(incident: Incident, scene: Scene) -> bool:
    """Return whether a storm is known to people: live, or closed by one of them lately and not seen to be over since."""
    lately = scene.now - (incident.ended_at or 0.0) < scene.catalog.limits.remind
    return incident.state.live or (incident.code == "closed" and not incident.trigger_cleared and lately)


def step(scene: Scene, findings: Findings, standing: Standing, incident: Incident) -> Change | None:
    """Decide on one open incident."""
    if not active(scene, incident) and cleared(scene, incident):
        return lifecycle.self_heal(incident, "its trigger is seen false", standing, scene.now)
    weighed = weigh(scene, findings, standing, incident)
    runbook = weighed.runbook.name if weighed.runbook is not None else ""
    change = lifecycle.follow(weighed.incident, runbook, weighed.decision, standing, scene.now)
    return propose(weighed, change, scene)
