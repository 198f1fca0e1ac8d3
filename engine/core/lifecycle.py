"""The life of an incident: each function takes it one step on and says what is to be committed.

    open → remediating ⇄ verifying → resolved | self_healed
    any live state → escalated → resolved by recovery or by a human

An escalated incident keeps its target locked against automation.
"""

from __future__ import annotations

from dataclasses import replace

from engine.core.identity import identify
from engine.model.decision import Cancel, Change, Decision, Entry, Escalate, Hold, Run, Start, Verdict
from engine.model.execution import Execution, ExecutionState, Report
from engine.model.incident import (
    Alert,
    Attempt,
    Fault,
    Incident,
    IncidentState,
    Outcome,
    Progress,
)
from engine.model.runbook import Value
from engine.model.standing import Request, Standing


def open_incident(fault: Fault, alerts: tuple[Alert, ...], now: float) -> Change:
    """Open an incident for a fault that has none."""
    suspect = fault.suspect
    first = min((alert.active_since for alert in alerts), default=now)
    incident = Incident(
        id=identify("inc", suspect.node, suspect.resource, now),
        target=suspect.node,
        resource=suspect.resource,
        state=IncidentState.OPEN,
        opened_at=now,
        culprit=suspect.culprit,
        fault=fault,
        first_active=first,
        localized_at=now,
        changed_at=now,
    )
    return Change(version=0, at=now, incident=incident, entries=(fault_entry(incident, fault),))


def reopen(incident: Incident, fault: Fault, now: float) -> Change:
    """Take up an incident again whose fault came back; its attempts stay."""
    again = replace(
        incident,
        state=IncidentState.OPEN,
        fault=fault,
        culprit=fault.suspect.culprit,
        ended_at=None,
        outcome=None,
        attempt=None,
        trigger_cleared=False,
        reopened=incident.reopened + 1,
        code="",
        changed_at=now,
        proposal=None,
        approved=None,
    )
    entry = Entry(
        "fault", f"incident {incident.id} reopened: the fault came back", incident.id, incident.target, code="reopened"
    )
    return Change(version=0, at=now, incident=again, entries=(entry, fault_entry(again, fault)))


def fault_entry(incident: Incident, fault: Fault) -> Entry:
    """Return the line that says what was localized, with the suspects and their evidence."""
    suspect = fault.suspect
    culprit = f", culprit {suspect.culprit}" if suspect.culprit else ", culprit unknown"
    others: tuple[Value, ...] = tuple(
        {"node": other.node, "resource": other.resource, "culprit": other.culprit, "score": other.score}
        for other in fault.others
    )
    return Entry(
        "fault",
        f"{suspect.resource} of {suspect.node}{culprit} (score {suspect.score:.2f}, margin {fault.margin:.2f})",
        incident.id,
        incident.target,
        code="localized",
        data={
            "node": suspect.node,
            "resource": suspect.resource,
            "culprit": suspect.culprit,
            "score": suspect.score,
            "margin": fault.margin,
            "evidence": suspect.evidence,
            "others": others,
        },
    )


def follow(incident: Incident, runbook: str, decision: Decision, standing: Standing, now: float) -> Change | None:
    """Return what a decision changes; None when it says no more than the last one did."""
    match decision:
        case Run(execution, verdicts):
            return begin(incident, runbook, execution, verdicts, standing, now)
        case Escalate(code, reason, verdicts):
            return escalate(
                replace(incident, runbook=runbook or incident.runbook), code, reason, standing, now, verdicts
            )
        case Hold(verdicts):
            against = [verdict for verdict in verdicts if not verdict.allowed]
            code = ",".join(verdict.code for verdict in against)
            if code == incident.code:
                return None
            sentence = "; ".join(verdict.sentence for verdict in against)
            held = replace(incident, code=code, reason=sentence, runbook=runbook or incident.runbook, changed_at=now)
            entry = decision_entry(held, code, f"Hold: {sentence}", verdicts)
            return Change(version=0, at=now, incident=held, entries=(entry,), decision=decision)


def begin(
    incident: Incident,
    runbook: str,
    execution: Execution,
    verdicts: tuple[Verdict, ...],
    standing: Standing,
    now: float,
) -> Change:
    """Commit the intent to run: incident, attempt, execution and locks at once; the start is its effect."""
    attempt = Attempt(
        id=execution.attempt,
        incident=incident.id,
        runbook=runbook,
        digest=execution.digest,
        rung=incident.rung,
        remedy=execution.remedy,
        culprit=incident.culprit,
        execution=execution.id,
        started_at=now,
        target=incident.target,
        hosts=execution.targets,
    )
    running = replace(
        incident,
        state=IncidentState.REMEDIATING,
        runbook=runbook,
        attempt=attempt,
        code="run",
        reason=f"{execution.remedy} ({execution.id})",
        changed_at=now,
        progress=Progress(),
        proposal=None,
        approved=None,
    )
    entry = decision_entry(
        running, "run", f"Run: {execution.remedy!r} of {runbook} on {', '.join(sorted(execution.targets))}", verdicts
    )
    return Change(
        version=0,
        at=now,
        incident=running,
        execution=execution,
        locks=execution.targets - held_by(incident.id, standing),
        entries=(entry,),
        decision=Run(execution, verdicts),
        effect=Start(execution),
    )


def decision_entry(incident: Incident, code: str, sentence: str, verdicts: tuple[Verdict, ...]) -> Entry:
    """Return the line of a decision with every guard's verdict."""
    return Entry(
        "decision",
        sentence,
        incident.id,
        incident.target,
        incident.runbook,
        code,
        {"verdicts": verdict_rows(verdicts)},
    )


def verdict_rows(verdicts: tuple[Verdict, ...]) -> tuple[Value, ...]:
    """Return what each guard said as plain values."""
    return tuple(
        {
            "guard": verdict.guard,
            "allowed": verdict.allowed,
            "code": verdict.code,
            "sentence": verdict.sentence,
            "until": verdict.until,
        }
        for verdict in verdicts
    )


def said(request: Request, sentence: str, incident: Incident | None = None) -> Entry:
    """Return the line that records who asked for what, and why."""
    why = f": {request.reason}" if request.reason else ""
    return Entry(
        "operator", f"{request.by} {sentence}{why}", incident.id if incident else None,
        incident.target if incident else None, code=request.kind, data={"request": request.id},
    )  # fmt: skip


def held_by(owner: str, standing: Standing) -> frozenset[str]:
    """Return the targets that this incident or execution holds."""
    return frozenset(lock.target for lock in standing.locks if lock.owner == owner)


def escalate(
    incident: Incident,
    code: str,
    reason: str,
    standing: Standing,
    now: float,
    verdicts: tuple[Verdict, ...] = (),
) -> Change:
    """Hand the incident to a human; automation keeps off its target.

    Other hosts that its runs touched, such as the balancer in front of it, are free again, unless something may still run there.
    """
    waiting = replace(
        incident,
        state=IncidentState.ESCALATED,
        code=code,
        reason=reason,
        changed_at=now,
        progress=Progress(judged_at=now),
        proposal=None,
        approved=None,
    )
    taken = {lock.target for lock in standing.locks}
    own = held_by(incident.id, standing) - {incident.target}
    return Change(
        version=0,
        at=now,
        incident=waiting,
        locks=frozenset({incident.target} - taken),
        unlock=frozenset() if unproved(incident, standing) else own,
        entries=(decision_entry(waiting, code, f"Escalate: {reason}", verdicts),),
        decision=Escalate(code, reason, verdicts),
    )


def finish(incident: Incident, execution: Execution, report: Report, standing: Standing, now: float) -> Change:
    """Take in the end of an execution: what was lost or ran goes to verifying, what failed to the next rung."""
    ended = end_execution(execution, report, now)
    entry = execution_entry(ended, report)
    attempt = incident.attempt
    if attempt is not None:
        attempt = replace(attempt, unproved=not report.contained, ran_until=now)
    incident = replace(incident, attempt=attempt, changed_at=now)
    change = Change(version=0, at=now, execution=ended, entries=(entry,))
    if not report.contained:
        unknown = settle(incident, Outcome.UNKNOWN, now)
        handed = escalate(unknown, "not_contained", f"{execution.id} may still run: {report.message}", standing, now)
        return replace(handed, execution=ended, entries=(entry, *handed.entries))
    if report.state is ExecutionState.CANCELED:
        failed = settle(incident, Outcome.FAILED, now)
        handed = escalate(failed, "canceled", f"{execution.id} was canceled: {report.message}", standing, now)
        return replace(handed, execution=ended, entries=(entry, *handed.entries))
    if report.state in (ExecutionState.SUCCESSFUL, ExecutionState.LOST):
        verifying = replace(
            incident, state=IncidentState.VERIFYING, code="verifying", progress=Progress(judged_at=now), reason=""
        )
        return replace(change, incident=verifying)
    failed = settle(incident, Outcome.FAILED, now)
    if incident.triggered_by == "engine":
        return replace(change, incident=climb(failed, now))
    handed = escalate(failed, "failed", f"{execution.id} {report.state}: {report.message}", standing, now)
    return replace(handed, execution=ended, entries=(entry, *handed.entries))


def withdraw(incident: Incident, execution: Execution, reason: str, standing: Standing, now: float) -> Change:
    """Take back an intent that was committed and never begun; all guards are asked anew when its time comes."""
    report = Report(execution.id, ExecutionState.CANCELED, message=f"never begun: {reason}")
    ended = end_execution(execution, report, now)
    opened = replace(
        settle(incident, Outcome.UNKNOWN, now), state=IncidentState.OPEN, code="", reason="", changed_at=now
    )
    return Change(
        version=0,
        at=now,
        incident=opened,
        execution=ended,
        entries=(execution_entry(ended, report),),
        unlock=held_by(incident.id, standing),
        effect=Cancel(execution.id, reason),
    )


def end_execution(execution: Execution, report: Report, now: float) -> Execution:
    """Return the execution as the report says it ended."""
    return replace(
        execution,
        state=report.state,
        started_at=report.started_at or execution.started_at,
        ended_at=report.ended_at or now,
        message=report.message,
    )


def execution_entry(execution: Execution, report: Report) -> Entry:
    """Return the line that says how an execution ended."""
    message = f": {report.message}" if report.message else ""
    return Entry(
        "execution",
        f"{execution.id} {execution.state}{message}",
        execution.incident or None,
        execution.target,
        execution.runbook,
        str(execution.state),
        {"execution": execution.id, "unreachable": report.unreachable, "contained": report.contained},
    )


def settle(incident: Incident, outcome: Outcome, now: float) -> Incident:
    """Write the outcome of the attempt under way."""
    if incident.attempt is None:
        return incident
    return replace(incident, attempt=replace(incident.attempt, outcome=outcome, ended_at=now))


def climb(incident: Incident, now: float) -> Incident:
    """Go to the next rung of the ladder."""
    return replace(
        incident,
        state=IncidentState.OPEN,
        rung=incident.rung + 1,
        code="",
        reason="",
        changed_at=now,
        proposal=None,
        approved=None,
    )


def resolve(incident: Incident, sentence: str, standing: Standing, now: float) -> Change:
    """Close a verified incident; its locks go."""
    healed = replace(
        settle(incident, Outcome.RESOLVED, now),
        state=IncidentState.RESOLVED,
        outcome=Outcome.RESOLVED,
        ended_at=now,
        changed_at=now,
        code="resolved",
        reason=sentence,
    )
    passed = Entry(
        "verification", f"pass: {sentence}", incident.id, incident.target, incident.runbook, "pass",
        {"observed": incident.progress.observed, "held": incident.progress.held},
    )  # fmt: skip
    return close(healed, (passed, outcome_entry(healed)), standing, now)


def self_heal(incident: Incident, sentence: str, standing: Standing, now: float) -> Change:
    """Close an incident whose signal went away without a verified remedy."""
    healed = replace(
        incident,
        state=IncidentState.SELF_HEALED,
        outcome=Outcome.SELF_HEALED,
        ended_at=now,
        changed_at=now,
        code="self_healed",
        reason=sentence,
    )
    return close(healed, (outcome_entry(healed),), standing, now)


def close(incident: Incident, entries: tuple[Entry, ...], standing: Standing, now: float) -> Change:
    """Return the change that ends an incident and releases what it held; what is not proved ended stays locked."""
    unlock = frozenset[str]() if unproved(incident, standing) else held_by(incident.id, standing)
    over = replace(incident, proposal=None, approved=None)
    return Change(version=0, at=now, incident=over, entries=entries, unlock=unlock)


def unproved(incident: Incident, standing: Standing) -> bool:
    """Return whether a run for this incident may still go on: it was not proved ended, and nobody released its locks."""
    tried = any(attempt.incident == incident.id and attempt.unproved for attempt in standing.attempts)
    own = incident.attempt is not None and incident.attempt.unproved
    return (tried or own) and bool(held_by(incident.id, standing))


def outcome_entry(incident: Incident) -> Entry:
    """Return the last line of an incident: how it ended, with the three times in seconds."""
    detect = incident.opened_at - incident.first_active
    localize = (incident.localized_at or incident.opened_at) - incident.opened_at
    recover = (incident.ended_at or incident.opened_at) - incident.opened_at
    return Entry(
        "outcome",
        f"{incident.outcome}: {incident.reason} (detected in {detect:.1f}s, recovered in {recover:.1f}s)",
        incident.id,
        incident.target,
        incident.runbook,
        str(incident.outcome),
        {"time_to_detect": detect, "time_to_localize": localize, "time_to_recover": recover},
    )
