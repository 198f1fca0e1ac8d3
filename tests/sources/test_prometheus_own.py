"""What a server does not know is not asked of it: our own functions are refused with a sentence that says why."""

from __future__ import annotations

from engine.model.truth import Query
from engine.sources.prometheus import PrometheusEvaluator

NOWHERE = "http://127.0.0.1:9"
OWN = "mendbook_zscore_over_time(x[1h]) > 6"


def test_a_rule_with_a_function_of_our_own_is_an_error_that_says_so() -> None:
    server = PrometheusEvaluator(NOWHERE, fresh=45, timeout=1)
    try:
        (answer,) = server.answer((Query(OWN),), 1_700_000_000)
    finally:
        server.close()
    assert answer.error is not None
    assert "mendbook_zscore_over_time is Mendbook's own" in answer.error


def test_it_is_known_before_the_engine_starts_and_without_the_server() -> None:
    server = PrometheusEvaluator(NOWHERE, fresh=45, timeout=1)
    try:
        refusals = server.refusals([OWN])
    finally:
        server.close()
    assert isinstance(refusals, dict)
    assert "no Prometheus server" in refusals[OWN]
