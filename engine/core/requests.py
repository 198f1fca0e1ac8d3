"""What operators ask of the engine: run, cancel, approve, deny, close, acknowledge, hand back, accept a smaller inventory."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from engine.core import lifecycle
from engine.core.approvals import approve, deny
from engine.core.clocks import told
from engine.core.decide import decide
from engine.core.draft import Draft, Scene, case_for
from engine.core.identity import identify
from engine.core.lifecycle import said
from engine.core.localize import Findings
from engine.core.orders import already, rehearsal, run_plan
from engine.model.decision import Cancel, Change, Entry, Escalate, Hold, Run, Start
from engine.model.execution import Execution
from engine.model.incident import Incident, IncidentState, Outcome
from engine.model.runbook import Runbook
from engine.model.standing import Request, Standing
from engine.model.target import Target

ASTRAY = re.compile(
    r"ansible_(\w+_)?(host|port|connection|args|executable|address|url|path|cmd)|ansible_(limit|inventory\w*)|inventory_\w+|mendbook_attempt"
)


def answer_request(request: Request, scene: Scene, findings: Findings, draft: Draft) -> None:
    """Do what was asked, or say why not; the request is finished either way, in the last change it causes."""
    before = len(draft.changes)
    match request.kind:
        case "run":
            run = run_late if forgotten(request, scene) else run_on
            results = [run(name, request, scene, draft) for name in request.targets]
        case "run_plan":
            results = run_plan(request, scene, findings, draft)
        case "approve":
            results = [approve(request, scene, findings, draft)]
        case "deny":
            results = [deny(request, scene, draft)]
        case "cancel":
            results = [cancel(request, scene, draft)]
        case "close" | "acknowledge" | "hand_back":
            results = [attend(request, scene, draft)]
        case "accept_inventory":
            results = [accept_inventory(request, scene, draft)]
        case other:
            results = [{"refused": [f"unknown request {other!r}"]}]
    draft.finish(request.id, json.dumps(results), scene.now, before)


def accept_inventory(request: Request, scene: Scene, draft: Draft) -> dict[str, object]:
    """Take the inventory as it is; incidents of hosts that left it on purpose end as unknown, since nobody can look any more."""
    names = frozenset(target.name for target in scene.fleet)
    draft.add(Change(0, scene.now, (said(request, "accepted the inventory as it is"),), fleet=names))
    gone = [
        incident
        for incident in draft.standing.incidents
        if incident.state.live
        and incident.state is not IncidentState.REMEDIATING  # what runs there is followed to its end first
        and incident.resource != "storm"
        and incident.target not in names
    ]
    why = f"{request.by}: {request.reason}" if request.reason else request.by
    for incident in gone:
        closed = replace(
            lifecycle.settle(incident, Outcome.UNKNOWN, scene.now)
            if incident.state is IncidentState.VERIFYING
            else incident,
            state=IncidentState.RESOLVED, outcome=Outcome.UNKNOWN, ended_at=scene.now, changed_at=scene.now, code="left",
            reason=f"{incident.target} left the inventory, which was accepted by {why}; not measured",
        )  # fmt: skip
        draft.add(lifecycle.close(closed, (lifecycle.outcome_entry(closed),), draft.standing, scene.now))
    return {"accepted": len(names), "closed": [incident.id for incident in gone]}


def refused(
    request: Request, target: str, scene: Scene, draft: Draft, codes: list[str], why: list[str]
) -> dict[str, object]:
    """Record a refusal and return it as a result."""
    entry = Entry(
        "decision", f"Refused to {request.by}: {request.subject} on {target}: {'; '.join(why)}", None, target,
        request.subject, ",".join(codes), {"request": request.id},
    )  # fmt: skip
    draft.add(Change(0, scene.now, (entry,)))
    return {"target": target, "refused": why, "codes": codes}


def leads_astray(variable: str) -> bool:
    """Return whether a variable tells Ansible where a host is, or how it is reached: a run on one host could be one on another."""
    return ASTRAY.fullmatch(variable) is not None


def forgotten(request: Request, scene: Scene) -> bool:
    """Return whether a run was asked for so long ago that whoever asked has not waited for it.

    A command that is killed leaves its request behind, and the engine that finds it may be started days later.
    """
    return scene.now - scene.ahead - request.at > scene.catalog.limits.approval


def run_late(name: str, request: Request, scene: Scene, draft: Draft) -> dict[str, object]:
    """Refuse a run that nobody waits for any more; what it began in its time is what it came to."""
    target = scene.fleet.get(name)
    begun = already(request, target, draft.standing) if target is not None else None
    if begun is not None:
        return begun
    asked = told(request.at, scene.now - scene.ahead)
    why = f"it was asked for at {asked}, and no engine took it up in time: ask again"
    return refused(request, name, scene, draft, ["expired"], [why])


def run_on(name: str, request: Request, scene: Scene, draft: Draft) -> dict[str, object]:
    """Run the runbook's first remedy on one target, all guards agreeing; done once, however often the tick repeats."""
    standing = draft.standing
    target = scene.fleet.get(name)
    runbook = next((each for each in scene.catalog.variants(request.subject) if each.applies_to(name)), None)
    if target is None or runbook is None:
        what = f"{name} is not in the inventory" if target is None else f"no runbook {request.subject!r} for {name}"
        return refused(request, name, scene, draft, ["unknown_host" if target is None else "no_runbook"], [what])
    begun = already(request, target, standing)
    if begun is not None:
        return begun
    astray = sorted(filter(leads_astray, request.vars))
    if astray:
        why = (
            f"{', '.join(astray)} would say anew where it runs, and {name} is what is locked: name it in the inventory"
        )
        return refused(request, name, scene, draft, ["variables"], [why])
    incident = incident_for(request, runbook, target, scene, standing)
    if incident.state is not IncidentState.OPEN:
        return refused(request, name, scene, draft, ["busy"], [f"{incident.id} is {incident.state} already"])
    if not runbook.remedies:
        return refused(request, name, scene, draft, ["no_remedy"], [f"{runbook.name} declares no remedy"])
    prepared = scene.prepare(runbook, runbook.remedies[0], incident, None)
    if prepared.refusal is not None:
        return refused(request, name, scene, draft, ["targets"], [prepared.refusal])
    steps = tuple(replace(each, vars={**each.vars, **request.vars}) for each in prepared.steps)
    case = case_for(scene, standing, runbook, runbook.remedies[0], steps, incident, target, operator=request.by)
    match decide(case):
        case Run(execution, verdicts):
            execution = replace(execution, check=request.check, diff=request.diff, reason=request.reason)
            if request.check:
                return rehearse(request, execution, scene, draft)
            change = lifecycle.begin(incident, runbook.name, execution, verdicts, standing, scene.now)
            asked = said(request, f"asked for {runbook.name} on {name}", incident)
            draft.add(replace(change, entries=(asked, *change.entries)))
            return {"target": name, "incident": incident.id, "execution": execution.id}
        case Hold(verdicts) | Escalate(_, _, verdicts):
            against = [verdict for verdict in verdicts if not verdict.allowed]
            return refused(
                request, name, scene, draft, [each.code for each in against], [each.sentence for each in against]
            )


def incident_for(request: Request, runbook: Runbook, target: Target, scene: Scene, standing: Standing) -> Incident:
    """Return the live incident that the operator's run joins, or a new one of the operator's own.

    A check joins none, but knows what it found: it rehearses what a run would do.
    """
    key = (target.name, runbook.localize.resource)
    live = next((incident for incident in standing.incidents if incident.state.live and incident.key == key), None)
    if live is not None and not request.check:
        free = live.state in (IncidentState.OPEN, IncidentState.ESCALATED)
        return replace(live, state=IncidentState.OPEN, request=request.id, rung=0) if free else live
    return Incident(
        id=identify("inc", request.id, target.name),
        culprit=live.culprit if live is not None else None,
        fault=live.fault if live is not None else None,
        target=target.name,
        resource=runbook.localize.resource,
        state=IncidentState.OPEN,
        opened_at=scene.now,
        first_active=scene.now,
        localized_at=scene.now,
        changed_at=scene.now,
        runbook=runbook.name,
        reason=request.reason,
        triggered_by=request.by,
        request=request.id,
    )


def rehearse(request: Request, execution: Execution, scene: Scene, draft: Draft) -> dict[str, object]:
    """Start a check run: it holds its targets like any other, belongs to no incident and is not an attempt."""
    name = rehearsal(request, execution.target)
    execution = replace(execution, id=name, attempt=name, incident="")
    entry = said(request, f"asked for a check of {execution.runbook} on {execution.target}")
    draft.add(Change(0, scene.now, (entry,), execution=execution, locks=execution.targets, effect=Start(execution)))
    return {"target": execution.target, "execution": execution.id, "check": True}


def cancel(request: Request, scene: Scene, draft: Draft) -> dict[str, object]:
    """End an execution that is active."""
    for execution in draft.standing.executions:
        if execution.id == request.subject:
            entry = Entry("operator", f"{request.by} canceled {execution.id}: {request.reason}", execution.incident or None,
                          execution.target, execution.runbook, "cancel")  # fmt: skip
            draft.add(Change(0, scene.now, (entry,), effect=Cancel(execution.id, f"by {request.by}: {request.reason}")))
            return {"execution": execution.id}
    return {"refused": [f"{request.subject} is not active"], "codes": ["not_active"]}


def attend(request: Request, scene: Scene, draft: Draft) -> dict[str, object]:
    """Let a human close an incident, acknowledge it, or hand it back to automation."""
    incident = next((each for each in draft.standing.incidents if each.id == request.subject and each.state.live), None)
    if incident is None:
        return {"refused": [f"{request.subject} is not a live incident"], "codes": ["not_live"]}
    if request.kind == "acknowledge":
        draft.add(Change(0, scene.now, (said(request, "acknowledged it", incident),),
                         incident=replace(incident, acknowledged_by=request.by)))  # fmt: skip
        return {"incident": incident.id}
    if incident.state is not IncidentState.ESCALATED and incident.state is not IncidentState.OPEN:
        return {"refused": [f"{incident.id} is {incident.state}: cancel its execution first"], "codes": ["busy"]}
    if request.kind == "hand_back" and incident.resource == "storm":
        return {"refused": [f"{incident.id} is a storm: it ends by itself, or close it"], "codes": ["storm"]}
    if request.kind == "hand_back" and lifecycle.unproved(incident, draft.standing):
        held = sorted(lifecycle.held_by(incident.id, draft.standing))
        ways = " and ".join(f"`mendbook locks break {name}`" for name in held)
        why = f"an earlier run of {incident.id} may still go on: {ways} first, once you know that it does not"
        return {"refused": [why], "codes": ["not_contained"]}
    if request.kind == "hand_back":
        opened = replace(
            incident, state=IncidentState.OPEN, rung=0, code="", reason="", changed_at=scene.now, acknowledged_by=None
        )  # it counts again among what is in trouble
        draft.add(Change(0, scene.now, (said(request, "handed it back", incident),), incident=opened,
                         unlock=lifecycle.held_by(incident.id, draft.standing)))  # fmt: skip
        return {"incident": incident.id}
    closed = replace(
        incident, state=IncidentState.RESOLVED, outcome=Outcome.UNKNOWN, ended_at=scene.now, changed_at=scene.now,
        code="closed", reason=f"closed by {request.by}, not measured: {request.reason}",
    )  # fmt: skip
    entries = (said(request, "closed it", incident), lifecycle.outcome_entry(closed))
    draft.add(lifecycle.close(closed, entries, draft.standing, scene.now))
    return {"incident": incident.id}
