"""Loads runbooks: every problem of every file, and from the files without errors one Runbook for each variant."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.config.building import build
from engine.config.checking import check
from engine.config.consistency import contradictions
from engine.config.document import Document, read_document
from engine.config.errors import ConfigError, Problem, errors, in_order, quoted, shown
from engine.config.expressions import Expressions
from engine.config.filling import ABOUT, Filling
from engine.config.playbooks import SUFFIXES, find_playbook, playbook_problems
from engine.config.project import Settings
from engine.config.runbook_file import RunbookFile
from engine.config.variants import Variant, unknown_names, variants
from engine.model.runbook import Place, Runbook, Scalar
from engine.model.target import Fleet

Digest = Callable[[Sequence[Path]], str]
"""Returns a digest over playbooks and everything that they use."""


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
    unread: set[str] = set()  # what the settings say of these is not wrong because a file is
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
            if not found:
                unread.add(path.stem)
            named[name] = document.place(("runbook",))
            own = document.data.get("params")
            params[name] = list(own) if isinstance(own, Mapping) else []
            runbooks += found
        else:
            unread.add(path.stem)
    problems += unknown_names(settings, fleet, params, {*named, *unread})
    return Loaded(tuple(runbooks), in_order(problems))


def playbooks_of(runbook: Runbook, folders: Sequence[Path]) -> list[Path]:
    """Return the files of a runbook's playbooks, in the order in which its digest covers them."""
    steps = (step for remedy in runbook.ladder for step in (*remedy.steps, *remedy.finally_))
    found = (find_playbook(step.playbook, folders) for step in steps)
    return sorted({playbook for playbook in found if playbook is not None})


def runbook_files(paths: Iterable[Path], problems: list[Problem]) -> Iterator[Path]:
    """Yield the files that are named, and those in the folders that are, by name; a file that is named twice once."""
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            problems.append(Problem("unreadable", "there is no such file or folder", Place(shown(path), 1, 1)))
            continue
        inside = (
            [each for each in path.iterdir() if each.suffix in SUFFIXES and each.name[0] != "."]
            if path.is_dir()
            else [path]
        )
        for file in sorted(inside):
            if (real := file.resolve()) not in seen:
                seen.add(real)
                yield file


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
        expressions = Expressions(self.document, filling.expressions)
        expressions.check_all(data)
        # what is no template, or no YAML, is not also of the wrong kind
        explained = filling.explained | {problem.place for problem in self.document.problems}
        found = [*filling.problems]
        found += [problem for problem in (*problems, *expressions.problems) if problem.place not in explained]
        found += playbook_problems(data, self.document, self.settings.playbooks)
        if content is None:
            return None, found
        found += contradictions(content, self.document, self.fleet)
        if errors(found):
            return None, found
        return build(content, variant, params, expressions.longest, self.document), found

    def _restrict(self, runbook: Runbook, variant: Variant) -> Runbook:
        return replace(runbook, hosts=variant.hosts, mode=variant.mode or runbook.mode)

    def _digest(self, runbook: Runbook) -> str:
        playbooks = playbooks_of(runbook, self.settings.playbooks)
        whole = hashlib.sha256(self.document.text.encode())
        if self.digest is not None:
            whole.update(b"\0" + self.digest(playbooks).encode())
        return whole.hexdigest()
