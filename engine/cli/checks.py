"""What can be said about runbooks beyond their own text: against the samples, the inventory and Ansible itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config.document import Document, read_document
from engine.config.errors import Problem, Severity, quoted, shown
from engine.config.inventory import Inventory, InventoryError
from engine.config.playbooks import find_playbook
from engine.config.tree import Items, KeyPath, Leaf, Table, Tree
from engine.model.labels import METRIC_NAME
from engine.model.runbook import Place, Runbook

if TYPE_CHECKING:
    from engine.app import App
    from engine.config.settings import Settings
    from engine.sources.prometheus import PrometheusEvaluator

ALIKE = 0.9
"""How alike two metrics' names must be for one to be a slip of the other: half of every name is its family's."""
ORIGIN = re.compile(r"^(?P<what>[^\n]+)\nOrigin: (?P<file>[^\n]+):(?P<line>\d+):(?P<column>\d+)$", re.MULTILINE)
"""How Ansible says what is wrong, and where."""
SECTIONS: tuple[KeyPath, ...] = (("trigger",), ("localize", "culprit"), ("guards", "require"), ("verify",), ("params",))
"""Where in a runbook's file an expression, or a piece of one, may stand."""


def unknown_series(runbooks: Sequence[Runbook], known: Collection[str]) -> Iterator[Problem]:
    """Yield a warning for each metric that a runbook cannot do without and that no stored series has."""
    warned: set[tuple[str, str]] = set()
    known = {*known, *own_series()}
    for runbook in runbooks:
        file = runbook.place.file if runbook.place is not None else ""
        for name in metrics_of(runbook):
            if name not in known and (file, name) not in warned:
                warned.add((file, name))
                message = f"no series is called {quoted(name)} so far: {runbook.name} cannot be judged without it"
                close = difflib.get_close_matches(name, known, n=1, cutoff=ALIKE)
                fix = f"did you mean '{close[0]}'?" if close else None
                yield note(file, name, "no-series", message, fix)


def own_series() -> Collection[str]:
    """Return the names of the series that the engine itself makes, whether or not it has done so yet."""
    from engine.app.anomalies import COUNT
    from engine.app.health import HELP
    from engine.core.watching.roster import ANOMALY

    return {*HELP, ANOMALY, COUNT}


def not_concluded(runbooks: Sequence[Runbook], settings: Settings) -> Iterator[Problem]:
    """Yield a warning for each runbook that asks for what the engine concludes by itself, where the settings have it do no such thing.

    So is one that asks for an alarm alone, which is a series while it is on: it is unknown while all is well.
    """
    from engine.app.anomalies import COUNT
    from engine.core.watching.roster import ANOMALY

    apart = settings.evaluator is not None
    for runbook in runbooks:
        file = runbook.place.file if runbook.place is not None else ""
        names = metrics_of(runbook)
        for name in names:
            fix = None
            if name.startswith("mendbook_anomal") and (apart or not settings.anomalies):
                why = "the samples are with a server" if apart else "`anomalies.enabled` is false"
                message = f"nothing is watched by itself, since {why}: {runbook.name} cannot be judged"
            elif name.startswith("mendbook_forecast") and not settings.forecast:
                message = f"nothing is forecast, since `forecast.enabled` is false: {runbook.name} cannot be judged"
            elif name == ANOMALY and COUNT not in names:
                message = f"{name} is a series only while an alarm is on: {runbook.name} is unknown while all is well"
                fix = f"ask for `{COUNT}`, too, which is 0 then"
            else:
                continue
            yield note(file, name, "not-concluded", message, fix)


def tell_refusals(app: App) -> None:
    """Say before anything is judged which runbooks ask the server that evaluates for what it cannot."""
    from engine.cli.output import note as tell

    if app.server is None:
        return
    found = not_understood(app.declarations.catalog.runbooks, app.server)
    if isinstance(found, str):
        tell(f"what the server can evaluate is not known: {found}")
        return
    for problem in found:
        tell(str(problem))


def not_understood(runbooks: Sequence[Runbook], server: PrometheusEvaluator) -> Iterable[Problem] | str:
    """Return a problem for each expression that the server which evaluates refuses; or why it cannot be asked."""
    from engine.sources.query_api import Failure

    refusals = server.refusals({expr for runbook in runbooks for expr in expressions_of(runbook)})
    if isinstance(refusals, Failure):
        return refusals.words
    return refused(runbooks, server.address, refusals)


def refused(runbooks: Sequence[Runbook], address: str, refusals: Mapping[str, str]) -> Iterator[Problem]:
    """Yield a problem for each expression that is refused, at what the server names, where it names something."""
    for runbook in runbooks:
        file = runbook.place.file if runbook.place is not None else ""
        for expr in dict.fromkeys(each for each in expressions_of(runbook) if each in refusals):
            named = re.search(r"name \"(\w+)\"|(\w+)\(\)", refusals[expr])
            word = next(filter(None, named.groups()), expr) if named else expr
            message = f"{address} cannot evaluate what {runbook.name} asks: {refusals[expr]}"
            yield note(
                file,
                word if word in expr else expr,
                "server-refuses",
                message,
                "write it otherwise, or upgrade the server",
            )


def expressions_of(runbook: Runbook) -> tuple[str, ...]:
    """Return the expressions of a runbook."""
    culprit = () if runbook.localize.culprit_expr is None else (runbook.localize.culprit_expr,)
    return (runbook.trigger.expr, runbook.verify.expr, *(each.expr for each in runbook.guards.require), *culprit)


def metrics_of(runbook: Runbook) -> tuple[str, ...]:
    """Return the names of the metrics that a runbook's expressions need."""
    from engine.promql import MatchOperator, ParseError, parse, selectors

    names: dict[str, None] = {}
    for expr in expressions_of(runbook):
        try:
            selected = selectors(parse(expr))
        except ParseError:
            continue  # the loader has said so
        for each in selected:
            for matcher in each.matchers if each.needed else ():
                if matcher.name == METRIC_NAME and matcher.operator is MatchOperator.EQUAL:
                    names[matcher.value] = None
    return tuple(names)


def note(file: str, name: str, code: str, message: str, fix: str | None) -> Problem:
    """Return a warning at the first place in a runbook's expressions or params where `name` is written."""
    document = document_of(file)
    for section in SECTIONS:
        for path, text in leaves(document.at(section), section):
            offset = text.find(name)
            if offset >= 0:
                return document.problem(
                    code, message, path, offset=offset, width=len(name), fix=fix, severity=Severity.WARNING
                )
    return document.problem(code, message, ("runbook",), at_key=True, fix=fix, severity=Severity.WARNING)


def leaves(tree: Tree | None, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield every text in a part of a file, with where it stands."""
    match tree:
        case Leaf(text=text):
            yield path, text
        case Table(entries=entries):
            for key, entry in entries.items():
                yield from leaves(entry.value, (*path, key))
        case Items(items=items):
            for number, item in enumerate(items):
                yield from leaves(item, (*path, number))


@lru_cache(maxsize=256)
def document_of(file: str) -> Document:
    """Return a runbook's file, read once."""
    return read_document(Path(file))


def unmatched_patterns(runbooks: Sequence[Runbook], settings: Settings, inventory: Inventory) -> Iterator[Problem]:
    """Yield a warning for each host pattern, of a source or of a remedy's step, that matches no host now."""
    sources = [(each.hosts, each.key) for each in settings.expositions]
    sources += [(each.hosts, each.key) for each in settings.probes]
    for hosts, key in sources:
        if (why := unmatched(hosts, inventory)) is not None:
            yield settings.document.problem("no-host", why, (*key, "hosts"), severity=Severity.WARNING)
    seen: set[tuple[str, str]] = set()
    for runbook in runbooks:
        file = runbook.place.file if runbook.place is not None else ""
        for remedy in runbook.ladder:
            for step in (*remedy.steps, *remedy.finally_):
                pattern = step.hosts
                if pattern is None or "{{" in pattern or "{%" in pattern or (file, pattern) in seen:
                    continue
                seen.add((file, pattern))
                if (why := unmatched(pattern, inventory)) is not None:
                    yield pattern_problem(file, pattern, why)


def unmatched(pattern: str, inventory: Inventory) -> str | None:
    """Say why a pattern names no host; None when it names some."""
    try:
        if inventory.resolve(pattern):
            return None
    except InventoryError as error:
        return f"the pattern {quoted(pattern)} cannot be read: {error}"
    return f"the pattern {quoted(pattern)} matches no host of the inventory"


def pattern_problem(file: str, pattern: str, why: str) -> Problem:
    """Return a warning where a step's `hosts` has this pattern."""
    document = document_of(file)
    for key in ("remedies", "rescue"):
        for path, text in leaves(document.at((key,)), (key,)):
            if path[-1] == "hosts" and text.strip() == pattern.strip():
                return document.problem("no-host", why, path, width=len(text), severity=Severity.WARNING)
    return document.problem("no-host", why, ("remedies",), at_key=True, severity=Severity.WARNING)


def broken_playbooks(runbooks: Sequence[Runbook], settings: Settings) -> Iterator[Problem]:
    """Yield an error for each playbook that Ansible cannot read, in Ansible's own words."""
    from engine.executor.check import syntax_check

    names = dict.fromkeys(
        step.playbook for runbook in runbooks for remedy in runbook.ladder for step in (*remedy.steps, *remedy.finally_)
    )
    for name in names:
        path = find_playbook(name, settings.playbooks)
        if path is not None and (wrong := syntax_check(path, settings.inventory)) is not None:
            yield of_ansible("bad-playbook", wrong, Place(shown(path), 1, 1))


def of_ansible(code: str, said: str, place: Place | None) -> Problem:
    """Return what Ansible says as a problem of its own place where it names one, else of the place given."""
    found = ORIGIN.search(said)
    if found is None:
        return Problem(code, said, place)
    file, line = Path(found["file"]), int(found["line"])
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    source = lines[line - 1] if 0 < line <= len(lines) else ""
    message = found["what"].removeprefix("[ERROR]: ")
    return Problem(code, message, Place(shown(file), line, int(found["column"])), source)
