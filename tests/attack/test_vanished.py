"""What vanished is not taken for what is: after a gap without an engine, and where a recording rule gives nothing more."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.app import App
from engine.controller import Controller, Declared
from engine.model.decision import Preparation
from engine.model.labels import Batch, Labels
from engine.model.runbook import Catalog, RecordingRule
from engine.model.target import Fleet
from engine.model.truth import Query, Truth
from engine.promql import STALE
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore
from tests.fakes.records import MemoryRecords
from tests.fakes.world import FakeClock, FakeExecutor

OLD = Labels({"__name__": "leaking", "instance": "web-1", "pid": "17"})
NEW = Labels({"__name__": "leaking", "instance": "web-1", "pid": "18"})


def truth(store: SampleStore, expr: str, at: float) -> Truth:
    """Ask whether it holds on web-1."""
    (answer,) = EmbeddedEvaluator(store, fresh=45.0).answer((Query(expr),), at)
    return answer.truth({"web-1"})


def test_a_fault_that_went_away_while_no_engine_ran_is_not_seen_by_the_next_one(tmp_path: Path) -> None:
    now = time.time()
    (tmp_path / "mendbook.yml").write_text("sources: {host: false}\n")
    with App.open(tmp_path) as app:
        app.samples.append(Batch(now - 60, (OLD,), (1.0,)))
        assert truth(app.samples, "leaking > 0", now - 50) is Truth.TRUE
    with App.open(tmp_path) as app:
        app.samples.append(Batch(now, (NEW,), (0.0,)))
        assert truth(app.samples, "leaking > 0", now) is Truth.FALSE


def test_what_is_still_there_goes_on_after_a_gap(tmp_path: Path) -> None:
    now = time.time()
    with SampleStore(tmp_path) as store:
        store.append(Batch(now - 20, (OLD, NEW), (1.0, STALE)))
    with SampleStore(tmp_path) as store:
        assert store.end_series(300.0) == 1
        assert truth(store, "leaking > 0", now - 10) is Truth.UNKNOWN
        store.append(Batch(now, (OLD,), (3.0,)))
        assert truth(store, "leaking > 0", now) is Truth.TRUE
        assert truth(store, "increase(leaking[30s]) > 0", now) is Truth.TRUE


def test_what_was_never_alive_lately_is_left_alone(tmp_path: Path) -> None:
    now = time.time()
    with SampleStore(tmp_path) as store:
        assert store.end_series(300.0) == 0
        store.append(Batch(now - 3600, (OLD,), (1.0,)))
        assert store.end_series(300.0) == 0


@dataclass
class Kept:
    """Samples that tests look at."""

    batches: list[Batch] = field(default_factory=list)

    def append(self, batch: Batch) -> None:
        self.batches.append(batch)


def test_a_recorded_series_that_ended_is_marked_so_once(tmp_path: Path) -> None:
    clock, kept = FakeClock(time.time()), Kept()
    catalog = Catalog(recording=(RecordingRule("leaks", "leaking > 0"),))

    def declared() -> Declared:
        return Declared(catalog, Fleet(), lambda *_: Preparation())

    with SampleStore(tmp_path) as store:
        controller = Controller(
            clock=clock, records=MemoryRecords(clock.now), evaluator=EmbeddedEvaluator(store, fresh=45.0),
            executor=FakeExecutor(clock, lambda _: NotImplemented), samples=kept, declared=declared,
        )  # fmt: skip
        for value in (1.0, 0.0, 0.0):
            clock.sleep(1.0)
            store.append(Batch(clock.now(), (OLD,), (value,)))
            controller.tick()
    written: Sequence[tuple[tuple[Labels, ...], list[bool]]] = [
        (batch.series, [math.isnan(value) for value in batch.values]) for batch in kept.batches
    ]
    leaks = OLD.with_({"__name__": "leaks"})
    assert written == [((leaks,), [False]), ((leaks,), [True]), ((), [])]
