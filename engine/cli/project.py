"""The project that a command works on, and what may go wrong with it, said with the right exit code."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.exits import Exit, Failure
from engine.cli.output import clean, note

if TYPE_CHECKING:
    from engine.app import App
    from engine.config.inventory import Inventory
    from engine.config.runbooks import Loaded
    from engine.config.settings import Settings

EXPECTED = {
    ("engine.config.errors", "ConfigError"): Exit.ERROR,
    ("engine.config.inventory", "InventoryError"): Exit.ERROR,
    ("engine.records.errors", "RecordError"): Exit.ERROR,
    ("engine.records.errors", "RecordUnavailableError"): Exit.UNAVAILABLE,
    ("engine.records.history", "AmbiguousError"): Exit.USAGE,
    ("engine.samples.store", "SamplesLocked"): Exit.UNAVAILABLE,
    ("engine.samples.store", "SamplesFull"): Exit.ERROR,
    ("engine.app.wiring", "BusyError"): Exit.UNAVAILABLE,
    ("engine.app.wiring", "AppError"): Exit.ERROR,
    ("engine.app.subject", "AskedError"): Exit.USAGE,
    ("engine.app.backtest", "NoSamplesError"): Exit.UNAVAILABLE,
    ("engine.chaos.place", "RefusedError"): Exit.REFUSED,
    ("engine.chaos.place", "DrillError"): Exit.ERROR,
    ("engine.lab.control", "ControlError"): Exit.UNAVAILABLE,
    ("engine.lab.cluster", "ClusterError"): Exit.ERROR,
    ("engine.lab.vagrant.plan", "LabError"): Exit.ERROR,
}
"""Errors that are part of life, each with its exit code: the class is looked up only where its module was imported."""


@contextmanager
def opened(trouble: Callable[[str], None] = note, *, looking: bool = False) -> Iterator[App]:
    """Give the project that the working directory lies in, and close it; what is expected to go wrong is a Failure.

    Who is only `looking` at the record may do so while the settings are wrong.
    """
    start = here()
    with expected():
        from engine.app import App
        from engine.cli.logs import configure

        configure()
        with App(forgiven(start), trouble=trouble) if looking else App.open(start, trouble=trouble) as app:
            if app.settings.file is None:
                note(f"no mendbook.yml in {start} or above: defaults hold, the record is {app.settings.record_place}")
            yield app


def forgiven(start: Path) -> Settings:
    """Return the settings; when they are wrong, what of them says where the record is, which is enough to look and to stop.

    Raises ConfigError where not even that can be read, and none is where it would be without a word.
    """
    from engine.config.errors import ConfigError, errors
    from engine.config.settings import find_settings, read_settings

    settings, problems = read_settings(find_settings(start), start)
    if not errors(problems):
        return settings
    if settings.document.root is None and settings.database is None and not settings.record.exists():
        raise ConfigError(problems)
    state, record = settings.document.data.get("state"), settings.document.data.get("record")
    url = record.get("url") if isinstance(record, Mapping) else None
    settings = dataclasses.replace(
        settings,
        state=settings.root / Path(state).expanduser() if isinstance(state, str) else settings.state,
        database=settings.database or (url if isinstance(url, str) else None),
    )
    note(f"mendbook.yml is wrong, `mendbook lint` says how; the record is {settings.record_place}")
    return settings


def hosts(app: App) -> Inventory:
    """Return the hosts, whatever is wrong with runbooks. Raises InventoryError."""
    from engine.config.inventory import load_inventory

    return load_inventory(app.settings.inventory, app.settings.state / "inventory.json")


def runbooks(app: App, inventory: Inventory) -> Loaded:
    """Return the runbooks that can be read: to look at them, not to act by them; what is wrong is among its problems."""
    from engine.config.runbooks import load_runbooks

    return load_runbooks(app.settings.runbooks, fleet=inventory.fleet, settings=app.settings)


def outdated(app: App, since: float | None) -> str:
    """Say that the settings were written after the engine that began at `since`; "" when it goes by them as they stand.

    Runbooks, playbooks and the inventory are read again while it runs; of the settings what says how far it may go.
    """
    file = app.settings.file
    try:
        changed = file is not None and since is not None and file.stat().st_mtime > since
    except OSError:  # gone meanwhile: the next start says so
        return ""
    return (
        f"{file.name} changed since the engine began: if it has no mistake, modes, params, limits, approval, protected and canaries "
        "count already, all else counts from its restart on"
        if file and changed
        else ""
    )


def here() -> Path:
    """Return the working directory; a Failure when it was removed meanwhile."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise Failure("the working directory is gone: change to one that exists, or name one with -C") from error


@contextmanager
def expected() -> Iterator[None]:
    """Turn every error that is part of life into a Failure with its exit code."""
    try:
        yield
    except BrokenPipeError:  # whoever read this has gone: no failure
        raise
    except known() as error:
        raise Failure(clean(words(error)), code_of(error)) from error


def known() -> tuple[type[BaseException], ...]:
    """Return the errors that may have been raised by what was imported so far."""
    return (OSError, *(each for name in EXPECTED if (each := found(*name)) is not None))


def found(module: str, name: str) -> type[BaseException] | None:
    """Return an error's class; None when its module was never imported, so that nothing can have raised it."""
    each = getattr(sys.modules.get(module), name, None)
    return each if isinstance(each, type) and issubclass(each, BaseException) else None


def code_of(error: BaseException) -> Exit:
    """Return the exit code of an expected error; a narrower class counts before its base."""
    codes = {each: code for name, code in EXPECTED.items() if (each := found(*name)) is not None}
    return next((codes[kind] for kind in type(error).__mro__ if kind in codes), Exit.ERROR)


def words(error: BaseException) -> str:
    """Return what an error says to people."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
