"""`mendbook lint`: everything that is wrong with people's files, found before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.exits import Exit
from engine.cli.output import clean, emit, note, output_option
from engine.cli.words import counted

if TYPE_CHECKING:
    from engine.config.errors import Problem
    from engine.config.inventory import Inventory
    from engine.config.runbooks import Loaded
    from engine.config.settings import Settings

EPILOG = """\b
Examples:
  mendbook lint                              mendbook.yml, the inventory and every runbook
  mendbook lint runbooks/disk-full.yml       one runbook, as the project's settings fill it in
  mendbook lint --syntax-check               also have Ansible read every playbook
  mendbook lint --strict -o json             warnings count too; for programs

\b
Exit codes: 0 nothing (or warnings), 3 errors (with --strict: or warnings).
"""
COLORS = {"error": "red", "warning": "yellow"}


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--syntax-check", is_flag=True, help="Have Ansible read every playbook, which takes seconds.")
@click.option("--strict", is_flag=True, help="Let warnings fail, too.")
@output_option
def command(files: tuple[Path, ...], syntax_check: bool, strict: bool, output: str) -> int:
    """Check runbooks, settings and inventory."""
    from engine.cli import checks, logs
    from engine.cli.project import expected, here
    from engine.config.errors import errors, in_order
    from engine.config.settings import find_settings, read_settings

    logs.configure()
    start = here()
    with expected():
        settings, problems = read_settings(find_settings(start), start)
        inventory, odd = hosts(settings)
        loaded = load(settings, inventory, files)
        found = [*problems, *odd, *loaded.problems]
        found += checks.unmatched_patterns(loaded.runbooks, settings, inventory)
        if not errors(problems):  # else runbooks lack the params that the settings give them
            found += against_samples(loaded, settings)
            found += checks.not_concluded(loaded.runbooks, settings)
        found += against_server(loaded, settings)
        if syntax_check:
            note("asking Ansible about every playbook …")
            found += checks.broken_playbooks(loaded.runbooks, settings)
    shown = in_order(only(found, files))
    if output == "table":
        for place, problem in enumerate(shown):
            first, _, rest = clean(str(problem)).partition(" ")
            click.echo(f"{chr(10) if place else ''}{click.style(first, fg=COLORS[problem.severity])} {rest}")
    else:
        emit(shown, output)
    bad = len(errors(shown))
    told = f"{counted(bad, 'error')}, {counted(len(shown) - bad, 'warning')}" if shown else "nothing to complain of"
    names = {runbook.name for runbook in loaded.runbooks}
    note(f"{counted(len(names), 'runbook')} and {counted(len(inventory.fleet), 'host')}: {told}")
    return Exit.FINDINGS if bad or (strict and shown) else Exit.OK


def hosts(settings: Settings) -> tuple[Inventory, Sequence[Problem]]:
    """Return the inventory with what is odd about it; one that Ansible cannot read is empty, with the reason."""
    from engine.cli.checks import of_ansible
    from engine.config.errors import shown as called
    from engine.config.inventory import Inventory, InventoryError, load_inventory
    from engine.model.runbook import Place

    try:
        inventory = load_inventory(settings.inventory, settings.state / "inventory.json")
    except InventoryError as error:
        place = Place(called(settings.inventory[0]), 1, 1) if settings.inventory else None
        return Inventory(settings.inventory), (of_ansible("bad-inventory", str(error), place),)
    return inventory, inventory.problems


def load(settings: Settings, inventory: Inventory, files: Sequence[Path]) -> Loaded:
    """Return the project's runbooks, and those of other files that were named: what is known as something else is none."""
    from engine.config.runbooks import load_runbooks, runbook_files

    known = {path.resolve() for path in runbook_files(settings.runbooks, [])}
    own = settings.file.resolve() if settings.file is not None else None
    apart = {path.resolve() for path in (*settings.inventory, *settings.playbooks)}
    named = [
        path
        for path in runbook_files(files, [])
        if (real := path.resolve()) not in known and real != own and not apart & {real, *real.parents}
    ]
    return load_runbooks((*settings.runbooks, *named), fleet=inventory.fleet, settings=settings)


def against_samples(loaded: Loaded, settings: Settings) -> Iterable[Problem]:
    """Return warnings about metrics that were never collected; nothing when nothing was."""
    from engine.cli.checks import unknown_series

    names, why = known_metrics(settings)
    if not names:
        note(f"{why}: whether the metrics that runbooks name exist could not be checked")
        return ()
    return tuple(unknown_series(loaded.runbooks, names | {rule.record for rule in settings.recording}))


def against_server(loaded: Loaded, settings: Settings) -> Iterable[Problem]:
    """Return warnings about what the server that evaluates cannot; nothing where none does, or where it cannot be asked."""
    from engine.app import App
    from engine.cli.checks import not_understood

    with App(settings) as app:
        found = () if app.server is None else not_understood(loaded.runbooks, app.server)
        if isinstance(found, str):
            note(f"{found}: whether the server can evaluate what runbooks ask could not be checked")
            return ()
        return tuple(found)


def known_metrics(settings: Settings) -> tuple[frozenset[str], str]:
    """Return the names of the metrics that expressions are evaluated over, and why there are none where there are none."""
    from engine.app import App

    with App(settings) as app:
        if app.server is None:
            return frozenset(each.get("__name__", "") for each in app.read_samples().series()), "no samples yet"
        names = app.server.metrics()
        if isinstance(names, frozenset):
            return names, f"{app.server.address} has no samples"
        return frozenset(), names.words


def only(found: Iterable[Problem], files: Sequence[Path]) -> list[Problem]:
    """Return the problems of the files that were named; all of them when none was."""
    if not files:
        return list(found)
    wanted = {path.resolve() for path in files}
    return [
        each
        for each in found
        if each.place is not None
        and (Path(each.place.file).resolve() in wanted or wanted & set(Path(each.place.file).resolve().parents))
    ]
