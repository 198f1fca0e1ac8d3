"""A page that names no end of series does not fill the record."""

from __future__ import annotations

from engine.core.detect import MOST, detect
from engine.model.incident import Alert
from engine.model.labels import Labels, Sample
from engine.model.runbook import Catalog
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer, Coverage, Query
from tests.fakes.world import runbook

FLEET = Fleet({name: Target(name, instances=frozenset({name})) for name in ("web-1", "web-2")})
CATALOG = Catalog((runbook(),))
EXPR = CATALOG.runbooks[0].trigger.expr


def seen(first: int, last: int, before: tuple[Alert, ...] = ()) -> tuple[Alert, ...]:
    """Detect on results of web-1 with these numbers, and one of web-2."""
    samples = [Sample(Labels({"instance": "web-1", "mount": f"/{number}"}), 1.0) for number in range(first, last)]
    samples.append(Sample(Labels({"instance": "web-2"}), 1.0))
    answer = Answer(Query(EXPR), tuple(samples), (Coverage(EXPR, frozenset({"web-1", "web-2"})),))
    return detect({EXPR: answer}, CATALOG, FLEET, Standing(alerts=before), 100.0)


def test_a_host_has_so_many_alerts_of_one_rule_and_no_more() -> None:
    assert [alert.target for alert in seen(0, 50_000)] == ["web-1"] * MOST + ["web-2"]


def test_alerts_that_stand_keep_their_place_before_new_ones() -> None:
    before = seen(1_000, 1_000 + MOST)
    assert {alert.fingerprint for alert in seen(0, 1_000 + MOST, before)} == {alert.fingerprint for alert in before}
