"""A backtest of one runbook: what it reads, what it goes by, and the replay. Nothing is written, nothing is started."""

from __future__ import annotations

import bisect
import datetime as dt
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from engine.app.replay import Held, nothing_held, replay
from engine.app.subject import Asked, AskedError, Subject
from engine.app.wiring import FRESH_INTERVALS, AppError
from engine.config.errors import ConfigError, Problem, shown
from engine.controller import Declared, Tick
from engine.core.backtest import Backtest, Watcher, compare
from engine.core.questions import needs_of, triggers
from engine.model.incident import Incident
from engine.model.runbook import Catalog, Place, Runbook
from engine.model.standing import Pause, Silence, Standing
from engine.model.truth import Answer, Query
from engine.promql import ParseError, parse, selectors
from engine.promql.block import Storage
from engine.promql.evaluate import LOOKBACK
from engine.promql.sweep import LONGEST, Instants, Sweep, Told

if TYPE_CHECKING:
    from engine.app.wiring import App
    from engine.records.history import Logged
    from engine.records.store import Record

WEEK: Final = 7 * 86_400.0
MOST_INCIDENTS: Final = 100_000
MOST_INSTANTS: Final = 10_000_000
"""Five years, judged every 15 s; one wrong time in a recording, and it is ten thousand years."""
WITHIN: Final = (".mendbook/samples", "samples")
"""Where the samples lie within a project, and within its state."""


class NoSamplesError(AppError):
    """There is nothing to replay."""


Progress = Callable[[str, float], None]
"""Is told what is being done, and which share of it is."""


class Past(Storage, Protocol):
    """Samples that are over."""

    def oldest(self) -> float | None:
        """Return the time of the oldest sample in seconds; None when there is none."""
        ...

    def newest(self) -> float | None:
        """Return the time of the newest sample in seconds; None when there is none."""
        ...


def samples_of(app: App, given: Path | None, progress: Progress) -> Past:
    """Return the samples of the project as they stand now, or those of a recording. Raises AppError."""
    if given is None:
        if app.server is not None:
            raise AppError(
                "the samples of this project are on the server that evaluates: record them "
                "(`promtool tsdb dump-openmetrics`) and name the file with --input"
            )
        if not app.settings.samples.is_dir():
            raise NoSamplesError(
                "there are no samples yet: they begin with `mendbook watch`, or name a recording with --input"
            )
        return app.read_samples()
    if not given.is_dir():
        return recorded_in(given, progress)
    from engine.samples.store import SampleStore

    folder = next((given / each for each in WITHIN if (given / each).is_dir()), given)
    store = SampleStore(folder, read_only=True)
    app.closing(store.close)
    if store.newest() is None:
        raise NoSamplesError(
            f"there are no samples in {shown(folder)}: name a project, its state, or the folder of its samples"
        )
    return store


def recorded_in(file: Path, progress: Progress) -> Past:
    """Return the samples in a file. Raises AppError, OSError."""
    from engine.samples.dumped import Dumped
    from engine.sources.dump import DumpError, read_dump

    try:
        found = Dumped(read_dump(file, lambda done, whole: progress("reading", done / max(whole, 1))))
    except DumpError as error:
        place = Place(shown(file), error.line or 1, 1)
        raise ConfigError([Problem("bad-recording", error.message, place, error.text, fix=error.fix)]) from error
    if found.newest() is None:
        raise NoSamplesError(f"there are no samples in {shown(file)}")
    return found


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when is replayed, both multiples of the interval; `wanted` is when it was to begin, where samples begin later."""

    since: float
    until: float
    wanted: float | None = None


def span_of(past: Past, asked: Asked, interval: float, *, live: bool, now: float) -> Span:
    """Return from when to when is replayed. Raises AppError where there are no samples."""
    oldest, newest = past.oldest(), past.newest()
    if oldest is None or newest is None:
        raise NoSamplesError("there are no samples yet: nothing can be judged")
    until = min(newest + interval, now if live else math.inf, math.inf if asked.until is None else asked.until)
    default = WEEK if live else math.inf
    back = (now if live else until) - (default if asked.span is None else asked.span)
    wanted = back if asked.since is None else asked.since
    if asked.until is not None and math.isfinite(wanted) and wanted >= asked.until:
        raise AskedError(
            f"it would begin at {told(wanted)} and end at {told(asked.until)}: --since must be before --until"
        )
    first, last = math.ceil(max(oldest, wanted) / interval) * interval, math.floor(until / interval) * interval
    if last < first:
        raise NoSamplesError(f"there are no samples in that time: they are from {told(oldest)} to {told(newest)}")
    if (count := (last - first) / interval) > MOST_INSTANTS:
        raise AskedError(
            f"from {told(first)} to {told(last)} there are {count:.0f} moments to be judged, and {MOST_INSTANTS} are the most: "
            "ask for less time with --since and --until, or for fewer moments with --interval"
        )
    named = asked.since is not None or asked.span is not None
    return Span(first, last, wanted if named and wanted < oldest - interval else None)


def told(at: float) -> str:
    """Return a moment as people read it, by the clock of this place."""
    try:
        return dt.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):  # no calendar has it
        return "long ago" if at < 0 else "never"


def backtest(
    app: App, subject: Subject, past: Past, progress: Progress, trouble: Callable[[str], None], *, live: bool
) -> Backtest:
    """Replay a runbook over samples that are over; what `live` are those of the project as they stand. Raises AppError, RecordError."""
    asked, catalog, name = subject.asked, subject.catalog, subject.name
    interval = catalog.limits.interval if asked.interval is None else asked.interval
    catalog = replace(catalog, limits=replace(catalog.limits, interval=interval))
    span = span_of(past, asked, interval, live=live, now=app.clock.now())
    count = round((span.until - span.since) / interval) + 1
    instants = Instants(round(span.since * 1000), round(interval * 1000), count)
    sweep = Sweep(reeled(past, catalog, instants), instants, round(freshness(app, past, interval) * 1000))
    fleet = subject.declarations.inventory.fleet
    watcher = Watcher(name, catalog, fleet)
    for runbook in watcher.own:
        sweep.account(Query(runbook.trigger.expr), noting(watcher, runbook, instants, progress))
    takes = interval if asked.takes is None else asked.takes
    remembered = remembered_of(app, span, trouble, live=live)

    def seen(tick: Tick, standing: Standing) -> None:
        watcher.see(tick.now, tick.alerts, tick.changes, standing)

    said = Declared(catalog, fleet, subject.declarations.prepare)
    ticks = replay(sweep, said, takes=takes, seen=seen, held=remembered.held)
    blind = watcher.blind(span.since, interval)
    firings, known = compare(watcher, remembered.incidents, blind, span.until, catalog.limits.reopen)
    return Backtest(
        runbook=name,
        params=watcher.own[0].params,
        since=span.since,
        until=span.until,
        interval=interval,
        hosts=sum(any(own.applies_to(target.name) for own in watcher.own) for target in fleet),
        ticks=ticks,
        instants=count,
        firings=firings,
        silent=watcher.silent(),
        known=known,
        blind=blind,
        wanted=span.wanted,
        recorded_since=remembered.since,
        assumed=tuple(assumptions(app, asked, takes, remembered, live=live)),
    )


def freshness(app: App, past: Past, interval: float) -> float:
    """Return for how many seconds a sample says what is the case: of a recording, by how far apart its samples are."""
    from engine.samples.dumped import Dumped

    if isinstance(past, Dumped):
        return FRESH_INTERVALS * max(interval, past.pace())
    return max(app.freshness, FRESH_INTERVALS * interval)


def reeled(past: Past, catalog: Catalog, instants: Instants) -> Storage:
    """Return what reads a store once for all expressions of a catalogue; what is in memory already needs nothing."""
    from engine.samples.reel import Reel
    from engine.samples.store import SampleStore

    oldest, newest = past.oldest(), past.newest()
    if not isinstance(past, SampleStore) or oldest is None or newest is None:
        return past
    rate = past.stats().samples / max(newest - oldest, 1.0)
    reel = Reel(past, rate=rate, behind=LONGEST * instants.step)
    for expr in expressions(catalog):
        try:
            found = selectors(parse(expr))
        except ParseError:  # its answers say so
            continue
        for each in found:
            reel.want(each.matchers, each.reach + max(each.offset, 0) + LOOKBACK)
    return reel


def expressions(catalog: Catalog) -> Iterator[str]:
    """Yield what a replay may ask."""
    for query in triggers(catalog):
        yield query.expr
    for runbook in catalog.runbooks:
        yield runbook.verify.expr
        yield from needs_of(runbook)


def noting(watcher: Watcher, runbook: Runbook, instants: Instants, progress: Progress) -> Told:
    """Return what is told of a trigger's data as the walk goes on; it tells how far that is, too."""

    def told(first: int, beyond: int, answer: Answer) -> None:
        watcher.told(runbook, first, beyond, answer)
        progress("replaying", beyond / instants.count)

    return told


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the record has of a time: incidents, and who was held back by whom; since when there is one at all, None for never."""

    incidents: tuple[Incident, ...] = ()
    held: Held = nothing_held
    since: float | None = None


def remembered_of(app: App, span: Span, trouble: Callable[[str], None], *, live: bool) -> Remembered:
    """Return what the record has of a time; it is read, never written. A recording needs none. Raises RecordError."""
    if app.settings.database is None and not app.settings.record.exists():
        return Remembered()
    from engine.records.errors import RecordError

    try:
        found = remembered_by(app.read_record(), span)
    except RecordError as error:
        if live:
            raise
        trouble(f"nothing is compared with the record: {error}")
        return Remembered()
    return found


def remembered_by(record: Record, span: Span) -> Remembered:
    """Return what a record has of a time. Raises RecordError."""
    from engine.records.history import History
    from engine.records.past import Past as Written

    written = Written(record)
    since = written.oldest()
    if since is None or since > span.until:
        return Remembered()
    incidents = History(record).incidents(since=span.since, until=span.until, limit=MOST_INCIDENTS)
    return Remembered(incidents, then_held(written.held(span.until)), since)


def assumptions(app: App, asked: Asked, takes: float, remembered: Remembered, *, live: bool) -> list[str]:
    """Return what a replay goes by that was not so, or is not known to have been."""
    said = [
        f"a run takes {takes:.0f}s, ends well and changes nothing: what is verified is whether the recorded signal recovered",
        "hosts, runbooks, settings and limits are today's; what was pending, locked or tried before is not known",
    ]
    if asked.mode is not None:
        others = "" if asked.alone else ", the others are in theirs"
        said.append(f"the runbook is taken to be in mode {asked.mode}{others}")
    if asked.approved:
        said.append("whatever waits for a person's approval has it at once")
    if asked.alone:
        said.append("no other runbook is there: nothing explains its alerts, and nothing else holds its hosts")
    if app.settings.recording:
        said.append("series of recording rules are as they were recorded")
    if remembered.since is not None:
        said.append("pauses and silences hold as they did")
        if not live:
            said.append("the recording is of this project's hosts: it is compared with the incidents of its record")
    return said


def then_held(acts: tuple[Logged, ...]) -> Held:
    """Return who says which pauses and silences were in force at a moment, by what people did."""
    from engine.records.past import pauses_of, silences_of

    if not acts:
        return nothing_held
    moments = [each.at for each in acts]

    def held(now: float) -> tuple[tuple[Pause, ...], tuple[Silence, ...]]:
        done = acts[: bisect.bisect_right(moments, now)]
        return pauses_of(done, now), silences_of(done, now)

    return held
