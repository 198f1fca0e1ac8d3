"""What to ask next. The triggers come first; what alerts and open incidents need to know is asked once it is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.core.guards import DRAINED, PROBED, SCRAPED
from engine.core.rivals import acts_on_culprit, wider
from engine.model.incident import Alert, AlertState, Incident, IncidentState
from engine.model.runbook import Catalog, Runbook
from engine.model.standing import Standing
from engine.model.truth import Query


def triggers(catalog: Catalog) -> tuple[Query, ...]:
    """Return the trigger of every runbook variant and every canary, each once."""
    exprs = [runbook.trigger.expr for runbook in catalog.runbooks]
    exprs += [condition.expr for condition in catalog.canaries]
    return tuple(Query(expr) for expr in dict.fromkeys(exprs))


def questions(
    alerts: Iterable[Alert], standing: Standing, catalog: Catalog, known: Iterable[str] = ()
) -> tuple[Query, ...]:
    """Return what is not known yet and is needed to localize, to judge the guards and to verify."""
    exprs = list(asked(tuple(alerts), standing, catalog))
    answered = set(known)
    return tuple(Query(expr) for expr in dict.fromkeys(exprs) if expr not in answered)


def asked(alerts: tuple[Alert, ...], standing: Standing, catalog: Catalog) -> Iterator[str]:
    """Yield the expressions that this tick needs."""
    firing = {alert.runbook for alert in alerts if alert.state is AlertState.FIRING}
    wanted = {request.subject for request in standing.requests if request.kind == "run"}
    for runbook in catalog.runbooks:
        if runbook.variant in firing or runbook.name in wanted:
            yield from needs_of(runbook)
    for incident in standing.incidents:
        if incident.state in (IncidentState.VERIFYING, IncidentState.ESCALATED):
            own = variant_for(incident, catalog)
            if own is not None:
                yield own.verify.expr


def needs_of(runbook: Runbook) -> Iterator[str]:
    """Yield what a runbook asks once it is a candidate."""
    if runbook.localize.culprit_expr is not None:
        yield runbook.localize.culprit_expr
        second = wider(runbook.localize.culprit_expr)
        if second is not None and any(acts_on_culprit(remedy) for remedy in runbook.remedies):
            yield second
    for condition in runbook.guards.require:
        yield condition.expr
    if runbook.guards.min_healthy is not None:
        yield SCRAPED
        yield PROBED
        yield DRAINED


def variant_for(incident: Incident, catalog: Catalog) -> Runbook | None:
    """Return the variant of the incident's runbook that applies to its target."""
    for runbook in catalog.runbooks:
        if runbook.name == incident.runbook and runbook.applies_to(incident.target):
            return runbook
    return None
