"""The score: what the engine recorded, held against what was injected; and the scorecard by which drills go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.chaos.experiment import Ending, Experiment, Hit, Injection, Truth
from engine.chaos.figures import Times, on_each
from engine.chaos.place import DrillError
from engine.chaos.result import Found, Harm, Mark, Result, as_mapping, from_mapping
from engine.chaos.score import Seen, Story, false_alarms, judge, news, timeline, wrong_acts
from engine.chaos.scorecard import SHIPPED, Quiet, append, heal, left, read
from engine.chaos.shelf import names
from engine.model.decision import Entry
from engine.model.execution import Execution, ExecutionState, PlannedStep
from engine.model.incident import Fault, Incident, IncidentState, Suspect
from engine.records.history import Logged

TRUTH = Truth(
    "service", ("ledger.service", "ledger"), within=60.0, node="web1", runbooks=("service-down",), hosts=("web1", "lb")
)
INJECTION = Injection("killed", "process", {}, 60.0, truth=TRUTH)
LOOKS = ((99.5, True), (101.0, False), (102.0, False), (120.0, True), (121.0, True))
SEEN = Seen(Hit(INJECTION, "web1", TRUTH), 100.0, LOOKS, 150.0)
OWN = Incident(
    "inc-1",
    "web1",
    "service",
    IncidentState.RESOLVED,
    105.0,
    culprit="ledger.service",
    runbook="service-down",
    localized_at=106.0,
    ended_at=125.0,
)
RUN = Execution(
    "run-1", "att-1", "inc-1", "service-down", "d1", "Restart it", "web1",
    (PlannedStep("lb_drain.yml", ("lb",)), PlannedStep("service_restart.yml", ("web1",))),
    ExecutionState.SUCCESSFUL, 107.0, 107.5, 112.0,
)  # fmt: skip
FIRED = Logged(1, 104.0, 1, Entry("alert", "ServiceDown on web1", None, "web1", "service-down", "firing"))
STORY = Story((OWN,), (RUN,), (FIRED,))


def told(**changes: object) -> Story:
    return replace(STORY, incidents=(replace(OWN, **changes),))  # type: ignore[arg-type]


def test_what_was_healed_is_scored_from_its_injection() -> None:
    found = judge(SEEN, STORY)
    assert found.ending is Ending.HEALED
    assert (found.detected, found.named, found.recovered, found.verified) == (4.0, 6.0, 20.0, 25.0)
    assert (found.first, found.third, found.recurred) == (True, True, False)
    assert (found.runbooks, found.digests) == (("service-down",), ("d1",))


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({"state": IncidentState.ESCALATED, "ended_at": None}, Ending.ESCALATED),
        ({"state": IncidentState.VERIFYING, "ended_at": None}, Ending.UNHEALED),
        ({"state": IncidentState.SELF_HEALED}, Ending.UNHEALED),
        ({"ended_at": 161.0}, Ending.UNHEALED),
    ],
)
def test_what_was_not_healed_in_time_is_called_by_its_name(changes: dict[str, object], ending: Ending) -> None:
    assert judge(SEEN, told(**changes)).ending is ending


def test_the_engines_word_is_not_enough_when_it_is_ill_outside() -> None:
    assert judge(replace(SEEN, looks=LOOKS[:3]), STORY).ending is Ending.UNHEALED


def test_what_nobody_noticed_was_missed() -> None:
    found = judge(SEEN, Story())
    assert (found.ending, found.detected, found.first) == (Ending.MISSED, None, False)


def test_another_culprit_is_not_right_but_the_third_suspect_may_be() -> None:
    suspects = (Suspect("web1", "cpu", "x", 0.5), Suspect("web1", "service", "ledger", 0.4))
    wrong = told(resource="memory", fault=Fault(Suspect("web1", "memory", "y", 0.6), 0.1, (), (), suspects))
    found = judge(SEEN, wrong)
    assert (found.first, found.third, found.concluded) == (False, True, "memory of web1, ledger.service")
    assert judge(SEEN, told(culprit="nginx")).first is False


def test_what_comes_back_is_a_recurrence() -> None:
    again = replace(OWN, id="inc-2", opened_at=130.0, ended_at=140.0)
    assert judge(SEEN, replace(STORY, incidents=(OWN, again))).recurred
    assert judge(SEEN, told(reopened=1)).recurred


HELD = replace(SEEN, hit=Hit(INJECTION, "web1", replace(TRUTH, expect=Ending.HELD, runbooks=())))


def test_held_means_that_nothing_was_touched() -> None:
    assert judge(HELD, replace(told(state=IncidentState.SELF_HEALED), executions=())).ending is Ending.HELD
    assert judge(HELD, replace(told(state=IncidentState.SELF_HEALED), executions=(RUN,))).ending is Ending.UNHEALED
    assert (
        judge(HELD, replace(told(state=IncidentState.ESCALATED, ended_at=None), executions=())).ending
        is Ending.ESCALATED
    )
    assert judge(HELD, Story()).ending is Ending.HELD


def test_acts_that_nobody_expects_are_wrong_by_their_host_or_by_their_runbook() -> None:
    assert wrong_acts((SEEN.hit,), STORY) == ()
    other = replace(RUN, steps=(PlannedStep("service_restart.yml", ("web2",)),))
    assert wrong_acts((SEEN.hit,), replace(STORY, executions=(other,))) == ("service-down (Restart it) on web1, web2",)
    assert wrong_acts((SEEN.hit,), replace(STORY, executions=(replace(RUN, runbook="node-dead"),)))


def test_an_incident_elsewhere_is_a_false_alarm_unless_it_is_a_symptom() -> None:
    there = replace(OWN, id="inc-3", target="db1", resource="memory")
    assert false_alarms((SEEN,), replace(STORY, incidents=(OWN, there))) == ("memory of db1",)
    allowed = replace(SEEN, hit=Hit(INJECTION, "web1", replace(TRUTH, symptoms=("db1",))))
    assert false_alarms((allowed,), replace(STORY, incidents=(OWN, there))) == ()


def test_the_timeline_has_everything_in_order() -> None:
    marks = timeline((SEEN,), STORY, 100.0)
    assert [(mark.kind, mark.at) for mark in marks] == [
        ("injection", 0.0), ("outside", 1.0), ("alert", 4.0), ("run", 7.5), ("outside", 20.0), ("undo", 50.0),
    ]  # fmt: skip
    assert marks[3] == Mark(
        7.5, "run", "Restart it: lb_drain.yml, service_restart.yml (successful)", "web1", 12.0, good=True
    )


def test_the_news_of_a_run_is_its_end_when_it_has_ended() -> None:
    localized = Logged(2, 110.0, 1, Entry("fault", "service of web1", "inc-1", "web1"))
    going = replace(RUN, state=ExecutionState.RUNNING, ended_at=None)

    def newest(run: Execution) -> Mark | None:
        return news(timeline((SEEN,), replace(STORY, executions=(run,), entries=(FIRED, localized)), 100.0))

    during, after = newest(going), newest(RUN)
    assert during is not None
    assert (during.kind, during.latest) == ("incident", 10.0)
    assert after is not None
    assert (after.kind, after.at, after.latest) == ("run", 7.5, 12.0)
    assert news(timeline((SEEN,), Story(), 100.0)) is None


FOUND = judge(SEEN, STORY)
RESULT = Result("killed", "s", "abc", "0.1.0", "c0ffee", 100.0, 0, 1, 60.0, (FOUND,), Harm(100, 2, 98, 0, wrong_total=False),
                timeline=timeline((SEEN,), STORY, 100.0), traffic=((0.0, 20, 0), (1.0, 18, 2)), surroundings={"cpus": "2"})  # fmt: skip


def test_a_drill_passes_only_when_nothing_at_all_was_wrong() -> None:
    assert RESULT.passed
    for harm in (Harm(lost=1), Harm(wrong_total=True), Harm(acts=("x",))):
        assert not replace(RESULT, harm=harm).passed
    assert not replace(RESULT, false_alarms=("memory of db1",)).passed
    assert not replace(RESULT, remarks=("after the undo, the lab is not steady",)).passed
    assert not replace(RESULT, found=(replace(FOUND, first=False),)).passed
    assert not replace(RESULT, found=(replace(FOUND, ending=Ending.ESCALATED),)).passed


def test_what_is_written_down_is_read_back(tmp_path: Path) -> None:
    card = tmp_path / "card.jsonl"
    quiet = Quiet("0.1.0", "c0ffee", 50.0, 3600.0, (), (), 7000, 0, (20, 40), 0, wrong_total=False)
    append(card, RESULT)
    append(card, quiet)
    found = read([card, tmp_path / "none.jsonl"])
    assert found.results == (RESULT,)
    assert found.quiets == (quiet,)


def test_a_line_cut_short_by_a_crash_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    card = tmp_path / "card.jsonl"
    append(card, RESULT)
    with card.open("a") as file:
        file.write('{"kind": "drill", "exper')
    assert read([card]).results == (RESULT,)
    heal(card)
    append(card, replace(RESULT, repeat=2))
    assert [each.repeat for each in read([card]).results] == [1, 2]


def test_a_broken_line_in_the_middle_is_said(tmp_path: Path) -> None:
    card = tmp_path / "card.jsonl"
    card.write_text('{"kind": "drill"}\n')
    append(card, RESULT)
    with pytest.raises(DrillError, match=r"card.jsonl:1"):
        read([card])


@given(st.sets(st.integers(1, 6)), st.integers(1, 6))
def test_drills_go_on_where_they_stopped(ran: set[int], repeats: int) -> None:
    experiment = Experiment("killed", "", (INJECTION,), Path(), "abc")
    done = [replace(RESULT, repeat=number) for number in ran]
    turns = left([experiment], repeats, done, "0.1.0")
    assert {number for _, number in turns} == set(range(1, repeats + 1)) - ran
    assert len(left([experiment], repeats, done, "0.2.0")) == repeats, "another version is to be proved anew"
    assert len(left([replace(experiment, digest="x")], repeats, done, "0.1.0")) == repeats, "another text, too"


times = st.none() | st.floats(0, 1e6, allow_nan=False)
founds = st.builds(
    Found, st.text(), st.text(), st.text(), st.text(), st.text(), st.sampled_from(Ending), st.sampled_from(Ending), st.floats(0, 1e6),
    times, times, st.booleans(), st.booleans(), st.text(), times, times, st.booleans(), st.lists(st.text()).map(tuple), st.lists(st.text()).map(tuple),
)  # fmt: skip


@given(
    st.lists(founds, max_size=3),
    st.lists(
        st.builds(Mark, st.floats(-1e3, 1e6), st.text(), st.text(), st.text(), times, st.none() | st.booleans()),
        max_size=3,
    ),
)
def test_every_result_comes_back_as_it_was(each: list[Found], marks: list[Mark]) -> None:
    result = replace(RESULT, found=tuple(each), timeline=tuple(marks))
    assert from_mapping(as_mapping(result)) == result


def test_each_experiment_comes_to_its_median_and_its_worst() -> None:
    drills = [replace(RESULT, found=(replace(FOUND, detected=seconds),)) for seconds in (3.0, 9.0, 4.0)]
    other = replace(RESULT, experiment="other", found=(replace(FOUND, ending=Ending.MISSED, detected=None),))
    summary = on_each([*drills, other])
    assert list(summary) == sorted((RESULT.experiment, "other"))
    one, none = summary[RESULT.experiment], summary["other"]
    assert (one.passed, one.drills, one.detected) == (3, 3, Times(3, 4.0, 9.0))
    assert (none.passed, none.drills, none.detected) == (0, 1, Times())


def test_the_scorecards_that_come_with_the_product_are_of_its_experiments() -> None:
    card = read(sorted(SHIPPED.glob("*.jsonl")))
    assert card.quiets
    assert {each.experiment for each in card.results} <= set(names())
    assert all(each.commit and each.surroundings for each in card.results)
