"""More trouble never sets anything free: a guard that holds at n failures holds at n + 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import guards
from engine.core.case import Case
from engine.core.decide import decide
from engine.model.decision import Escalate, Hold, Run
from engine.model.incident import Approved, IncidentState
from engine.model.labels import Labels
from engine.model.runbook import Approval, Condition, Guards, Hours, Limits, MinHealthy, Mode, Window
from engine.model.standing import Lock, Pause, Silence, Standing
from engine.model.target import Fleet
from tests.core.cases_of import NOW, answer_of, attempt_of, case_of, execution_of, fleet_of, incident_of, up
from tests.fakes.world import runbook

HOSTS = 6
HOST = st.integers(0, HOSTS - 1).map(lambda number: f"web-{number}")
SELECTORS = ('{target="web-0"}', '{instance=~"web-[0-9]"}', '{instance="nobody"}', "Alert", "broken{")
SCOPES = ("all", "host:web-0", "host:web-3", "runbook:web-down", "runbook:other")

Trouble = Callable[[Case], Case]


def standing_with(**more: object) -> Trouble:
    def worse(case: Case) -> Case:
        old = case.standing
        grown = {name: (*getattr(old, name), value) for name, value in more.items()}
        return replace(case, standing=replace(old, **grown))

    return worse


def silent(host: str) -> Trouble:
    def worse(case: Case) -> Case:
        heard = {each.name for each in case.fleet} - {host}
        known = case.answers["up"].needs[0].instances
        return replace(
            case, answers={**case.answers, **up(case.fleet, {each.name for each in case.fleet} - (heard & known))}
        )

    return worse


def untrue(case: Case) -> Case:
    return replace(case, answers={**case.answers, "x": answer_of("x", {}, {"web-0"})})


def touching(host: str) -> Trouble:
    return lambda case: replace(case, steps=(*case.steps, replace(case.steps[0], hosts=(host,))))


TROUBLES = st.one_of(
    st.builds(lambda host, number: standing_with(incidents=incident_of(host, f"r{number}")), HOST, st.integers(0, 3)),
    st.builds(lambda host: standing_with(incidents=incident_of(host, "disk", state=IncidentState.ESCALATED)), HOST),
    st.builds(lambda host: standing_with(locks=Lock(host, "someone", NOW)), HOST),
    st.builds(lambda scope: standing_with(pauses=Pause(scope, "ann", "", NOW)), st.sampled_from(SCOPES)),
    st.builds(
        lambda text: standing_with(silences=Silence("s", text, "ann", "", NOW - 1, NOW + 9)),
        st.sampled_from(SELECTORS),
    ),
    st.builds(
        lambda host, number, ago: standing_with(
            attempts=replace(
                attempt_of(number, host, ago), ran_until=NOW - ago + 0.5, hosts=frozenset({host, "web-5"})
            )
        ),
        HOST,
        st.integers(0, 99),
        st.floats(1, 4000),
    ),
    st.builds(
        lambda host, book: standing_with(executions=replace(execution_of(host, book), created_at=NOW - 3)),
        HOST,
        st.sampled_from(["web-down", "other"]),
    ),
    st.builds(silent, HOST),
    st.just(untrue),
    st.builds(touching, HOST),
)  # fmt: skip

BOOKS = st.builds(
    lambda cooldown, attempts, hourly, own, need, serial, mode: runbook(
        mode=mode,
        guards=Guards(
            cooldown,
            attempts,
            MinHealthy("web", need),
            hourly,
            own,
            (Condition("x"),),
            "rack" if serial else None,
            grace=5.0,
        ),
    ),
    st.sampled_from([0.0, 60.0, 3000.0]),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(1, 4)),
    st.one_of(st.none(), st.integers(1, 3)),
    st.integers(0, 5),
    st.booleans(),
    st.sampled_from(list(Mode)),
)


def racked() -> Fleet:
    fleet = fleet_of(HOSTS)
    return replace(
        fleet,
        targets={
            name: replace(each, variables=Labels({"rack": f"r{number % 2}"} if number < 5 else {}))
            for number, (name, each) in enumerate(fleet.targets.items())
        },
    )


@settings(max_examples=400, deadline=None)
@given(BOOKS, st.lists(TROUBLES, max_size=6), TROUBLES)
def test_a_guard_that_holds_holds_when_one_more_thing_goes_wrong(
    book, before: list[Trouble], one_more: Trouble
) -> None:  # type: ignore[no-untyped-def]
    limits = Limits(interval=1.0, storm=2, max_concurrent=2, max_targets=0.5, grace=30.0)
    case = replace(case_of(book, hosts=HOSTS, limits=limits), fleet=racked())
    case = replace(case, answers={**case.answers, "x": answer_of("x", {"web-0": 1.0}, {"web-0"})})
    for trouble in before:
        case = trouble(case)
    worse = one_more(case)
    for guard in guards.GUARDS:
        verdict = guard(case)
        assert verdict.sentence
        assert verdict.code
        assert verdict.allowed is (verdict.code == "ok")
        if not verdict.allowed:
            assert not guard(worse).allowed, guard.__name__
    decision, later = decide(case), decide(worse)
    assert not isinstance(later, Run) or isinstance(decision, Run)
    for each in (decision, later):
        match each:
            case Hold(verdicts):
                assert any(not verdict.allowed and verdict.sentence and verdict.code for verdict in verdicts)
            case Escalate(code, reason):
                assert code
                assert reason


APPROVALS = st.sampled_from(list(Approval))


@given(
    mode=st.sampled_from([Mode.APPROVE, Mode.AUTO]),
    own=st.sampled_from([Approval.ALWAYS, Approval.DESTRUCTIVE]),
    destructive=st.booleans(),
    said=st.dictionaries(st.sampled_from(["web-0", "web-1", "web-2"]), APPROVALS),
    also=st.sets(st.sampled_from(["web-1", "web-2"])),
    word=st.sampled_from(["none", "this", "other", "late"]),
)
def test_nothing_that_needs_a_persons_word_begins_without_it(
    *, mode: Mode, own: Approval, destructive: bool, said: dict[str, Approval], also: set[str], word: str
) -> None:
    book = runbook(mode=mode, destructive=destructive, guards=Guards(approval=own))
    case = case_of(book, also=tuple(sorted(also)))
    case = replace(case, catalog=replace(case.catalog, approvals=said))
    given_ = {
        "none": None,
        "this": Approved(case.digest, "ann", "", NOW - 5, NOW + 5),
        "other": Approved("0" * 64, "ann", "", NOW - 5, NOW + 5),
        "late": Approved(case.digest, "ann", "", NOW - 9, NOW),
    }[word]
    case = replace(case, incident=replace(case.incident, approved=given_))
    policies = {said.get(host, Approval.DESTRUCTIVE) for host in case.hosts}
    asked = mode is Mode.APPROVE or own is Approval.ALWAYS or Approval.ALWAYS in policies
    asked = asked or (destructive and Approval.DESTRUCTIVE in policies)
    decision = decide(case)
    assert isinstance(decision, Run) is (not asked or word == "this")
    if isinstance(decision, Hold):
        assert [each.code for each in decision.verdicts if not each.allowed] == ["held_for_approval"]


@given(st.integers(0, 3), st.booleans())
def test_one_run_at_a_time_for_each_value_of_the_host_variable(busy: int, gone: bool) -> None:
    book = runbook(guards=Guards(serial="rack"))
    case = replace(case_of(book, hosts=HOSTS), fleet=racked())
    running = Standing(executions=(execution_of("ghost" if gone else f"web-{busy + 1}", "other"),))
    verdict = guards.serial(replace(case, standing=running))
    same = (busy + 1) % 2 == 0 and busy + 1 < 5
    assert verdict.code == ("serial_unknown" if gone else "serial" if same else "ok")
    assert guards.serial(case_of(book)).code == "serial_unknown"
    beyond = replace(case, steps=(replace(case.steps[0], hosts=("web-0", "web-5")),))
    assert guards.serial(beyond).code == "serial_unknown"


def test_a_silence_covers_labels_name_and_target_and_one_that_cannot_be_read_covers_all() -> None:
    case = case_of()
    for text, covered in [
        ('{alertname="Alert"}', True),
        ("Alert", True),
        ('Alert{target="web-0"}', True),
        ('{instance=~"web-.*", target!="web-0"}', False),
        ('{severity="page"}', False),
        ('{severity="",target="web-0"}', True),
        ("{{", True),
    ]:
        silence = Silence("s", text, "ann", "new disk", NOW - 60, NOW + 60)
        verdict = guards.silence(replace(case, standing=Standing(silences=(silence,))))
        assert verdict.allowed is not covered, text
        if covered:
            assert (verdict.code, verdict.until) == ("silenced", NOW + 60)
            assert "ann" in verdict.sentence
            assert "new disk" in verdict.sentence
        over = replace(silence, until=NOW)
        assert guards.silence(replace(case, standing=Standing(silences=(over,)))).allowed


def test_a_member_that_is_drained_counts_as_down() -> None:
    book = runbook(guards=Guards(min_healthy=MinHealthy("web", 3)))
    case = case_of(book)
    assert guards.min_healthy(case).allowed
    by_metric = {**case.answers, "mendbook_drained": answer_of("mendbook_drained", {"web-1": 1.0, "web-2": 0.0}, set())}
    assert "2 of 4" in guards.min_healthy(replace(case, answers=by_metric)).sentence
    targets = {
        **case.fleet.targets,
        "web-3": replace(case.fleet.targets["web-3"], variables=Labels({"mendbook_drained": "True"})),
    }
    assert not guards.min_healthy(replace(case, fleet=Fleet(targets))).allowed


def test_the_same_fault_seen_to_by_another_runbook_is_a_common_cause_too() -> None:
    book, other, disk = runbook(), runbook("reboot"), runbook("full", resource="disk")
    for name, holds in (("reboot", True), ("full", False), ("unknown", False)):
        case = case_of(
            book,
            incident=incident_of("web-0", opened_at=NOW),
            standing=Standing(attempts=(attempt_of(1, "web-1", 6.0, name),)),
        )
        case = replace(case, catalog=replace(case.catalog, runbooks=(book, other, disk)))
        assert guards.common_cause(case).allowed is not holds
    verified = replace(attempt_of(1, "web-1", 500.0), ran_until=NOW - 400, ended_at=None)
    case = case_of(book, incident=incident_of("web-0", opened_at=NOW), standing=Standing(attempts=(verified,)))
    assert not guards.common_cause(case).allowed, "its run is over, and nobody knows yet whether it helped"


def test_a_window_says_when_it_opens() -> None:
    sunday = Window(only=(Hours("Sun 00:00-24:00 UTC", frozenset({6}), 0, 1440, "UTC"),))
    verdict = guards.window(case_of(runbook(guards=Guards(window=sunday))))
    assert not verdict.allowed
    assert verdict.until is not None
    assert "only Sun 00:00-24:00 UTC" in verdict.sentence
    assert guards.window(replace(case_of(runbook(guards=Guards(window=sunday))), now=verdict.until)).allowed
