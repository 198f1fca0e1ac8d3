"""What the past teaches is exact where few events say little, and plain where they say nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.learning.advice import Offer, advice
from engine.core.learning.chances import (
    Counts,
    Interval,
    against_others,
    beta_share,
    gamma_share,
    holm,
    pooled_interval,
    rate_interval,
    ratio_interval,
    rayleigh,
    share_interval,
)
from engine.core.learning.facts import DAY, HOUR, Happened, Held, Past, Ran, Tried, Warned, Watched, episodes
from engine.core.learning.prevention import Effect, proofs
from engine.core.learning.recurrence import recurring
from engine.core.learning.remedies import guards, measures, runbooks, successes

NOW = 200 * DAY
DISK = "disk-fills-soon"


def fault(at: float, target: str = "web-1", resource: str = "disk", **more: object) -> Happened:
    told: dict[str, object] = {"ended_at": at + 60, "state": "resolved", "outcome": "resolved"}
    name = f"{target}-{resource}-{at}"
    return Happened(name, target, resource, at, at - 10, **{**told, **more})  # type: ignore[arg-type]


def prevented(at: float, target: str = "web-1", runbook: str = DISK) -> Tried:
    return Tried(f"inc-{at}", runbook, "Rotate logs", 0, target, None, at, at, "resolved")


def past(
    faults: Sequence[Happened], tried: Sequence[Tried] = (), *, since: float = 0.0, now: float = NOW, **more: object
) -> Past:
    told: dict[str, object] = {
        "happened": tuple(faults),
        "tried": tuple(tried),
        "watched": Watched(since, now, now),
        "preventing": {DISK: "disk", "memory-limit": "memory", "service-restarts": "unit"},
    }
    return Past(now, **{**told, **more})  # type: ignore[arg-type]


def daily(count: float, start: float, end: float, target: str = "web-1") -> list[Happened]:
    """Return faults as regular as can be, `count` a day."""
    step = DAY / count
    return [fault(start + (number + 0.5) * step, target) for number in range(int((end - start) / step))]


# Exact intervals, against values of the literature


def close(found: Interval, low: float, high: float) -> bool:
    return math.isclose(found.low, low, rel_tol=1e-3, abs_tol=1e-9) and math.isclose(found.high, high, rel_tol=1e-3)


def test_intervals_are_those_of_the_tables() -> None:
    assert close(share_interval(7, 10), 0.3475, 0.9333)
    assert close(rate_interval(5, 1.0), 1.6235, 11.6683)
    assert close(rate_interval(0, 1.0), 0.0, 3.6889)
    assert close(ratio_interval(2, 10, 8, 10), 0.02586, 1.2527)


def test_against_others_solves_the_equations_of_fishers_table() -> None:
    """Of a two by two table of threes and ones the noncentral weights are 1, 16, 36, 16, 1."""
    found = against_others(Counts(3, 1, 1, 1), Counts(1, 1, 3, 1))

    def weights(odds: float) -> list[float]:
        raw = [each * odds**k for k, each in enumerate((1, 16, 36, 16, 1))]
        return [each / sum(raw) for each in raw]

    assert math.isclose(sum(weights(found.low)[1:]), 0.025, rel_tol=1e-6)
    assert math.isclose(sum(weights(found.high)[:2]), 0.025, rel_tol=1e-6)


@given(st.integers(1, 60), st.floats(0.05, 200.0))
def test_the_gamma_distribution_is_the_poisson_sum(count: int, mean: float) -> None:
    terms = accumulate(range(1, count), lambda term, k: term * mean / k, initial=math.exp(-mean))
    assert math.isclose(1.0 - gamma_share(count, mean), sum(terms), abs_tol=1e-9)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.99))
def test_the_beta_distribution_is_the_binomial_sum(a: int, b: int, x: float) -> None:
    trials = a + b - 1
    tail = sum(math.comb(trials, k) * x**k * (1 - x) ** (trials - k) for k in range(a, trials + 1))
    assert math.isclose(beta_share(x, a, b), tail, abs_tol=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_an_interval_holds_what_was_seen(healed: int, more: int) -> None:
    if healed + more:
        assert share_interval(healed, healed + more).holds(healed / (healed + more))
    assert rate_interval(healed, 7.0).holds(healed / 7.0)


@given(st.integers(0, 30), st.floats(0.5, 50.0), st.integers(1, 30), st.floats(0.5, 50.0))
def test_one_stratum_pooled_is_itself_and_two_alike_are_as_one(
    after: int, after_exposure: float, before: int, before_exposure: float
) -> None:
    one = Counts(before, before_exposure, after, after_exposure)
    alone = ratio_interval(after, after_exposure, before, before_exposure)
    assert pooled_interval([one]) == alone
    together = ratio_interval(2 * after, after_exposure, 2 * before, before_exposure)
    pooled = pooled_interval([one, one])
    if together.low > 1e-5 and together.high < 1e5:
        assert close(pooled, together.low, together.high)


@given(st.lists(st.floats(0.0, 1.0), max_size=20))
def test_many_tests_never_make_a_chance_smaller(chances: list[float]) -> None:
    adjusted = holm(chances)
    assert all(after >= before for before, after in zip(chances, adjusted, strict=True))
    assert all(each <= 1.0 for each in adjusted)


def test_angles_without_a_preferred_one_are_no_habit_and_equal_ones_are() -> None:
    assert rayleigh([number * math.pi / 4 for number in range(8)])[1] > 0.9
    assert rayleigh([1.0] * 8)[1] < 0.001


# What came back


def test_a_fault_that_comes_back_at_once_counts_once() -> None:
    own = [fault(at) for at in (0.0, 600.0, 1200.0, 3 * HOUR)]
    assert [each.opened_at for each in episodes(own)] == [0.0, 3 * HOUR]


@given(st.lists(st.floats(0.0, 1e7), max_size=30))
def test_episodes_are_a_part_of_the_faults_and_begin_with_the_first(times: list[float]) -> None:
    own = [fault(at) for at in times]
    kept = episodes(own)
    assert set(kept) <= set(own)
    assert not own or kept[0].opened_at == min(times)


def test_a_rate_is_by_time_with_data() -> None:
    faults = daily(0.2, NOW - 30 * DAY, NOW)
    days = {"web-1": dict.fromkeys(range(170, 200), DAY / 2)}
    half = Watched(0.0, NOW, NOW - 30 * DAY, days)
    (row,) = recurring(past(faults, watched=half), NOW - 30 * DAY)
    (all_day,) = recurring(past(faults), NOW - 30 * DAY)
    assert math.isclose(row.rate, 2 * all_day.rate, rel_tol=1e-6)
    assert row.interval.holds(row.rate)


@given(st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.floats(0.0, 100.0))
def test_exposure_adds_up(a: float, b: float, c: float) -> None:
    start, middle, end = sorted((a * DAY, b * DAY, c * DAY))
    days = {"web-1": {day: (day % 5) * DAY / 5 for day in range(40, 90)}}
    watched = Watched(5 * DAY, 95 * DAY, 40.5 * DAY, days)
    whole = watched.exposure("web-1", start, end)
    parts = watched.exposure("web-1", start, middle) + watched.exposure("web-1", middle, end)
    assert math.isclose(whole, parts, abs_tol=1e-3)
    assert -1e-6 <= whole <= end - start + 1e-6


def test_what_comes_at_night_is_told_by_the_clock_on_the_wall() -> None:
    faults = [fault(day * DAY + 2.5 * HOUR) for day in range(180, 199, 2)]
    (row,) = recurring(past(faults), NOW - 30 * DAY, lambda _: HOUR)
    (habit,) = [each for each in row.habits if each.what == "hour"]
    assert "03:30" in habit.sentence


def test_what_comes_by_chance_has_no_habit_in_nineteen_reports_of_twenty() -> None:
    generator = random.Random(3)
    found = 0
    for _ in range(100):
        faults = [
            fault(generator.uniform(NOW - 60 * DAY, NOW), f"web-{number}") for number in range(4) for _ in range(12)
        ]
        ran = tuple(Ran("", "", f"web-{number}", generator.uniform(0, NOW), "ann", True) for number in range(4))
        found += any(row.habits for row in recurring(past(faults, ran=ran), NOW - 60 * DAY))
    assert found <= 10


def test_faults_that_follow_changes_are_said_to() -> None:
    changes = [NOW - day * DAY for day in range(2, 28, 4)]
    faults = [fault(at + 600) for at in changes]
    ran = tuple(Ran("", "deploy", "web-1", at, "ann", True) for at in changes)
    (row,) = recurring(past(faults, ran=ran), NOW - 30 * DAY)
    assert any("within 1 h after a playbook ran there" in habit.sentence for habit in row.habits)


def test_warnings_requests_and_storms_are_no_faults() -> None:
    own = (
        fault(NOW - DAY, runbook=DISK, runbooks=frozenset({DISK})),
        fault(NOW - DAY, asked=True),
        fault(NOW - DAY, "(fleet)", "storm"),
        fault(NOW - DAY, "web-2", runbook=DISK, runbooks=frozenset({DISK, "disk-full"})),
    )
    assert [each.target for each in past(own).faults()] == ["web-2"]


# Remedies, guards, measures


def tried(outcome: str, count: int, remedy: str = "Restart") -> list[Tried]:
    return [
        Tried(f"i{number}", "service-hung", remedy, 0, "web-1", None, NOW - DAY, NOW - DAY + 30, outcome)
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        ({"resolved": 9, "ineffective": 1}, "works"),
        ({"ineffective": 4}, "never worked"),
        ({"ineffective": 2}, "too early"),
        ({"resolved": 3, "ineffective": 7}, "fails often"),
        ({"harmful": 1}, "does harm"),
    ],
)
def test_a_remedy_is_called_what_its_outcomes_say(outcomes: dict[str, int], verdict: str) -> None:
    own = [each for outcome, count in outcomes.items() for each in tried(outcome, count)]
    (row,) = successes(past((), own), NOW - 30 * DAY)
    assert row.verdict == verdict
    assert row.interval.holds(row.rate)


def test_what_does_not_work_stands_first() -> None:
    own = [*tried("resolved", 9, "Reload"), *tried("ineffective", 4, "Restart"), *tried("resolved", 2, "Reboot")]
    assert successes(past((), own), 0.0)[0].remedy == "Restart"


def test_a_runbook_whose_second_remedy_heals_is_one_that_heals() -> None:
    own = [each for number in range(4) for each in (tried("ineffective", 4)[number], tried("resolved", 4)[number])]
    (row,) = runbooks(past((), own), 0.0)
    assert (row.incidents, row.healed, row.never) == (4, 4, False)
    (never,) = runbooks(past((), tried("ineffective", 3)), 0.0)
    assert never.never


def test_guards_tell_what_became_of_what_they_held() -> None:
    own = [fault(NOW - DAY, outcome="self_healed", state="self_healed"), fault(NOW - 2 * DAY)]
    held = tuple(Held(NOW - DAY, "cooldown", "disk-full", each.id, "web-1", "Hold: 12m are left") for each in own)
    (row,) = guards(past(own, held=(*held, held[0])), 0.0)
    assert (row.decisions, row.incidents, row.healed_alone, row.remedied) == (3, 2, 1, 1)
    assert row.sentence == "12m are left"


def test_times_count_from_where_they_are_said_to() -> None:
    own = [replace(fault(NOW - DAY), localized_at=NOW - DAY + 2)]
    found = measures(past(own), 0.0)
    assert (found.detect.median, found.localize.median, found.recover.median) == (10.0, 2.0, 60.0)


# Prevention


def effect_of(own: Past) -> Effect:
    (row, *_) = proofs(own)
    return row.effect


def test_a_prevention_that_ends_a_fault_works() -> None:
    began = NOW - 30 * DAY
    own = past(daily(0.5, NOW - 100 * DAY, began), [prevented(began)], since=NOW - 100 * DAY)
    (row,) = proofs(own)
    assert row.effect is Effect.WORKS
    assert row.after == 0
    assert row.interval.high < 1.0
    assert row.sentence.startswith("31 in 63 d before, 0 in 30 d since: -100 % (99 %: -100 % to ")


def test_a_prevention_that_changes_nothing_is_said_to() -> None:
    began = NOW - 40 * DAY
    own = past(daily(0.5, NOW - 100 * DAY, NOW), [prevented(began)], since=NOW - 100 * DAY)
    assert effect_of(own) is Effect.NONE


def test_a_prevention_after_which_there_is_more_is_harmful() -> None:
    began = NOW - 30 * DAY
    faults = [*daily(0.3, NOW - 100 * DAY, began), *daily(1.5, began, NOW)]
    assert effect_of(past(faults, [prevented(began)], since=NOW - 100 * DAY)) is Effect.HARMFUL


def test_a_prevention_of_yesterday_is_too_early_to_judge() -> None:
    began = NOW - DAY
    own = past(daily(0.2, NOW - 100 * DAY, began), [prevented(began)], since=NOW - 100 * DAY)
    (row,) = proofs(own)
    assert row.effect is Effect.EARLY
    assert row.needs is not None
    assert math.isfinite(row.needs)
    later = replace(own, now=NOW + 1.2 * row.needs, watched=Watched(NOW - 100 * DAY, NOW + 1.2 * row.needs, math.inf))
    assert effect_of(later) is Effect.WORKS, "nothing came since, and enough time has passed"


def test_a_bad_week_that_passes_is_not_the_prevention_s_work() -> None:
    began = NOW - 21 * DAY
    calm = [fault(at) for at in (NOW - 95 * DAY, NOW - 70 * DAY, NOW - 47 * DAY)]
    bad = [fault(began - hours * HOUR) for hours in (2, 30, 70)]
    (row,) = proofs(past([*calm, *bad], [prevented(began)], since=NOW - 100 * DAY))
    assert row.effect is Effect.EARLY
    assert (row.before, row.left_out) == (3, 3)


def test_a_fault_that_is_new_is_compared_with_the_time_since_it_came() -> None:
    began = NOW - 60 * DAY
    bad = [fault(began - hours * HOUR) for hours in (2, 30, 70, 100, 130)]
    (row,) = proofs(past(bad, [prevented(began)], since=NOW - 180 * DAY))
    assert (row.before, row.left_out) == (4, 1), "the last straw does not count"
    assert row.effect is Effect.WORKS


def test_what_fell_everywhere_is_not_the_prevention_s_work() -> None:
    began = NOW - 50 * DAY
    start = NOW - 150 * DAY

    def fell(target: str) -> list[Happened]:
        return [*daily(0.5, start, began, target), *daily(0.1, began, NOW, target)]

    alone = past(fell("web-1"), [prevented(began)], since=start)
    assert effect_of(alone) is Effect.WORKS
    among = past([*fell("web-1"), *fell("web-2"), *fell("web-3")], [prevented(began)], since=start)
    (row,) = proofs(among)
    assert row.compared
    assert row.effect is not Effect.WORKS


def test_bursts_widen_the_interval() -> None:
    began, start = NOW - 30 * DAY, NOW - 130 * DAY
    bursts = [fault(start + week * 10 * DAY + hour * 3 * HOUR) for week in range(9) for hour in range(6)]
    even = daily(0.54, start, began)
    (in_bursts,) = proofs(past(bursts, [prevented(began)], since=start))
    (evenly,) = proofs(past(even, [prevented(began)], since=start))
    assert in_bursts.burst > 1.5
    assert evenly.burst == 1.0
    assert in_bursts.interval.high > evenly.interval.high


def test_hosts_are_judged_together_and_each() -> None:
    began, start = NOW - 30 * DAY, NOW - 100 * DAY
    faults = [*daily(0.15, start, began, "web-1"), *daily(0.15, start, began, "web-2")]
    rows = proofs(past(faults, [prevented(began, "web-1"), prevented(began, "web-2")], since=start))
    (together,) = [row for row in rows if not row.part]
    assert together.hosts == ("web-1", "web-2")
    assert together.interval.high < min(row.interval.high for row in rows if row.part)


def test_an_attempt_that_failed_begins_no_prevention() -> None:
    assert not proofs(past(daily(0.5, 0, NOW), [replace(prevented(NOW - DAY), outcome="ineffective")]))


# Advice

OFFER = Offer(DISK, "disk", "Rotate logs before the disk is full.", "shadow")


def advised(own: Past) -> list[str]:
    since = NOW - 30 * DAY
    return [each.sentence for each in advice(own, recurring(own, since), proofs(own), (OFFER,))]


def test_a_fault_of_three_times_gets_advice_and_one_of_two_does_not() -> None:
    (sentence,) = advised(past([fault(NOW - days * DAY) for days in (2, 9, 16)]))
    assert "what it spares is not known before it was tried" in sentence
    assert not advised(past([fault(NOW - days * DAY) for days in (2, 9)]))


def test_advice_says_how_often_the_warning_came_first() -> None:
    faults = [fault(NOW - days * DAY) for days in (2, 9, 16, 23)]
    warned = tuple(Warned(DISK, "web-1", NOW - days * DAY - 6 * HOUR) for days in (2, 9, 16))
    (sentence,) = advised(past(faults, warned_of=warned))
    assert "its trigger fired before 3 of 4, 6.0 h ahead in the middle" in sentence


def test_advice_rests_on_what_the_prevention_did_elsewhere() -> None:
    began, start = NOW - 60 * DAY, NOW - 150 * DAY
    elsewhere = daily(0.5, start, began, "web-2")
    own = past(
        [*elsewhere, *(fault(NOW - days * DAY) for days in (2, 9, 16))], [prevented(began, "web-2")], since=start
    )
    assert any("it spared 100 % elsewhere" in each for each in advised(own))


def test_what_is_in_force_is_not_advised_again() -> None:
    own = past([fault(NOW - days * DAY) for days in (2, 9, 16)], [prevented(NOW - 20 * DAY)])
    assert not advised(own)
