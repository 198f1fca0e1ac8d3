"""Detection: from what triggers say to alerts, with the semantics of Prometheus's alerting rules and a third value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

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

Answers = Mapping[str, Answer]
"""Answers by the text of the expression."""

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
    gap = 2 * catalog.limits.interval
    found: list[Alert] = []
    for runbook in catalog.runbooks:
        answer = answers.get(runbook.trigger.expr)
        if answer is not None:
            own = {
                alert.fingerprint: replace(alert, runbook=runbook.variant)
                for alert in standing_alerts
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
    """Return whether this variant is the one to judge an alert that stands."""
    if named(alert.runbook) != runbook.name or left(alert, fleet):
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
    """Yield the alerts of one runbook."""
    condition = sentence_of(runbook.trigger.expr)
    seen: set[str] = set()
    for sample in answer.samples:
        target, reason = place(runbook, sample.labels, fleet)
        if target is not None and not runbook.applies_to(target.name):
            continue
        if runbook.hosts is not None and target is None:
            continue
        if why_unknown(runbook, answer, target, sample.labels):
            continue
        fingerprint = identify("a", runbook.name, sample.labels.without(METRIC_NAME).pairs)
        if fingerprint in seen:
            continue
        seen.add(fingerprint)
        alert = hold_true(runbook, sample, target, before.get(fingerprint), fingerprint, now, gap)
        own = {name: fill(text, sample.labels, sample.value) for name, text in runbook.trigger.labels.items()}
        yield replace(
            alert,
            labels=alert.labels.with_({**own, "alertname": runbook.trigger.alert}),
            annotations={
                name: fill(text, sample.labels, sample.value) for name, text in runbook.trigger.annotations.items()
            },
            condition=condition.format(value=f"{sample.value:.6g}"),
            reason=reason,
        )
    for fingerprint, alert in before.items():
        if fingerprint not in seen:
            ended = let_go(runbook, answer, alert, fleet, now, gap)
            if ended is not None:
                yield ended


def hold_true(
    runbook: Runbook,
    sample: Sample,
    target: Target | None,
    alert: Alert | None,
    fingerprint: str,
    now: float,
    gap: float,
) -> Alert:
    """Return the alert of a condition that holds now, with the result's own labels.

    What fires goes on firing after a short gap; after one longer than `for` nobody knows what held meanwhile.
    """
    fired = alert is not None and alert.fired_at is not None and now - alert.last_seen <= max(gap, runbook.trigger.for_)
    continuous = alert is not None and (fired or now - alert.last_true <= gap)
    active_since = alert.active_since if alert is not None and continuous else now
    firing = fired or now - active_since >= runbook.trigger.for_
    return Alert(
        fingerprint=fingerprint,
        runbook=runbook.variant,
        name=runbook.trigger.alert,
        labels=sample.labels.without(METRIC_NAME),
        target=target.name if target is not None else None,
        state=AlertState.FIRING if firing else AlertState.PENDING,
        value=sample.value,
        active_since=active_since,
        last_true=now,
        last_seen=now,
        fired_at=alert.fired_at if alert is not None and fired else (now if firing else None),
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


def sentence_of(expr: str) -> str:
    """Return the trigger in words, with `{value}` where the value belongs, as in `up = {value}, limit == 0`."""
    try:
        parts = comparisons(parse(expr))
    except ParseError:
        parts = ()
    if not parts:
        return escape(expr) + " = {value}"
    first, *rest = parts
    more = "".join(f", and {part.left} {part.operator} {part.right}" for part in rest)
    return f"{escape(first.left)} = {{value}}, limit {first.operator} {escape(first.right)}{escape(more)}"


def escape(text: str) -> str:
    """Return `text` so that str.format leaves it alone."""
    return " ".join(text.split()).replace("{", "{{").replace("}", "}}")
