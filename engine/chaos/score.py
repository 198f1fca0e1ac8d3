"""Compares what the engine recorded with what was injected: a pure function of both.

An incident is about a truth when it names its node; of several, the one that names its resource too counts, the first if there are more.
What is about no truth, and no symptom that the experiment names, is a false alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.chaos.experiment import Ending, Hit, Truth
from engine.chaos.result import Found, Mark
from engine.model.execution import Execution
from engine.model.incident import Incident, IncidentState, Suspect
from engine.records.history import Logged


@dataclass(frozen=True, slots=True)
class Story:
    """What the engine's record says of a drill."""

    incidents: tuple[Incident, ...] = ()
    executions: tuple[Execution, ...] = ()
    entries: tuple[Logged, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """An injection as it went: when it took effect, what the probes outside said (time, well) until its undo at `until`."""

    hit: Hit
    at: float
    looks: tuple[tuple[float, bool], ...] = ()
    until: float = 0.0


def judge(seen: Seen, story: Story) -> Found:
    """Return what became of one truth."""
    truth = truth_of(seen)
    about = incidents_about(truth, story, seen.at)
    own = next((each for each in about if each.resource == truth.resource), about[0] if about else None)
    first, third = ranks(truth, own)
    outside = recovered(seen)
    verified = own.ended_at if own is not None and own.state is IncidentState.RESOLVED else None
    again = own is not None and recurred(own, about)
    return Found(
        injection=seen.hit.injection.name,
        action=seen.hit.injection.action,
        node=truth.node,
        resource=truth.resource,
        culprit=truth.culprits[0] if truth.culprits else "",
        expect=truth.expect,
        ending=ending(own, outside, seen, story),
        within=truth.within,
        detected=since(seen, detected(truth, own, story, seen.at)),
        named=since(seen, own.localized_at if own is not None else None),
        first=first,
        third=third,
        concluded=concluded(own),
        recovered=since(seen, outside),
        verified=since(seen, verified),
        recurred=again,
        runbooks=tuple(dict.fromkeys(each.runbook for each in acts(about, story))),
        digests=tuple(dict.fromkeys(each.digest for each in acts(about, story))),
    )


def truth_of(seen: Seen) -> Truth:
    """Return the truth of an injection that has one."""
    if seen.hit.truth is None:
        raise ValueError(f"{seen.hit.injection.name} has no truth to be judged by")
    return seen.hit.truth


def since(seen: Seen, at: float | None) -> float | None:
    """Return seconds from the injection, to the millisecond."""
    return None if at is None else round(max(0.0, at - seen.at), 3)


def incidents_about(truth: Truth, story: Story, at: float) -> list[Incident]:
    """Return the incidents of the truth's node that were live since, the oldest first."""
    return [
        each
        for each in sorted(story.incidents, key=lambda each: each.opened_at)
        if each.target == truth.node and (each.ended_at is None or each.ended_at >= at)
    ]


def ranks(truth: Truth, own: Incident | None) -> tuple[bool, bool]:
    """Return whether the first suspect is the right one, and whether one of the first three is."""
    if own is None:
        return False, False
    named = right(truth, own.target, own.resource, own.culprit)
    others = own.fault.others[:2] if own.fault is not None else ()
    return named, named or any(right(truth, *plain(each)) for each in others)


def plain(suspect: Suspect) -> tuple[str, str, str | None]:
    """Return node, resource and culprit of a suspect."""
    return suspect.node, suspect.resource, suspect.culprit


def right(truth: Truth, node: str, resource: str, culprit: str | None) -> bool:
    """Return whether node, resource and culprit are those of the truth."""
    return node == truth.node and resource == truth.resource and (culprit or "") in truth.culprits


def concluded(own: Incident | None) -> str:
    """Say what was concluded."""
    return "" if own is None else f"{own.resource} of {own.target}, {own.culprit or 'no culprit'}"


def detected(truth: Truth, own: Incident | None, story: Story, at: float) -> float | None:
    """Return when an alert on the truth's node first fired, or the incident was opened, whichever was first."""
    fired = [
        each.at
        for each in story.entries
        if each.entry.kind == "alert"
        and each.entry.code == "firing"
        and each.entry.target == truth.node
        and each.at >= at
    ]
    opened = [own.opened_at] if own is not None and own.opened_at >= at else []
    return min(fired + opened, default=None)


def recovered(seen: Seen) -> float | None:
    """Return when the probes outside last turned well, after having been ill, and stayed so; None when they never did."""
    ill = [at for at, well in seen.looks if not well and at >= seen.at]
    if not ill or not seen.looks or not seen.looks[-1][1]:
        return None
    return min(at for at, well in seen.looks if well and at > ill[-1])


def unharmed(seen: Seen) -> bool:
    """Return whether the probes outside never saw anything."""
    return bool(seen.looks) and all(well for at, well in seen.looks if at >= seen.at)


def acts(incidents: Sequence[Incident], story: Story) -> list[Execution]:
    """Return the executions for these incidents."""
    ids = {each.id for each in incidents}
    return [each for each in story.executions if each.incident in ids]


def ending(own: Incident | None, outside: float | None, seen: Seen, story: Story) -> Ending:
    """Return how it ended."""
    truth = truth_of(seen)
    if truth.expect is Ending.HELD:
        touched = [
            each for each in story.executions if truth.node in each.targets and each.runbook not in truth.runbooks
        ]
        if touched:
            return Ending.HEALED if own is not None and own.state is IncidentState.RESOLVED else Ending.UNHEALED
        called = own is not None and own.state is IncidentState.ESCALATED
        return Ending.ESCALATED if called else Ending.HELD
    if own is None:
        return Ending.MISSED
    if own.state is IncidentState.ESCALATED:
        return Ending.ESCALATED
    healed = own.state is IncidentState.RESOLVED and (outside is not None or unharmed(seen))
    return Ending.HEALED if healed and in_time(own, outside, seen) else Ending.UNHEALED


def in_time(own: Incident, outside: float | None, seen: Seen) -> bool:
    """Return whether it was over within the limit, outside and by the engine's own word."""
    limit = seen.at + truth_of(seen).within
    return (own.ended_at or limit) <= limit and (outside or own.ended_at or limit) <= limit


def recurred(own: Incident, about: Sequence[Incident]) -> bool:
    """Return whether the fault came back after it was healed."""
    later = [
        each for each in about if each.key == own.key and own.ended_at is not None and each.opened_at > own.ended_at
    ]
    return own.reopened > 0 or bool(later)


def false_alarms(all_seen: Sequence[Seen], story: Story) -> tuple[str, ...]:
    """Say which incidents are about nothing that was injected."""
    truths = [truth_of(each) for each in all_seen if each.hit.truth is not None]
    expected = {truth.node for truth in truths}.union(*(truth.symptoms for truth in truths))
    began = min((each.at for each in all_seen), default=0.0)
    return tuple(
        f"{each.resource} of {each.target}"
        for each in story.incidents
        if each.target not in expected or (each.ended_at is not None and each.ended_at < began)
    )


def wrong_acts(hits: Sequence[Hit], story: Story) -> tuple[str, ...]:
    """Say which executions were by a runbook, or on a host, that no truth expects."""
    truths = [hit.truth for hit in hits if hit.truth is not None]
    runbooks = {name for truth in truths for name in truth.runbooks}
    hosts = {name for truth in truths for name in truth.hosts}
    return tuple(
        f"{each.runbook} ({each.remedy}) on {', '.join(sorted(each.targets))}"
        for each in story.executions
        if each.runbook not in runbooks or not each.targets <= hosts
    )


def timeline(all_seen: Sequence[Seen], story: Story, zero: float) -> tuple[Mark, ...]:
    """Return everything that happened, in order, in seconds from the first injection."""
    marks = [
        *(Mark(each.at - zero, "injection", each.hit.injection.action, each.hit.node) for each in all_seen),
        *(mark for each in story.entries if (mark := of_entry(each, zero)) is not None),
        *(run for each in story.executions for run in of_execution(each, zero)),
        *(mark for each in all_seen for mark in of_looks(each, zero)),
        *(Mark(each.until - zero, "undo", each.hit.injection.action, each.hit.node) for each in all_seen if each.until),
    ]
    return tuple(sorted(marks, key=lambda mark: mark.at))


def news(marks: Sequence[Mark]) -> Mark | None:
    """Return what became of incidents and runs last: a run that has ended is news of its end."""
    told = [mark for mark in marks if mark.kind in ("incident", "run", "verified")]
    return max(reversed(told), key=lambda mark: mark.latest, default=None)


def of_entry(logged: Logged, zero: float) -> Mark | None:
    """Return the mark of an entry that belongs on a timeline."""
    entry, at, host = logged.entry, logged.at - zero, logged.entry.target or ""
    match entry.kind:
        case "alert" if entry.code in ("firing", "resolved"):
            return Mark(at, "alert", entry.sentence, host, good=entry.code == "resolved")
        case "fault":
            return Mark(at, "incident", entry.sentence, host)
        case "decision":
            return Mark(
                at, "decision", entry.sentence, host, good={"run": True, "escalate": False}.get(logged.decision or "")
            )
        case "verification":
            return Mark(at, "verified", entry.sentence, host, good=entry.code == "pass")
        case "outcome":
            return Mark(at, "verified", entry.sentence, host, good=True)
        case "operator":
            return Mark(at, "operator", entry.sentence, host)
    return None


def of_execution(execution: Execution, zero: float) -> Iterator[Mark]:
    """Yield an execution as a span: its playbooks, from its start to its end."""
    began = execution.started_at or execution.created_at
    books = ", ".join(dict.fromkeys(step.playbook for step in execution.steps))
    until = None if execution.ended_at is None else execution.ended_at - zero
    text = f"{execution.remedy}: {books} ({execution.state})"
    yield Mark(began - zero, "run", text, execution.target, until, good=execution.state == "successful")


def of_looks(seen: Seen, zero: float) -> Iterator[Mark]:
    """Yield each time that the view from outside changed."""
    before: bool | None = None
    for at, well in seen.looks:
        if well is not before and (before is not None or not well):
            yield Mark(at - zero, "outside", "well" if well else "ill", seen.hit.watched, good=well)
        before = well
