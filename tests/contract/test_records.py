"""What every record promises, in memory or in a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engine.model.decision import Entry
from engine.model.execution import ExecutionState
from engine.model.incident import IncidentState, Outcome
from engine.model.standing import Lock, Pause, Request, Silence, Standing
from engine.ports import Records
from engine.records.desk import Desk
from engine.records.history import History
from engine.records.store import Record
from tests.fakes.records import MemoryRecords
from tests.lab_tools.postgres_server import POSTGRESQL
from tests.records.nouns import NOW, alert, attempt, change, entry, event, execution, incident

DAY = 86_400.0


@dataclass
class Kept:
    """A record with its operators' side, and what its chain says."""

    records: Records
    desk: Desk | MemoryRecords
    entries: Callable[[], list[Entry]]

    def standing(self, now: float = NOW) -> Standing:
        return self.records.standing(now)


@pytest.fixture(params=["memory", "sqlite", POSTGRESQL])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    if request.param == "memory":
        memory = MemoryRecords(lambda: NOW)
        yield Kept(memory, memory, lambda: memory.entries)
        return
    where = tmp_path / "record.db" if request.param == "sqlite" else request.getfixturevalue("new_database")()
    with Record(where) as record:
        yield Kept(record, Desk(record, lambda: NOW), lambda: [one.entry for one in History(record).entries()])


def test_a_new_record_is_empty(kept: Kept) -> None:
    assert kept.standing() == Standing()


def test_a_commit_counts_the_version_on_and_a_second_from_the_same_version_is_refused(kept: Kept) -> None:
    assert kept.records.commit(change(0, incident=incident(), entries=(entry("first"),)))
    assert not kept.records.commit(change(0, incident=incident("i2", "web2"), entries=(entry("second"),)))
    assert kept.standing().version == 1
    assert kept.standing().incidents == (incident(),)
    assert kept.entries() == [entry("first")]


def test_a_change_from_a_version_not_yet_reached_is_refused(kept: Kept) -> None:
    assert not kept.records.commit(change(1))
    assert kept.standing().version == 0


def test_alerts_are_replaced_when_given_and_only_then_a_tick_is_counted(kept: Kept) -> None:
    first, second = alert("HighMemory"), alert("HighLoad", value=float("inf"), annotations={"summary": "löad"})
    assert kept.records.commit(change(0, alerts=(second, first), at=NOW))
    assert kept.records.commit(change(1, at=NOW + 15))
    assert kept.standing().alerts == (second, first)
    assert kept.standing().last_tick == NOW
    assert kept.records.commit(change(2, alerts=(), at=NOW + 30))
    assert kept.standing().alerts == ()
    assert kept.standing().last_tick == NOW + 30


def test_an_incident_is_stored_in_place_of_what_it_was(kept: Kept) -> None:
    assert kept.records.commit(change(0, incident=incident()))
    later = incident(state=IncidentState.ESCALATED, reason="a human must look", code="storm", rung=2)
    assert kept.records.commit(change(1, incident=later))
    assert kept.standing().incidents == (later,)


def test_an_incident_that_ended_stays_in_sight_for_a_day(kept: Kept) -> None:
    over = incident(state=IncidentState.RESOLVED, ended_at=NOW, outcome=Outcome.RESOLVED)
    assert kept.records.commit(change(0, incident=over))
    assert kept.standing(NOW + DAY).incidents == (over,)
    assert kept.standing(NOW + DAY + 1).incidents == ()


def test_a_live_incident_stays_in_sight_however_old_it_is(kept: Kept) -> None:
    assert kept.records.commit(change(0, incident=incident()))
    assert kept.standing(NOW + 30 * DAY).incidents == (incident(),)


def test_the_newest_thousand_of_ended_incidents_are_in_sight(kept: Kept) -> None:
    for i in range(1_003):
        over = incident(f"i{i:04}", f"web{i}", IncidentState.SELF_HEALED, ended_at=NOW - 1_003 + i, fault=None)
        assert kept.records.commit(change(i, incident=over))
    assert [one.id for one in kept.standing().incidents] == [f"i{i:04}" for i in range(3, 1_003)]


def test_an_incidents_attempt_is_kept_for_a_day_after_the_incident_moved_on(kept: Kept) -> None:
    first = attempt()
    ended = replace(first, ended_at=NOW + 5, outcome=Outcome.INEFFECTIVE)
    second = attempt("a2", started_at=NOW + 10)
    assert kept.records.commit(change(0, incident=incident(attempt=first)))
    assert kept.records.commit(change(1, incident=incident(attempt=ended)))
    assert kept.records.commit(change(2, incident=incident(attempt=second)))
    assert kept.standing(NOW + DAY).attempts == (ended, second)
    assert kept.standing(NOW + DAY + 5).attempts == (second,)


def test_an_execution_is_in_sight_until_it_ends(kept: Kept) -> None:
    assert kept.records.commit(change(0, execution=execution()))
    assert kept.standing().executions == (execution(),)
    running = execution(state=ExecutionState.RUNNING, started_at=NOW + 1)
    assert kept.records.commit(change(1, execution=running))
    assert kept.standing().executions == (running,)
    assert kept.records.commit(change(2, execution=execution(state=ExecutionState.LOST)))
    assert kept.standing().executions == ()


def test_two_active_executions_never_share_a_target(kept: Kept) -> None:
    assert kept.records.commit(change(0, execution=execution("e1", "web1", hosts=("lb",))))
    second = execution("e2", "web2", hosts=("lb", "web2"))
    assert not kept.records.commit(change(1, execution=second, incident=incident(), entries=(entry("never"),)))
    assert kept.standing() == replace(Standing(), version=1, executions=(execution("e1", "web1", hosts=("lb",)),))
    assert kept.entries() == []
    ended = execution("e1", "web1", ExecutionState.SUCCESSFUL, hosts=("lb",))
    assert kept.records.commit(change(1, execution=ended))
    assert kept.records.commit(change(2, execution=second))


def test_a_locked_target_is_refused_to_others_and_nothing_of_the_change_stays(kept: Kept) -> None:
    assert kept.records.commit(change(0, execution=execution(), locks=frozenset({"web1", "lb"})))
    assert kept.records.commit(change(1, execution=execution(state=ExecutionState.LOST)))
    other = execution("e2", "web2", hosts=("web2", "web3"))
    assert not kept.records.commit(change(2, execution=other, locks=frozenset({"web2", "lb"}), entries=(entry("no"),)))
    assert [lock.target for lock in kept.standing().locks] == ["lb", "web1"]
    assert kept.standing().version == 2
    assert kept.standing().executions == ()
    assert kept.entries() == []


def test_a_lock_says_whose_it_is_since_when_and_what_for(kept: Kept) -> None:
    assert kept.records.commit(change(0, execution=execution(), locks=frozenset({"web1"})))
    assert kept.standing().locks == (Lock("web1", "e1", NOW, "e1: restart"),)


def test_its_owner_may_take_a_lock_again(kept: Kept) -> None:
    assert kept.records.commit(change(0, execution=execution(), locks=frozenset({"web1"})))
    assert kept.records.commit(change(1, execution=execution(), locks=frozenset({"web1", "lb"}), at=NOW + 9))
    assert [(lock.target, lock.taken_at) for lock in kept.standing().locks] == [("lb", NOW + 9), ("web1", NOW)]


def test_a_lock_passes_to_the_next_execution_in_one_change(kept: Kept) -> None:
    web1 = frozenset({"web1"})
    assert kept.records.commit(change(0, execution=execution(), locks=web1))
    assert kept.records.commit(change(1, execution=execution(state=ExecutionState.FAILED)))
    assert kept.records.commit(change(2, execution=execution("e2"), locks=web1, unlock=web1))
    assert [lock.owner for lock in kept.standing().locks] == ["e2"]


def test_an_incident_holds_its_locks_from_one_rung_to_the_next(kept: Kept) -> None:
    web1 = frozenset({"web1"})
    assert kept.records.commit(change(0, incident=incident(), execution=execution(), locks=web1))
    assert kept.records.commit(change(1, execution=execution(state=ExecutionState.FAILED)))
    assert kept.records.commit(change(2, incident=incident(rung=1), execution=execution("e2"), locks=web1))
    assert kept.standing().locks == (Lock("web1", "i1", NOW, "e1: restart"),)


def test_an_incident_without_an_execution_owns_its_lock(kept: Kept) -> None:
    assert kept.records.commit(change(0, incident=incident(reason="storm"), locks=frozenset({"web1"})))
    assert kept.standing().locks == (Lock("web1", "i1", NOW, "storm"),)
    assert kept.records.commit(change(1, unlock=frozenset({"web1", "web9"})))
    assert kept.standing().locks == ()


def test_the_fleet_is_what_it_was_said_to_be_last(kept: Kept) -> None:
    assert kept.records.commit(change(0, fleet=frozenset({"web1", "web2"})))
    assert kept.records.commit(change(1))
    assert kept.standing().fleet == {"web1", "web2"}
    assert kept.records.commit(change(2, fleet=frozenset({"web2"})))
    assert kept.standing().fleet == {"web2"}


def test_entries_keep_their_order_and_their_values(kept: Kept) -> None:
    lines = (
        entry("b", data={"limit": 3, "share": 0.5, "hosts": ("a", "b"), "more": {"x": None}}),
        entry("a", code="storm"),
    )
    assert kept.records.commit(change(0, entries=lines))
    assert kept.records.commit(change(1, entries=(Entry("engine", "third"),)))
    assert kept.entries() == [*lines, Entry("engine", "third")]


def test_events_are_stored_once_whatever_is_sent_again(kept: Kept) -> None:
    assert kept.records.follow("e1") == 0
    kept.records.events("e1", [event(1), event(2)])
    kept.records.events("e1", [event(2, "other"), event(3), event(3)])
    kept.records.events("e2", [event(1)])
    kept.records.events("e2", [])
    assert kept.records.follow("e1") == 3
    assert kept.records.follow("e2") == 1
    assert kept.standing().version == 0


def test_a_request_waits_in_order_and_leaves_the_version_alone(kept: Kept) -> None:
    later = Request("r1", "cancel", "ann", "wrong host", NOW + 1, subject="e1")
    sooner = Request(
        "r2", "run", "bob", "test", NOW, "memory", ("web1", "web2"), check=True, vars={"deep": {"a": (1,)}}
    )
    kept.desk.request(later)
    kept.desk.request(sooner)
    kept.desk.request(replace(later, by="eve"))
    assert kept.standing().requests == (sooner, later)
    assert kept.standing().version == 0


def test_a_finished_request_has_a_result_and_is_out_of_sight(kept: Kept) -> None:
    kept.desk.request(Request("r1", "close", "ann", "done", NOW, subject="i1"))
    assert kept.desk.request_state("r1") == ("open", "")
    assert kept.records.commit(change(0, finished_request="r1", request_result="closed i1"))
    assert kept.records.commit(change(1, finished_request="r1", request_result="again"))
    assert kept.records.commit(change(2, finished_request="never made"))
    assert kept.desk.request_state("r1") == ("finished", "closed i1")
    assert kept.desk.request_state("r9") is None
    assert kept.standing().requests == ()


def test_a_plan_made_before_a_pause_is_refused(kept: Kept) -> None:
    kept.desk.pause(Pause("all", "ann", "release day", NOW))
    assert not kept.records.commit(change(0, execution=execution()))
    assert kept.standing().pauses == (Pause("all", "ann", "release day", NOW),)
    said = kept.entries()[0]
    assert (said.kind, said.code, said.sentence) == ("operator", "pause", "ann paused all: release day")


def test_a_pause_is_over_at_its_end_and_a_newer_one_takes_its_place(kept: Kept) -> None:
    kept.desk.pause(Pause("host:web1", "ann", "disk change", NOW, NOW + 60))
    assert len(kept.standing(NOW + 59.9).pauses) == 1
    assert kept.standing(NOW + 60).pauses == ()
    kept.desk.pause(Pause("host:web1", "bob", "still at it", NOW + 60))
    assert [pause.by for pause in kept.standing(NOW + 60).pauses] == ["bob"]


@pytest.mark.parametrize(
    ("there", "later", "stands"),
    [
        (Pause("all", "ann", "x", NOW), Pause("all", "bob", "y", NOW, NOW + 60), "ann"),
        (Pause("all", "ann", "x", NOW, NOW + 90), Pause("all", "bob", "y", NOW, NOW + 60), "ann"),
        (Pause("all", "ann", "x", NOW, NOW + 60), Pause("all", "bob", "y", NOW, NOW + 90), "bob"),
        (Pause("all", "ann", "x", NOW), Pause("all", "bob", "y", NOW), "bob"),
        (Pause("all", "ann", "x", NOW, stop=True), Pause("all", "bob", "y", NOW), "ann"),
        (Pause("all", "ann", "x", NOW, stop=True), Pause("all", "bob", "y", NOW, NOW + 60), "ann"),
        (Pause("all", "ann", "x", NOW, stop=True), Pause("all", "bob", "y", NOW, stop=True), "bob"),
        (Pause("all", "ann", "x", NOW), Pause("all", "bob", "y", NOW, stop=True), "bob"),
        (Pause("all", "ann", "x", NOW), Pause("host:web1", "bob", "y", NOW, NOW + 60), "ann"),
    ],
)
def test_no_pause_ends_another_ones_sooner_and_none_ends_a_stop(
    kept: Kept, there: Pause, later: Pause, stands: str
) -> None:
    assert kept.desk.pause(there) is None
    before = kept.standing(NOW).version
    held = kept.desk.pause(later)
    mine = next(each for each in kept.standing(NOW).pauses if each.scope == "all")
    assert (mine.by, mine.stop) == (stands, there.stop or later.stop)
    same = there.scope == later.scope
    assert held == (there if same and stands == "ann" else None)
    assert kept.standing(NOW).version == before + (held is None)


def test_resuming_ends_the_pause_counts_on_and_says_who(kept: Kept) -> None:
    kept.desk.pause(Pause("all", "ann", "x", NOW))
    assert kept.desk.resume("all", "bob", "over")
    assert not kept.desk.resume("all", "bob", "over")
    assert kept.standing().pauses == ()
    assert kept.standing().version == 2
    assert [one.sentence for one in kept.entries()] == ["ann paused all: x", "bob resumed all: over"]


def test_a_person_releases_a_lock_and_a_plan_made_before_is_refused(kept: Kept) -> None:
    assert kept.records.commit(change(0, incident=incident(), locks=frozenset({"web1"})))
    assert kept.desk.release_lock("web1", "ann", "looked at it")
    assert not kept.desk.release_lock("web1", "ann", "looked at it")
    assert not kept.records.commit(change(1))
    assert kept.standing().locks == ()
    assert (kept.entries()[0].target, kept.entries()[0].data) == ("web1", {"by": "ann"})


def silence(name: str = "s1", **more: float) -> Silence:
    return Silence(
        name, '{alertname="HostDown",instance=~"db.*"}', "ann", "disk swap", NOW, more.get("until", NOW + 60)
    )


def test_a_plan_made_before_a_silence_is_refused_and_the_record_says_who_silenced_what(kept: Kept) -> None:
    kept.desk.silence(silence())
    assert not kept.records.commit(change(0, execution=execution()))
    assert kept.standing().silences == (silence(),)
    said = kept.entries()[0]
    assert (said.kind, said.code) == ("operator", "silence")
    assert said.sentence == 'ann silenced {alertname="HostDown",instance=~"db.*"}: disk swap'
    assert said.data == {"by": "ann", "silence": "s1", "selector": silence().selector, "until": NOW + 60}


def test_a_silence_is_over_at_its_end_and_a_newer_one_takes_its_place(kept: Kept) -> None:
    kept.desk.silence(silence())
    kept.desk.silence(silence("s0", until=NOW + 90))
    assert [one.id for one in kept.standing(NOW + 59.9).silences] == ["s0", "s1"]
    assert [one.id for one in kept.standing(NOW + 60).silences] == ["s0"]
    kept.desk.silence(silence(until=NOW + 120))
    assert [one.id for one in kept.standing(NOW + 90).silences] == ["s1"]


def test_ending_a_silence_counts_on_and_says_who(kept: Kept) -> None:
    kept.desk.silence(silence())
    assert kept.desk.unsilence("s1", "bob", "it is in")
    assert not kept.desk.unsilence("s1", "bob", "it is in")
    assert kept.standing().silences == ()
    assert kept.standing().version == 2
    said = kept.entries()[-1]
    assert (said.code, said.data["by"]) == ("unsilence", "bob")
    assert said.sentence.startswith("bob ended the silence of {alertname=")


def test_what_ran_out_by_itself_was_not_ended_by_who_ends_it_later(kept: Kept) -> None:
    kept.desk.pause(Pause("all", "ann", "x", NOW - 60, NOW))
    kept.desk.silence(silence(until=NOW))
    assert not kept.desk.resume("all", "bob", "late")
    assert not kept.desk.unsilence("s1", "bob", "late")
    assert kept.standing(NOW - 1).pauses == ()
    assert kept.standing(NOW - 1).silences == ()
