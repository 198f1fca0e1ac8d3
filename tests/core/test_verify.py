"""Verification against a plain model: time counts only with data, and only while somebody looked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.verify import verify
from engine.model.incident import Progress, Verification
from engine.model.labels import Labels, Sample
from engine.model.runbook import Scope, Verify
from engine.model.target import Target
from engine.model.truth import Answer, Coverage, Query

TARGET = Target("a", instances=frozenset({"a"}))
TICKS = st.lists(
    st.tuples(st.sampled_from(["true", "false", "silent", "error", "unasked"]), st.sampled_from([0.5, 1.0, 2.0, 30.0])),
    min_size=1,
    max_size=40,
)


def answers_of(seen: str) -> dict[str, Answer]:
    if seen == "unasked":
        return {}
    if seen == "error":
        return {"x": Answer(Query("x"), error="timeout")}
    samples = (Sample(Labels({"instance": "a"}), 1.0),) if seen == "true" else ()
    return {"x": Answer(Query("x"), samples, (Coverage("x", frozenset({"a"} if seen != "silent" else {"b"})),))}


@settings(max_examples=200, deadline=None)
@given(TICKS, st.sampled_from([0.0, 1.0, 3.0]), st.sampled_from([4.0, 8.0]))
def test_it_passes_fails_and_despairs_for_no_other_reason_than_what_was_seen(
    ticks: list[tuple[str, float]], held: float, within: float
) -> None:
    condition = Verify("x", held, within)
    progress, now = Progress(judged_at=100.0), 100.0
    known = blind = streak = 0.0
    before = ""
    for seen, step in ticks:
        now += step
        watched = step <= 2.0
        verdict, progress = verify(condition, progress, answers_of(seen), TARGET, now, 1.0)
        if seen in ("true", "false"):
            known += step if watched else 0.0
        else:
            blind += step if watched else 0.0
        streak = streak + step if seen == before == "true" and watched else 0.0
        before = seen
        assert (progress.observed, progress.blind) == (known, blind)
        match seen:
            case "true":
                expected = Verification.PASS if streak >= max(held, 1.0) else Verification.WAITING
            case "false":
                expected = Verification.FAIL if known >= within else Verification.WAITING
            case _:
                expected = Verification.UNKNOWN if blind >= within else Verification.WAITING
        assert verdict is expected
        assert progress.sentence
        if verdict is not Verification.WAITING:
            return


def test_a_target_that_left_the_inventory_is_unknown_and_a_fleet_wide_condition_is_not() -> None:
    verdict, progress = verify(Verify("x", 0, 5), Progress(judged_at=100.0), answers_of("true"), None, 106.0, 5.0)
    assert verdict is Verification.UNKNOWN
    assert "inventory" in progress.sentence
    wide = Verify("x", 0, 5, Scope.FLEET)
    _, progress = verify(wide, Progress(judged_at=100.0), answers_of("true"), None, 101.0, 5.0)
    assert progress.true_before


def test_one_look_is_not_enough_however_short_the_condition_has_to_hold() -> None:
    verdict, _ = verify(Verify("x", 0.0, 60.0), Progress(judged_at=100.0), answers_of("true"), TARGET, 100.0, 15.0)
    assert verdict is Verification.WAITING
