"""Reads experiments: Chaos Mesh's `PhysicalMachineChaos`, extended by annotations, every mistake with its place and its fix."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from engine.chaos.actions import CHAOS_MESH, ELSEWHERE, OWN, Action, Kind, Knob
from engine.chaos.experiment import Ending, Experiment, Injection, Pick, Truth, When
from engine.config.document import LARGEST_FILE, Document, parse_document, read_document
from engine.config.errors import ConfigError, Problem, did_you_mean, errors, quoted, shown
from engine.config.tree import Items, KeyPath, Leaf, Table
from engine.model.runbook import Place, Scalar

API, KIND = "chaos-mesh.org/v1alpha1", "PhysicalMachineChaos"
OURS, WITH = "mendbook.drill/", "inject.mendbook.drill/"
USER_DEFINED = "user_defined"
"""The action of a document whose annotation `inject` says what is done: Chaos Mesh itself refuses it for want of a command."""
KNOWN = frozenset(
    [
        "summary",
        "inject",
        "when",
        "node",
        "resource",
        "culprit",
        "expect",
        "within",
        "runbooks",
        "hosts",
        "symptoms",
        "recovered",
        "watched",
        "observe",
    ]
)
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BREAK = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)
ROLES = ("primary", "replica")
EXPECTED = (Ending.HEALED, Ending.HELD, Ending.ESCALATED)
E = TypeVar("E", bound=StrEnum)
LONGEST = 3600.0
"""Seconds that an injection may last at most."""


def read_experiment(path: Path) -> Experiment:
    """Return the experiment that a file describes. Raises ConfigError with everything that is wrong with it."""
    first = read_document(path)
    if first.text == "" and first.problems:
        raise ConfigError(first.problems)
    try:
        raw = path.read_bytes()[: LARGEST_FILE + 1]
    except OSError as error:
        raise ConfigError([Problem("unreadable", error.strerror or str(error), Place(shown(path), 1, 1))]) from error
    return parse_experiment(shown(path), raw.decode("utf-8-sig"), path)


def parse_experiment(file: str, text: str, path: Path) -> Experiment:
    """Return the experiment of a text, one injection a document. Raises ConfigError."""
    readings = [Reading(document) for document in documents(file, text)]
    injections = [reading.injection() for reading in readings]
    problems = [problem for reading in readings for problem in (*reading.document.problems, *reading.problems)]
    if not readings:
        problems.append(Problem("empty", "the file is empty", Place(file, 1, 1)))
    whole = [each for each in injections if each is not None]
    if not errors(problems) and not any(each.truth is not None for each in whole):
        fix = f"add '{OURS}resource' and '{OURS}culprit' to its annotations"
        problems.append(Problem("missing-key", "nothing says what ought to be found", Place(file, 1, 1), fix=fix))
    if errors(problems) or len(whole) != len(injections):
        raise ConfigError(problems)
    head = readings[0]
    return Experiment(
        name=whole[0].name,
        summary=head.text(f"{OURS}summary") or whole[0].name,
        injections=tuple(whole),
        file=path,
        digest=hashlib.sha256(text.encode()).hexdigest()[:16],
        observe=head.span(f"{OURS}observe", 30.0),
    )


def documents(file: str, text: str) -> Iterator[Document]:
    """Yield each document of a text; its places count from the start of the text."""
    start = 0
    for found in (*_BREAK.finditer(text), None):
        end = len(text) if found is None else found.start()
        part = text[start:end]
        if re.sub(r"(?m)#.*$", "", part).strip():
            yield parse_document(file, "\n" * text.count("\n", 0, start) + part)
        start = end if found is None else found.end()


@dataclass(slots=True)
class Reading:
    """Reads one document; what is wrong with it gathers in `problems`."""

    document: Document
    problems: list[Problem] = field(default_factory=list)

    def injection(self) -> Injection | None:
        """Return the injection, or None when something is wrong."""
        if self.document.root is None:
            return None
        self.known((), ("apiVersion", "kind", "metadata", "spec"))
        self.exactly(("apiVersion",), API)
        self.exactly(("kind",), KIND)
        self.known(("metadata",), ("name", "namespace", "annotations", "labels"))
        name = self.need(("metadata", "name"))
        for key in self.keys(("metadata", "annotations")):
            if not isinstance(self.value(("metadata", "annotations", key)), str):
                self.note(
                    "wrong-type", "an annotation is text", ("metadata", "annotations", key), fix="put it in quotes"
                )
            elif key.startswith(OURS) and key.removeprefix(OURS) not in KNOWN:
                fix = did_you_mean(key, [OURS + each for each in KNOWN])
                self.note("unknown-key", quoted(key), ("metadata", "annotations", key), at_key=True, fix=fix)
        word, action, under = self.action()
        if action is None or word is None:
            return None
        parameters = self.parameters(action, under)
        hosts, groups = self.selected()
        role = self.role()
        pick, count = self.pick()
        when = self.one_of(f"{OURS}when", When, When.START)
        truth = self.truth()
        duration = self.duration()
        if errors(self.problems) or name is None or pick is None:
            return None
        return Injection(
            name=name, action=word, parameters=parameters, duration=duration, hosts=hosts, groups=groups,
            role=role, pick=pick, count=count, when=when, truth=truth, recovered=self.text(f"{OURS}recovered") or "",
            watched=self.text(f"{OURS}watched") or "{node}",
        )  # fmt: skip

    def action(self) -> tuple[str | None, Action | None, str]:
        """Return the word for what is done, what it takes, and the section of `spec` with its parameters."""
        word = self.need(("spec", "action"))
        own = self.text(f"{OURS}inject")
        sections = {"action", "mode", "value", "selector", "duration", word or ""}
        for key in self.keys(("spec",)):
            if key in ("address", "remoteCluster", "uid"):
                fix = "name the nodes in 'selector'" if key == "address" else "leave it out"
                self.note("not-here", f"{quoted(key)} means nothing in the lab", ("spec", key), at_key=True, fix=fix)
            elif key not in sections:
                other = key in CHAOS_MESH or key in ELSEWHERE
                fix = f"the action is {quoted(word or '')}" if other else did_you_mean(key, sections) or "leave it out"
                self.note("unknown-key", quoted(key), ("spec", key), at_key=True, fix=fix)
        if own is not None:
            if word != USER_DEFINED:
                fix = f"write 'action: {USER_DEFINED}'"
                self.note("wrong-value", "what is injected is said by an annotation", ("spec", "action"), fix=fix)
            self.known(("spec", USER_DEFINED), ())
            if own not in OWN:
                fix = did_you_mean(own, OWN) or f"there are {', '.join(sorted(OWN))}"
                self.note("unknown-name", f"nothing is called {quoted(own)}", self.annotation("inject"), fix=fix)
            return own, OWN.get(own), USER_DEFINED
        if word is not None and word not in CHAOS_MESH:
            there = f"there are {', '.join(sorted(CHAOS_MESH))}"
            if word == USER_DEFINED:
                fix = f"say what is done by the annotation '{OURS}inject'"
                self.note("missing-key", "commands of a manifest are not run", ("spec", "action"), fix=fix)
            elif word in ELSEWHERE:
                self.note("not-here", f"the lab cannot do {quoted(word)}", ("spec", "action"), fix=there)
            else:
                fix = did_you_mean(word, [*CHAOS_MESH, *ELSEWHERE]) or there
                self.note("unknown-name", f"Chaos Mesh has no action {quoted(word)}", ("spec", "action"), fix=fix)
        return word, CHAOS_MESH.get(word or ""), word or ""

    def parameters(self, action: Action, under: str) -> dict[str, Scalar]:
        """Return the action's parameters, from its section and from annotations."""
        found: dict[str, Scalar] = {}
        section: KeyPath = ("spec", under)
        if action.spec:
            self.known(section, tuple(action.spec))
        for key, knob in action.spec.items():
            self.take(found, key, knob, (*section, key), self.value((*section, key)), f"'{key}' in '{under}'")
        for key, knob in action.more.items():
            path: KeyPath = ("metadata", "annotations", WITH + key)
            self.take(found, key, knob, path, self.value(path), f"the annotation '{WITH}{key}'")
        for key in self.keys(("metadata", "annotations")):
            if key.startswith(WITH) and key.removeprefix(WITH) not in action.more:
                fix = did_you_mean(key, [WITH + each for each in action.more], cutoff=0.93) or "leave it out"
                self.note("unknown-key", quoted(key), ("metadata", "annotations", key), at_key=True, fix=fix)
        return found

    def take(self, found: dict[str, Scalar], key: str, knob: Knob, path: KeyPath, value: Scalar, called: str) -> None:
        """Take one parameter into what was found, if it is there and good."""
        if value is None:
            if knob.needed:
                self.note("missing-key", f"{called} is missing", path[:-1], at_key=True, fix=f"it is {knob.kind}")
            return
        refusal = knob.refusal(value)
        if refusal is not None:
            quotes = knob.kind not in (Kind.WHOLE, Kind.FLAG) and not isinstance(value, str)
            self.note("wrong-value", refusal, path, fix="put it in quotes" if quotes else None)
        found[key] = value

    def selected(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the hosts and the groups that may be hit."""
        self.known(("spec", "selector"), ("physicalMachines", "labelSelectors", "namespaces"))
        hosts: list[str] = []
        for key in self.keys(("spec", "selector", "physicalMachines")):
            if key != "lab":
                message = f"drills hit nodes of the group lab alone, not of {quoted(key)}"
                self.note(
                    "wrong-value",
                    message,
                    ("spec", "selector", "physicalMachines", key),
                    at_key=True,
                    fix="write 'lab'",
                )
            hosts += self.texts(("spec", "selector", "physicalMachines", key))
        for key in self.keys(("spec", "selector", "labelSelectors")):
            if key not in ("group", "role"):
                where: KeyPath = ("spec", "selector", "labelSelectors", key)
                self.note("unknown-key", quoted(key), where, at_key=True, fix="there are the labels 'group' and 'role'")
        group = self.value(("spec", "selector", "labelSelectors", "group"))
        if not hosts and not isinstance(group, str):
            fix = "write 'physicalMachines: {lab: [web1]}' or 'labelSelectors: {group: web}'"
            self.note("missing-key", "'selector' does not say which nodes", ("spec", "selector"), at_key=True, fix=fix)
        return tuple(hosts), (group,) if isinstance(group, str) else ()

    def role(self) -> str:
        """Return which of the database servers is meant: the one that is primary when the drill begins, or a replica."""
        path: KeyPath = ("spec", "selector", "labelSelectors", "role")
        role = self.value(path)
        if role is not None and role not in ROLES:
            self.note("wrong-value", f"{quoted(str(role))} is no role", path, fix=f"write {' or '.join(ROLES)}")
        return str(role or "")

    def pick(self) -> tuple[Pick | None, int]:
        """Return how many of the nodes are hit."""
        mode = self.need(("spec", "mode"))
        if mode is not None and mode not in tuple(Pick):
            fix = "write one, all, or fixed with a 'value'"
            self.note("wrong-value", f"the lab does not choose by {quoted(mode)}", ("spec", "mode"), fix=fix)
            return None, 0
        value = self.value(("spec", "value"))
        good = isinstance(value, str) and value.isdecimal() and int(value) > 0
        if mode == Pick.FIXED and not good:
            self.note("wrong-value", "'fixed' needs a 'value': how many", ("spec", "mode"), fix="add 'value: \"2\"'")
        return (Pick(mode) if mode else None), int(str(value)) if good else 1

    def truth(self) -> Truth | None:
        """Return what is true of the injection; None when nothing is to be found for it."""
        resource, culprit = self.text(f"{OURS}resource"), self.text(f"{OURS}culprit")
        if resource is None or culprit is None:
            if (resource is None) != (culprit is None):
                missing = "culprit" if culprit is None else "resource"
                self.note("missing-key", f"'{OURS}{missing}' is missing", ("metadata", "annotations"), at_key=True)
            return None
        return Truth(
            resource=resource,
            culprits=listed(culprit),
            expect=self.one_of(f"{OURS}expect", EXPECTED, Ending.HEALED),
            within=self.span(f"{OURS}within", 180.0),
            node=self.text(f"{OURS}node") or "{node}",
            runbooks=listed(self.text(f"{OURS}runbooks") or ""),
            hosts=listed(self.text(f"{OURS}hosts") or "{node}"),
            symptoms=listed(self.text(f"{OURS}symptoms") or ""),
        )

    def duration(self) -> float:
        """Return for how long the injection may last."""
        text = self.value(("spec", "duration"))
        seconds = span(text) if isinstance(text, str) else None
        if seconds is None or not 0 < seconds <= LONGEST:
            message = "every injection has an end: 'duration' is missing, or not between 1s and 1h"
            self.note("missing-key", message, ("spec", "duration"), fix="add 'duration: 5m'")
            return 0.0
        return seconds

    def span(self, key: str, otherwise: float) -> float:
        """Return the seconds that an annotation says."""
        text = self.text(key)
        if text is None:
            return otherwise
        seconds = span(text)
        if seconds is None:
            self.note(
                "wrong-value",
                f"{quoted(text)} is no duration",
                ("metadata", "annotations", key),
                fix="write it like 90s",
            )
            return otherwise
        return seconds

    def one_of(self, key: str, known: Iterable[E], otherwise: E) -> E:
        """Return the word that an annotation says, one of those known."""
        text = self.text(key)
        if text is None:
            return otherwise
        words = {str(each.value): each for each in known}
        if text not in words:
            fix = did_you_mean(text, words) or f"write {', '.join(words)}"
            self.note(
                "wrong-value", f"{quoted(text)} is none of the words for it", ("metadata", "annotations", key), fix=fix
            )
        return words.get(text, otherwise)

    def annotation(self, key: str) -> KeyPath:
        """Return the path of one of our annotations."""
        return ("metadata", "annotations", OURS + key)

    def text(self, key: str) -> str | None:
        """Return an annotation's text."""
        value = self.value(("metadata", "annotations", key))
        return value.strip() if isinstance(value, str) else None

    def value(self, path: KeyPath) -> Scalar:
        """Return the scalar at a path; None for anything else."""
        node = self.document.at(path)
        return node.value if isinstance(node, Leaf) else None

    def texts(self, path: KeyPath) -> tuple[str, ...]:
        """Return the list of names at a path."""
        node = self.document.at(path)
        items = node.items if isinstance(node, Items) else ()
        found = tuple(item.value for item in items if isinstance(item, Leaf) and isinstance(item.value, str))
        if not found or len(found) != len(items):
            self.note("wrong-type", "expected a list of names", path)
        return found

    def keys(self, path: KeyPath) -> tuple[str, ...]:
        """Return the keys of the mapping at a path."""
        node = self.document.at(path)
        return tuple(node.entries) if isinstance(node, Table) else ()

    def known(self, path: KeyPath, keys: Collection[str]) -> None:
        """Note every key of the mapping at a path that is none of those."""
        for key in self.keys(path):
            if key not in keys:
                fix = did_you_mean(key, keys) or "leave it out"
                self.note("unknown-key", quoted(key), (*path, key), at_key=True, fix=fix)

    def need(self, path: KeyPath) -> str | None:
        """Return the text at a path, which must be there."""
        value = self.value(path)
        if not isinstance(value, str) or not value:
            self.note("missing-key", f"'{path[-1]}' is missing", path[:-1], at_key=bool(path[:-1]))
            return None
        return value

    def exactly(self, path: KeyPath, text: str) -> None:
        """Note it unless the text at a path is that one."""
        if self.value(path) != text:
            self.note("wrong-value", f"'{path[-1]}' must be {text}", path, fix=f"write '{path[-1]}: {text}'")

    def note(self, code: str, message: str, path: KeyPath, *, at_key: bool = False, fix: str | None = None) -> None:
        """Keep a problem."""
        self.problems.append(self.document.problem(code, message, path, at_key=at_key, fix=fix))


def listed(text: str) -> tuple[str, ...]:
    """Return the names of a text that separates them by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def span(text: str) -> float | None:
    """Return the seconds of a duration such as 90s or 1h30m; None for what is none."""
    if not re.fullmatch(rf"(?:{_SPAN.pattern})+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _SPAN.findall(text))
