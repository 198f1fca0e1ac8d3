"""What a backtest is about: a runbook of the project or a draft, among the others, with the mode and the params that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.app.declarations import Declarations, Mark, Read
from engine.app.wiring import AppError
from engine.config.document import read_document
from engine.config.errors import ConfigError, Problem, did_you_mean, errors, quoted, shown
from engine.config.inventory import load_inventory
from engine.config.playbooks import SUFFIXES
from engine.config.project import Layers
from engine.config.runbooks import load_runbooks, runbook_files
from engine.config.settings import Settings
from engine.model.runbook import Approval, Catalog, Mode, Runbook, Scalar


class AskedError(AppError):
    """What was asked for is not there; the message says what is."""


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


@dataclass(frozen=True, slots=True)
class Subject:
    """What is replayed: what was asked for, what is declared besides, and the runbook's name."""

    asked: Asked
    declarations: AsRead
    catalog: Catalog
    name: str


def declared(settings: Settings, asked: Asked, trouble: Callable[[str], None]) -> Subject:
    """Return what is to be replayed. Raises ConfigError, InventoryError, AppError."""
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
    return Subject(asked, declarations, catalog, own[0].name)


def with_runbook(settings: Settings, asked: str) -> tuple[Settings, Path]:
    """Return the settings with the runbook that is asked for among the runbooks, in place of another of its name; and its file."""
    problems: list[Problem] = []
    files = list(runbook_files(settings.runbooks, problems))
    named = Path(asked)
    if named.suffix not in SUFFIXES and "/" not in asked:
        return settings, file_of(asked, files)
    if not named.is_file():
        raise AskedError(no_file(named, files))
    name = name_in(named)
    others = [each for each in files if each.resolve() != named.resolve() and name_in(each) != name]
    return replace(settings, runbooks=(*others, named)), named


def no_file(named: Path, files: Collection[Path]) -> str:
    """Say that there is no such file, with what was meant, perhaps."""
    if named.is_dir():
        inside = sorted(each.name for each in named.iterdir() if each.suffix in SUFFIXES)
        return f"{quoted(str(named))} is a folder: name a file in it" + (f", as in {inside[0]}" if inside else "")
    fix = did_you_mean(named.name, [each.name for each in files])
    whose = next((name_in(each) for each in files if named.stem in (each.stem, name_in(each))), "")
    if whose:
        fix = f"the project has a runbook of that name: ask for {quoted(whose)}"
    return f"there is no file {quoted(str(named))}; {fix or 'name a runbook of the project, or the file of a draft'}"


def file_of(name: str, files: list[Path]) -> Path:
    """Return the file of the runbook of a name. Raises AskedError with the one that may have been meant."""
    likely = sorted(files, key=lambda each: each.stem != name)
    names = {}
    for each in likely:
        names[name_in(each)] = each
        if name in names:
            return names[name]
    known = sorted(filter(None, names))
    fix = did_you_mean(name, known) or (f"there are {', '.join(known)}" if known else "the project has none")
    raise AskedError(f"there is no runbook {quoted(name)}; {fix} (a draft is named by its file, as in ./draft.yml)")


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
