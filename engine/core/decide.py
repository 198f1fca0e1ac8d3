"""The decision: Run, Hold or Escalate, with every guard's verdict."""

from __future__ import annotations

from collections.abc import Callable

from engine.core.case import Case, hold
from engine.core.guards import ESCALATE, GUARDS
from engine.core.identity import identify
from engine.model.decision import Decision, Escalate, Hold, Preparation, Run, Verdict
from engine.model.execution import Execution
from engine.model.incident import Alert, Incident
from engine.model.runbook import Catalog, Remedy, Runbook

Prepare = Callable[[Runbook, Remedy, Incident, Alert | None], Preparation]
"""Resolves the hosts of a remedy's steps and renders their variables, for one incident and the alert behind it."""


def choose(variants: tuple[str, ...], catalog: Catalog) -> Runbook | Verdict:
    """Return the runbook that acts among those whose own trigger fires on the fault: the highest priority; a tie holds."""
    runbooks = sorted(
        (runbook for runbook in catalog.runbooks if runbook.variant in variants), key=lambda runbook: -runbook.priority
    )
    if not runbooks:
        return hold("runbook", "no_runbook", "no runbook's own trigger fires on this fault")
    if len(runbooks) > 1 and runbooks[0].priority == runbooks[1].priority:
        names = ", ".join(runbook.name for runbook in runbooks if runbook.priority == runbooks[0].priority)
        return hold("runbook", "tie", f"{names} have the same priority {runbooks[0].priority}: give one a higher one")
    return runbooks[0]


def decide(case: Case) -> Decision:
    """Return what to do for one incident now; a run carries the execution as it will be committed.

    Every guard is asked, so that people see all that holds it back and not the first alone.
    """
    verdicts = tuple(guard(case) for guard in GUARDS)
    against = [verdict for verdict in verdicts if not verdict.allowed]
    for verdict in against:
        if verdict.code in ESCALATE and case.operator is None:
            return Escalate(verdict.code, verdict.sentence, verdicts)
    if against:
        return Hold(verdicts)
    return Run(launch(case), verdicts)


def launch(case: Case) -> Execution:
    """Return the execution of one attempt; the same attempt always gets the same name, and no later one does.

    Each name depends on the one before it: a count of attempts would start again once they are out of sight.
    """
    incident = case.incident
    before = incident.attempt.id if incident.attempt is not None else ""
    attempt = identify("att", incident.id, incident.reopened, incident.rung, before)
    return Execution(
        id=identify("run", attempt),
        attempt=attempt,
        incident=case.incident.id,
        runbook=case.runbook.name,
        digest=case.runbook.digest,
        remedy=case.remedy.name,
        target=case.target.name,
        steps=case.steps,
        created_at=case.now,
        triggered_by=case.operator or "engine",
        reason=case.incident.reason if case.operator else (case.alert.condition if case.alert else ""),
    )
