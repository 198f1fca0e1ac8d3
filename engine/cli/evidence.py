"""What is known about one host at one moment: each trigger with its values and its way to firing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.model.incident import Alert, AlertState
from engine.model.labels import METRIC_NAME, Labels, Sample
from engine.model.runbook import Runbook, Scope
from engine.model.target import Target
from engine.model.truth import Query, Truth
from engine.ports import Evaluator

if TYPE_CHECKING:
    from engine.promql import Comparison


@dataclass(frozen=True, slots=True)
class Value:
    """One series of a comparison: what it is, and what it is compared with."""

    labels: Labels
    value: float
    limit: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison of a trigger with the values on both sides, those nearest to holding first."""

    left: str
    operator: str
    right: str
    values: tuple[Value, ...] = ()
    joined: str = "and"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a runbook's trigger says about a host; `held` is for how long, of the `needed` seconds."""

    runbook: str
    mode: str
    alert: str
    truth: Truth
    expr: str
    comparisons: tuple[Compared, ...] = ()
    missing: tuple[str, ...] = ()
    state: AlertState | None = None
    held: float | None = None
    needed: float = 0.0
    condition: str = ""
    """What the stored alert says of its values: all there is when samples do not reach back to then."""


def reading(runbook: Runbook, target: Target, evaluator: Evaluator, alerts: Sequence[Alert], at: float) -> Reading:
    """Return what the trigger of `runbook` says about `target` at `at`; `alerts` are the stored ones of the target."""
    trigger = runbook.trigger
    (answer,) = evaluator.answer((Query(trigger.expr),), at)
    fleet = trigger.scope is Scope.FLEET
    own = [alert for alert in alerts if alert.runbook in (runbook.variant, runbook.name)]
    oldest = min(own, key=lambda alert: alert.active_since, default=None)
    return Reading(
        runbook=runbook.variant,
        mode=str(runbook.mode),
        alert=trigger.alert,
        truth=answer.fleet_truth() if fleet else answer.truth(target.instances),
        expr=trigger.expr,
        comparisons=tuple(compared(trigger.expr, None if fleet else target, evaluator, at)),
        missing=answer.fleet_missing() if fleet else answer.missing(target.instances),
        state=None if oldest is None else oldest.state,
        held=None if oldest is None or oldest.state is AlertState.RESOLVED else max(0.0, at - oldest.active_since),
        needed=trigger.for_,
        condition="" if oldest is None else oldest.condition,
    )


def compared(expr: str, target: Target | None, evaluator: Evaluator, at: float) -> Iterator[Compared]:
    """Yield every comparison of an expression with its values, for one target or for all (None)."""
    from engine.promql import ParseError, comparisons, parse

    try:
        found = comparisons(parse(expr))
    except ParseError:
        return
    for each in found:
        left, right = evaluator.answer((Query(each.left), Query(each.right)), at)
        samples = left.samples if target is None else left.about({*target.instances, ""})
        limits = {sample.labels.without(METRIC_NAME): sample.value for sample in right.samples}
        values = [Value(sample.labels, sample.value, limit_of(sample, limits)) for sample in samples]
        yield Compared(each.left, each.operator, each.right, ordered(values, each), each.joined)


def limit_of(sample: Sample, limits: Mapping[Labels, float]) -> float | None:
    """Return what a sample is compared with: the scalar, or the series of the same labels."""
    if len(limits) == 1:
        return next(iter(limits.values()))
    return limits.get(sample.labels.without(METRIC_NAME))


def ordered(values: Sequence[Value], comparison: Comparison) -> tuple[Value, ...]:
    """Return the values with those first for which the comparison holds most."""

    def distance(each: Value) -> float:
        away = each.value - (each.limit or 0.0)
        match comparison.operator:
            case "<" | "<=":
                return away
            case ">" | ">=":
                return -away
            case "!=":
                return -abs(away)
            case _:
                return abs(away)

    return tuple(sorted(values, key=distance))
