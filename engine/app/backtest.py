"""A backtest of one runbook: what it reads, what it goes by, and the replay. Nothing is written, nothing is started."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from engine.app.declarations import Declarations, Mark, Read
from engine.app.replay import Held, nothing_held, replay
from engine.app.wiring import AppError
from engine.config.document import read_document
from engine.config.errors import ConfigError, Problem, did_you_mean, errors, quoted, shown
from engine.config.inventory import load_inventory
from engine.config.playbooks import SUFFIXES
from engine.config.project import Layers
from engine.config.runbooks import load_runbooks, runbook_files
from engine.config.settings import Settings
from engine.controller import Declared, Tick
from engine.core.backtest import Backtest, Watcher, compare
from engine.core.questions import needs_of, triggers
from engine.model.incident import Incident
from engine.model.runbook import Approval, Catalog, Mode, Runbook, Scalar
from engine.model.standing import Pause, Silence, Standing
from engine.model.truth import Answer, Query
from engine.promql import ParseError, parse, selectors
from engine.promql.block import Storage
from engine.promql.evaluate import LOOKBACK
from engine.promql.sweep import LONGEST, Instants, Sweep, Told

if TYPE_CHECKING:
    from engine.app.wiring import App
    from engine.records.history import Logged

WEEK: Final = 7 * 86_400.0
MOST_INCIDENTS: Final = 100_000
OWN_STATE: Final = "samples"
"""The folder of samples within a project's state."""


class AskedError(AppError):
    """What was asked for is not there; the message says what is."""


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be replayed: a runbook by its name or its file, over what, and by which rules.

    `since` and `until` are seconds since the epoch; a `span` is seconds before `until`. `mode` None leaves the mode as it is;
    `approved` has whatever waits for a person's word have it at once; `alone` leaves the other runbooks out; `takes` is how
    many seconds a run takes.
    """

    runbook: str
    since: float | None = None
    span: float | None = None
    until: float | None = None
    params: Mapping[str, Scalar] = field(default_factory=dict)
    mode: Mode | None = Mode.AUTO
    approved: bool = False
    alone: bool = False
    takes: float | None = None
    interval: float | None = None


class AsRead(Declarations):
    """What is declared as it was read once: files that change meanwhile change nothing, and others' mistakes leave them out."""

    def mark(self) -> Mark:
        """Return what never changes."""
        return "", ""

    @staticmethod
    def read(mark: Mark, settings: Settings) -> Read:
        """Return what stands in the files now. Raises InventoryError or OSError."""
        inventory = load_inventory(settings.inventory, settings.state / "inventory.json")
        loaded = load_runbooks(settings.runbooks, fleet=inventory.fleet, settings=settings)
        return Read(mark, settings, inventory, loaded, {})


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

    folder = given / OWN_STATE if (given / OWN_STATE).is_dir() else given
    store = SampleStore(folder, read_only=True)
    app.closing(store.close)
    return store


def recorded_in(file: Path, progress: Progress) -> Past:
    """Return the samples in a file. Raises AppError, OSError."""
    from engine.samples.dumped import Dumped
    from engine.sources.dump import DumpError, read_dump

    try:
        return Dumped(read_dump(file, lambda done, whole: progress("reading", done / max(whole, 1))))
    except DumpError as error:
        raise AppError(f"{file}: {error}") from error


def declared(settings: Settings, asked: Asked, trouble: Callable[[str], None]) -> tuple[AsRead, Catalog, str]:
    """Return what is declared, the catalogue to replay, and the runbook's name. Raises ConfigError, InventoryError, AppError."""
    settings, file = with_runbook(settings, asked.runbook)
    document = read_document(file)
    name, params = document.data.get("runbook"), document.data.get("params")
    if isinstance(name, str):
        settings = changed(settings, name, params.keys() if isinstance(params, Mapping) else (), asked)
    declarations = AsRead(settings, trouble)
    own = tuple(each for each in declarations.loaded.runbooks if each.name == name)
    problems = declarations.loaded.problems
    if not own:
        place = shown(file)
        raise ConfigError(
            [each for each in problems if each.place is not None and each.place.file == place] or problems
        )
    left_out = {each.place.file for each in errors(problems) if each.place is not None}
    if left_out and not asked.alone:
        trouble(f"left out, with errors that `mendbook lint` shows: {', '.join(sorted(left_out))}")
    catalog = replace(declarations.catalog, recording=())
    if asked.alone:
        catalog = replace(catalog, runbooks=own)
    if asked.approved:
        catalog = approved(catalog, own[0].name, declarations)
    return declarations, catalog, own[0].name


def with_runbook(settings: Settings, asked: str) -> tuple[Settings, Path]:
    """Return the settings with the runbook that is asked for among the runbooks, in place of another of its name; and its file."""
    problems: list[Problem] = []
    files = list(runbook_files(settings.runbooks, problems))
    named = Path(asked)
    if named.suffix not in SUFFIXES and "/" not in asked:
        return settings, file_of(asked, files)
    if not named.is_file():
        raise AskedError(f"there is no file {quoted(asked)}")
    name = name_in(named)
    others = [each for each in files if each.resolve() != named.resolve() and name_in(each) != name]
    return replace(settings, runbooks=(*others, named)), named


def file_of(name: str, files: list[Path]) -> Path:
    """Return the file of the runbook of a name. Raises AskedError with the one that may have been meant."""
    likely = sorted(files, key=lambda each: each.stem != name)
    names = {}
    for each in likely:
        names[name_in(each)] = each
        if name in names:
            return names[name]
    fix = did_you_mean(name, names) or f"there are {', '.join(sorted(filter(None, names)))}"
    raise AskedError(f"there is no runbook {quoted(name)}; {fix}")


def name_in(file: Path) -> str:
    """Return the name of the runbook in a file; "" where it says none."""
    name = read_document(file).data.get("runbook")
    return name if isinstance(name, str) else ""


def changed(settings: Settings, name: str, known: Collection[str], asked: Asked) -> Settings:
    """Return the settings with the mode and the params that are asked for. Raises AskedError for a param that there is not."""
    if strange := sorted(set(asked.params) - set(known)):
        fix = did_you_mean(strange[0], known) or (f"it has {', '.join(known)}" if known else "it has none")
        raise AskedError(f"the runbook {quoted(name)} has no param {quoted(strange[0])}; {fix}")
    if asked.mode is not None:
        settings = replace(settings, modes={**settings.modes, name: Layers(all=asked.mode)})
    if asked.params:
        settings = replace(settings, params={**settings.params, name: overridden(settings, name, asked.params)})
    return settings


def overridden(settings: Settings, name: str, params: Mapping[str, Scalar]) -> Layers[Mapping[str, Scalar]]:
    """Return a runbook's params with values that hold on every host, whatever the settings say of groups and hosts."""
    layers = settings.params.get(name, Layers())

    def others(named: Mapping[str, Mapping[str, Scalar]]) -> dict[str, Mapping[str, Scalar]]:
        return {one: {key: value for key, value in own.items() if key not in params} for one, own in named.items()}

    return Layers({**(layers.all or {}), **params}, others(layers.groups), others(layers.hosts))


def approved(catalog: Catalog, name: str, declarations: Declarations) -> Catalog:
    """Return the catalogue with a runbook for which nobody has to be asked."""

    def free(runbook: Runbook) -> Runbook:
        mode = Mode.AUTO if runbook.mode is Mode.APPROVE else runbook.mode
        return replace(runbook, mode=mode, guards=replace(runbook.guards, approval=Approval.NEVER))

    runbooks = tuple(free(each) if each.name == name else each for each in catalog.runbooks)
    never = {target.name: Approval.NEVER for target in declarations.inventory.fleet}
    return replace(catalog, runbooks=runbooks, approvals=never)


def span_of(past: Past, asked: Asked, interval: float, *, live: bool, now: float) -> tuple[float, float]:
    """Return from when to when is replayed, both multiples of the interval. Raises AppError where there are no samples."""
    oldest, newest = past.oldest(), past.newest()
    if oldest is None or newest is None:
        raise NoSamplesError("there are no samples: nothing can be judged")
    until = min(newest + interval, now if live else math.inf, math.inf if asked.until is None else asked.until)
    default = WEEK if live else math.inf
    back = (now if live else until) - (default if asked.span is None else asked.span)
    since = max(oldest, back if asked.since is None else asked.since)
    first, last = math.ceil(since / interval) * interval, math.floor(until / interval) * interval
    if last < first:
        raise NoSamplesError("there are no samples in that time")
    return first, last


def backtest(
    app: App,
    asked: Asked,
    past: Past,
    progress: Progress,
    trouble: Callable[[str], None],
    *,
    live: bool,
) -> Backtest:
    """Replay a runbook over samples that are over. Raises AppError, ConfigError, InventoryError."""
    declarations, catalog, name = declared(app.settings, asked, trouble)
    interval = catalog.limits.interval if asked.interval is None else asked.interval
    catalog = replace(catalog, limits=replace(catalog.limits, interval=interval))
    since, until = span_of(past, asked, interval, live=live, now=app.clock.now())
    instants = Instants(round(since * 1000), round(interval * 1000), round((until - since) / interval) + 1)
    sweep = Sweep(reeled(past, catalog, instants), instants, round(max(app.freshness, 3 * interval) * 1000))
    fleet = declarations.inventory.fleet
    watcher = Watcher(name, catalog, fleet)
    for runbook in watcher.own:
        sweep.account(Query(runbook.trigger.expr), noting(watcher, runbook, instants, progress))
    takes = interval if asked.takes is None else asked.takes
    recorded, held = remembered(app, since, until, live=live)

    def seen(tick: Tick, standing: Standing) -> None:
        watcher.see(tick.now, tick.alerts, tick.changes, standing)

    ticks = replay(sweep, Declared(catalog, fleet, declarations.prepare), takes=takes, seen=seen, held=held)
    blind = watcher.blind(since, interval)
    firings, known = compare(watcher, recorded, blind, until, catalog.limits.reopen)
    return Backtest(
        runbook=name,
        params=watcher.own[0].params,
        since=since,
        until=until,
        interval=interval,
        hosts=sum(any(own.applies_to(target.name) for own in watcher.own) for target in fleet),
        ticks=ticks,
        instants=instants.count,
        firings=firings,
        silent=watcher.silent(),
        known=known,
        blind=blind,
        assumed=tuple(assumptions(asked, takes, app, live=live)),
    )


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


def assumptions(asked: Asked, takes: float, app: App, *, live: bool) -> list[str]:
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
    if live:
        said.append("pauses and silences hold as they did")
    return said


def remembered(app: App, since: float, until: float, *, live: bool) -> tuple[tuple[Incident, ...], Held]:
    """Return the incidents that the record has of that time, and who says what was paused or silenced; read, never written."""
    if not live or (app.settings.database is None and not app.settings.record.exists()):
        return (), nothing_held
    record = app.read_record()
    from engine.records.history import History
    from engine.records.past import Past as Remembered

    incidents = History(record).incidents(since=since, until=until, limit=MOST_INCIDENTS)
    return incidents, then_held(Remembered(record).held(until))


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
