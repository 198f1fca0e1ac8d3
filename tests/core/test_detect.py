"""Detection against a plain model: what was seen at each tick, and what must follow from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.detect import detect, sentence_of
from engine.model.incident import Alert, AlertState
from engine.model.labels import Labels, Sample
from engine.model.runbook import Catalog, Limits, Localization, Runbook, Scope, Trigger
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer, Coverage, Query
from tests.fakes.world import runbook

START = 1_000_000.0
FLEET = Fleet({name: Target(name, instances=frozenset({name, f"{name}:9100"})) for name in ("a", "b")})
FOR = 3.0


def catalog_of(*runbooks: Runbook) -> Catalog:
    return Catalog(runbooks, limits=Limits(interval=1.0))


def answer_of(expr: str, true: set[str], data: set[str], error: str | None = None) -> Answer:
    if error is not None:
        return Answer(Query(expr), error=error)
    samples = tuple(Sample(Labels({"__name__": "x", "instance": name}), 1.0) for name in sorted(true))
    return Answer(Query(expr), samples, (Coverage(expr, frozenset(data)),))


def look(book: Runbook, before: tuple[Alert, ...], now: float, answer: Answer) -> tuple[Alert, ...]:
    return detect({answer.query.expr: answer}, catalog_of(book), FLEET, Standing(alerts=before), now)


SEEN = st.sampled_from(["true", "true", "true", "false", "silent", "error"])
HISTORIES = st.lists(st.tuples(SEEN, st.sampled_from([1.0, 1.0, 1.0, 2.0, 5.0])), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(HISTORIES, st.sampled_from([0.0, 2.0]))
def test_an_alert_fires_after_its_time_without_a_break_and_resolves_only_with_data(
    history: list[tuple[str, float]], keep: float
) -> None:
    book = runbook(expr="x > 0", for_=FOR, keep_firing_for=keep)
    alerts: tuple[Alert, ...] = ()
    now, last_known = START, START
    true_at: list[float] = []
    """The times at which it was true since it was last seen false, or since a gap longer than two intervals."""
    fired = False
    for seen, step in history:
        now += step
        data = {"a"} if seen in ("true", "false") else set()
        answer = answer_of("x > 0", {"a"} if seen == "true" else set(), data, "down" if seen == "error" else None)
        was = alerts
        alerts = look(book, alerts, now, answer)
        if seen == "true":
            gap = max(2.0, FOR) if fired else 2.0
            since = last_known if fired else (true_at[-1] if true_at else now)
            if now - since > gap:
                true_at, fired = [], False
            true_at.append(now)
            (alert,) = alerts
            fired = fired or now - true_at[0] >= FOR
            assert alert.state is (AlertState.FIRING if fired else AlertState.PENDING)
            assert alert.last_true == now
            last_known = now
        elif seen == "false":
            kept = fired and now - true_at[-1] < keep
            if not kept:
                assert not [each for each in alerts if each.state is not AlertState.RESOLVED]
                assert bool(alerts) is fired, "what fired says once that it is over"
                true_at, fired = [], False
            else:
                assert alerts[0].state is AlertState.FIRING
            last_known = now
        else:
            assert all(each.state in (AlertState.UNKNOWN, AlertState.PENDING) for each in alerts)
            assert bool(alerts) is (fired or bool(true_at and now - true_at[-1] <= 2.0))
            if not fired and not alerts:
                true_at = []
            assert {each.fingerprint for each in alerts} <= {each.fingerprint for each in was}


def test_two_hosts_are_two_alerts_and_the_silence_of_one_says_nothing_of_the_other() -> None:
    book = runbook(expr="x > 0")
    alerts = look(book, (), START, answer_of("x > 0", {"a", "b"}, {"a", "b"}))
    assert [each.target for each in alerts] == ["a", "b"]
    assert len({each.fingerprint for each in alerts}) == 2
    alerts = look(book, alerts, START + 1, answer_of("x > 0", set(), {"b"}))
    assert {each.target: each.state for each in alerts} == {"a": AlertState.UNKNOWN, "b": AlertState.RESOLVED}


def test_a_result_about_a_host_without_fresh_data_is_not_believed() -> None:
    assert look(runbook(expr="x > 0"), (), START, answer_of("x > 0", {"a"}, {"b"})) == ()


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"instance": "ghost"}, "no host of the inventory has the instance 'ghost'"),
        ({"job": "web"}, "the result has no label 'instance'"),
        ({"instance": "twin"}, "2 hosts have the instance 'twin'"),
        ({"instance": '"}) or up #'}, "no host of the inventory"),
    ],
)
def test_a_result_that_belongs_to_no_host_is_kept_and_says_why(labels: dict[str, str], reason: str) -> None:
    twins = Fleet({name: Target(name, instances=frozenset({name, "twin"})) for name in ("a", "b")})
    answer = Answer(
        Query("x"), (Sample(Labels(labels), 1.0),), (Coverage("x", frozenset({labels.get("instance", "")})),)
    )
    (alert,) = detect({"x": answer}, catalog_of(runbook(expr="x")), twins, Standing(), START)
    assert alert.target is None
    assert reason in alert.reason


def test_the_alert_of_an_unknown_instance_is_unknown_once_its_data_end() -> None:
    book = runbook(expr="x > 0")
    alerts = look(book, (), START, answer_of("x > 0", {"ghost"}, {"ghost", "a"}))
    (alert,) = look(book, alerts, START + 1, answer_of("x > 0", set(), {"a"}))
    assert alert.state is AlertState.UNKNOWN


def test_a_fleet_wide_trigger_acts_on_the_host_that_the_runbook_names() -> None:
    book = replace(
        runbook(expr="x"), trigger=Trigger("X", "x", scope=Scope.FLEET), localize=Localization("capacity", target="b")
    )
    answer = Answer(Query("x"), (Sample(Labels(), 3.0),), (Coverage("x", frozenset({"a"})),))
    (alert,) = look(book, (), START, answer)
    assert alert.target == "b"
    (alert,) = look(book, (alert,), START + 1, Answer(Query("x"), (), (Coverage("x", frozenset()),)))
    assert alert.state is AlertState.UNKNOWN
    lost = replace(book, localize=Localization("capacity", target="ghost"))
    (alert,) = look(lost, (), START, answer)
    assert (alert.target, "'ghost' is not in the inventory" in alert.reason) == (None, True)


def test_a_hosts_own_variant_judges_it_and_no_other() -> None:
    loose = replace(runbook(expr="x > 9"), hosts=frozenset({"a"}))
    strict = replace(runbook(expr="x > 1"), hosts=frozenset({"b"}))
    both = {"a", "b"}
    answers = {"x > 9": answer_of("x > 9", both, both), "x > 1": answer_of("x > 1", both, both)}
    alerts = detect(answers, catalog_of(loose, strict), FLEET, Standing(), START)
    assert [(each.target, each.runbook) for each in alerts] == [("a", loose.variant), ("b", strict.variant)]
    moved = replace(strict, hosts=frozenset({"a", "b"}))
    again = detect(answers, catalog_of(moved), FLEET, Standing(alerts=alerts), START + 1)
    assert {each.fingerprint: each.active_since for each in again} == {each.fingerprint: START for each in alerts}


def test_labels_are_data_whatever_they_say() -> None:
    nasty = Labels({"instance": "a", "path": "{{ 7 * 7 }} {0} %s ../\n"})
    answer = Answer(Query("x{y='{}'} > 0"), (Sample(nasty, 1.0),), (Coverage("x", frozenset({"a"})),))
    (alert,) = look(runbook(expr="x{y='{}'} > 0"), (), START, answer)
    assert alert.labels["path"] == nasty["path"]
    assert "= 1," in alert.condition


def test_an_alert_keeps_firing_for_just_as_long_as_it_was_told() -> None:
    book = runbook(expr="x > 0", keep_firing_for=2.0)
    fired = look(book, (), START, answer_of("x > 0", {"a"}, {"a"}))
    well = answer_of("x > 0", set(), {"a"})
    assert look(book, fired, START + 1.9, well)[0].state is AlertState.FIRING
    assert look(book, fired, START + 2.0, well)[0].state is AlertState.RESOLVED


@pytest.mark.parametrize(
    ("expr", "sentence"),
    [
        ("up == 0", "up = 0.5, limit == 0"),
        ("loss > 0.1 unless loss > 0.95", "loss = 0.5, limit > 0.1, unless loss > 0.95"),
        ("a > 1 and b > 2 or c > 3", "a = 0.5, limit > 1, and b > 2, or c > 3"),
    ],
)
def test_a_trigger_is_told_as_it_is_joined(expr: str, sentence: str) -> None:
    assert sentence_of(expr).format(value=0.5) == sentence
