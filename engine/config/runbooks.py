"""Loads runbooks: every problem of every file, and from the files without errors one Runbook for each variant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.config.checking import check
from engine.config.document import Document, read_document
from engine.config.errors import ConfigError, Problem, Severity, did_you_mean, errors, in_order, quoted, shown
from engine.config.expressions import Expressions
from engine.config.filling import ABOUT, Filling
from engine.config.runbook_file import RemedySection, RunbookFile, StepSection, TriggerSection
from engine.config.settings import Settings
from engine.config.tree import KeyPath
from engine.config.variants import Variant, unknown_names, variants
from engine.model.runbook import (
    Condition,
    Guards,
    Localization,
    MinHealthy,
    Place,
    Remedy,
    Runbook,
    Scalar,
    Scope,
    Step,
    Trigger,
    Verify,
)
from engine.model.target import Fleet

Digest = Callable[[Sequence[Path]], str]
"""Returns a digest over playbooks and everything that they use."""
SUFFIXES = (".yml", ".yaml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read, variants side by side, and what is wrong, warnings too; a file with an error gives no runbook."""

    runbooks: tuple[Runbook, ...] = ()
    problems: tuple[Problem, ...] = ()

    def checked(self) -> tuple[Runbook, ...]:
        """Return the runbooks; raises ConfigError, with all problems, when there is an error among them."""
        if errors(self.problems):
            raise ConfigError(self.problems)
        return self.runbooks


def load_runbooks(paths: Sequence[Path], *, fleet: Fleet, settings: Settings, digest: Digest | None = None) -> Loaded:
    """Return the runbooks in these files and folders, one for each variant that the settings' overrides make.

    `digest` covers playbooks and what they use; without it, a runbook's digest is over its own file alone.
    """
    problems: list[Problem] = []
    runbooks: list[Runbook] = []
    named: dict[str, Place] = {}
    params: dict[str, Collection[str]] = {}
    for path in runbook_files(paths, problems):
        document = read_document(path)
        one = _File(path, document, fleet, settings, digest)
        found = one.load()
        problems += one.problems
        name = document.data.get("runbook")
        if isinstance(name, str) and name in named:
            message = f"a runbook is called {quoted(name)} already, at {named[name]}"
            problems.append(document.problem("duplicate-name", message, ("runbook",)))
        elif isinstance(name, str):
            named[name] = document.place(("runbook",))
            own = document.data.get("params")
            params[name] = list(own) if isinstance(own, Mapping) else []
            runbooks += found
    problems += unknown_names(settings, fleet, params, named)
    return Loaded(tuple(runbooks), in_order(problems))


def runbook_files(paths: Iterable[Path], problems: list[Problem]) -> Iterator[Path]:
    """Yield the files that are named, and those in the folders that are, by name."""
    for path in paths:
        if path.is_dir():
            yield from sorted(
                each for each in path.iterdir() if each.suffix in SUFFIXES and not each.name.startswith(".")
            )
        elif path.exists():
            yield path
        else:
            problems.append(Problem("unreadable", "there is no such file or folder", Place(shown(path), 1, 1)))


@dataclass(slots=True)
class _File:
    """One file on its way to runbooks."""

    path: Path
    document: Document
    fleet: Fleet
    settings: Settings
    digest: Digest | None
    problems: list[Problem] = field(default_factory=list)

    def load(self) -> list[Runbook]:
        """Return the file's runbooks; none when anything is wrong with it."""
        self.problems += self.document.problems
        if self.document.root is None:
            return []
        name = self.document.data.get("runbook")
        defaults = self._params()
        found, ambiguous = variants(name if isinstance(name, str) else "", self.settings, self.fleet)
        self.problems += ambiguous
        plain, own = self._variant(Variant({}, None, None), defaults)
        self.problems += own
        runbooks = [] if plain is None else [self._restrict(plain, variant) for variant in found if not variant.params]
        for variant in found:
            if not variant.params:
                continue
            runbook, problems = self._variant(variant, {**defaults, **variant.params})
            self.problems += [
                replace(problem, message=f"{problem.message} (with {variant} from {self.settings.document.file})")
                for problem in problems
                if problem not in own
            ]
            if runbook is not None:
                runbooks.append(self._restrict(runbook, variant))
        if errors(self.problems):
            return []
        digest = self._digest(runbooks[0]) if runbooks else ""
        return [replace(runbook, digest=digest) for runbook in runbooks]

    def _params(self) -> dict[str, Scalar]:
        """Return the params' defaults; their names must not hide what templates speak of otherwise."""
        written = self.document.data.get("params")
        defaults: dict[str, Scalar] = {}
        for name, value in written.items() if isinstance(written, Mapping) else ():
            if not name.isidentifier() or name in ABOUT:
                message = f"{quoted(name)} cannot be a param's name"
                fix = "letters, digits and _ make one" if name not in ABOUT else "it means something else in templates"
                self.problems.append(
                    self.document.problem("wrong-value", message, ("params", name), at_key=True, fix=fix)
                )
            if value is None or isinstance(value, str | int | float | bool):
                defaults[name] = value
        return defaults

    def _variant(self, variant: Variant, params: Mapping[str, Scalar]) -> tuple[Runbook | None, list[Problem]]:
        """Return the runbook with these params, or None, and what is wrong with it."""
        filling = Filling(self.document, params)
        data = filling.fill(self.document.data)
        assert isinstance(data, Mapping)  # noqa: S101  (a mapping stays one)
        content, problems = check(RunbookFile, data, self.document)
        found = [*filling.problems, *problems]
        if content is None:
            return None, found
        expressions = Expressions(self.document, filling.expressions)
        runbook = self._build(content, variant, params, expressions, found)
        found += expressions.problems
        return (None if errors(found) else replace(runbook, longest_range=expressions.longest)), found

    def _build(
        self,
        content: RunbookFile,
        variant: Variant,
        params: Mapping[str, Scalar],
        expressions: Expressions,
        problems: list[Problem],
    ) -> Runbook:
        guards = content.guards
        healthy = guards.min_healthy
        expressions.condition(content.trigger.expr, ("trigger", "expr"), content.trigger.scope)
        expressions.condition(content.verify.expr, ("verify", "expr"), content.verify.scope)
        for number, each in enumerate(guards.require):
            path: KeyPath = ("guards", "require", number)
            path = path if path in expressions.places else (*path, "expr")
            expressions.condition(each.expr, path, each.scope)
        self._times(content, problems)
        return Runbook(
            name=content.runbook,
            summary=content.summary,
            trigger=_trigger(content.trigger),
            localize=self._localize(content, expressions, problems),
            remedies=self._remedies(content, problems),
            verify=Verify(content.verify.expr, content.verify.for_, content.verify.within, content.verify.scope),
            guards=Guards(
                guards.cooldown,
                guards.max_attempts,
                None if healthy is None else MinHealthy(healthy.group, *healthy.at_least),
                guards.max_per_hour,
                guards.max_concurrent,
                tuple(Condition(each.expr, each.scope) for each in guards.require),
            ),
            purpose=content.purpose,
            mode=variant.mode or content.mode,
            priority=content.priority,
            place=self.document.place(("runbook",), at_key=True),
            params=dict(params),
        )

    def _times(self, content: RunbookFile, problems: list[Problem]) -> None:
        if content.verify.for_ > content.verify.within:
            message = "a signal cannot hold for longer than the time it has: 'for' is more than 'within'"
            problems.append(self.document.problem("wrong-value", message, ("verify", "for")))

    def _localize(self, content: RunbookFile, expressions: Expressions, problems: list[Problem]) -> Localization:
        localize, culprit = content.localize, content.localize.culprit
        fleet_wide = content.trigger.scope is Scope.FLEET
        if culprit is not None and culprit.expr is not None:
            expressions.vector(culprit.expr, ("localize", "culprit", "expr"), content.trigger.scope)
        if fleet_wide and localize.target is None:
            message = "a trigger with 'scope: fleet' needs 'target': nothing else says which host is acted on"
            problems.append(self.document.problem("missing-key", message, ("localize",), at_key=True))
        if not fleet_wide and localize.target is not None:
            message = "'target' is for a trigger with 'scope: fleet'; otherwise the alert says which host it is"
            problems.append(self.document.problem("wrong-value", message, ("localize", "target"), at_key=True))
        elif localize.target is not None and len(self.fleet) and self.fleet.get(localize.target) is None:
            message = f"the inventory has no host {quoted(localize.target)}"
            fix = did_you_mean(localize.target, list(self.fleet.targets))
            path = ("localize", "target")
            problems.append(self.document.problem("unknown-name", message, path, fix=fix, severity=Severity.WARNING))
        return Localization(
            localize.resource,
            culprit.expr if culprit else None,
            culprit.label if culprit else None,
            localize.target,
        )

    def _remedies(self, content: RunbookFile, problems: list[Problem]) -> tuple[Remedy, ...]:
        if not content.remedies:
            problems.append(self.document.problem("no-remedies", "there is nothing that it could do", ("remedies",)))
        return tuple(self._remedy(remedy, ("remedies", rung), problems) for rung, remedy in enumerate(content.remedies))

    def _remedy(self, remedy: RemedySection, path: KeyPath, problems: list[Problem]) -> Remedy:
        given = [key for key in ("hosts", "vars", "timeout") if key in remedy.model_fields_set]
        if remedy.playbook is not None and remedy.steps is not None:
            message = "a remedy has a 'playbook' or 'steps', not both"
            problems.append(self.document.problem("wrong-value", message, (*path, "steps"), at_key=True))
        elif remedy.playbook is None and not remedy.steps:
            message = "a remedy needs a 'playbook', or 'steps'"
            problems.append(self.document.problem("missing-key", message, path, at_key=True))
        elif remedy.steps is not None:
            problems += [
                self.document.problem("wrong-value", f"'{key}' belongs into a step", (*path, key), at_key=True)
                for key in given
            ]
        if remedy.playbook is not None:
            alone = Step(remedy.playbook, remedy.hosts, dict(remedy.vars), remedy.timeout)
            self._playbook(remedy.playbook, (*path, "playbook"), problems)
            steps: tuple[Step, ...] = (alone,)
        else:
            steps = self._steps(remedy.steps or (), (*path, "steps"), problems)
        return Remedy(
            remedy.name, steps, self._steps(remedy.finally_, (*path, "finally"), problems), remedy.destructive
        )

    def _steps(self, steps: Sequence[StepSection], path: KeyPath, problems: list[Problem]) -> tuple[Step, ...]:
        for number, step in enumerate(steps):
            self._playbook(step.playbook, (*path, number, "playbook"), problems)
        return tuple(Step(step.playbook, step.hosts, dict(step.vars), step.timeout) for step in steps)

    def _playbook(self, name: str, path: KeyPath, problems: list[Problem]) -> None:
        """Note a playbook that is missing or lies outside the playbook folders."""
        if Path(name).is_absolute() or ".." in Path(name).parts:
            message = f"{quoted(name)} leads out of the playbook folders"
            problems.append(self.document.problem("bad-playbook", message, path, fix="name a file below them"))
        elif find_playbook(name, self.settings.playbooks) is None:
            folders = ", ".join(shown(folder) for folder in self.settings.playbooks) or "no folder"
            there = [each.name for folder in self.settings.playbooks for each in _yaml_in(folder)]
            message = f"there is no playbook {quoted(name)} (looked in {folders})"
            fix = did_you_mean(name, there)
            problems.append(self.document.problem("missing-playbook", message, path, fix=fix))

    def _restrict(self, runbook: Runbook, variant: Variant) -> Runbook:
        return replace(runbook, hosts=variant.hosts, mode=variant.mode or runbook.mode)

    def _digest(self, runbook: Runbook) -> str:
        steps = (step for remedy in runbook.remedies for step in (*remedy.steps, *remedy.finally_))
        found = (find_playbook(step.playbook, self.settings.playbooks) for step in steps)
        playbooks = sorted({playbook for playbook in found if playbook is not None})
        whole = hashlib.sha256(self.document.text.encode())
        if self.digest is not None:
            whole.update(b"\0" + self.digest(playbooks).encode())
        return whole.hexdigest()


def _trigger(section: TriggerSection) -> Trigger:
    return Trigger(
        section.alert,
        section.expr,
        section.for_,
        section.keep_firing_for,
        dict(section.labels),
        dict(section.annotations),
        section.scope,
    )


def find_playbook(name: str, folders: Sequence[Path]) -> Path | None:
    """Return where a playbook is, links followed; None when it is in none of the folders, or leads out of them."""
    for folder in folders:
        try:
            root = folder.resolve(strict=True)
            found = (root / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            continue
        if found.is_file() and found.is_relative_to(root):
            return found
    return None


def _yaml_in(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)
    except OSError:
        return []
