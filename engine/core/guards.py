"""Guards: one function each, one verdict each. No data is not good news: a guard that cannot know, holds."""

from __future__ import annotations

import math

from engine.core.case import DAY, HOUR, Case, Guard, allow, hold, orphaned
from engine.core.lifecycle import unproved
from engine.core.room import cooldown, grace, max_attempts, max_concurrent, max_per_hour, serial
from engine.core.trust import approval, mode, pause, silence, window
from engine.model.decision import Verdict
from engine.model.incident import AlertState, Attempt, IncidentState
from engine.model.runbook import Scope
from engine.model.standing import Standing
from engine.model.target import Target
from engine.model.truth import Truth

__all__ = ["DAY", "ESCALATE", "GUARDS", "HOUR", "Case", "allow", "hold"]

SCRAPED, PROBED, DRAINED = "up", "probe_success", "mendbook_drained"
"""What `min_healthy` asks of every member of a group; the last may be a host variable, too."""


def signal(case: Case) -> Verdict:
    """The runbook's own trigger must fire on the target now; what is not measured is not acted on."""
    if case.operator is not None:
        return allow("signal", f"asked for by {case.operator}")
    if case.alert is None:
        return hold("signal", "no_signal", f"no alert of {case.runbook.name} fires on {case.target.name}")
    if case.alert.state is not AlertState.FIRING:
        return hold(
            "signal", "no_data", f"{case.alert.name} is {case.alert.state}: {case.alert.reason or 'not firing'}"
        )
    return allow("signal", f"{case.alert.name} fires: {case.alert.condition}")


def culprit(case: Case) -> Verdict:
    """A runbook that names culprits acts on a named one only."""
    if case.runbook.localize.culprit_label is None or case.operator is not None:
        return allow("culprit", "the runbook needs no culprit")
    if case.incident.culprit is None:
        return hold("culprit", "no_culprit", f"no culprit was found on {case.target.name}")
    return allow("culprit", f"culprit is {case.incident.culprit}")


def clock(case: Case) -> Verdict:
    """A jump of the wall clock holds everything: nobody knows which times are true."""
    if abs(case.jump) > case.catalog.limits.interval:
        return hold("clock", "clock_jumped", f"the wall clock jumped by {case.jump:+.0f}s, more than one interval")
    return allow("clock", "the clock is steady")


def protected(case: Case) -> Verdict:
    """The engine's own host, record and evaluator are never touched unless an operator names them."""
    touched = sorted(case.hosts & case.catalog.protected)
    if touched and case.operator is None:
        return hold("protected", "protected", f"{', '.join(touched)} is protected: only an operator may name it")
    return allow("protected", "no protected host is touched")


def inventory(case: Case) -> Verdict:
    """An inventory that shrank suddenly is a mistake until a human says otherwise."""
    before = case.standing.fleet
    gone = before - {target.name for target in case.fleet}
    if before and len(gone) / len(before) > case.catalog.limits.shrink:
        return hold(
            "inventory", "inventory_shrank", f"{len(gone)} of {len(before)} hosts vanished from the inventory at once"
        )
    return allow("inventory", f"{len(case.fleet)} hosts in the inventory")


def share(case: Case) -> Verdict:
    """One execution touches a bounded share of the fleet, and only hosts that exist; no host never means all of them."""
    if not case.steps or any(not step.hosts for step in case.steps):
        empty = next((step.playbook for step in case.steps if not step.hosts), case.remedy.name)
        return hold("share", "no_hosts", f"{empty} names no host, which never means all")
    strange = sorted(name for name in case.hosts if case.fleet.get(name) is None)
    if strange:
        return hold("share", "unknown_host", f"{', '.join(strange)}: not in the inventory")
    limit = max(1, math.floor(case.catalog.limits.max_targets * len(case.fleet) + 1e-9))
    if len(case.hosts) > limit:
        return hold("share", "too_many_hosts", f"{len(case.hosts)} hosts, at most {limit} of {len(case.fleet)} at once")
    return allow("share", f"{len(case.hosts)} of at most {limit} hosts")


def locks(case: Case) -> Verdict:
    """One lock per target, across all runbooks and operators."""
    for lock in case.standing.locks:
        if lock.target not in case.hosts:
            continue
        if lock.owner != case.incident.id:
            since = case.told(lock.taken_at)
            return hold("lock", "locked", f"{lock.target} is held by {lock.owner} since {since}: {lock.reason}")
        if unproved(case.incident, case.standing):
            way = f"`mendbook locks break {lock.target}` says that it does not"
            return hold("lock", "not_contained", f"an earlier run may still go on on {lock.target}: {way}")
    for execution in case.standing.executions:  # a person may have released the lock of a run that goes on
        shared = sorted(execution.targets & case.hosts)
        if shared:
            return hold("lock", "locked", f"{execution.id} runs on {', '.join(shared)}")
    return allow("lock", "no other run holds these hosts")


def escalated(case: Case) -> Verdict:
    """What a human has been called to is left alone by automation, whoever holds the lock or gave it back."""
    if case.operator is not None:
        return allow("escalated", f"asked for by {case.operator}")
    for incident in case.standing.incidents:
        if (
            incident.state is IncidentState.ESCALATED
            and incident.target in case.hosts
            and incident.id != case.incident.id
        ):
            return hold(
                "escalated", "escalated", f"{incident.id} ({incident.resource} of {incident.target}) waits for a human"
            )
    return allow("escalated", "no human was called to these hosts")


def storm(case: Case) -> Verdict:
    """Many targets at once are one cause that a human must find."""
    if case.operator is not None:
        return allow("storm", f"asked for by {case.operator}")
    count = len(troubled(case.standing))
    limit = case.catalog.limits.storm
    if count > limit:
        return hold("storm", "storm", f"{count} targets are in trouble at once and should not exceed {limit}")
    return allow("storm", f"{count} of at most {limit} targets in trouble")


def troubled(standing: Standing) -> frozenset[str]:
    """Return the targets with a live incident that the engine found and that no human has taken up."""
    return frozenset(
        incident.target
        for incident in standing.incidents
        if incident.state.live
        and incident.resource != "storm"
        and incident.triggered_by == "engine"
        and incident.acknowledged_by is None
    )


def min_healthy(case: Case) -> Verdict:
    """Enough members of the group stay healthy while the target is worked on; unknown counts as down."""
    rule = case.runbook.guards.min_healthy
    if rule is None:
        return allow("min_healthy", "no group to keep healthy")
    members = case.fleet.group(rule.group)
    if not members:
        return hold("min_healthy", "empty_group", f"group {rule.group!r} has no members")
    need = math.ceil(rule.at_least * len(members) - 1e-9) if rule.share else int(rule.at_least)
    left = [member.name for member in members if member.name not in case.hosts and healthy(member, case)]
    if len(left) < need:
        return hold(
            "min_healthy",
            "min_healthy",
            f"{len(left)} of {len(members)} members of {rule.group} would stay healthy and should equal or exceed {need}",
        )
    return allow("min_healthy", f"{len(left)} of {len(members)} members of {rule.group} stay healthy, {need} needed")


def healthy(member: Target, case: Case) -> bool:
    """Return whether a member has fresh data, a passing probe where it is probed, and no incident, lock or drain."""
    scraped, probed = case.answers.get(SCRAPED), case.answers.get(PROBED)
    if scraped is None or scraped.truth(member.instances) is not Truth.TRUE:
        return False
    if any(sample.value != 1 for sample in scraped.about(member.instances)):
        return False
    if probed is not None and probed.error is not None:
        return False
    if probed is not None and any(sample.value != 1 for sample in probed.about(member.instances)):
        return False
    if drained(member, case) or any(lock.target == member.name for lock in case.standing.locks):
        return False
    return not any(incident.target == member.name and incident.state.live for incident in case.standing.incidents)


def drained(member: Target, case: Case) -> bool:
    """Return whether a member is known to be out of service on purpose: by a host variable, or a metric above 0."""
    if member.variables.get(DRAINED, "").lower() in ("true", "yes", "1"):
        return True
    known = case.answers.get(DRAINED)
    return known is not None and any(sample.value > 0 for sample in known.about(member.instances))


def require(case: Case) -> Verdict:
    """What must be true for the target, or nothing is touched."""
    for condition in case.runbook.guards.require:
        answer = case.answers.get(condition.expr)
        if answer is None:
            return hold("require", "require_unknown", f"{condition.expr}: not asked yet")
        fleet_wide = condition.scope is Scope.FLEET
        truth = answer.fleet_truth() if fleet_wide else answer.truth(case.target.instances)
        if truth is Truth.UNKNOWN:
            missing = answer.fleet_missing() if fleet_wide else answer.missing(case.target.instances)
            return hold("require", "require_unknown", f"{condition.expr} is unknown: {'; '.join(missing)}")
        if truth is Truth.FALSE:
            return hold("require", "require", f"{condition.expr} does not hold for {case.target.name}")
    return allow("require", f"{len(case.runbook.guards.require)} requirement(s) hold")


def canaries(case: Case) -> Verdict:
    """What the engine sees of itself must be right before it believes that others are down."""
    for condition in case.catalog.canaries:
        answer = case.answers.get(condition.expr)
        if answer is None or answer.fleet_truth() is not Truth.TRUE:
            return hold("canaries", "canary", f"the engine's own canary {condition.expr} is not true")
    return allow("canaries", f"{len(case.catalog.canaries)} canaries up")


def common_cause(case: Case) -> Verdict:
    """The same fault on a new target right after a remedy: what was healed is not what is wrong. Stop.

    The same fault is one of the same resource, whichever runbook saw to it; right after is from the end of its run, verified
    or not, until `verify.within` after the attempt's end.
    """
    if case.operator is not None:
        return allow("common_cause", f"asked for by {case.operator}")
    resource, patience = case.runbook.localize.resource, case.runbook.verify.within
    orphans = orphaned(resource, case.standing, case.catalog)
    same = {case.runbook.name} | {each.name for each in case.catalog.runbooks if each.localize.resource == resource}
    for attempt in case.standing.attempts:
        if attempt.runbook not in same and attempt.id not in orphans:
            continue
        if attempt.target == case.target.name or case.now - attempt.started_at >= DAY:
            continue
        ended = ran_until(attempt)
        if ended is None:
            continue
        after = case.incident.opened_at - ended
        if after >= 0 and case.incident.opened_at - (attempt.ended_at or case.incident.opened_at) < patience:
            return hold(
                "common_cause",
                "common_cause",
                f"{attempt.runbook} ran on {attempt.target} until {after:.0f}s before the same fault ({resource}) began on {case.target.name}",
            )
    return allow("common_cause", f"no remedy for {resource} just before on another target")


def ran_until(attempt: Attempt) -> float | None:
    """Return when the run of an attempt ended, None while it goes on."""
    return attempt.ended_at if attempt.ran_until is None else attempt.ran_until


GUARDS: tuple[Guard, ...] = (
    signal,
    culprit,
    clock,
    canaries,
    inventory,
    share,
    protected,
    storm,
    common_cause,
    grace,
    pause,
    silence,
    mode,
    window,
    approval,
    locks,
    escalated,
    require,
    min_healthy,
    cooldown,
    max_attempts,
    max_per_hour,
    max_concurrent,
    serial,
)
"""In the order in which people ask: is it true, is it safe, is it wanted, is there room."""

ESCALATE = frozenset({"max_attempts", "common_cause"})
"""Codes for which waiting does not help: a human must look."""
