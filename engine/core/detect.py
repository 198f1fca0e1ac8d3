"""Detection: from what triggers say to alerts, with the semantics of Prometheus's alerting rules and a third value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from engine.core.identity import identify
from engine.model.incident import Alert, AlertState
from engine.model.labels import METRIC_NAME, Labels, Sample
from engine.model.runbook import Catalog, Runbook, Scope
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer
from engine.promql import ParseError, comparisons, parse

FORGET = 86400.0
"""For how many seconds the alert of a host that left the inventory is kept."""

KNOWN = 1 << 14
"""How many alerts' labels and names are worked out once."""

Answers = Mapping[str, Answer]
"""Answers by the text of the expression."""

MOST = 100
"""How many results of one trigger on one host become alerts: more say nothing more about the host, and a page that names a
million series must not fill the record."""

Fill = Callable[[str, Labels, float], str]


def as_written(text: str, labels: Labels, value: float) -> str:
    """Leave a text alone."""
    del labels, value
    return text


def detect(
    answers: Answers, catalog: Catalog, fleet: Fleet, standing: Standing, now: float, fill: Fill = as_written
) -> tuple[Alert, ...]:
    """Return every alert as it stands now: pending, firing, unknown, or resolved at this very instant.

    `fill` fills the result's labels and value into the rule's own labels and annotations.
    An alert that ends because data ended is unknown, never resolved. `for` needs continuity: after a gap longer than two
    intervals pending starts again. A variant is called by its hosts: alerts are known again by the runbook's own name, so
    that a host which joins a variant ends none.
    """
    standing_alerts = [alert for alert in standing.alerts if alert.state is not AlertState.RESOLVED]
    by_name: dict[str, list[Alert]] = {}
    for alert in standing_alerts:
        by_name.setdefault(named(alert.runbook), []).append(alert)
    gap = 2 * catalog.limits.interval
    found: list[Alert] = []
    for runbook in catalog.runbooks:
        answer = answers.get(runbook.trigger.expr)
        if answer is not None:
            variant = runbook.variant
            own = {
                alert.fingerprint: alert if alert.runbook == variant else replace(alert, runbook=variant)
                for alert in by_name.get(runbook.name, ())
                if belongs(alert, runbook, fleet)
            }
            found += judge(runbook, answer, fleet, own, now, gap, fill)
    seen = {alert.fingerprint for alert in found}
    found += (alert for alert in gone(standing_alerts, catalog, fleet, now) if alert.fingerprint not in seen)
    return tuple(found)


def gone(alerts: Iterable[Alert], catalog: Catalog, fleet: Fleet, now: float) -> Iterator[Alert]:
    """Yield, as unknown, the alerts that fired on hosts which left the inventory; they are kept for a day."""
    names = {runbook.name for runbook in catalog.runbooks}
    for alert in alerts:
        fired = alert.fired_at is not None and now - alert.last_seen < FORGET
        if fired and left(alert, fleet) and named(alert.runbook) in names:
            yield replace(alert, state=AlertState.UNKNOWN, reason=f"{alert.target} is not in the inventory")


def named(variant: str) -> str:
    """Return the name of the runbook that this is a variant of."""
    return variant.partition("@")[0]


def left(alert: Alert, fleet: Fleet) -> bool:
    """Return whether the host of an alert is no longer in the inventory."""
    return alert.target is not None and fleet.get(alert.target) is None


def belongs(alert: Alert, runbook: Runbook, fleet: Fleet) -> bool:
    """Return whether this variant is the one to judge an alert of its runbook that stands."""
    if left(alert, fleet):
        return False
    return runbook.hosts is None if alert.target is None else runbook.applies_to(alert.target)


def judge(
    runbook: Runbook,
    answer: Answer,
    fleet: Fleet,
    before: Mapping[str, Alert],
    now: float,
    gap: float,
    fill: Fill,
) -> Iterator[Alert]:
    """Yield the alerts of one runbook, of each host as many as `MOST`; those that stand come before new ones."""
    room = Counter(alert.target for alert in before.values())
    trigger, condition = runbook.trigger, sentence_of(runbook.trigger.expr)
    seen: set[str] = set()
    for sample in answer.samples:
        target, reason = place(runbook, sample.labels, fleet)
        if target is not None and not runbook.applies_to(target.name):
            continue
        if runbook.hosts is not None and target is None:
            continue
        if why_unknown(runbook, answer, target, sample.labels):
            continue
        fingerprint = fingerprint_of(runbook.name, sample.labels)
        if fingerprint in seen:
            continue
        if fingerprint not in before:
            name = target.name if target is not None else None
            if room[name] >= MOST:
                continue
            room[name] += 1
        seen.add(fingerprint)
        said = Said(
            fingerprint,
            labelled(sample.labels, (*filled(trigger.labels, sample, fill), ("alertname", trigger.alert))),
            sample.value,
            dict(filled(trigger.annotations, sample, fill)),
            condition.format(value=f"{sample.value:.6g}"),
            reason,
        )
        yield hold_true(runbook, said, target, before.get(fingerprint), now, gap)
    for fingerprint, alert in before.items():
        if fingerprint not in seen:
            ended = let_go(runbook, answer, alert, fleet, now, gap)
            if ended is not None:
                yield ended


@dataclass(frozen=True, slots=True)
class Said:
    """What a trigger says of one result, in the alert's words."""

    fingerprint: str
    labels: Labels
    value: float
    annotations: Mapping[str, str]
    condition: str
    reason: str


def filled(texts: Mapping[str, str], sample: Sample, fill: Fill) -> tuple[tuple[str, str], ...]:
    """Return the rule's own labels or annotations with the result filled in."""
    return tuple([(name, fill(text, sample.labels, sample.value)) for name, text in texts.items()]) if texts else ()


# What fires goes on firing for many ticks, under the same labels each time.


@lru_cache(maxsize=KNOWN)
def fingerprint_of(runbook: str, labels: Labels) -> str:
    """Return what an alert of this runbook on these labels is known by."""
    return identify("a", runbook, labels.without(METRIC_NAME).pairs)


@lru_cache(maxsize=KNOWN)
def labelled(labels: Labels, own: tuple[tuple[str, str], ...]) -> Labels:
    """Return a result's labels as those of an alert: without the metric's name, with the rule's `own`."""
    return labels.with_({METRIC_NAME: "", **dict(own)})


def hold_true(
    runbook: Runbook, said: Said, target: Target | None, alert: Alert | None, now: float, gap: float
) -> Alert:
    """Return the alert of a condition that holds now.

    What fires goes on firing after a short gap; after one longer than `for` nobody knows what held meanwhile.
    """
    fired = alert is not None and alert.fired_at is not None and now - alert.last_seen <= max(gap, runbook.trigger.for_)
    continuous = alert is not None and (fired or now - alert.last_true <= gap)
    active_since = alert.active_since if alert is not None and continuous else now
    firing = fired or now - active_since >= runbook.trigger.for_
    return Alert(
        fingerprint=said.fingerprint,
        runbook=runbook.variant,
        name=runbook.trigger.alert,
        labels=said.labels,
        target=target.name if target is not None else None,
        state=AlertState.FIRING if firing else AlertState.PENDING,
        value=said.value,
        active_since=active_since,
        last_true=now,
        last_seen=now,
        fired_at=alert.fired_at if alert is not None and fired else (now if firing else None),
        annotations=said.annotations,
        condition=said.condition,
        reason=said.reason,
    )


def let_go(runbook: Runbook, answer: Answer, alert: Alert, fleet: Fleet, now: float, gap: float) -> Alert | None:
    """Return what becomes of an alert whose condition is not seen to hold now; None when nothing is left of it."""
    target = fleet.get(alert.target) if alert.target is not None else None
    unknown = why_unknown(runbook, answer, target, alert.labels)
    if alert.fired_at is None:
        return alert if unknown and now - alert.last_true <= gap else None
    if unknown:
        return replace(alert, state=AlertState.UNKNOWN, reason=unknown)
    if now - alert.last_true < runbook.trigger.keep_firing_for:
        return replace(alert, state=AlertState.FIRING, last_seen=now, reason="keep_firing_for")
    return replace(alert, state=AlertState.RESOLVED, last_seen=now, ended_at=now, reason="")


def why_unknown(runbook: Runbook, answer: Answer, target: Target | None, labels: Labels) -> str:
    """Say why the trigger's answer about the target, or without one about the labels' instance, is not known; "" when it is."""
    instance = labels.get("instance", "")
    if runbook.trigger.scope is Scope.FLEET or (target is None and not instance):
        return "; ".join(answer.fleet_missing())
    return "; ".join(answer.missing({instance} if target is None else target.instances))


def place(runbook: Runbook, labels: Labels, fleet: Fleet) -> tuple[Target | None, str]:
    """Find the target that a result is about, or say why there is none."""
    if runbook.trigger.scope is Scope.FLEET:
        name = runbook.localize.target or ""
        target = fleet.get(name)
        return target, "" if target else f"the runbook's target {name!r} is not in the inventory"
    instance = labels.get("instance", "")
    if not instance:
        return None, "the result has no label 'instance'"
    match fleet.of_instance(instance):
        case (target,):
            return target, ""
        case ():
            return None, f"no host of the inventory has the instance {instance!r}"
        case several:
            return None, f"{len(several)} hosts have the instance {instance!r}"


@lru_cache(maxsize=KNOWN)
def sentence_of(expr: str) -> str:
    """Return the trigger in words, with `{value}` where the value belongs, as in `up = {value}, limit == 0`."""
    try:
        parts = comparisons(parse(expr))
    except ParseError:
        parts = ()
    if not parts:
        return escape(expr) + " = {value}"
    first, *rest = parts
    more = "".join(f", {part.joined} {part.left} {part.operator} {part.right}" for part in rest)
    return f"{escape(first.left)} = {{value}}, limit {first.operator} {escape(first.right)}{escape(more)}"


def escape(text: str) -> str:
    """Return `text` so that str.format leaves it alone."""
    return " ".join(text.split()).replace("{", "{{").replace("}", "}}")
