"""One tick at which much is wrong at once: the plan keeps every limit, for each run is applied before the next is judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.decide import launch
from engine.core.draft import apply
from engine.core.guards import DAY, troubled
from engine.core.plan import plan
from engine.model.decision import Change, Run
from engine.model.execution import Execution
from engine.model.incident import Approved, Incident, IncidentState
from engine.model.labels import Labels
from engine.model.runbook import Guards, Hours, Limits, MinHealthy, Mode, Window
from engine.model.standing import Lock, Pause, Silence, Standing
from tests.core.cases_of import NOW, attempt_of, case_of, execution_of, fleet_of, incident_of, scene_of
from tests.fakes.records import MemoryRecords
from tests.fakes.world import runbook


def runs_of(changes: tuple[Change, ...]) -> list[Execution]:
    return [change.decision.execution for change in changes if isinstance(change.decision, Run)]


FLEET = st.integers(1, 8)


@settings(max_examples=150, deadline=None)
@given(
    hosts=FLEET,
    broken=st.sets(st.integers(0, 7), min_size=1),
    need=st.integers(0, 8),
    concurrent=st.integers(1, 5),
    own=st.one_of(st.none(), st.integers(1, 4)),
    hourly=st.one_of(st.none(), st.integers(1, 4)),
    storm=st.integers(1, 8),
    done=st.integers(0, 3),
    running=st.integers(0, 2),
)
def test_however_many_faults_come_in_one_tick_no_limit_is_passed(
    *,
    hosts: int,
    broken: set[int],
    need: int,
    concurrent: int,
    own: int | None,
    hourly: int | None,
    storm: int,
    done: int,
    running: int,
) -> None:
    fleet = fleet_of(hosts)
    limited = Guards(min_healthy=MinHealthy("web", need), max_concurrent=own, max_per_hour=hourly, max_attempts=2)
    books = (runbook("leak", resource="memory", guards=limited), runbook("full", resource="disk", guards=limited))
    limits = Limits(interval=1.0, storm=storm, max_concurrent=concurrent, max_targets=1.0)
    names = sorted(f"web-{number}" for number in broken if number < hosts)
    before = [execution_of(f"web-{number}", "leak") for number in range(min(running, hosts))]
    standing = Standing(
        version=7,
        attempts=tuple(attempt_of(number, "elsewhere", 1000.0, "leak") for number in range(done)),
        executions=tuple(before),
        locks=tuple(Lock(each.target, each.incident, NOW - 9) for each in before),
        fleet=frozenset(fleet.targets),
    )
    changes = plan(scene_of(fleet, *books, broken=names, limits=limits), standing)
    assert [change.version for change in changes] == list(range(7, 7 + len(changes)))
    started = runs_of(changes)
    touched = [target for each in (*before, *started) for target in each.targets]
    assert len(touched) == len(set(touched)), "two executions on one target"
    assert not started or len(before) + len(started) <= concurrent
    for book in books:
        mine = [each for each in started if each.runbook == book.name]
        already = len(before) if book.name == "leak" else 0
        assert own is None or not mine or already + len(mine) <= own
        assert hourly is None or not mine or (done if book.name == "leak" else 0) + len(mine) <= hourly
    in_trouble = {
        incident.target for change in changes if (incident := change.incident) and incident.resource != "storm"
    }
    if len(in_trouble) > storm:
        assert not started
        assert any(change.incident and change.incident.resource == "storm" for change in changes)
    if started:
        assert hosts - len(set(touched)) >= need, "fewer stay than min_healthy asks for"


@settings(max_examples=50, deadline=None)
@given(FLEET, st.sets(st.integers(0, 7), min_size=1), st.integers(0, 12))
def test_a_plan_fits_the_record_and_a_second_look_at_any_point_begins_nothing_twice(
    hosts: int, broken: set[int], stop: int
) -> None:
    fleet = fleet_of(hosts)
    names = sorted(f"web-{number}" for number in broken if number < hosts)
    limits = Limits(interval=1.0, storm=9, max_concurrent=9, max_targets=1.0)
    scene = scene_of(fleet, runbook("leak", resource="memory"), broken=names, limits=limits)
    records = MemoryRecords(lambda: NOW)
    standing = records.standing(NOW)
    first = plan(scene, standing)
    for change in first[:stop]:
        assert records.commit(change)
        standing = apply(standing, change)
    second = plan(scene, records.standing(NOW))
    assert all(records.commit(change) for change in second)
    ids = [each.id for each in (*runs_of(first[:stop]), *runs_of(second))]
    assert len(ids) == len(set(ids)) == len(names)
    assert {each.id for each in runs_of(first)} == set(ids), "the same attempt has the same name"
    assert not runs_of(plan(scene, records.standing(NOW)))


@given(st.integers(0, 3), st.integers(0, 2), st.booleans(), st.booleans())
def test_each_attempt_of_an_incident_has_a_name_of_its_own(rungs: int, reopened: int, back: bool, late: bool) -> None:
    incident = incident_of("web-0", reopened=0)
    names = []
    for epoch in range(reopened + 1):
        incident = replace(incident, reopened=epoch, attempt=None)
        for rung in (*range(rungs + 1), *((0,) if back else ())):
            incident = replace(incident, rung=rung)
            execution = launch(case_of(incident=incident, standing=Standing() if late else None))
            names.append(execution.id)
            tried = replace(attempt_of(len(names), "web-0", DAY), id=execution.attempt, incident=incident.id)
            incident = replace(incident, attempt=tried)
    assert len(names) == len(set(names))


def test_nothing_is_begun_by_an_engine_that_only_serves_operators() -> None:
    fleet = fleet_of(3)
    limits = Limits(interval=1.0, max_targets=1.0)
    scene = scene_of(fleet, runbook(), broken=["web-0"], limits=limits)
    assert runs_of(plan(scene, Standing()))
    quiet = plan(replace(scene, automatic=False), Standing())
    assert not runs_of(quiet)
    assert not [change for change in quiet if change.incident]


def test_what_waits_longest_is_judged_first() -> None:
    fleet = fleet_of(4)
    limits = Limits(interval=1.0, max_concurrent=1, max_targets=1.0)
    scene = scene_of(fleet, runbook("leak", resource="memory"), broken=["web-1", "web-2", "web-3"], limits=limits)
    waiting = tuple(
        incident_of(f"web-{number}", "memory", opened_at=NOW - age, state=IncidentState.OPEN)
        for number, age in ((1, 10), (2, 90), (3, 50))
    )
    (started,) = runs_of(plan(scene, Standing(incidents=waiting)))
    assert started.target == "web-2"
    assert len(troubled(Standing(incidents=waiting))) == 3


@settings(max_examples=150, deadline=None)
@given(
    broken=st.sets(st.integers(0, 5), min_size=1),
    racks=st.integers(1, 4),
    pauses=st.sets(st.sampled_from(["all", "host:web-1", "host:web-4", "runbook:leak", "runbook:full"]), max_size=2),
    silences=st.sets(st.sampled_from(['{target="web-2"}', '{instance=~"web-[34]"}', "Alert", '{a="b"}']), max_size=2),
    hour=st.integers(0, 23),
    approved=st.booleans(),
)
def test_nothing_begins_in_silence_in_a_pause_outside_its_window_without_a_word_or_twice_in_one_rack(
    *, broken: set[int], racks: int, pauses: set[str], silences: set[str], hour: int, approved: bool
) -> None:
    fleet = fleet_of(6)
    for number, (name, target) in enumerate(list(fleet.targets.items())):
        fleet = replace(
            fleet, targets={**fleet.targets, name: replace(target, variables=Labels({"rack": str(number % racks)}))}
        )
    day = Window(only=(Hours("08:00-20:00 UTC", frozenset(range(7)), 480, 1200, "UTC"),))
    books = (
        runbook("leak", resource="memory", guards=Guards(serial="rack", window=day)),
        runbook("full", resource="disk", mode=Mode.APPROVE, guards=Guards(serial="rack")),
    )
    names = sorted(f"web-{number}" for number in broken)
    scene = scene_of(
        fleet, *books, broken=names, limits=Limits(interval=1.0, storm=9, max_concurrent=9, max_targets=1.0)
    )
    scene = replace(scene, ahead=scene.now - (hour * 3600.0 + 60.0))
    standing = Standing(
        pauses=tuple(Pause(scope, "ann", "", NOW - 1) for scope in sorted(pauses)),
        silences=tuple(
            Silence(f"s{number}", text, "ann", "", NOW - 1, NOW + 9) for number, text in enumerate(sorted(silences))
        ),
    )
    for change in plan(scene, standing):
        standing = apply(standing, change)
    if approved:
        standing = replace(standing, incidents=tuple(with_word(each) for each in standing.incidents))
    started = [*standing.executions, *runs_of(plan(scene, standing))]
    used = Counter(fleet.targets[each.target].variables["rack"] for each in started)
    assert not used or max(used.values()) == 1
    quiet = {"web-2"} if '{target="web-2"}' in silences else set()
    quiet |= {"web-3", "web-4"} if '{instance=~"web-[34]"}' in silences else set()
    for each in started:
        assert not {"all", f"host:{each.target}", f"runbook:{each.runbook}"} & pauses
        assert "Alert" not in silences
        assert each.target not in quiet
        assert each.runbook != "leak" or 8 <= hour < 20
        assert each.runbook != "full" or approved


def with_word(incident: Incident) -> Incident:
    if incident.proposal is None:
        return incident
    return replace(incident, approved=Approved(incident.proposal.digest, "ann", "", NOW, NOW + 60))
