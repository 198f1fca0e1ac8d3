"""The checks of `mendbook doctor`: each looks at one thing and says what helps."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.health_check import Check, fail, ok, warn
from engine.cli.health_judging import judging
from engine.cli.output import ago, moment
from engine.cli.project import hosts, outdated, runbooks
from engine.cli.words import counted
from engine.config.errors import Problem, errors
from engine.config.inventory import InventoryError
from engine.config.settings import Settings, find_settings, read_settings
from engine.records.errors import RecordError

if TYPE_CHECKING:
    from engine.app import App
    from engine.samples.store import SampleStore

LITTLE, TIGHT = 256 << 20, 2 << 30
"""Bytes of free space below which a check fails, and below which it warns."""
LATE = 5
"""So many intervals without a tick or a sample are late."""
REQUIRED = {"ansible-core": ((2, 19), (2, 22)), "ansible-runner": ((2, 4, 3), (3,))}
"""From which version on, and up to which."""


def examine(start: Path) -> list[Check]:
    """Return every check of this machine and of the project that `start` lies in."""
    from engine.app import App

    settings, problems = read_settings(find_settings(start), start)
    with App(settings) as app:
        return [
            python(),
            *ansible(),
            proc(),
            configuration(settings, problems),
            *declared(app),
            space(settings),
            *people(settings),
            *evaluator(app),
            *record(app),
            starts(app.settings),
            *samples(app),
            *judging(app),
        ]


def python() -> Check:
    """Say which Python this is: one that was too old would not have come this far."""
    return ok("python", f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")


def ansible() -> Iterator[Check]:
    """Ansible and its runner are there, in versions that are known to work, beside this interpreter."""
    for name, (least, most) in REQUIRED.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield fail(name, "is not installed", f"{sys.executable} -m pip install {name}")
            continue
        numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
        if least <= numbers < most:
            yield ok(name, version)
        else:
            wanted = f"{'.'.join(map(str, least))} or newer, below {'.'.join(map(str, most))}"
            yield warn(name, f"{version} has not been tried", f"install {wanted}")
    beside = Path(sys.executable).parent / "ansible-playbook"
    elsewhere = shutil.which("ansible-playbook")
    if os.access(beside, os.X_OK):
        yield ok("playbooks", f"run by {beside}")
    elif elsewhere:
        yield warn("playbooks", f"run by {elsewhere}, another installation", "install ansible-core beside mendbook")
    else:
        yield fail("playbooks", "ansible-playbook was not found", "install ansible-core beside mendbook")


def proc() -> Check:
    """The kernel shows this machine's figures and other users' processes."""
    try:
        Path("/proc/stat").read_bytes()
        Path("/proc/meminfo").read_bytes()
    except OSError as error:
        return fail("proc", f"{error.filename}: {error.strerror}", "mount /proc, or set sources.host to false")
    if not os.access("/proc/1/stat", os.R_OK):
        return warn("proc", "processes of other users are hidden", "run as root, or mount /proc without hidepid")
    return ok("proc", "the machine's figures can be read")


def configuration(settings: Settings, problems: tuple[Problem, ...]) -> Check:
    """The settings can be read."""
    where = str(settings.file) if settings.file else "none; defaults hold"
    bad = errors(problems)
    if bad:
        return fail("settings", f"{bad[0].place}: {bad[0].message}", "`mendbook lint` shows all that is wrong")
    if settings.file is None:
        return warn("settings", f"no mendbook.yml in {settings.root} or above", "`mendbook init` writes one")
    if problems:
        return warn("settings", f"{where}, {counted(len(problems), 'warning')}", "`mendbook lint` shows them")
    return ok("settings", where)


def declared(app: App) -> Iterator[Check]:
    """The inventory and the runbooks can be read."""
    try:
        inventory = hosts(app)
    except InventoryError as error:
        first = str(error).strip().splitlines() or ["cannot be read"]
        yield fail("inventory", first[0], "`mendbook lint` shows it whole")
        return
    count = counted(len(inventory.fleet), "host")
    if not len(inventory.fleet):
        yield warn("inventory", "names no host", "add hosts, or check the path in mendbook.yml")
    elif inventory.problems:
        yield warn("inventory", f"{count}; {inventory.problems[0].message}", "`mendbook lint` shows all")
    else:
        yield ok("inventory", count)
    loaded = runbooks(app, inventory)
    names = {runbook.name for runbook in loaded.runbooks}
    modes = sorted({str(runbook.mode) for runbook in loaded.runbooks})
    bad, all_ = len(errors(loaded.problems)), len(loaded.problems)
    if bad:
        said = f"{counted(bad, 'error')}: no engine begins with them"
        yield fail("runbooks", said, "`mendbook lint` shows them")
    elif all_:
        yield warn("runbooks", f"{len(names)}, {counted(all_, 'warning')}", "`mendbook lint` shows them")
    elif not names:
        yield warn("runbooks", "there are none", "name some in mendbook.yml")
    else:
        yield ok("runbooks", f"{len(names)} ({', '.join(modes)})")


def people(settings: Settings) -> Iterator[Check]:
    """Whoever is to be told can be told, as far as that shows without telling."""
    if settings.notify is None:
        return
    from engine.app.health_watch import addresses
    from engine.notify.through_apprise import HINT, AppriseNotifier, installed

    if not installed():
        yield fail("notify", "Apprise is not installed: `mendbook watch` does not begin", HINT)
        return
    told = 0
    try:
        for url in addresses(settings):
            AppriseNotifier(url)
            told += 1
    except (OSError, ValueError) as error:
        yield fail("notify", f"address {told + 1}: {error}", "correct it in mendbook.yml, or in the file it names")
        return
    kinds = ", ".join(sorted(settings.notify.of))
    if told:
        yield ok("notify", f"{told} address{'' if told == 1 else 'es'}, told of: {kinds}")
    else:
        yield warn("notify", "names no address", "add one: `mendbook watch` tells nobody")


def evaluator(app: App) -> Iterator[Check]:
    """The server that evaluates answers, means by a range what Prometheus 3 does, and can be asked about freshness."""
    server = app.server
    if server is None:
        return
    from engine.sources.query_api import Failure

    begun = time.monotonic()
    found = server.abilities()
    if isinstance(found, Failure):
        yield fail("evaluator", found.words, "start it, or set `evaluator`; until then nothing can be judged")
        return
    said = (
        f"{found.product} {found.version} at {server.address}, answered in {1000 * (time.monotonic() - begun):.0f} ms"
    )
    if found.product == "Prometheus" and found.version.partition(".")[0] in ("0", "1", "2"):
        yield warn("evaluator", f"{said}; a range began with the sample at its very start before 3.0", "upgrade it")
    elif not found.lookback:
        why = "it does not know lookback_delta: conditions that name no metric stay unknown"
        yield warn("evaluator", f"{said}; {why}", "name the metric in each selector")
    else:
        yield ok("evaluator", said)


def space(settings: Settings) -> Check:
    """The state can be written, and has room to grow."""
    folder = next(path for path in (settings.state, *settings.state.absolute().parents) if path.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail("disk", f"{folder} cannot be written", "give it to the user that runs Mendbook, or set `state`")
    status = os.statvfs(folder)
    free, share = status.f_bavail * status.f_frsize, status.f_bavail / max(1, status.f_blocks)
    said = f"{free / (1 << 30):.1f} GiB ({share:.0%}) free for {settings.state}"
    if free < LITTLE or (status.f_files and not status.f_favail):
        return fail("disk", said, "make room, or set `state` to a folder on another disk")
    if free < TIGHT:
        return warn("disk", said, "make room, shorten `retention`, or set `state` to a folder on another disk")
    return ok("disk", said)


def record(app: App) -> Iterator[Check]:
    """The record is whole and can be written, someone ticks on time, and nothing is paused."""
    path, database = app.settings.record, app.settings.database
    if database is None and not path.exists():
        yield ok("record", f"none yet; it begins at {path}")
        yield engine(app, None)
        return
    try:
        history = app.history
        found = history.verify_chain()
        standing = app.record.standing(time.time())
    except RecordError as error:
        yield fail("record", f"{error.path}: {error.message}", error.fix)
        return
    if not isinstance(found, int):
        yield fail("record", f"its chain is broken: {found.reason}", "restore a backup, and find out who changed it")
    elif app.record.read_only or (database is None and not os.access(path, os.W_OK)):
        yield fail("record", f"{path} cannot be written", "run as the user that owns it")
    else:
        where = f" in {app.settings.record_place}" if database is not None else ""
        yield ok("record", f"{found} entries{where}, the chain holds")
    yield engine(app, standing.last_tick)
    for pause in standing.pauses:
        until = f" until {moment(pause.until)}" if pause.until else ""
        yield warn("pause", f"{pause.scope} by {pause.by}{until}: {pause.reason}", "`mendbook resume` when it is over")


def engine(app: App, last_tick: float | None) -> Check:
    """Whoever leads ticks on time."""
    holder, now = app.leadership.holder(), time.time()
    interval = app.settings.interval
    if last_tick is not None and last_tick > now + interval:
        said = f"the last tick is {ago(last_tick - now)} in the future"
        return fail("clock", said, "set the clock; what was recorded meanwhile has times to come")
    if holder is None:
        return ok("engine", f"none runs; {f'last tick {moment(last_tick)}' if last_tick else 'no tick yet'}")
    newest = max(last_tick or 0.0, holder.since)
    if now - newest > max(LATE * interval, 30.0):
        return fail("engine", f"{holder} has not ticked for {ago(now - newest)}", "look at its log, and start it again")
    if old := outdated(app, holder.since):
        return warn("engine", f"{holder}; {old}", "`mendbook lint`, then start it again: what runs goes on meanwhile")
    return ok("engine", f"{holder}; it ticks every {interval:g}s")


def starts(settings: Settings) -> Check:
    """Playbooks begin at once, or it is known why they do not."""
    from engine.executor.warm.starts import Reason, counted

    name, found = "warm start", counted(settings.executions)
    cold = sum(found.cold.values())
    if not settings.warm:
        return ok(name, "off, by `executor.warm`")
    if not found.warm and not cold:
        return ok(name, "no playbook has begun yet")
    said = f"{found.warm} of {found.warm + cold} runs began warm"
    if cold:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(found.cold.items()))
        said += f", {cold} cold ({reasons}); why the last one was: {found.last}"
    if found.last.startswith((Reason.UNFIT, Reason.GONE)):
        return warn(name, said, f"its log is {settings.executions / '.warm' / 'log'}")
    return ok(name, said)


def samples(app: App) -> Iterator[Check]:
    """Samples arrive, their files are whole, their times are not to come, and every endpoint answers."""
    folder = app.settings.samples
    store = app.read_samples()
    newest, now = store.newest(), time.time()
    running = app.leadership.holder() is not None
    if newest is None:
        fix = "wait one interval" if running else "`mendbook watch` or `mendbook audit` collects"
        yield (warn if running else lambda name, said, _: ok(name, said))("samples", "none yet", fix)
        return
    stats = store.stats()
    said = f"{stats.series} series, newest {ago(max(0.0, now - newest))} old, {stats.disk_bytes / (1 << 20):.1f} MiB"
    if newest > now + max(60.0, app.settings.interval):
        yield fail("clock", f"the newest sample is {ago(newest - now)} in the future", "set the clock")
    elif running and now - newest > max(LATE * app.settings.interval, 30.0):
        yield fail("samples", said, "an engine runs and collects nothing: look at its log")
    else:
        yield ok("samples", said)
    broken = sorted(folder.glob("*.broken"))
    if broken:
        names = ", ".join(path.name for path in broken)
        yield warn("segments", f"set aside, since they were broken: {names}", "remove them once looked at")
    if running:
        yield endpoints(app, store)


def endpoints(app: App, store: SampleStore) -> Check:
    """Every endpoint answers."""
    from engine.model.truth import Query

    answers = app.embedded(store).answer((Query("up"), Query("probe_success")), store.newest() or 0.0)
    all_ = [sample for answer in answers for sample in answer.samples]
    down = [sample for sample in all_ if sample.value == 0]
    if not down:
        return ok("endpoints", f"all {len(all_)} answer")
    names = ", ".join(f"{each.labels.get('job', '')} of {each.labels.get('instance', '?')}" for each in down[:5])
    more = f", and {len(down) - 5} more" if len(down) > 5 else ""  # noqa: PLR2004  as many as are named
    return warn(
        "endpoints", f"{len(down)} of {len(all_)} do not answer: {names}{more}", "`mendbook why HOST` says more"
    )
