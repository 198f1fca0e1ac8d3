"""A replay that skips says what ticking every instant says: decisions, holds, and all that is recorded of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.app.replay import Assumed, Nowhere, Then, replay
from engine.controller import Controller, Declared, Tick
from engine.model.decision import Entry
from engine.model.labels import Labels
from engine.model.runbook import Catalog, Condition, Guards, Hours, Limits, Localization, MinHealthy, Runbook, Window
from engine.model.standing import Pause, Silence, Standing
from engine.model.target import Fleet, Target
from engine.promql import STALE, Block, Matcher, MatchOperator
from engine.promql.sweep import Instants, Sweep
from engine.samples.evaluator import EmbeddedEvaluator
from tests.fakes.records import MemoryRecords
from tests.fakes.world import prepare, runbook

BEGIN = 1_700_000_000_000
STEP = 15_000
COUNT = 160
FRESH = 45.0
HOSTS = ("web-1", "web-2", "web-3")
FLEET = Fleet(
    {
        name: Target(
            name,
            frozenset({"web"}),
            frozenset({name}),
            () if name == "web-1" else ("web-1",),
            Labels({"rack": name[-1]}),
        )
        for name in HOSTS
    }
)


class Samples:
    """A few series in plain memory."""

    def __init__(self, series: dict[Labels, list[tuple[int, float]]]) -> None:
        self.series = series

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        assert all(matcher.operator is MatchOperator.EQUAL for matcher in matchers)
        rows = [
            (labels, [each for each in samples if start < each[0] <= end])
            for labels, samples in self.series.items()
            if all(labels.get(matcher.name, "") == matcher.value for matcher in matchers)
        ]
        rows = [row for row in rows if row[1]]
        flat = [each for _, samples in rows for each in samples]
        return Block(
            tuple(labels for labels, _ in rows),
            np.cumsum([0, *(len(samples) for _, samples in rows)]),
            np.array([time for time, _ in flat], np.int64),
            np.array([value for _, value in flat], np.float64),
        )


SHIFTS = st.lists(
    st.tuples(st.integers(1, 30), st.sampled_from((0.0, 0.0, 9.0, 9.0, "gap", "end"))), min_size=1, max_size=16
)


@st.composite
def series(draw: st.DrawFn, well: float) -> list[tuple[int, float]]:
    """A series that goes well, badly, or not at all, for some ticks each."""
    samples: list[tuple[int, float]] = []
    tick = draw(st.sampled_from((-60, -60, -3, 20)))
    late = draw(st.sampled_from((0, 0, 4_000)))
    for length, kind in draw(SHIFTS):
        for _ in range(length * draw(st.sampled_from((1, 1, 3)))):
            if kind == "end":
                samples.append((BEGIN + STEP * tick - late, STALE))
                tick += 1
                break
            if kind != "gap":
                samples.append((BEGIN + STEP * tick - late, float(kind) if well == 0.0 else well - float(kind > 0)))
            tick += 1
        if kind == "end":
            tick += length
    while tick < COUNT:
        samples.append((BEGIN + STEP * tick - late, well))
        tick += 1
    return samples


@st.composite
def pasts(draw: st.DrawFn) -> Samples:
    found = {}
    for host in HOSTS:
        for name in ("bad", "slow"):
            found[Labels({"__name__": name, "instance": host, "disk": "a"})] = draw(series(0.0))
        found[Labels({"__name__": "up", "instance": host})] = draw(series(1.0))
    found[Labels({"__name__": "bad", "instance": "web-1", "disk": "b"})] = draw(series(0.0))
    return Samples(found)


@st.composite
def runbooks(draw: st.DrawFn) -> tuple[Runbook, ...]:
    waits = st.sampled_from((0.0, 0.0, 15.0, 60.0, 150.0))
    found = []
    for name, expr, resource in draw(
        st.sampled_from(
            (
                (("one", "bad > 5", "disk"),),
                (("one", "avg_over_time(bad[2m]) > 5", "disk"), ("two", "slow > 5", "latency")),
                (("one", "bad > 5", "disk"), ("two", "slow > 5", "latency"), ("three", "up == 0", "node")),
                (("one", "bad > 5 unless on (instance) slow > 5", "disk"), ("two", "rate(slow[90s]) > 0", "disk")),
                (("one", "absent(bad)", "disk"), ("two", "max by (instance) (slow) > 5", "cpu")),
            )
        )
    ):
        guards = Guards(
            cooldown=draw(st.sampled_from((0.0, 120.0, 900.0))),
            max_attempts=draw(st.integers(1, 3)),
            max_per_hour=draw(st.sampled_from((None, 1, 3))),
            min_healthy=draw(st.sampled_from((None, MinHealthy("web", 0.5, share=True)))),
            require=draw(st.sampled_from(((), (Condition("up == 1"),), (Condition("avg_over_time(up[3m]) > 0.5"),)))),
            serial=draw(st.sampled_from((None, "rack"))),
            window=draw(st.sampled_from((None, Window(never=(Hours("x", frozenset(range(7)), 22 * 60 + 20, 22 * 60 + 40, "UTC"),))))),
        )  # fmt: skip
        base = runbook(
            name,
            expr=expr,
            resource=resource,
            remedies=draw(st.sampled_from((("restart",), ("restart", "reboot")))),
            guards=guards,
            for_=draw(waits),
            keep_firing_for=draw(st.sampled_from((0.0, 0.0, 60.0))),
            within=draw(st.sampled_from((60.0, 300.0))),
            held=draw(st.sampled_from((0.0, 45.0))),
            priority=draw(st.integers(0, 1)),
            destructive=draw(st.booleans()) and draw(st.booleans()),
            longest_range=draw(st.sampled_from((0.0, 120.0))),
            localize=Localization(resource, "bad", "disk") if draw(st.booleans()) else None,
            verify=draw(st.sampled_from((f"max by (instance) ({'slow' if 'slow' in expr else 'bad'}) < 5", "up == 1"))),
        )
        found.append(base)
    return tuple(found)


class Held:
    """A pause and a silence for a while."""

    def __call__(self, now: float) -> tuple[tuple[Pause, ...], tuple[Silence, ...]]:
        since, until = BEGIN / 1000 + 900, BEGIN / 1000 + 1500
        if not since <= now < until:
            return (), ()
        silence = Silence("s", '{instance="web-2"}', "ann", "moving", since, until)
        return (Pause("host:web-1", "ann", "moving", since, until),), (silence,)


class Remembering(MemoryRecords):
    def __init__(self, held: Held) -> None:
        super().__init__()
        self.held = held

    def standing(self, now: float) -> Standing:
        pauses, silences = self.held(now)
        return replace(super().standing(now), pauses=pauses, silences=silences)


Written = list[tuple[float, Entry]]


def written(tick: Tick) -> Written:
    return [(tick.now, entry) for change in tick.changes for entry in change.entries]


def tick_by_tick(samples: Samples, declared: Declared, takes: float) -> tuple[Written, Standing]:
    """Tick every instant, each expression asked alone, on the record that other tests have."""
    clock, records = Then(0.0), Remembering(Held())
    controller = Controller(
        clock=clock,
        records=records,
        evaluator=EmbeddedEvaluator(samples, fresh=FRESH),
        executor=Assumed(clock, takes),
        samples=Nowhere(),
        declared=lambda: declared,
    )
    found: Written = []
    for number in range(COUNT):
        clock.moment = (BEGIN + STEP * number) / 1000
        found += written(controller.tick())
    return found, records.standing(clock.moment)


@given(pasts(), runbooks(), st.sampled_from((0.0, 20.0, 200.0)), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_replay_says_what_ticking_every_instant_says(
    samples: Samples, books: tuple[Runbook, ...], takes: float, stormy: bool
) -> None:
    limits = Limits(interval=15.0, storm=1 if stormy else 5, max_targets=1.0, grace=60.0, reopen=120.0, remind=600.0)
    declared = Declared(Catalog(books, limits=limits, canaries=(Condition("up"),) if stormy else ()), FLEET, prepare)
    sweep = Sweep(samples, Instants(BEGIN, STEP, COUNT), round(FRESH * 1000))
    found: Written = []
    last: list[Standing] = []

    def seen(tick: Tick, standing: Standing) -> None:
        found.extend(written(tick))
        last[:] = [standing]

    ticks = replay(sweep, declared, takes=takes, seen=seen, held=Held())
    every, standing = tick_by_tick(samples, declared, takes)
    assert found == every
    assert last[0].attempts == standing.attempts
    assert ticks <= COUNT


def test_a_quiet_past_takes_a_single_tick() -> None:
    calm = Samples(
        {Labels({"__name__": "bad", "instance": "web-1"}): [(BEGIN + STEP * tick, 0.0) for tick in range(COUNT)]}
    )
    declared = Declared(Catalog((runbook("one", expr="bad > 5"),), limits=Limits(interval=15.0)), FLEET, prepare)
    sweep = Sweep(calm, Instants(BEGIN, STEP, COUNT), round(FRESH * 1000))
    assert replay(sweep, declared, takes=0.0, seen=lambda *_: None) == 1
