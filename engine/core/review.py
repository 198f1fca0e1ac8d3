"""Looking at an incident again: has its remedy worked, has it recovered by itself, was its trigger seen false."""

from __future__ import annotations

from dataclasses import replace

from engine.core import lifecycle
from engine.core.detect import named
from engine.core.draft import Scene
from engine.core.guards import troubled
from engine.core.localize import Place, explains
from engine.core.questions import variant_for
from engine.core.verify import verify
from engine.model.decision import Change, Entry
from engine.model.incident import Alert, AlertState, Incident, IncidentState, Outcome, Verification
from engine.model.runbook import Runbook, Scope
from engine.model.standing import Standing
from engine.model.truth import Truth

STORM = ("(fleet)", "storm")
"""The key of the one incident that stands for a storm."""

ACTIVE = (AlertState.PENDING, AlertState.FIRING, AlertState.UNKNOWN)


def look_again(scene: Scene, standing: Standing, name: str) -> Change | None:
    """Ask the original signal about one incident again: has the remedy worked, has it recovered, did its trigger clear."""
    incident = next(each for each in standing.incidents if each.id == name)
    match incident.state:
        case IncidentState.VERIFYING:
            return judge(scene, standing, incident)
        case IncidentState.ESCALATED:
            return recover(scene, standing, incident)
        case IncidentState.RESOLVED | IncidentState.SELF_HEALED if not incident.trigger_cleared:
            if calm(scene, standing) if incident.key == STORM else cleared(scene, incident):
                return Change(version=0, at=scene.now, incident=replace(incident, trigger_cleared=True))
    return None


def calm(scene: Scene, standing: Standing) -> bool:
    """Return whether no more targets are in trouble than the storm limit allows."""
    return len(troubled(standing)) <= scene.catalog.limits.storm


def remind(incident: Incident, scene: Scene) -> Change | None:
    """Say again that an escalated incident waits for a human, once every so often until one acknowledges it."""
    if incident.state is not IncidentState.ESCALATED or incident.acknowledged_by is not None:
        return None
    if scene.now - max(incident.changed_at, incident.reminded_at) < scene.catalog.limits.remind:
        return None
    waited = (scene.now - incident.changed_at) / 3600
    what = f"{incident.id} ({incident.resource} of {incident.target})"
    entry = Entry(
        "reminder", f"{what} has waited for a human for {waited:.1f}h: {incident.reason}", incident.id, incident.target,
        incident.runbook, "reminder", {"waited": scene.now - incident.changed_at, "escalated": incident.code},
    )  # fmt: skip
    return Change(version=0, at=scene.now, incident=replace(incident, reminded_at=scene.now), entries=(entry,))


def judge(scene: Scene, standing: Standing, incident: Incident) -> Change:
    """Verify one incident; what did not work goes to the next rung, what did harm or cannot be seen to a human."""
    runbook = variant_for(incident, scene.catalog)
    if runbook is None:
        unseen = lifecycle.settle(incident, Outcome.UNKNOWN, scene.now)
        return lifecycle.escalate(unseen, "no_runbook", f"runbook {incident.runbook} is gone", standing, scene.now)
    if incident.attempt is not None and runbook.is_rescue(incident.attempt.rung):
        return rescued(scene, standing, incident, runbook)
    target = scene.fleet.get(incident.target)
    interval = scene.catalog.limits.interval
    verdict, progress = verify(runbook.verify, incident.progress, scene.answers, target, scene.now, interval)
    incident = replace(incident, progress=progress)
    match verdict:
        case Verification.WAITING:
            return Change(version=0, at=scene.now, incident=incident)
        case Verification.PASS:
            return lifecycle.resolve(incident, progress.sentence, standing, scene.now)
        case Verification.UNKNOWN:
            blind = lifecycle.settle(incident, Outcome.UNKNOWN, scene.now)
            reason = f"no data to verify by for {progress.blind:.0f}s: {progress.sentence}"
            return lifecycle.escalate(blind, "blind", reason, standing, scene.now)
        case Verification.FAIL:
            return failed(scene, standing, incident, runbook)


def rescued(scene: Scene, standing: Standing, incident: Incident, runbook: Runbook) -> Change:
    """Call a human once the rescue has run: it contains, and was never meant to heal; measured recovery closes the incident as ever."""
    count = len(runbook.remedies)
    reason = f"{runbook.name}: all {count} remedies of {runbook.name} were tried; its rescue has run"
    contained = lifecycle.settle(incident, Outcome.INEFFECTIVE, scene.now)
    return lifecycle.escalate(contained, "ladder_exhausted", reason, standing, scene.now)


def failed(scene: Scene, standing: Standing, incident: Incident, runbook: Runbook) -> Change:
    """Say what becomes of an incident whose remedy did not heal it."""
    sentence = f"{incident.progress.sentence} after {incident.progress.observed:.0f}s with data"
    entry = Entry("verification", f"fail: {sentence}", incident.id, incident.target, runbook.name, "fail")
    harm = harm_done(scene, incident)
    if harm:
        hurt = lifecycle.settle(incident, Outcome.HARMFUL, scene.now)
        change = lifecycle.escalate(
            hurt, "harmful", f"after {incident.reason or 'the remedy'}: {harm}", standing, scene.now
        )
    elif incident.triggered_by != "engine":
        tried = lifecycle.settle(incident, Outcome.INEFFECTIVE, scene.now)
        change = lifecycle.escalate(tried, "ineffective", f"applied, but {sentence}", standing, scene.now)
    else:
        next_rung = lifecycle.climb(lifecycle.settle(incident, Outcome.INEFFECTIVE, scene.now), scene.now)
        change = Change(version=0, at=scene.now, incident=next_rung)
    return replace(change, entries=(entry, *change.entries))


def harm_done(scene: Scene, incident: Incident) -> str:
    """Name the alerts on the target that began after the attempt did, still fire and are no symptoms of the fault itself."""
    since = incident.attempt.started_at if incident.attempt is not None else scene.now
    new = [
        alert.name
        for alert in scene.alerts
        if alert.target == incident.target
        and alert.state is AlertState.FIRING
        and alert.active_since > since
        and resource_of(alert, scene) != incident.resource
        and explains(Place(*incident.key), Place(incident.target, resource_of(alert, scene)), scene.fleet) is None
    ]
    return f"{', '.join(sorted(set(new)))} began" if new else ""


def resource_of(alert: Alert, scene: Scene) -> str:
    """Return the resource that an alert's runbook is about; "" when the runbook is gone."""
    for runbook in scene.catalog.runbooks:
        if runbook.name == named(alert.runbook):
            return runbook.localize.resource
    return ""


def recover(scene: Scene, standing: Standing, incident: Incident) -> Change | None:
    """Close an escalated incident once it is measured to be over, whoever ended it."""
    if incident.key == STORM:
        count = len(troubled(standing))
        if count > scene.catalog.limits.storm:
            return None
        return lifecycle.self_heal(incident, f"{count} targets in trouble, the storm is over", standing, scene.now)
    runbook = variant_for(incident, scene.catalog)
    if runbook is None:
        if not cleared(scene, incident):
            return None
        return lifecycle.self_heal(incident, "its trigger is seen false", standing, scene.now)
    target = scene.fleet.get(incident.target)
    interval = scene.catalog.limits.interval
    verdict, progress = verify(runbook.verify, incident.progress, scene.answers, target, scene.now, interval)
    still = not progress.true_before and not incident.progress.true_before
    incident = replace(incident, progress=progress)
    if verdict is Verification.PASS and not active(scene, incident):
        return lifecycle.self_heal(incident, f"recovered while escalated: {progress.sentence}", standing, scene.now)
    return None if still else Change(version=0, at=scene.now, incident=incident)  # a fault that stays is no news


def active(scene: Scene, incident: Incident) -> bool:
    """Return whether any alert of the incident's key stands, fires or cannot be seen."""
    return any(
        alert.target == incident.target and alert.state in ACTIVE and resource_of(alert, scene) == incident.resource
        for alert in scene.alerts
    )


def cleared(scene: Scene, incident: Incident) -> bool:
    """Return whether every trigger that could open this key is seen to be false; without data, or without its runbook, it is not seen."""
    if active(scene, incident):
        return False
    target = scene.fleet.get(incident.target)
    if target is None:
        return False
    own = {named(variant) for variant in incident.fault.runbooks} if incident.fault is not None else set()
    asked: set[str] = set()
    for runbook in scene.catalog.runbooks:
        if runbook.localize.resource != incident.resource or not runbook.applies_to(incident.target):
            continue
        answer = scene.answers.get(runbook.trigger.expr)
        if answer is None:
            return False
        fleet_wide = runbook.trigger.scope is Scope.FLEET
        truth = answer.fleet_truth() if fleet_wide else answer.truth(target.instances)
        if truth is Truth.UNKNOWN and (not own or runbook.name in own):
            return False
        asked.add(runbook.name)
    return own <= asked if own else bool(asked)
