"""Approvals: what waits for a person's word is proposed with a digest; the word counts for what has that digest, for a while."""

from __future__ import annotations

import math
from dataclasses import replace

from engine.core import lifecycle
from engine.core.case import Case
from engine.core.draft import Draft, Scene
from engine.core.lifecycle import said
from engine.core.localize import Findings
from engine.core.trust import why_asked
from engine.core.weigh import Weighed, weigh
from engine.model.decision import Change, Decision, Entry, Escalate, Hold, Run
from engine.model.incident import Approved, Incident, IncidentState, Proposal
from engine.model.runbook import Mode, Value
from engine.model.standing import Request

ASKS = "held_for_approval"
QUIET = frozenset(
    {
        "storm", "silenced", "paused", "grace", "no_signal", "no_data", "no_culprit", "protected", "no_hosts", "unknown_host",
        "too_many_hosts",
    }
)  # fmt: skip
"""While these hold, nobody is asked: it would not be run, or people want to hear nothing of it."""
Answer = dict[str, object]


def propose(weighed: Weighed, change: Change | None, scene: Scene) -> Change | None:
    """Return the change with the proposal that a decision makes necessary; without a new one, the change as it is.

    What is in shadow is not proposed. A proposal stands until what it says changes or its time is over; then it is made anew.
    """
    case = weighed.case
    if case is None or case.runbook.mode is Mode.SHADOW or not asks(weighed.decision):
        return change
    old = weighed.incident.proposal
    if old is not None and old.digest == case.digest and scene.now < old.expires_at:
        return change
    proposal = proposal_of(case, scene.now)
    base = weighed.incident if change is None or change.incident is None else change.incident
    incident = replace(base, proposal=proposal)
    entry = proposal_entry(incident, proposal, old)
    if change is None:
        return Change(version=0, at=scene.now, incident=incident, entries=(entry,))
    return replace(change, incident=incident, entries=(*change.entries, entry))


def asks(decision: Decision) -> bool:
    """Return whether a decision holds for a person's approval, and a person may as well be asked now."""
    codes = {verdict.code for verdict in decision.verdicts} if isinstance(decision, Hold) else set()
    return ASKS in codes and not codes & QUIET


def proposal_of(case: Case, now: float) -> Proposal:
    """Return what is to be approved, or run from a plan."""
    return Proposal(
        digest=case.digest,
        runbook=case.runbook.name,
        runbook_digest=case.runbook.digest,
        remedy=case.remedy.name,
        rung=case.incident.rung,
        number=case.number,
        target=case.target.name,
        resource=case.incident.resource,
        culprit=case.incident.culprit,
        steps=case.steps,
        proposed_at=now,
        expires_at=now + case.catalog.limits.approval,
        why=why_asked(case),
    )


def proposal_entry(incident: Incident, proposal: Proposal, old: Proposal | None) -> Entry:
    """Return the line that asks for a person's word; it says what became of the proposal before."""
    hosts = sorted({proposal.target}.union(*(step.hosts for step in proposal.steps)))
    sentence = f"asks for approval: {proposal.remedy!r} of {proposal.runbook} on {', '.join(hosts)}"
    if old is not None and old.digest == proposal.digest:
        sentence += f"; asked {proposal.proposed_at - old.proposed_at:.0f}s ago, and nobody answered"
    elif old is not None:
        sentence += "; what was asked before changed"
    steps: tuple[Value, ...] = tuple(
        {"playbook": step.playbook, "hosts": step.hosts, "vars": dict(step.vars)} for step in proposal.steps
    )
    data: dict[str, Value] = {"digest": proposal.digest, "expires_at": proposal.expires_at, "steps": steps}
    return Entry("approval", sentence, incident.id, incident.target, proposal.runbook, "proposed", data)


def approve(request: Request, scene: Scene, findings: Findings, draft: Draft) -> Answer:
    """Take a person's word for a proposal; what it is for is worked out anew and must be the same. It begins if it may."""
    incident, why = proposed(request, draft)
    if incident is None or incident.proposal is None:
        return why
    name, digest = incident.id, str(request.vars.get("digest", ""))
    expires = min(incident.proposal.expires_at, number(request.vars.get("expires_at")))
    if scene.now >= expires:
        ago = scene.now - expires
        return refuse(request, incident, scene, draft, "expired", f"the proposal of {name} expired {ago:.0f}s ago")
    given = Approved(digest, request.by, request.reason, scene.now, scene.now + scene.catalog.limits.approval)
    weighed = weigh(scene, findings, draft.standing, replace(incident, approved=given))
    if weighed.case is None:
        words = sentence_of(weighed.decision)
        return refuse(request, incident, scene, draft, "gone", f"it would not be run now, approved or not: {words}")
    if weighed.case.digest != digest:
        words = difference(incident.proposal, weighed.case) or "the proposal changed since it was shown"
        return refuse(request, incident, scene, draft, "changed", words)
    asked = said(request, f"approved {incident.proposal.remedy!r} of {incident.proposal.runbook}", incident)
    return begin(weighed, request, asked, scene, draft)


def begin(weighed: Weighed, request: Request, asked: Entry, scene: Scene, draft: Draft) -> Answer:
    """Start what was approved, or keep the approval until the other guards agree or its time is over."""
    incident, runbook = weighed.incident, weighed.runbook
    assert runbook is not None  # noqa: S101  (there is a case, so there is one)
    answer: Answer = {"incident": incident.id, "target": incident.target}
    match weighed.decision:
        case Run(execution, verdicts):
            execution = replace(execution, reason=f"approved by {request.by}: {request.reason or 'no reason given'}")
            change = lifecycle.begin(incident, runbook.name, execution, verdicts, draft.standing, scene.now)
            draft.add(replace(change, entries=(asked, *change.entries)))
            return answer | {"execution": execution.id}
        case Escalate(code, reason, verdicts):
            change = lifecycle.escalate(incident, code, reason, draft.standing, scene.now, verdicts)
            draft.add(replace(change, entries=(asked, *change.entries)))
            return answer | {"refused": [reason], "codes": [code]}
        case Hold(verdicts):
            against = [verdict for verdict in verdicts if not verdict.allowed]
            draft.add(Change(0, scene.now, (asked,), incident=incident))
            until = incident.approved.expires_at if incident.approved is not None else scene.now
            return answer | {"held": [verdict.sentence for verdict in against], "until": until}


def deny(request: Request, scene: Scene, draft: Draft) -> Answer:
    """Take a person's no: the incident goes to a human, and nothing is proposed for it until it is handed back."""
    incident, why = proposed(request, draft)
    if incident is None or incident.proposal is None:
        return why
    proposal = incident.proposal
    if proposal.digest != str(request.vars.get("digest", "")):
        return refuse(request, incident, scene, draft, "changed", "the proposal changed since it was shown")
    reason = f"denied by {request.by}: {request.reason or 'no reason given'}"
    asked = said(request, f"denied {proposal.remedy!r} of {proposal.runbook}", incident)
    change = lifecycle.escalate(incident, "denied", reason, draft.standing, scene.now)
    draft.add(replace(change, entries=(asked, *change.entries)))
    return {"incident": incident.id, "target": incident.target, "denied": True}


def proposed(request: Request, draft: Draft) -> tuple[Incident | None, Answer]:
    """Return the incident whose proposal a request is about, or None and why there is none."""
    incident = next((each for each in draft.standing.incidents if each.id == request.subject), None)
    if incident is None or not incident.state.live:
        return None, {"refused": [f"{request.subject} is not a live incident"], "codes": ["not_live"]}
    if incident.state is IncidentState.ESCALATED and incident.code == "denied":
        return None, {"refused": [f"{incident.id} was {incident.reason}; hand it back first"], "codes": ["denied"]}
    if incident.state is not IncidentState.OPEN or incident.proposal is None:
        return None, {
            "refused": [f"{incident.id} is {incident.state} and proposes nothing"],
            "codes": ["not_proposed"],
        }
    return incident, {}


def refuse(request: Request, incident: Incident, scene: Scene, draft: Draft, code: str, why: str) -> Answer:
    """Record that a person's word came to nothing, and why."""
    entry = Entry(
        "decision", f"Refused to {request.by}: {request.kind} of {incident.id}: {why}", incident.id, incident.target,
        incident.runbook, code, {"request": request.id},
    )  # fmt: skip
    draft.add(Change(0, scene.now, (entry,)))
    return {"incident": incident.id, "target": incident.target, "refused": [why], "codes": [code]}


def difference(proposal: Proposal, case: Case) -> str:
    """Say what is not as it was proposed; "" when everything is."""
    now = proposal_of(case, proposal.proposed_at)
    words = [
        f"{name} was {was!r} and is {here!r}"
        for name, was, here in (
            ("the runbook", proposal.runbook, now.runbook),
            ("the remedy", proposal.remedy, now.remedy),
            ("the culprit", proposal.culprit, now.culprit),
            ("the attempt's number", proposal.number, now.number),
            ("the rung", proposal.rung, now.rung),
        )
        if was != here
    ]
    if proposal.runbook_digest != now.runbook_digest:
        words.append(f"the files of {proposal.runbook} changed")
    before, after = ({step.playbook: sorted(step.hosts) for step in each.steps} for each in (proposal, now))
    words += [
        f"{playbook} was for {', '.join(before.get(playbook, ['no host']))} and is for {', '.join(after.get(playbook, ['no host']))}"
        for playbook in dict.fromkeys((*before, *after))
        if before.get(playbook) != after.get(playbook)
    ]
    if not words and proposal.digest != now.digest:
        words.append("variables, limits or the order of its steps changed")
    return "; ".join(words)


def sentence_of(decision: Decision) -> str:
    """Return why nothing is run, in words."""
    match decision:
        case Hold(verdicts):
            return "; ".join(verdict.sentence for verdict in verdicts if not verdict.allowed)
        case Escalate(_, reason):
            return reason
    return "nothing holds it back"


def number(value: Value) -> float:
    """Return a number that a request carries; one that is none is never reached in time."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
