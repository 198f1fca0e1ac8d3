"""Each guard at its limit: what it allows with one less it refuses with one more, and it never errs to the bold side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import guards
from engine.core.decide import choose, decide
from engine.model.decision import Decision, Escalate, Hold, Run
from engine.model.execution import PlannedStep
from engine.model.incident import AlertState, IncidentState, Outcome
from engine.model.runbook import Catalog, Condition, Guards, Hours, Limits, Localization, MinHealthy, Mode, Window
from engine.model.standing import Lock, Pause, Silence, Standing
from engine.model.truth import Answer, Query
from tests.core.cases_of import (
    NOW,
    alert_of,
    answer_of,
    attempt_of,
    case_of,
    execution_of,
    fleet_of,
    incident_of,
    up,
)
from tests.fakes.world import runbook

FEW = st.integers(0, 8)
DAY, HOUR = 86_400.0, 3600.0


def limited(**limits: object) -> guards.Case:
    return case_of(runbook(guards=Guards(**limits)))  # type: ignore[arg-type]


def against(decision: Decision) -> set[str]:
    assert not isinstance(decision, Run)
    return {verdict.guard for verdict in decision.verdicts if not verdict.allowed}


def test_where_nothing_objects_it_runs_and_every_guard_has_spoken() -> None:
    decision = decide(case_of())
    assert isinstance(decision, Run)
    assert len(decision.verdicts) == len(guards.GUARDS)
    assert all(verdict.allowed and verdict.sentence for verdict in decision.verdicts)
    assert decision.execution.targets == {"web-0"}


@given(FEW, st.integers(1, 6), st.floats(0, DAY - 1))
def test_attempts_of_a_day_are_counted_per_target_and_runbook(done: int, limit: int, ago: float) -> None:
    attempts = tuple(attempt_of(number, "web-0", ago) for number in range(done))
    others = (attempt_of(90, "web-1", 10.0), attempt_of(91, "web-0", 10.0, "other"), attempt_of(92, "web-0", DAY))
    case = case_of(runbook(guards=Guards(max_attempts=limit)), standing=Standing(attempts=attempts + others))
    assert guards.max_attempts(case).allowed is (done < limit)
    if done >= limit:
        assert isinstance(decide(case), Escalate)
        assert against(decide(replace(case, operator="ann"))) >= {"max_attempts"}


@given(FEW, st.integers(0, 6), st.floats(0, 2 * HOUR))
def test_attempts_of_an_hour_are_counted_across_all_targets(done: int, limit: int, ago: float) -> None:
    attempts = tuple(attempt_of(number, f"web-{number}", ago) for number in range(done))
    case = case_of(runbook(guards=Guards(max_per_hour=limit)), standing=Standing(attempts=attempts))
    recent = done if ago < HOUR else 0
    verdict = guards.max_per_hour(case)
    assert verdict.allowed is (recent < limit)
    if not verdict.allowed and limit:
        assert verdict.until is not None
        later = replace(case, now=verdict.until)
        assert guards.max_per_hour(later).allowed, "asking again then does help"


@given(FEW, st.integers(1, 6))
def test_executions_are_counted_for_the_engine_and_for_the_runbook(running: int, limit: int) -> None:
    standing = Standing(executions=tuple(execution_of(f"web-{number + 1}") for number in range(running)))
    case = case_of(hosts=12, standing=standing, limits=Limits(max_concurrent=limit))
    assert guards.max_concurrent(case).allowed is (running < limit)
    own = case_of(runbook(guards=Guards(max_concurrent=limit)), hosts=12, standing=standing)
    assert guards.max_concurrent(own).allowed is (running < limit)
    others = Standing(executions=tuple(replace(each, runbook="other") for each in standing.executions))
    assert guards.max_concurrent(case_of(own.runbook, hosts=12, standing=others)).allowed


@given(FEW, st.integers(1, 6))
def test_more_targets_in_trouble_than_the_storm_limit_are_a_storm(troubled: int, limit: int) -> None:
    incidents = tuple(incident_of(f"web-{number + 1}") for number in range(troubled))
    case = case_of(hosts=12, standing=Standing(incidents=incidents), limits=Limits(storm=limit))
    assert guards.storm(case).allowed is (troubled + 1 <= limit)
    taken = tuple(replace(each, acknowledged_by="ann") for each in incidents)
    assert guards.storm(replace(case, standing=Standing(incidents=taken))).allowed, "a human has taken those up"


@settings(max_examples=200)
@given(
    hosts=st.integers(1, 8),
    need=st.one_of(st.integers(0, 8).map(lambda number: (number, False)), st.sampled_from([0.25, 0.5, 1.0]).map(lambda share: (share, True))),
    silent=st.sets(st.integers(0, 7)),
    down=st.sets(st.integers(0, 7)),
    locked=st.sets(st.integers(0, 7)),
    troubled=st.sets(st.integers(0, 7)),
)  # fmt: skip
def test_min_healthy_counts_what_is_known_to_be_well_and_untouched(
    hosts: int, need: tuple[float, bool], silent: set[int], down: set[int], locked: set[int], troubled: set[int]
) -> None:
    rule = MinHealthy("web", *need)
    fleet = fleet_of(hosts)
    standing = Standing(
        incidents=tuple(incident_of(f"web-{number}", "disk") for number in troubled),
        locks=tuple(Lock(f"web-{number}", "someone", NOW) for number in locked),
    )
    quiet, dead = ({f"web-{number}" for number in some} for some in (silent, down))
    case = case_of(
        runbook(guards=Guards(min_healthy=rule)), hosts=hosts, standing=standing, answers=up(fleet, quiet, dead)
    )
    well = set(range(1, hosts)) - silent - down - locked - troubled
    wanted = need[0] * hosts if need[1] else need[0]
    assert guards.min_healthy(case).allowed is (len(well) >= wanted)


@pytest.mark.parametrize("broken", ["up", "probe_success"])
def test_min_healthy_counts_nobody_whom_it_cannot_ask_about(broken: str) -> None:
    book = runbook(guards=Guards(min_healthy=MinHealthy("web", 1)))
    case = case_of(book)
    assert guards.min_healthy(case).allowed
    for answers in (
        {**case.answers, broken: Answer(Query(broken), error="timeout")},
        {**case.answers, broken: answer_of(broken, {each.name: 0.0 for each in case.fleet}, {"web-1"})},
    ):
        assert not guards.min_healthy(replace(case, answers=answers)).allowed
    assert not guards.min_healthy(replace(case, answers={})).allowed
    empty = runbook(guards=Guards(min_healthy=MinHealthy("ghosts", 0)))
    assert guards.min_healthy(replace(case, runbook=empty)).code == "empty_group"


@given(st.integers(1, 40), st.sampled_from([0.1, 0.29, 0.3, 0.5, 1.0]), st.integers(1, 40))
def test_one_execution_touches_its_share_of_the_fleet_and_one_host_at_least(
    hosts: int, share: float, touched: int
) -> None:
    also = tuple(f"web-{number}" for number in range(1, min(touched, hosts)))
    case = case_of(hosts=hosts, also=also, limits=Limits(max_targets=share))
    allowed = max(1, int(share * 100 * hosts + 1e-6) // 100)
    assert guards.share(case).allowed is (1 + len(also) <= allowed)


def test_no_host_never_means_all() -> None:
    case = case_of()
    for steps in ((), (PlannedStep("restart.yml", ()),), (*case.steps, PlannedStep("drain.yml", ()))):
        decision = decide(replace(case, steps=steps))
        assert "share" in against(decision)
        assert guards.share(replace(case, steps=steps, operator="ann")).code == "no_hosts"


def test_a_host_that_is_not_in_the_inventory_is_not_touched() -> None:
    assert guards.share(case_of(also=("ghost",))).code == "unknown_host"


@given(st.integers(0, 200), st.integers(0, 100))
def test_between_two_incidents_a_target_settles(ago: int, wait: int) -> None:
    book = runbook(guards=Guards(cooldown=wait))
    case = case_of(book, standing=Standing(attempts=(attempt_of(1, "web-0", ago + 1),)))
    verdict = guards.cooldown(case)
    assert verdict.allowed is (ago >= wait)
    if verdict.until is not None:
        assert guards.cooldown(replace(case, now=verdict.until)).allowed
    other = case_of(book, standing=Standing(attempts=(attempt_of(1, "web-1", ago + 1),)))
    assert guards.cooldown(other).allowed


def test_the_next_rung_of_one_incident_does_not_wait_and_one_that_came_back_does() -> None:
    incident = incident_of("web-0", rung=1)
    failed = replace(attempt_of(1, "web-0", 5.0, outcome=Outcome.FAILED), incident=incident.id)
    book = runbook(remedies=("one", "two"), guards=Guards(cooldown=60.0))
    case = case_of(book, incident=incident, standing=Standing(attempts=(failed,)))
    assert guards.cooldown(case).allowed
    healed = replace(failed, outcome=Outcome.RESOLVED)
    assert not guards.cooldown(case_of(book, incident=incident, standing=Standing(attempts=(healed,)))).allowed


@pytest.mark.parametrize("owner", ["inc-web-0-node", "someone"])
def test_a_lock_holds_everybody_but_its_owner(owner: str) -> None:
    standing = Standing(locks=(Lock("web-1", owner, NOW - 5, "run-1: restart"),))
    for operator in (None, "ann"):
        case = case_of(also=("web-1",), standing=standing, operator=operator)
        assert guards.locks(case).allowed is (owner != "someone")


def test_what_runs_on_a_host_holds_it_even_without_its_lock() -> None:
    case = case_of(also=("web-1",), standing=Standing(executions=(execution_of("web-1"),)))
    assert guards.locks(case).code == "locked"


@pytest.mark.parametrize(
    ("scope", "until", "holds"),
    [
        ("all", None, True),
        ("all", NOW + 1, True),
        ("all", NOW, False),
        ("runbook:web-down", None, True),
        ("runbook:other", None, False),
        ("host:web-0", None, True),
        ("host:web-1", None, False),
    ],
)
def test_a_pause_holds_what_it_covers_until_it_ends_operators_too(scope: str, until: float | None, holds: bool) -> None:
    standing = Standing(pauses=(Pause(scope, "ann", "deploy", NOW - 9, until),))
    for operator in (None, "bob"):
        verdict = guards.pause(case_of(standing=standing, operator=operator))
        assert verdict.allowed is not holds
        assert not holds or ("ann" in verdict.sentence and "deploy" in verdict.sentence and verdict.until == until)


def test_a_pause_of_any_host_that_is_touched_holds() -> None:
    standing = Standing(pauses=(Pause("host:web-1", "ann", "disk change", NOW - 9),))
    assert not guards.pause(case_of(also=("web-1",), standing=standing)).allowed


@pytest.mark.parametrize(
    ("values", "data", "code"),
    [
        ({"web-0": 1.0}, {"web-0"}, "ok"),
        ({"web-1": 1.0}, {"web-0", "web-1"}, "require"),
        ({"web-1": 1.0}, {"web-1"}, "require_unknown"),
        ({"web-0": 1.0}, set(), "require_unknown"),
    ],
)
def test_what_is_required_must_be_true_of_the_target_itself(
    values: dict[str, float], data: set[str], code: str
) -> None:
    book = runbook(guards=Guards(require=(Condition("backup_fresh"),)))
    case = case_of(book, answers={"backup_fresh": answer_of("backup_fresh", values, data)})
    assert guards.require(case).code == code
    assert guards.require(replace(case, answers={})).code == "require_unknown"


def test_the_same_fault_elsewhere_right_after_a_remedy_is_a_common_cause() -> None:
    book = runbook(within=60.0)
    for ago, elsewhere, allowed in [
        (0, True, False),
        (5, True, False),
        (59, True, False),
        (60, True, True),
        (90, True, True),
        (5, False, True),
    ]:
        attempt = attempt_of(1, "web-1" if elsewhere else "web-0", ago + 1)
        incident = incident_of("web-0", opened_at=NOW)
        case = case_of(book, incident=incident, standing=Standing(attempts=(attempt,)))
        assert guards.common_cause(case).allowed is allowed
    before = incident_of("web-0", opened_at=NOW - 100)
    case = case_of(book, incident=before, standing=Standing(attempts=(attempt_of(1, "web-1", 6.0),)))
    assert guards.common_cause(case).allowed, "it began before the remedy ended"


@pytest.mark.parametrize("state", list(AlertState))
def test_only_an_alert_that_fires_is_acted_on(state: AlertState) -> None:
    book = runbook()
    case = replace(case_of(book), alert=alert_of("web-0", book, state))
    assert guards.signal(case).allowed is (state is AlertState.FIRING)
    assert not guards.signal(replace(case, alert=None)).allowed


@pytest.mark.parametrize(("jump", "allowed"), [(0.0, True), (1.0, True), (-1.0, True), (1.1, False), (-7200.0, False)])
def test_a_jump_beyond_one_interval_holds(jump: float, allowed: bool) -> None:
    assert guards.clock(case_of(jump=jump)).allowed is allowed


@pytest.mark.parametrize(("left", "allowed"), [(4, True), (2, True), (1, False)])
def test_an_inventory_that_lost_more_than_its_share_holds(left: int, allowed: bool) -> None:
    before = frozenset({"web-0", "web-1", "web-2", "web-3"})
    case = case_of(hosts=left, standing=Standing(fleet=before), limits=Limits(shrink=0.5))
    assert guards.inventory(case).allowed is allowed


def test_a_canary_that_is_not_known_to_sing_holds() -> None:
    case = case_of()
    catalog = replace(case.catalog, canaries=(Condition("self_up"),))
    for answer, allowed in [
        (None, False),
        (answer_of("self_up", {}, {"web-0"}), False),
        (answer_of("self_up", {"web-0": 1.0}, set()), False),
        (Answer(Query("self_up"), error="timeout"), False),
        (answer_of("self_up", {"web-0": 1.0}, {"web-0"}), True),
    ]:
        answers = case.answers if answer is None else {**case.answers, "self_up": answer}
        assert guards.canaries(replace(case, catalog=catalog, answers=answers)).allowed is allowed


def test_an_operator_passes_what_asks_for_trust_and_nothing_that_keeps_the_fleet_safe() -> None:
    book = runbook(
        mode=Mode.SHADOW,
        destructive=True,
        localize=Localization("node", "who", "job"),
        guards=Guards(cooldown=600.0, max_attempts=1, max_per_hour=1, min_healthy=MinHealthy("web", 4), require=(Condition("x"),),
                      serial="rack", window=Window(only=(Hours("Sun", frozenset({6}), 0, 1440, "UTC"),))),
    )  # fmt: skip
    standing = Standing(
        incidents=(*(incident_of(f"web-{number}") for number in range(1, 4)), incident_of("web-0", "disk", state=IncidentState.ESCALATED)),
        attempts=(replace(attempt_of(1, "web-0", 5.0), ran_until=NOW - 4, hosts=frozenset({"web-0"})), attempt_of(2, "web-1", 5.0)),
        executions=(execution_of("web-3"),),
        locks=(Lock("web-0", "someone", NOW),),
        pauses=(Pause("all", "bob", "", NOW),),
        silences=(Silence("s1", '{target="web-0"}', "bob", "", NOW - 1, NOW + 60),),
        alerts=(alert_of("web-0", book),),
        fleet=frozenset(f"web-{number}" for number in range(20)),
    )  # fmt: skip
    case = case_of(
        book,
        standing=standing,
        limits=Limits(interval=1.0, storm=1, max_concurrent=1, max_targets=0.1),
        also=("web-1",),
        jump=9.0,
        protected=frozenset({"web-0"}),
    )
    case = replace(case, alert=None, catalog=replace(case.catalog, canaries=(Condition("self_up"),)))
    everything = {guard.__name__ for guard in guards.GUARDS}
    engine = {guard.__name__ for guard in guards.GUARDS if not guard(case).allowed}
    hand = {guard.__name__ for guard in guards.GUARDS if not guard(replace(case, operator="ann")).allowed}
    assert engine == everything
    trust = {"signal", "culprit", "protected", "storm", "common_cause", "mode", "approval", "escalated"}
    trust |= {"grace", "silence", "window"}
    assert engine - hand == trust


@settings(max_examples=100)
@given(st.sets(st.sampled_from(["up", "probe_success", "x"])), st.sets(st.integers(0, 3)))
def test_taking_data_away_never_sets_anything_free(lost: set[str], silent: set[int]) -> None:
    book = runbook(guards=Guards(min_healthy=MinHealthy("web", 2), require=(Condition("x"),)))
    fleet = fleet_of(4)
    quiet = {f"web-{number}" for number in silent}
    heard = {each.name for each in fleet} - quiet
    full = {**up(fleet, quiet), "x": answer_of("x", dict.fromkeys(heard, 1.0), heard)}
    less = {expr: answer for expr, answer in full.items() if expr not in lost - {"probe_success"}}
    if "probe_success" in lost:
        less["probe_success"] = Answer(Query("probe_success"), error="timeout")
    with_all, with_less = decide(case_of(book, answers=full)), decide(case_of(book, answers=less))
    assert isinstance(with_all, Run) or isinstance(with_less, Hold)
    assert isinstance(with_less, Run) is (not lost and 0 not in silent and len(heard - {"web-0"}) >= 2)


def test_the_highest_priority_acts_and_a_tie_or_nobody_does_not() -> None:
    one, two, three = runbook("one"), runbook("two", priority=5), runbook("three", priority=5)
    catalog = Catalog((one, two, three))
    assert choose(("one", "two"), catalog) == two
    tie, nobody = choose(("one", "two", "three"), catalog), choose(("gone",), catalog)
    assert getattr(tie, "code", "") == "tie"
    assert getattr(nobody, "code", "") == "no_runbook"
