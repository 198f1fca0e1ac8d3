"""The database, the record in memory and the judgement's own idea of a commit agree on any history."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.draft import apply
from engine.model.decision import Change
from engine.model.execution import ExecutionState
from engine.model.incident import IncidentState
from engine.model.standing import Pause, Request, Silence, Standing
from engine.records.desk import Desk
from engine.records.history import History
from engine.records.store import Record
from tests.fakes.records import MemoryRecords
from tests.records.nouns import NOW, alert, attempt, entry, execution, incident

HOSTS = st.sampled_from(["web1", "web2", "lb"])
SOME = st.frozensets(HOSTS)
STEPS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "late": st.just(1),
            "at": st.floats(NOW, NOW + 90),
            "alerts": st.lists(HOSTS, max_size=2).map(lambda hosts: tuple(alert(target=host) for host in hosts)),
            "incident": st.builds(
                lambda name, target, state, tried: incident(name, target, state, changed_at=NOW, attempt=tried),
                st.sampled_from(["i1", "i2"]),
                HOSTS,
                st.sampled_from(IncidentState),
                st.none() | st.sampled_from(["a1", "a2"]).map(attempt),
            ),
            "execution": st.builds(
                lambda name, target, state, hosts: execution(name, target, state, tuple(sorted(hosts))),
                st.sampled_from(["e1", "e2", "e3"]),
                HOSTS,
                st.sampled_from(ExecutionState),
                SOME,
            ),
            "locks": SOME,
            "unlock": SOME,
            "fleet": SOME,
            "entries": st.lists(st.sampled_from("abc").map(entry), max_size=2).map(tuple),
            "finished_request": st.sampled_from(["r1", "r2"]),
            "request": st.sampled_from(["r1", "r2"]),
            "pause": st.sampled_from(["all", "host:web1"]),
            "resume": st.sampled_from(["all", "host:web1"]),
            "release": HOSTS,
            "silence": st.floats(NOW - 60, NOW + 90),
            "unsilence": st.just("s1"),
        },
    ),
    max_size=8,
)


def play(records: Any, desk: Any, step: dict[str, Any]) -> list[Any]:
    """Do what a step says, and return what came of it."""
    step = dict(step)
    said = []
    if name := step.pop("request", None):
        said.append(desk.request(Request(name, "run", "ann", "x", NOW)))
    if scope := step.pop("pause", None):
        said.append(desk.pause(Pause(scope, "ann", "x", NOW)))
    if scope := step.pop("resume", None):
        said.append(desk.resume(scope, "ann", "x"))
    if target := step.pop("release", None):
        said.append(desk.release_lock(target, "ann", "x"))
    if until := step.pop("silence", None):
        said.append(desk.silence(Silence("s1", "{a='b'}", "ann", "x", NOW, until)))
    if name := step.pop("unsilence", None):
        said.append(desk.unsilence(name, "ann", "x"))
    version = records.standing(NOW).version - step.pop("late", 0)
    return [*said, records.commit(Change(**{"version": version, "at": NOW, **step}))]


def rows(standing: Standing) -> Standing:
    """Return a standing in one order, without the ended incidents, which the judgement forgets at other times."""
    live = [one for one in standing.incidents if one.state.live]
    return replace(
        standing,
        incidents=tuple(sorted(live, key=lambda one: one.id)),
        attempts=tuple(sorted(standing.attempts, key=lambda one: one.id)),
        executions=tuple(sorted(standing.executions, key=lambda one: one.id)),
        locks=tuple(sorted(standing.locks, key=lambda one: one.target)),
    )


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_a_database_does_what_the_record_in_memory_does(steps: list[dict[str, Any]]) -> None:
    memory = MemoryRecords(lambda: NOW)
    with tempfile.TemporaryDirectory() as folder, Record(Path(folder) / "record.db") as record:
        for step in steps:
            assert play(record, Desk(record, lambda: NOW), step) == play(memory, memory, step)
            assert record.standing(NOW + 60) == memory.standing(NOW + 60)
        history = History(record)
        assert [one.entry for one in history.entries()] == memory.entries
        assert history.verify_chain() == len(memory.entries)
        assert history.attempts() == memory.standing(NOW).attempts


@given(steps=STEPS)
def test_a_record_does_with_a_stored_change_what_the_plan_took_it_to_do(steps: list[dict[str, Any]]) -> None:
    memory = MemoryRecords(lambda: NOW)
    for step in steps:
        play(memory, memory, {name: value for name, value in step.items() if name in {"request", "pause", "silence"}})
        before = memory.standing(NOW)
        fields = {name: value for name, value in step.items() if name in Change.__dataclass_fields__}
        fields["locks"] = fields.get("locks", frozenset()) - {lock.target for lock in before.locks}
        planned = Change(**{"version": before.version, "at": NOW, **fields})
        if memory.commit(planned):
            assert rows(memory.standing(NOW)) == rows(apply(before, planned))
