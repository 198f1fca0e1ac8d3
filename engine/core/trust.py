"""Guards of what is wanted: how far the runbook is trusted, when it may act, and what people hold back."""

from __future__ import annotations

import datetime as dt
import math
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.core.case import Case, allow, hold
from engine.core.rivals import acts_on_culprit, doubt
from engine.core.silences import covers
from engine.core.windows import opens, permits
from engine.model.decision import Verdict
from engine.model.incident import AlertState
from engine.model.runbook import Approval, Mode, Window


def mode(case: Case) -> Verdict:
    """The trust ladder: shadow never acts by itself, approve asks first (`approval`); an operator's hand may."""
    if case.operator is not None:
        return allow("mode", f"asked for by {case.operator}")
    if case.runbook.mode is Mode.SHADOW:
        return hold(
            "mode", "shadow", f"runbook {case.runbook.name} is in shadow: it would have run {case.remedy.name!r}"
        )
    return allow("mode", f"mode is {case.runbook.mode}")


def approval(case: Case) -> Verdict:
    """What needs a person's word waits for it; the word counts for exactly what was shown, and not for ever."""
    why = why_asked(case)
    if not why:
        return allow("approval", f"{case.remedy.name!r} needs no approval")
    if case.operator is not None:
        return allow("approval", f"{why}; asked for by {case.operator}")
    given = case.incident.approved
    if given is None:
        return hold("approval", "held_for_approval", why)
    when = case.told(given.at)
    if given.digest != case.digest:
        return hold(
            "approval", "held_for_approval", f"{why}; what {given.by} approved at {when} is not this plan any more"
        )
    if case.now >= given.expires_at:
        end = case.told(given.expires_at)
        return hold("approval", "held_for_approval", f"{why}; what {given.by} approved at {when} held until {end}")
    said = f": {given.reason}" if given.reason else ""
    return allow("approval", f"approved by {given.by} at {when}{said}")


def why_asked(case: Case) -> str:
    """Say why a person must approve the remedy; "" when none must."""
    if case.runbook.mode is Mode.APPROVE:
        return f"runbook {case.runbook.name} asks a person before {case.remedy.name!r}"
    said = {case.catalog.approvals.get(host, Approval.DESTRUCTIVE): host for host in sorted(case.hosts)}
    if case.runbook.guards.approval is Approval.ALWAYS:
        return f"runbook {case.runbook.name} says approval: always"
    if Approval.ALWAYS in said:
        return f"the settings say approval: always for {said[Approval.ALWAYS]}"
    if case.remedy.destructive and Approval.DESTRUCTIVE in said:
        return f"{case.remedy.name!r} is destructive and needs approval"
    if acts_on_culprit(case.remedy):
        return doubt(case.incident.fault, case.incident.culprit)
    return ""


def pause(case: Case) -> Verdict:
    """Who paused automation, why and until when; a pause of any host that is touched counts, and of several the longest."""
    against = [
        each
        for each in case.standing.pauses
        if any(each.covers(case.runbook.name, host, case.now) for host in case.hosts)
    ]
    if not against:
        return allow("pause", "nothing is paused")
    stop = max(against, key=lambda each: math.inf if each.until is None else each.until)
    return hold("pause", "paused", f"{stop.scope} is paused by {stop.by}: {stop.reason}", stop.until)


def silence(case: Case) -> Verdict:
    """What is silenced starts nothing: one silenced alert of the runbook on the target is enough; of several silences the longest is told."""
    if case.operator is not None:
        return allow("silence", f"asked for by {case.operator}")
    own = [
        alert
        for alert in case.standing.alerts
        if alert.target == case.target.name
        and alert.runbook == case.runbook.variant
        and alert.state is not AlertState.RESOLVED
    ]
    alerts = own if case.alert is None else [case.alert, *own]
    against = [
        each
        for each in case.standing.silences
        if case.now < each.until and any(covers(each.selector, alert) for alert in alerts)
    ]
    if not against:
        return allow("silence", f"none of {len(case.standing.silences)} silences covers it")
    last = max(against, key=lambda each: each.until)
    sentence = f"{last.selector} is silenced by {last.by} until {case.told(last.until)}: {last.reason}"
    return hold("silence", "silenced", sentence, last.until)


def window(case: Case) -> Verdict:
    """Times of day are the wall's, in the zone that was written; daylight saving included."""
    rule = case.runbook.guards.window
    if rule is None or not (rule.only or rule.never):
        return allow("window", "it may act at any time")
    if case.operator is not None:
        return allow("window", f"asked for by {case.operator}")
    try:
        allowed = permits(rule, case.wall)
        opening = None if allowed else opens(rule, case.wall)
        here = said_in(rule, case.wall if opening is None else opening)
    except (ZoneInfoNotFoundError, ValueError, OverflowError, OSError) as error:
        return hold("window", "window_unknown", f"the time of day cannot be told: {error}")
    if allowed:
        return allow("window", f"it is {here}, within the times at which it may act")
    never = [hours.text for hours in rule.never]
    only = [hours.text for hours in rule.only]
    words = [f"only {' or '.join(only)}"] if only else []
    words += [f"not {' nor '.join(never)}"] if never else []
    sentence = f"it may act {', '.join(words)}"
    if opening is None:
        return hold("window", "window", f"{sentence}: never within a fortnight")
    return hold("window", "window", f"{sentence}: again from {here}", opening + case.ahead)


def said_in(rule: Window, wall: float) -> str:
    """Return the time of day in the zone of the window's first hours."""
    zone = (*rule.only, *rule.never)[0].zone
    return f"{dt.datetime.fromtimestamp(wall, ZoneInfo(zone)):%a %Y-%m-%d %H:%M} in {zone}"
