"""Detection: from what triggers say to alerts, with the semantics of Prometheus's alerting rules and a third value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from engine.core.identity import identify
from engine.model.incident import Alert, AlertState
from engine.model.labels import METRIC_NAME, Labels, Sample
from engine.model.runbook import Catalog, Runbook, Scope
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer
from engine.promql import ParseError, comparisons, parse

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
    intervals pending starts again.
    """
    before: dict[str, dict[str, Alert]] = {}
    for alert in standing.alerts:
        if alert.state is not AlertState.RESOLVED:
            before.setdefault(alert.runbook, {})[alert.fingerprint] = alert
    gap = 2 * catalog.limits.interval
    found: list[Alert] = []
    for runbook in catalog.runbooks:
        answer = answers.get(runbook.trigger.expr)
        if answer is not None:
            found += judge(runbook, answer, fleet, before.get(runbook.variant, {}), now, gap, fill)
    return tuple(found)


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
        if why_unknown(runbook, answer, target):
            continue
        fingerprint = identify("a", runbook.variant, sample.labels.without(METRIC_NAME).pairs)
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
    """Return the alert of a condition that holds now, with the result's own labels."""
    fired = alert is not None and alert.fired_at is not None
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
    unknown = why_unknown(runbook, answer, target)
    if alert.fired_at is None:
        return alert if unknown and now - alert.last_true <= gap else None
    if unknown:
        return replace(alert, state=AlertState.UNKNOWN, reason=unknown)
    if now - alert.last_true < runbook.trigger.keep_firing_for:
        return replace(alert, state=AlertState.FIRING, last_seen=now, reason="keep_firing_for")
    return replace(alert, state=AlertState.RESOLVED, last_seen=now, ended_at=now, reason="")


def why_unknown(runbook: Runbook, answer: Answer, target: Target | None) -> str:
    """Say why the trigger's answer about the target is not known; "" when it is."""
    if runbook.trigger.scope is Scope.FLEET or target is None:
        return "; ".join(answer.fleet_missing())
    return "; ".join(answer.missing(target.instances))


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
