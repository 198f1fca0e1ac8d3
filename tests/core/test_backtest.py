"""What a replay shows beside the record: what is the same fault, by how much earlier, and why something was missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from engine.core.backtest import Backtest, Blind, Firing, Known, Moment, Watcher, compare, joined, nameless
from engine.core.review import STORM
from engine.model.decision import Change, Entry, Escalate, Hold, Run, Verdict
from engine.model.execution import Execution
from engine.model.incident import Alert, AlertState, Fault, Incident, IncidentState, Outcome, Suspect
from engine.model.labels import Labels
from engine.model.runbook import Catalog, Localization, Runbook, Scope, Trigger
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer, Coverage, Query
from tests.fakes.world import runbook

BOOK = runbook("disk-full", expr="full", resource="disk", for_=120.0, remedies=("clean", "grow"))
OTHER = runbook("slow", expr="slow", resource="latency")
FLEET = Fleet(
    {
        name: Target(name, frozenset({"web"}), frozenset({name, f"{name}:9100"}), needs, Labels())
        for name, needs in (("web-1", ()), ("web-2", ("web-1",)))
    }
)
UNTIL, SLACK = 10_000.0, 100.0


def watcher(*books: Runbook) -> Watcher:
    return Watcher("disk-full", Catalog(books or (BOOK, OTHER)), FLEET)


def incident(
    id_: str, opened: float, ended: float | None = None, *, target: str = "web-1", resource: str = "disk",
    began: float | None = None, book: str | None = None, causes: tuple[str, ...] = (),
) -> Incident:  # fmt: skip
    fault = Fault(Suspect(target, resource, None, 0.9), 0.5, causes) if causes else None
    over = ended is not None
    return Incident(
        id=id_, target=target, resource=resource, opened_at=opened, runbook=book, fault=fault,
        state=IncidentState.RESOLVED if over else IncidentState.OPEN,
        first_active=opened - 10 if began is None else began,
        changed_at=opened, ended_at=ended, outcome=Outcome.RESOLVED if over else None,
    )  # fmt: skip


def alert(
    host: str | None, state: AlertState, at: float, *, since: float = 0.0, book: str = "disk-full", fired: bool = False
) -> Alert:
    labels = Labels({"instance": host or "elsewhere"})
    return Alert(
        f"{book}-{host}", book, book.title(), labels, host, state, 1.0, since, at, at,
        fired_at=at if fired else None, reason="" if host else "no host exports as elsewhere",
    )  # fmt: skip


def replayed(*incidents: Incident) -> Watcher:
    """Return what has seen incidents of the runbook come and go."""
    seen = watcher()
    for each in incidents:
        seen.see(each.opened_at, (), (Change(0, each.opened_at, incident=each),), Standing())
    return seen


def compared(
    seen: Watcher, *recorded: Incident, blind: tuple[Blind, ...] = ()
) -> tuple[Mapping[str, Firing], Mapping[str, Known]]:
    firings, known = compare(seen, recorded, blind, UNTIL, SLACK)
    return {each.id: each for each in firings}, {each.id: each for each in known}


MINE = incident("mine", 1000, 2000, began=900, book="disk-full")


@pytest.mark.parametrize(
    ("began", "opened", "ended", "same"),
    [
        (950, 1300, 1900, True),
        (100, 400, 800, True),  # it ended 100 s before the firing began
        (100, 400, 799, False),
        (2100, 2400, 2500, True),  # it began 100 s after the firing ended
        (2101, 2400, 2500, False),
        (0, 400, None, True),  # it goes on
        (5000, 5000, None, False),
    ],
)
def test_incidents_of_a_time_and_a_resource_are_the_same(
    began: float, opened: float, ended: float | None, same: bool
) -> None:
    firings, known = compared(replayed(MINE), incident("then", opened, ended, began=began))
    assert known["then"].caught is same
    assert firings["mine"].known == (("then",) if same else ())
    assert known["then"].earlier == (opened - 1000 if same else None)
    assert firings["mine"].earlier == (opened - 1000 if same else None)


def test_a_firing_is_as_much_earlier_as_it_is_than_the_first_that_it_catches() -> None:
    again = incident("again", 1400, 1500, book="disk-full")
    firings, known = compared(replayed(MINE, again), incident("late", 1700, 1800), incident("early", 1200, 1300))
    assert firings["mine"].known == ("early", "late")
    assert (firings["mine"].earlier, firings["again"].earlier) == (200.0, -200.0)
    assert (known["early"].earlier, known["late"].earlier) == (200.0, 700.0)


def test_other_hosts_have_faults_of_their_own() -> None:
    firings, known = compared(replayed(MINE), incident("there", 1000, 2000, target="web-2"))
    assert (firings["mine"].known, firings["mine"].beside, known["there"].caught) == ((), (), False)


def test_what_is_of_another_resource_stands_beside() -> None:
    slow = incident("slow", 1100, 1200, resource="latency")
    earlier = incident("long-ago", 10, 20, resource="latency")
    firings, known = compared(replayed(MINE), slow, earlier)
    assert (firings["mine"].known, firings["mine"].beside, known) == ((), ("slow",), {})


def test_what_the_runbook_itself_had_counts_whatever_its_resource_was_then() -> None:
    firings, known = compared(replayed(MINE), incident("then", 1100, 1200, resource="volume", book="disk-full"))
    assert (firings["mine"].known, known["then"].caught) == (("then",), True)


def test_a_storm_and_hosts_that_the_runbook_is_not_for_are_left_out() -> None:
    storm = replace(incident("storm", 1100, 1200), target=STORM[0], resource=STORM[1])
    gone = incident("gone", 1100, 1200, target="web-2")
    here = replace(BOOK, hosts=frozenset({"web-1"}))
    seen = Watcher("disk-full", Catalog((here,)), FLEET)
    seen.see(1000, (), (Change(0, 1000, incident=MINE), Change(0, 1000, incident=storm)), Standing())
    firings, known = compared(seen, storm, gone)
    assert set(firings) == {"mine"}
    assert firings["mine"].beside == ()
    assert known == {}


def why(seen: Watcher, *blind: Blind) -> str:
    _, known = compared(seen, incident("then", 1000, 2000, began=900), blind=blind)
    assert not known["then"].caught
    return known["then"].why


DARK = Blind("web-1", 60.0, 1500.0, 1560.0, "no series full here")


def test_a_miss_is_told_by_what_was_nearest_to_a_catch() -> None:
    seen = watcher()
    assert why(seen) == "the condition did not hold"
    assert why(seen, replace(DARK, target="web-2")) == "the condition did not hold"
    assert why(seen, replace(DARK, since=2001.0, until=2100.0)) == "the condition did not hold"
    assert why(seen, DARK) == "the condition could not be judged: no series full here"
    for now in (1100.0, 1115.0, 1130.0):
        seen.see(now, (alert("web-1", AlertState.PENDING, now, since=1100.0),), (), Standing())
    seen.see(1700.0, (alert("web-1", AlertState.PENDING, 1700.0, since=1690.0),), (), Standing())
    seen.see(3000.0, (alert("web-1", AlertState.PENDING, 3000.0, since=2500.0),), (), Standing())
    assert why(seen, DARK) == "the condition held for 30s at most, and `for` is 120s"
    seen.see(1800.0, (alert("web-1", AlertState.FIRING, 1800.0, fired=True),), (), Standing())
    assert why(seen, DARK).startswith("Disk-Full fires, and opens no incident: ")


def test_an_alert_that_opens_nothing_is_told_once_and_why() -> None:
    seen = watcher()
    firing = alert("web-1", AlertState.FIRING, 1000.0, fired=True)
    nowhere = alert(None, AlertState.FIRING, 1000.0, fired=True)
    elses = alert("web-1", AlertState.FIRING, 1000.0, book="slow", fired=True)
    seen.see(1000.0, (firing, nowhere, elses), (), Standing())
    seen.see(1015.0, (replace(firing, last_true=1015.0), nowhere, elses), (), Standing())
    here, there = seen.silent()
    assert (here.at, here.target, here.alert) == (1000.0, "web-1", "Disk-Full")
    assert here.sentence == "the incident that ended before it has not been seen to clear"
    assert (there.target, there.sentence) == ("", "no host exports as elsewhere")


def test_an_alert_that_another_explains_says_which() -> None:
    down = runbook("down", expr="down", resource="node")
    seen = watcher(BOOK, down)
    firing = alert("web-2", AlertState.FIRING, 1000.0, fired=True)
    cause = alert("web-2", AlertState.FIRING, 1000.0, book="down", fired=True)
    seen.see(1000.0, (firing, cause), (), Standing())
    (silent,) = seen.silent()
    assert (silent.target, silent.alert) == ("web-2", "Disk-Full")
    assert "node of web-2" in silent.sentence


def test_an_alert_whose_incident_is_live_is_not_silent() -> None:
    seen = watcher()
    standing = Standing(incidents=(incident("mine", 1000),))
    seen.see(1000.0, (alert("web-1", AlertState.FIRING, 1000.0, fired=True),), (), standing)
    assert seen.silent() == ()


def test_the_story_of_a_firing_is_its_decisions_and_what_came_of_them() -> None:
    seen = watcher()
    mine = replace(incident("mine", 1000, book="disk-full"), rung=1, reason="cooldown of 30m")
    ok, no = Verdict("mode", True, "ok", "mode is auto"), Verdict("cooldown", False, "cooldown", "20m are left")
    run = Execution("run-1", "att-1", "mine", "disk-full", "d", "clean", "web-1", ())
    alarm = Entry("alert", "Disk-Full fires", "mine", "web-1")
    seen.see(
        1000.0,
        (),
        (
            Change(0, 1000.0, (alarm, Entry("decision", "Run: clean", "mine")), incident=replace(mine, rung=0), decision=Run(run, (ok,))),
            Change(0, 1015.0, (Entry("execution", "run-1 successful", "mine", code="successful"),), incident=mine),
            Change(0, 1030.0, incident=mine, decision=Hold((ok, no))),
            Change(0, 1045.0, (Entry("decision", "Escalate: no", "mine"),), incident=mine, decision=Escalate("no", "no", (no,))),
        ),
        Standing(),
    )  # fmt: skip
    (firing,) = seen.firings()
    assert firing.moments == (
        Moment(1000.0, "decision", "run", "Run: clean", "clean"),
        Moment(1015.0, "execution", "successful", "successful"),
        Moment(1030.0, "decision", "hold", "cooldown of 30m", "grow", (no,)),
        Moment(1045.0, "decision", "escalate", "Escalate: no", "grow", (no,)),
    )
    assert [firing.count(code) for code in ("run", "hold", "escalate")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("run-1 failed: exit 2", "failed: exit 2"),
        ("Escalate: run-1 failed: exit 2", "Escalate: the run failed: exit 2"),
        ("clean (run-1)", "clean"),
        ("another failed", "another failed"),
    ],
)
def test_a_replay_names_no_run_as_if_it_had_been(sentence: str, told: str) -> None:
    assert nameless(sentence, ("run-1",)) == told


def test_firings_are_those_that_the_runbook_has_a_part_in() -> None:
    by_another = incident("joined", 500, 600, book="slow", causes=("slow", "disk-full@web"))
    not_mine = incident("other", 700, 800, resource="latency", book="slow", causes=("slow",))
    asked = incident("asked", 100, 200, target="web-2", book="disk-full")
    assert [each.id for each in replayed(MINE, by_another, not_mine, asked).firings()] == ["asked", "joined", "mine"]


def test_stretches_that_follow_one_another_are_one_with_the_reason_of_the_longest() -> None:
    assert joined([(9, 12, "c"), (0, 2, "a"), (2, 7, "b"), (12, 13, "d")]) == [(0, 7, "b"), (9, 13, "c")]
    assert joined([(0, 4, "a"), (4, 8, "b")]) == [(0, 8, "a")]
    assert joined([]) == []


def answer(*instances: str) -> Answer:
    return Answer(Query("full"), (), (Coverage("full", frozenset(instances)),))


def test_a_host_is_blind_while_its_own_data_are_missing() -> None:
    seen = watcher()
    seen.told(BOOK, 0, 4, answer("web-1:9100", "web-2"))
    seen.told(BOOK, 4, 6, answer("web-2"))
    seen.told(BOOK, 6, 10, answer())
    seen.told(BOOK, 10, 12, answer("web-1", "web-2"))
    seen.told(BOOK, 12, 20, answer("web-1"))
    one, other = seen.blind(600.0, 15.0)
    assert (one.target, one.seconds, one.since, one.until) == ("web-2", 180.0, 780.0, 900.0)
    assert (other.target, other.seconds, other.since, other.until) == ("web-1", 90.0, 660.0, 750.0)
    assert one.reason == "no series full here"


def test_of_a_trigger_about_the_fleet_only_its_own_host_can_be_blind() -> None:
    trigger = Trigger("Quorum", "full", scope=Scope.FLEET)
    fleet_wide = replace(BOOK, trigger=trigger, localize=Localization("disk", target="web-2"))
    seen = watcher(fleet_wide)
    seen.told(fleet_wide, 0, 3, answer())
    seen.told(fleet_wide, 3, 5, answer("web-1"))
    (blind,) = seen.blind(0.0, 15.0)
    assert (blind.target, blind.seconds) == ("web-2", 45.0)


def test_the_sums_are_of_firings_and_of_the_time_of_all_hosts() -> None:
    moments = tuple(Moment(at, "decision", code, "") for at, code in enumerate(("run", "hold", "run")))
    firing = Firing("mine", "web-1", "disk", "disk-full", None, 0.0, 10.0, 90.0, "resolved", "resolved", moments)
    dark = Blind("web-1", 30.0, 0.0, 30.0, "")
    found = Backtest("disk-full", {}, 0.0, 135.0, 15.0, 2, 3, 10, (firing,), (), (), (dark,))
    assert (found.runs, found.judged) == (2, 0.9)
    assert replace(found, hosts=0, blind=()).judged == 0.0


@pytest.mark.parametrize(
    ("known", "since", "said"), [((), None, False), ((), 50.0, True), ((), 91.0, False), (("then",), 50.0, False)]
)
def test_only_where_there_was_a_record_can_a_firing_be_missing_from_it(
    known: tuple[str, ...], since: float | None, said: bool
) -> None:
    firing = Firing("mine", "web-1", "disk", "disk-full", None, 0.0, 10.0, 90.0, "resolved", None, (), known)
    found = Backtest("disk-full", {}, 0.0, 135.0, 15.0, 2, 3, 10, (firing,), (), (), (), recorded_since=since)
    assert found.unrecorded(firing) is said
