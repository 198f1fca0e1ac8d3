"""Guards of how much and how soon: time to settle, attempts, executions side by side."""

from __future__ import annotations

from engine.core.case import HOUR, Case, allow, hold
from engine.core.grace import side_effect, touches
from engine.model.decision import Verdict
from engine.model.incident import Outcome


def cooldown(case: Case) -> Verdict:
    """Time to settle between two incidents of a target; the next rung of the same incident does not wait for it.

    An incident that came back after it was resolved waits like a new one.
    """
    wait = case.runbook.guards.cooldown
    earlier = [
        attempt.ended_at or attempt.started_at
        for attempt in case.attempts
        if attempt.target == case.target.name
        and (attempt.incident != case.incident.id or case.incident.rung == 0 or attempt.outcome is Outcome.RESOLVED)
    ]
    if earlier and case.now < max(earlier) + wait:
        last, until = max(earlier), max(earlier) + wait
        sentence = f"last attempt at {case.told(last)}, its cooldown of {wait:.0f}s is over at {case.told(until)}"
        return hold("cooldown", "cooldown", sentence, until)
    return allow("cooldown", f"cooldown of {wait:.0f}s is over" if wait else "no cooldown")


def max_attempts(case: Case) -> Verdict:
    """Attempts count per target and runbook over 24 hours, whatever the incident; a rescue has one of its own behind them."""
    count = sum(attempt.target == case.target.name for attempt in case.attempts)
    limit = case.runbook.guards.max_attempts + case.runbook.is_rescue(case.incident.rung)
    if count >= limit:
        return hold("max_attempts", "max_attempts", f"{count} attempts on {case.target.name} in 24h, at most {limit}")
    return allow("max_attempts", f"{count} of {limit} attempts in 24h")


def max_per_hour(case: Case) -> Verdict:
    """Across all targets."""
    limit = case.runbook.guards.max_per_hour
    recent = sorted(attempt.started_at for attempt in case.attempts if case.now - attempt.started_at < HOUR)
    if limit is not None and len(recent) >= limit:
        return hold(
            "max_per_hour",
            "max_per_hour",
            f"{len(recent)} attempts since {case.told(recent[0])}, at most {limit} an hour"
            if recent
            else "none is allowed",
            recent[-limit] + HOUR if limit else None,
        )
    return allow("max_per_hour", f"{len(recent)} of {'any' if limit is None else limit} attempts this hour")


def max_concurrent(case: Case) -> Verdict:
    """The engine's limit and the runbook's."""
    active = case.standing.executions
    limit = case.catalog.limits.max_concurrent
    if len(active) >= limit:
        return hold("max_concurrent", "max_concurrent", f"{len(active)} executions run, at most {limit}")
    own = sum(execution.runbook == case.runbook.name for execution in active)
    own_limit = case.runbook.guards.max_concurrent
    if own_limit is not None and own >= own_limit:
        return hold(
            "max_concurrent", "max_concurrent", f"{own} executions of {case.runbook.name} run, at most {own_limit}"
        )
    return allow("max_concurrent", f"{len(active)} of {limit} executions run")


def serial(case: Case) -> Verdict:
    """One execution at a time per value of a host variable, over all hosts that it would touch; no value, no run."""
    name = case.runbook.guards.serial
    if name is None:
        return allow("serial", "no host variable is to be taken one value at a time")
    values: dict[str, str] = {}
    for host in sorted(case.hosts):
        target = case.fleet.get(host)
        value = target.variables.get(name) if target is not None else None
        if value is None:
            return hold("serial", "serial_unknown", f"{host} has no host variable {name!r} to be serial by")
        if templated(value):
            return hold("serial", "serial_unknown", f"{name} of {host} is {value!r}: nobody has filled in what it says")
        values.setdefault(value, host)
    for execution in case.standing.executions:
        for host in sorted(execution.targets):
            other = case.fleet.get(host)
            if other is None:
                gone = f"{execution.id} runs on {host}, which is not in the inventory: its {name} is not known"
                return hold("serial", "serial_unknown", gone)
            value = other.variables.get(name)
            if value is not None and templated(value):
                unclear = f"{execution.id} runs on {host}, whose {name} is {value!r}: nobody has filled in what it says"
                return hold("serial", "serial_unknown", unclear)
            if value is not None and value in values:
                sentence = (
                    f"{execution.id} runs on {host}, and {name} is {value!r} there as on {values[value]}: at most 1"
                )
                return hold("serial", "serial", sentence)
    return allow("serial", f"nothing runs where {name} is {', '.join(map(repr, values))}")


def templated(value: str) -> bool:
    """Return whether a host variable is a template: two that are written differently may say the same."""
    return "{{" in value or "{%" in value


def grace(case: Case) -> Verdict:
    """What began on a host while a run for something else touched it, or shortly after, may be that run's own doing."""
    if case.operator is not None:
        return allow("grace", f"asked for by {case.operator}")
    began = case.incident.first_active or case.incident.opened_at
    near = touches(case.standing, case.catalog, case.now)
    found = side_effect(case.incident.target, case.incident.resource, began, near)
    if found is None:
        return allow("grace", "it is no side effect of a run on its host")
    return hold("grace", "grace", found.sentence, found.until)
