"""Wiring: the only module that names concrete adapters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from engine.config.inventory import Inventory
from engine.config.settings import Settings, find_settings, load_settings
from engine.controller import Collector, Controller, Paced, Tick

if TYPE_CHECKING:
    from engine.app.anomalies import Anomalies
    from engine.app.declarations import Declarations
    from engine.app.health_watch import Company
    from engine.app.learning import Learner
    from engine.executor.local import LocalExecutor
    from engine.ports import Evaluator, Records, Source
    from engine.records.desk import Desk
    from engine.records.history import History
    from engine.records.leader import Leadership
    from engine.records.store import Record
    from engine.records.term import Term
    from engine.samples.evaluator import EmbeddedEvaluator
    from engine.samples.store import SampleStore
    from engine.sources.prometheus import PrometheusEvaluator

FRESH_INTERVALS = 3.0
"""So many intervals (of the slowest source) old a sample may be and still say what is the case."""


class AppError(Exception):
    """What was asked for cannot be done now; the message says why and what helps."""


class BusyError(AppError):
    """Another engine has the record."""


class SteadyClock:
    """The wall's time at the start plus the monotonic time since: it never jumps."""

    def __init__(self) -> None:
        self._start = time.time() - time.monotonic()

    def now(self) -> float:
        """Return steady seconds since the epoch."""
        return self._start + time.monotonic()

    def wall(self) -> float:
        """Return what the wall clock says."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class App:
    """A project with its adapters, each made when it is first asked for."""

    def __init__(self, settings: Settings, *, trouble: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self.clock = SteadyClock()
        self.trouble = trouble or (lambda _: None)
        self._closing: list[Callable[[], None]] = []

    @classmethod
    def open(cls, start: Path | None = None, *, trouble: Callable[[str], None] | None = None) -> Self:
        """Return the project that `start` (default: the working directory) lies in. Raises ConfigError."""
        start = start or Path.cwd()
        return cls(load_settings(find_settings(start), start), trouble=trouble)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened, the last first."""
        while self._closing:
            self._closing.pop()()

    @cached_property
    def declarations(self) -> Declarations:
        """What people declared. Raises ConfigError and InventoryError."""
        from engine.app.declarations import Declarations

        return Declarations(self.settings, self.trouble)

    @property
    def inventory(self) -> Inventory:
        """All hosts."""
        return self.declarations.inventory

    @cached_property
    def record(self) -> Record:
        """The record, created when there is none. Raises RecordError."""
        from engine.records.errors import ReadOnlyError
        from engine.records.store import Record

        database, file = self.settings.database, self.settings.record
        if database is not None:
            record = Record(database, mark=file.with_suffix(".mark"))
        else:
            try:
                record = Record(file)
            except ReadOnlyError as error:  # whoever may not write may look
                if not file.exists():
                    raise
                record = Record(file, read_only=True)
                self.trouble(f"{error.path}: {error.message}; it is shown as it stands")
        self._closing.append(record.close)
        return record

    def read_record(self) -> Record:
        """Return the record to be read and never written; there must be one. Raises RecordError."""
        from engine.records.store import Record

        record = Record(self.settings.database or self.settings.record, read_only=True)
        self.closing(record.close)
        return record

    def closing(self, close: Callable[[], None]) -> None:
        """Have something closed with the project."""
        self._closing.append(close)

    @cached_property
    def history(self) -> History:
        """What was, for commands that show it."""
        from engine.records.history import History

        return History(self.record)

    @cached_property
    def desk(self) -> Desk:
        """Where operators put their requests."""
        from engine.records.desk import Desk

        return Desk(self.record)

    @cached_property
    def leadership(self) -> Leadership | Term:
        """Who ticks."""
        if self.settings.database is not None:
            from engine.records.term import Term

            return Term(self.record)
        from engine.records.leader import Leadership

        return Leadership(self.settings.record)

    @property
    def records(self) -> Records:
        """The record as the loop has it: where leadership can be lost, only for as long as this engine leads."""
        if self.settings.database is None:
            return self.record
        from engine.records.term import Led, Term

        return Led(self.record, self.leadership) if isinstance(self.leadership, Term) else self.record

    @cached_property
    def samples(self) -> SampleStore:
        """The samples, to be written by the one engine that ticks. Raises SamplesLocked."""
        from engine.promql.evaluate import LOOKBACK
        from engine.samples.store import SampleStore

        kept = self.settings
        store = SampleStore(kept.samples, retention=kept.retention, size_limit=kept.samples_bytes)
        self._closing.append(store.close)
        try:
            store.end_series(LOOKBACK / 1000)
        except OSError as error:  # a full disk: then nothing can be collected either, and nothing is judged
            self.trouble(str(error))
        return store

    def read_samples(self) -> SampleStore:
        """Return the samples as they stand now, to be read beside a running engine."""
        from engine.samples.store import SampleStore

        kept = self.settings
        store = SampleStore(kept.samples, retention=kept.retention, size_limit=kept.samples_bytes, read_only=True)
        self._closing.append(store.close)
        return store

    def evaluator(self, store: SampleStore) -> Evaluator:
        """Return what answers expressions: the server that the settings name, or else what evaluates these samples."""
        return self.embedded(store) if self.server is None else self.server

    @cached_property
    def server(self) -> PrometheusEvaluator | None:
        """The server that evaluates, where the settings name one."""
        from engine.sources.prometheus import PrometheusEvaluator

        named = self.settings.evaluator
        if named is None:
            return None
        server = PrometheusEvaluator(
            named.url,
            fresh=FRESH_INTERVALS * named.interval,
            timeout=named.timeout,
            headers=named.headers,
            token_file=named.token_file,
            environment_proxy=named.environment_proxy,
        )
        self._closing.append(server.close)
        return server

    def embedded(self, store: SampleStore) -> EmbeddedEvaluator:
        """Return what answers expressions from these samples, whoever else evaluates."""
        from engine.samples.evaluator import EmbeddedEvaluator

        return EmbeddedEvaluator(store, fresh=self.freshness)

    @property
    def freshness(self) -> float:
        """For how many seconds a sample says what is the case."""
        paces = [self.settings.interval]
        paces += [page.interval for page in self.settings.expositions if page.interval]
        paces += [probe.interval for probe in self.settings.probes if probe.interval]
        return FRESH_INTERVALS * max(paces)

    @cached_property
    def executor(self) -> LocalExecutor:
        """What starts playbooks on this machine."""
        from engine.executor.local import LocalExecutor

        return LocalExecutor(
            self.settings.executions, inventory=self.settings.inventory, playbooks=self.settings.playbooks
        )

    def controller(self, store: SampleStore, *, automatic: bool = True, beside: bool = False) -> Controller:
        """Return the loop over these samples; `automatic` False begins only what operators ask for.

        One that is `beside` another engine is there to look, and needs not lead.
        """
        return Controller(
            clock=self.clock,
            records=self.record if beside else self.records,
            evaluator=self.evaluator(store),
            executor=self.executor,
            samples=store,
            declared=self.declarations.current,
            automatic=automatic,
        )

    def lead(self) -> None:
        """Become the one engine of this record, until closed. Raises BusyError that names the one that is."""
        if not self.leadership.acquire():
            raise BusyError(f"another engine works on {self.settings.record_place}: {self.leadership.holder()}")
        self._closing.append(self.leadership.release)

    def collector(self, store: SampleStore, *more: Source) -> Collector:
        """Return what collects from everything that the settings name, and from `more`."""
        from engine.app.endpoints import Watched

        watched = Watched(self.settings, lambda: self.inventory, self.trouble)
        self._closing.append(watched.close)
        sources = (*watched.paced(), *(Paced(source, self.settings.interval) for source in more))
        return Collector(sources, store, self.clock)

    def anomalies(self, store: SampleStore) -> Anomalies | None:
        """Return the default watch over these samples; None where it is off, or where a server has the samples that count."""
        if not self.settings.anomalies or self.settings.evaluator is not None:
            return None
        from engine.app.anomalies import Anomalies

        kept = self.settings
        watch = Anomalies(store, kept.state / "usual.npz", interval=kept.interval, most=kept.most_anomalies)
        self._closing.append(watch.save)
        return watch

    def company(self, listen: str | None = None) -> Company:
        """Return what accompanies the loop; `listen` is where its page is, when not where the settings say. Raises AppError."""
        from engine.app.endpoints import own_instance
        from engine.app.health_watch import Company
        from engine.records.past import Past

        try:
            return Company(self.settings, self.clock, Past(self.record), own_instance(self.inventory), listen)
        except (OSError, ValueError) as error:
            raise AppError(str(error)) from error

    def learner(self, store: SampleStore) -> Learner:
        """Return what learns beside the loop, from these samples or the server that evaluates."""
        from engine.app.learning import Learner
        from engine.samples.evaluator import EmbeddedEvaluator

        fresh = FRESH_INTERVALS * self.settings.interval
        return Learner(
            self.server or EmbeddedEvaluator(store, fresh=fresh, windows=False),
            self.clock,
            lambda: self.inventory.fleet,
            self.settings.coverage,
            pace=self.settings.forecast_every,
            forecasts=self.settings.forecast,
        )

    def watch(
        self, stop: threading.Event, seen: Callable[[Tick], None] | None = None, listen: str | None = None
    ) -> None:
        """Be the daemon until told to stop. Raises BusyError when another engine is, AppError when nobody could be told."""
        from engine.app.health_starts import of_starts
        from engine.app.housekeeping import Housekeeper
        from engine.app.rotation import Rotation
        from engine.records.retention import Keep

        self.lead()
        store = self.samples
        company = self.company(listen)
        company.health.more.append(of_starts(self.settings.executions))
        learner = self.learner(store)
        company.health.more.append(learner.figures)
        anomalies = self.anomalies(store)
        if anomalies is not None:
            company.health.more.append(anomalies.figures)
        collector = self.collector(store, company.health, *([] if anomalies is None else [anomalies]))
        controller = self.controller(store)
        housekeeper = Housekeeper(self.record, Keep(self.settings.keep_events, self.settings.keep_alerts), self.clock)
        collector.once(patience=self.settings.interval)  # what was firing is not unknown for want of a first look
        if self.settings.warm:
            self._closing.append(self.executor.close)
            self.executor.keep_warm()
        collector.start()
        company.start()
        housekeeper.start()
        rotation = Rotation(
            self.settings.executions, self.history, self.settings.keep_output, self.settings.most_output
        )
        rotation.start()
        learner.start()

        def ticked(tick: Tick) -> None:
            company.ticked(tick)
            if seen is not None:
                seen(tick)

        try:
            controller.watch(self.settings.interval, ticked, stop, company.failed)
        finally:
            learner.stop()
            rotation.stop()
            housekeeper.stop()
            company.stop()
            collector.stop()

    def end_executions(self, patience: float = 15.0, spared: Collection[str] = ()) -> None:
        """Cancel whatever this project still runs, but those, and wait at most `patience` seconds until none of it is left."""
        running = self.record.standing(self.clock.now()).executions
        active = {execution.id for execution in running if execution.id not in spared}
        for execution in active:
            self.executor.cancel(execution, "whoever ordered it is gone")
        end = time.monotonic() + patience
        while active and time.monotonic() < end:
            active = {execution for execution in active if self.executor.report(execution, 0).state == "running"}
            time.sleep(0.1)
