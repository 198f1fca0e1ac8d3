"""Plans that people keep in a file: what a tick would do, and running exactly that later, or nothing of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from engine.core import lifecycle
from engine.core.approvals import Answer, difference, number, sentence_of
from engine.core.case import DAY, attempts_of
from engine.core.draft import Draft, Scene, apply
from engine.core.identity import identify, seal
from engine.core.lifecycle import said
from engine.core.localize import Findings
from engine.core.meet import meet
from engine.core.weigh import weigh
from engine.model.decision import Change, Entry, Hold, Run, Verdict
from engine.model.execution import PlannedStep
from engine.model.incident import Approved, Incident, IncidentState, Proposal
from engine.model.runbook import Catalog, Value
from engine.model.standing import Request, Standing
from engine.model.target import Target


@dataclass(frozen=True, slots=True)
class Order:
    """One run of a plan: what it is, whether it waits for nothing but a person's word, and what the guards said."""

    proposal: Proposal
    waits: bool
    verdicts: tuple[Verdict, ...]


def orders(changes: Iterable[Change], standing: Standing, catalog: Catalog, now: float) -> tuple[Order, ...]:
    """Return what a tick would begin, and what it would begin if a person approved."""
    found: dict[str, Order] = {}
    for change in changes:
        if isinstance(change.decision, Run) and change.incident is not None:
            order = Order(
                of_run(change.incident, change.decision, standing, catalog, now), False, change.decision.verdicts
            )
            found[change.incident.id] = order
        elif isinstance(change.decision, Hold) and change.incident is not None:
            proposal = change.incident.proposal
            if proposal is not None:
                found[change.incident.id] = Order(proposal, True, change.decision.verdicts)
        standing = apply(standing, change)
    for incident in standing.incidents:
        if (
            incident.state is not IncidentState.OPEN
            or incident.proposal is None
            or incident.code != "held_for_approval"
        ):
            if incident.id in found and found[incident.id].waits:
                del found[incident.id]  # something else holds it, too
        else:
            found.setdefault(incident.id, Order(incident.proposal, True, ()))
    return tuple(found.values())


def of_run(incident: Incident, decision: Run, standing: Standing, catalog: Catalog, now: float) -> Proposal:
    """Return a run that would begin as what a person is shown."""
    execution = decision.execution
    runbook = catalog.variants(execution.runbook)[0]
    before = sum(each.target == execution.target for each in attempts_of(runbook, standing, catalog, now))
    bare = Proposal(
        digest="",
        runbook=execution.runbook,
        runbook_digest=execution.digest,
        remedy=execution.remedy,
        rung=incident.rung,
        number=before + 1,
        target=incident.target,
        resource=incident.resource,
        culprit=incident.culprit,
        steps=execution.steps,
        proposed_at=now,
        expires_at=now,
        why=execution.reason,
    )
    return replace(bare, digest=digest_of(bare))


def digest_of(proposal: Proposal) -> str:
    """Return the digest that a proposal has when nobody tampered with it."""
    return seal(
        proposal.steps,
        runbook=proposal.runbook,
        runbook_digest=proposal.runbook_digest,
        remedy=proposal.remedy,
        rung=proposal.rung,
        number=proposal.number,
        target=proposal.target,
        resource=proposal.resource,
        culprit=proposal.culprit,
    )


def row_of(proposal: Proposal) -> dict[str, Value]:
    """Return a proposal as plain values."""
    steps: tuple[Value, ...] = tuple(
        {
            "playbook": step.playbook,
            "hosts": step.hosts,
            "vars": dict(step.vars),
            "timeout": step.timeout,
            "always": step.always,
        }
        for step in proposal.steps
    )
    return {
        "digest": proposal.digest,
        "runbook": proposal.runbook,
        "runbook_digest": proposal.runbook_digest,
        "remedy": proposal.remedy,
        "rung": proposal.rung,
        "number": proposal.number,
        "target": proposal.target,
        "resource": proposal.resource,
        "culprit": proposal.culprit,
        "steps": steps,
        "why": proposal.why,
    }


def read_row(row: Value) -> Proposal | None:
    """Return the proposal that `row_of` wrote; None for what is none, and for one whose digest is another's."""
    if not isinstance(row, Mapping):
        return None
    texts = [row.get(name) for name in ("digest", "runbook", "runbook_digest", "remedy", "target", "resource", "why")]
    counts = [row.get(name) for name in ("rung", "number")]
    culprit, steps = row.get("culprit"), [read_step(step) for step in items(row.get("steps"))]
    if not all(isinstance(text, str) for text in texts) or not isinstance(culprit, str | None) or None in steps:
        return None
    if not all(isinstance(count, int) and not isinstance(count, bool) for count in counts):
        return None
    digest, runbook, runbook_digest, remedy, target, resource, why = map(str, texts)
    rung, attempt = (int(count) for count in counts if isinstance(count, int))
    known = tuple(step for step in steps if step is not None)
    proposal = Proposal(
        digest, runbook, runbook_digest, remedy, rung, attempt, target, resource, culprit, known, 0.0, 0.0, why
    )
    return proposal if digest_of(proposal) == digest else None


def read_step(step: Value) -> PlannedStep | None:
    """Return one step of a row; None for what is none."""
    if not isinstance(step, Mapping):
        return None
    playbook, variables, timeout, always = (step.get(name) for name in ("playbook", "vars", "timeout", "always"))
    hosts = items(step.get("hosts"))
    if not isinstance(playbook, str) or not isinstance(variables, Mapping) or not isinstance(always, bool):
        return None
    if not isinstance(timeout, int | float) or not all(isinstance(host, str) for host in hosts):
        return None
    return PlannedStep(playbook, tuple(map(str, hosts)), variables, float(timeout), always)


def items(value: Value) -> tuple[Value, ...]:
    """Return the items of a list; of anything else none."""
    return tuple(value) if isinstance(value, tuple | list) else ()


def run_plan(request: Request, scene: Scene, findings: Findings, draft: Draft) -> list[Answer]:
    """Begin everything that a plan says, each of it being what would be run now; or nothing, and say what changed."""
    expires = min(number(request.vars.get("expires_at")), number(request.vars.get("created")) + DAY)
    rows = items(request.vars.get("runs"))
    late = max(scene.now, scene.now - scene.ahead) - expires  # people tell times by the wall, which may have been set
    if late >= 0:
        return [unrun(request, scene, draft, "", "expired", f"the plan expired {late:.0f}s ago")]
    if not rows:
        return [unrun(request, scene, draft, "", "empty", "the plan says nothing that could be run")]
    trial = Draft(draft.standing)
    answers = [order(read_row(row), request, scene, findings, trial) for row in rows]
    refusals = [answer for answer in answers if "refused" in answer]
    if not refusals:
        draft.changes += trial.changes
        draft.standing = trial.standing
        return answers
    for answer in refusals:
        words = answer["refused"]
        why = "; ".join(map(str, words)) if isinstance(words, list) else ""
        unrun(request, scene, draft, str(answer["target"]), ",".join(map(str, codes_of(answer))), why)
    return refusals


def codes_of(answer: Answer) -> list[object]:
    """Return the codes of a refusal."""
    codes = answer["codes"]
    return list(codes) if isinstance(codes, list) else []


def unrun(request: Request, scene: Scene, draft: Draft, target: str, code: str, why: str) -> Answer:
    """Record that a plan was refused, and return it as an answer."""
    where = f" on {target}" if target else ""
    sentence = f"Refused to {request.by}: the plan{where}: {why}"
    draft.add(
        Change(0, scene.now, (Entry("decision", sentence, None, target or None, None, code, {"request": request.id}),))
    )
    return {"target": target, "refused": [why], "codes": [code]}


def order(proposal: Proposal | None, request: Request, scene: Scene, findings: Findings, trial: Draft) -> Answer:
    """Begin one run of a plan in the trial, or say why it cannot be."""
    if proposal is None:
        return {"target": "", "refused": ["the plan was tampered with: a digest does not fit"], "codes": ["tampered"]}
    no: Answer = {"target": proposal.target}
    target = scene.fleet.get(proposal.target)
    if target is None:
        return no | {"refused": [f"{proposal.target} is not in the inventory"], "codes": ["unknown_host"]}
    begun = already(request, target, trial.standing)
    if begun is not None:
        return begun
    if tried_since(number(request.vars.get("created")), proposal, scene, trial.standing):
        words = f"{proposal.runbook} was run on {proposal.target} since the plan was made: plan anew"
        return no | {"refused": [words], "codes": ["changed"]}
    incident, why = incident_of(proposal, scene, findings, trial)
    if incident is None:
        return no | {"refused": [why], "codes": ["gone"]}
    given = Approved(proposal.digest, request.by, request.reason, scene.now, scene.now + scene.catalog.limits.approval)
    weighed = weigh(scene, findings, trial.standing, replace(incident, approved=given))
    if weighed.case is None or weighed.runbook is None:
        return no | {"refused": [f"it would not be run now: {sentence_of(weighed.decision)}"], "codes": ["gone"]}
    if weighed.case.digest != proposal.digest:
        words = difference(proposal, weighed.case)
        return no | {"refused": [f"this is not what would be run now: {words}"], "codes": ["changed"]}
    if not isinstance(weighed.decision, Run):
        codes = [verdict.code for verdict in weighed.decision.verdicts if not verdict.allowed]
        return no | {"refused": [sentence_of(weighed.decision)], "codes": codes}
    reason = request.reason or f"a plan that {request.by} approved"
    execution = replace(weighed.decision.execution, triggered_by=request.by, reason=reason)
    known = replace(weighed.incident, request=request.id)
    change = lifecycle.begin(
        known, weighed.runbook.name, execution, weighed.decision.verdicts, trial.standing, scene.now
    )
    asked = said(request, f"asked for a plan: {proposal.remedy!r} of {proposal.runbook}", known)
    trial.add(replace(change, entries=(asked, *change.entries)))
    return no | {"incident": known.id, "execution": execution.id}


def tried_since(created: float, proposal: Proposal, scene: Scene, standing: Standing) -> bool:
    """Return whether the runbook was tried on the target after a plan was made: then that was another attempt, or this one.

    The number of the attempt alone does not tell: an older attempt that is a day old by now takes it down again.
    """
    since = min(created, created + scene.ahead)  # the file says it by the wall, attempts by the steady clock
    return any(
        attempt.target == proposal.target and attempt.runbook == proposal.runbook and attempt.started_at >= since
        for attempt in standing.attempts
    )


def incident_of(proposal: Proposal, scene: Scene, findings: Findings, trial: Draft) -> tuple[Incident | None, str]:
    """Return the open incident of what a plan is about, opened now when it has none; or None and why."""
    key = (proposal.target, proposal.resource)
    live = next((each for each in trial.standing.incidents if each.state.live and each.key == key), None)
    if live is not None:
        free = live.state is IncidentState.OPEN
        return (live, "") if free else (None, f"{live.id} is {live.state} already")
    fault = next((each for each in findings.faults if (each.suspect.node, each.suspect.resource) == key), None)
    if fault is None:
        return None, f"nothing is wrong with {proposal.resource} of {proposal.target} now, or it cannot be seen"
    change = meet(scene, trial.standing, fault)
    if change is None or change.incident is None:
        return None, f"{proposal.resource} of {proposal.target} has just recovered, or was touched by a run"
    trial.add(change)
    return change.incident, ""


def already(request: Request, target: Target, standing: Standing) -> dict[str, object] | None:
    """Return what the request came to on this target before its answer was lost; None when nothing was begun.

    An incident carries a request only from the commit that began its run, whatever became of it since.
    """
    for incident in standing.incidents:
        if incident.request == request.id and incident.target == target.name:
            execution = incident.attempt.execution if incident.attempt is not None else ""
            return {"target": target.name, "incident": incident.id, "execution": execution}
    name = rehearsal(request, target.name)
    if any(execution.id == name for execution in standing.executions):
        return {"target": target.name, "execution": name, "check": True}
    return None


def rehearsal(request: Request, target: str) -> str:
    """Return the name of the check run that a request asks for."""
    return identify("run", request.id, target)
