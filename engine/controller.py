"""The loop: one tick after another, each of which could be the first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import structlog

from engine.core.decide import Prepare
from engine.core.detect import detect
from engine.core.draft import Scene
from engine.core.intake import overtaken
from engine.core.plan import plan
from engine.core.questions import questions, triggers
from engine.model.decision import Cancel, Change, Effect, Start
from engine.model.execution import ExecutionState, Report
from engine.model.incident import Alert
from engine.model.labels import METRIC_NAME, Batch, Labels
from engine.model.runbook import Catalog
from engine.model.standing import Pause, Standing
from engine.model.target import Fleet
from engine.model.truth import Answer, Query
from engine.ports import Clock, Evaluator, Executor, Feed, Records, Samples, Source
from engine.promql import STALE
from engine.templates import render_annotation

ROUNDS = 3
"""How often a tick may ask on, each time for what the last answers made necessary."""

log = structlog.get_logger("mendbook")


@dataclass(frozen=True, slots=True)
class Declared:
    """What people declared, as of now: runbooks, hosts, and how a remedy is prepared for a host."""

    catalog: Catalog
    fleet: Fleet
    prepare: Prepare


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick saw and what it committed; `lost` says that another change to the record came in between."""

    now: float
    alerts: tuple[Alert, ...]
    changes: tuple[Change, ...]
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What stands in the record, what is to be seen, and what a tick would make of it."""

    standing: Standing
    scene: Scene
    changes: tuple[Change, ...]


class Controller:
    """Brings the fleet one step closer to healthy with every tick."""

    def __init__(
        self,
        *,
        clock: Clock,
        records: Records,
        evaluator: Evaluator,
        executor: Executor,
        samples: Samples,
        declared: Callable[[], Declared],
        automatic: bool = True,
    ) -> None:
        self.clock = clock
        self.records = records
        self.evaluator = evaluator
        self.executor = executor
        self.samples = samples
        self.declared = declared
        self.automatic = automatic
        self._recorded: frozenset[Labels] = frozenset()
        self._offset: float | None = None
        self._jump = 0.0
        self._jumped_at = 0.0

    def tick(self) -> Tick:
        """Bring the fleet one step closer to healthy.

        Safe to repeat and safe to kill: every change is committed before its effect begins, and a change that lost
        the race has no effect.
        """
        now = self.clock.now()
        standing = self.standing(now)
        reports = self.reports(standing, now)
        self.write_rules(self.declared().catalog, now)
        look = self.look(now, standing, reports)
        done: list[Change] = []
        for change in look.changes:
            if not self.records.commit(change):
                break
            self.perform(change.effect)
            done.append(change)
        return Tick(look.scene.now, look.scene.alerts, tuple(done), lost=len(done) < len(look.changes))

    def look(
        self, now: float | None = None, standing: Standing | None = None, reports: Mapping[str, Report] | None = None
    ) -> Look:
        """Return what is to be seen and what a tick would commit; looking changes nothing."""
        now = self.clock.now() if now is None else now
        standing = self.standing(now) if standing is None else standing
        declared = self.declared()
        answers = self.answer(triggers(declared.catalog), now)
        alerts = detect(answers, declared.catalog, declared.fleet, standing, now, render_annotation)
        for _ in range(ROUNDS):
            more = questions(alerts, standing, declared.catalog, answers)
            if not more:
                break
            answers |= self.answer(more, now)
        scene = Scene(
            alerts=alerts,
            answers=answers,
            catalog=declared.catalog,
            fleet=declared.fleet,
            now=now,
            prepare=declared.prepare,
            reports=reports or {},
            jump=self.jump(now, declared.catalog.limits.interval),
            ahead=self.clock.now() - self.clock.wall(),
            automatic=self.automatic,
        )
        return Look(standing, scene, plan(scene, standing))

    def standing(self, now: float) -> Standing:
        """Return what stands in the record, the ends of pauses and silences told in steady time.

        People end a pause by the wall clock. Where that was set back, a pause of half an hour would have ended before it
        began; where it was set forward, a pause lasts longer than was said rather than shorter.
        """
        behind = max(0.0, now - self.clock.wall())
        standing = self.records.standing(now - behind)
        pauses = tuple(
            pause if pause.until is None else replace(pause, until=pause.until + behind) for pause in standing.pauses
        )
        silences = tuple(replace(silence, until=silence.until + behind) for silence in standing.silences)
        return replace(standing, pauses=pauses, silences=silences)

    def answer(self, queries: Sequence[Query], now: float) -> dict[str, Answer]:
        """Return the answers by the text of their expressions."""
        return {answer.query.expr: answer for answer in self.evaluator.answer(queries, now)}

    def reports(self, standing: Standing, now: float) -> dict[str, Report]:
        """Take the events of every active execution into the record; return how each goes.

        An intent that was committed but never started is started here, unless a pause, a silence or the end of its window
        overtook it. What ran and left no trace is lost, and not proved ended: nothing is started twice. What an operator
        wants canceled is canceled here, before the request is answered: an engine that dies in between asks again.
        """
        reports = {}
        unwanted = {each.subject: each for each in standing.requests if each.kind == "cancel"}
        for execution in standing.executions:
            report = self.executor.report(execution.id, self.records.follow(execution.id))
            while report.events:
                self.records.events(execution.id, report.events)
                report = self.executor.report(execution.id, report.events[-1].number)
            if report.state is ExecutionState.PENDING and execution.state is not ExecutionState.PENDING:
                why = "it ran, and nothing is left of it"
                report = replace(report, state=ExecutionState.LOST, message=why, contained=False)
            elif report.state is ExecutionState.PENDING:
                if overtaken(standing, execution, self.declared().catalog, now, self.clock.wall()) is None:
                    self.executor.start(execution)
            elif report.state is ExecutionState.RUNNING and (stop := stopped(standing, now)) is not None:
                self.executor.cancel(execution.id, f"stopped by {stop.by}: {stop.reason}")
            if (request := unwanted.get(execution.id)) is not None:
                self.executor.cancel(execution.id, f"by {request.by}: {request.reason}")
            reports[execution.id] = report
        return reports

    def perform(self, effect: Effect | None) -> None:
        """Start or cancel; returns at once."""
        match effect:
            case Start(execution):
                self.executor.start(execution)
            case Cancel(execution, reason):
                self.executor.cancel(execution, reason)
            case None:
                pass

    def write_rules(self, catalog: Catalog, now: float) -> None:
        """Evaluate the recording rules and write their results back as ordinary series; one that ended is marked so."""
        if not catalog.recording and not self._recorded:
            return
        answers = self.answer(tuple(Query(rule.expr) for rule in catalog.recording), now)
        series: dict[Labels, float] = {}
        for rule in catalog.recording:
            for sample in answers[rule.expr].samples:
                series[sample.labels.with_({**rule.labels, METRIC_NAME: rule.record})] = sample.value
        recorded = frozenset(series)
        series.update(dict.fromkeys(self._recorded - recorded, STALE))
        self.samples.append(Batch(now, tuple(series), tuple(series.values())))
        self._recorded = recorded

    def jump(self, now: float, interval: float) -> float:
        """Return by how much the wall clock left the steady one; what jumped is held for two intervals."""
        offset = self.clock.wall() - self.clock.now()  # both of this moment: a tick that takes long is no jump
        if self._offset is not None and abs(offset - self._offset) > interval:
            self._jump, self._jumped_at = offset - self._offset, now
            log.warning("the wall clock jumped", seconds=round(self._jump, 1))
        self._offset = offset
        return self._jump if self._jumped_at and now - self._jumped_at <= 2 * interval else 0.0

    def watch(
        self,
        interval: float,
        seen: Callable[[Tick], None],
        stop: threading.Event,
        failed: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """Tick once an interval until told to stop; an error is logged when it is new, and the next tick tries again."""
        start, beat, failing = self.clock.now(), 0, ""
        while not stop.is_set():
            try:
                tick = self.tick()
            except Exception as error:  # noqa: BLE001  the loop outlives whatever one tick meets
                failing = self.fail(error, failing)
                failed(error)
            else:
                if failing:
                    log.info("ticking again")
                failing = ""
                seen(tick)
            beat = next_beat(start, beat, interval, self.clock)
            stop.wait(max(0.0, start + beat * interval - self.clock.now()))

    @staticmethod
    def fail(error: Exception, before: str) -> str:
        """Log what a tick failed of, unless the last one failed of the same; a full disk needs no traceback, a mistake of ours does."""
        what = f"{type(error).__name__}: {error}"
        if what != before:
            ours = not isinstance(error, OSError) and not hasattr(error, "fix")
            log.error("tick failed; nothing is begun until one succeeds", error=what, exc_info=error if ours else None)
        return what


def stopped(standing: Standing, now: float) -> Pause | None:
    """Return the emergency stop that is in force: it ends also what an engine began that had hung when it was ordered."""
    return next((pause for pause in standing.pauses if pause.stop and (pause.until is None or now < pause.until)), None)


def next_beat(start: float, beat: int, interval: float, clock: Clock) -> int:
    """Return the number of the next beat; what is slow skips beats, it does not queue them."""
    return max(beat + 1, int((clock.now() - start) / interval) + 1)


@dataclass(frozen=True, slots=True)
class Paced:
    """A source and the seconds between two of its collections."""

    source: Source
    interval: float


class Collector:
    """Collects from every source at its own pace, in a thread each, into the samples."""

    def __init__(self, sources: Sequence[Paced], samples: Samples, clock: Clock) -> None:
        self.sources = sources
        self.samples = samples
        self.clock = clock
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failing: dict[int, str] = {}

    def once(self, patience: float | None = None) -> None:
        """Collect from every source once, side by side; return when all have come back, or after `patience` seconds."""
        threads = [threading.Thread(target=self._collect, args=(paced.source,), daemon=True) for paced in self.sources]
        for thread in threads:
            thread.start()
        end = None if patience is None else time.monotonic() + patience
        for thread in threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def start(self) -> None:
        """Begin to collect."""
        for paced in self.sources:
            thread = threading.Thread(target=self._run, args=(paced,), daemon=True, name=type(paced.source).__name__)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop; returns when every source came back, or is past its time."""
        self._stop.set()
        for thread, paced in zip(self._threads, self.sources, strict=False):
            thread.join(timeout=2 * paced.interval + 5)

    def _run(self, paced: Paced) -> None:
        start, beat = self.clock.now(), 0
        while not self._stop.is_set():
            if isinstance(paced.source, Feed):
                self._follow(paced.source, paced)
            else:
                self._collect(paced.source)
            beat = next_beat(start, beat, paced.interval, self.clock)
            self._stop.wait(max(0.0, start + beat * paced.interval - self.clock.now()))

    def _follow(self, feed: Feed, paced: Paced) -> None:
        """Take in what a source gives in its own time, until it ends."""
        batches = feed.feed(paced.interval, self.clock, self._stop)
        while self._keep(paced.source, partial(next, batches, None)):
            pass

    def _collect(self, source: Source) -> None:
        self._keep(source, lambda: source.collect(self.clock.now()))

    def _keep(self, source: Source, collect: Callable[[], Batch | None]) -> bool:
        """Put what there is to collect into the samples; return whether there may be more."""
        try:
            batch = collect()
            if batch is None:
                return False
            self.samples.append(batch)
        except Exception as error:  # noqa: BLE001  a source outlives whatever one collection meets
            self._fail(source, error)
        else:
            if self._failing.pop(id(source), None) is not None:
                log.info("collecting again", source=type(source).__name__)
        return True

    def _fail(self, source: Source, error: Exception) -> None:
        """Log why a source gave nothing, unless it was the same the last time; a full disk needs no traceback."""
        what = f"{type(error).__name__}: {error}"
        if self._failing.get(id(source)) != what:
            ours = not isinstance(error, OSError)
            log.error("collection failed", source=type(source).__name__, error=what, exc_info=error if ours else None)
        self._failing[id(source)] = what
