"""A runbook's data with its params filled in; what belongs to an alert or an incident stays a template, after a trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engine.config.document import Document
from engine.config.errors import Problem, did_you_mean, quoted
from engine.config.tree import KeyPath
from engine.model.runbook import Place, Scalar, Value
from engine.templates import Rendered, TemplateError, attributes, fill_annotation, foreign, names, render, render_pieces

ABOUT: Mapping[str, frozenset[str] | None] = {
    "target": frozenset(),
    "fault": frozenset({"node", "resource", "culprit", "score"}),
    "alert": frozenset({"name", "labels", "value"}),
    "host": None,
}
"""What a remedy's templates may speak of besides params, with the parts that each has; None for any."""


@dataclass(slots=True)
class Filling:
    """Fills in one variant of one runbook, and notes what cannot be."""

    document: Document
    params: Mapping[str, Scalar]
    problems: list[Problem] = field(default_factory=list)
    expressions: dict[KeyPath, Rendered] = field(default_factory=dict)
    explained: set[Place] = field(default_factory=set)
    """Where the values begin that could not be filled in: whatever else is wrong there follows from that."""

    def fill(self, value: Value, path: KeyPath = ()) -> Value:
        """Return `value`, which stands at `path`, with params filled in."""
        match value:
            case Mapping():
                return {key: self.fill(below, (*path, key)) for key, below in value.items()}
            case tuple():
                return tuple(self.fill(below, (*path, number)) for number, below in enumerate(value))
            case str():
                return self._text(value, path)
            case _:
                return value

    def _text(self, text: str, path: KeyPath) -> Value:
        if path[0] == "params":
            if "{{" in text:
                self._note("a param cannot be a template: it is what templates are filled with", path)
            return text
        if is_later(path):
            self._try(text, path)
            return text
        if is_expression(path):
            return self._guarded(text, path, lambda: self._expression(text, path))
        if path[0] == "trigger" and len(path) == 3 and path[1] in ("labels", "annotations"):  # noqa: PLR2004
            return self._guarded(text, path, lambda: fill_annotation(text, self.params))
        return self._guarded(text, path, lambda: render(text, self.params))

    def _expression(self, text: str, path: KeyPath) -> str:
        rendered = render_pieces(text, self.params)
        self.expressions[path] = rendered
        return rendered.text

    def _guarded(self, text: str, path: KeyPath, act: Callable[[], Value]) -> Value:
        if not foreign(text) and self._strangers(text, path, list(self.params)):
            return text
        try:
            return act()
        except TemplateError as error:
            self._note(error.message, path, text, error.line)
            return text

    def _try(self, text: str, path: KeyPath) -> None:
        """Note what a template of a remedy speaks of that nothing will fill in."""
        try:
            parts = attributes(text)
        except TemplateError as error:
            self._note(error.message, path, text, error.line)
            return
        self._strangers(text, path, [*ABOUT, *self.params])
        for name, part in sorted(parts):
            has = ABOUT.get(name)
            if name not in self.params and has is not None and part not in has:
                self._note(f"{name} has no {quoted(part)}", path, text, word=part, known=sorted(has))

    def _strangers(self, text: str, path: KeyPath, known: list[str]) -> bool:
        """Note each name that nothing here has; return whether there was one, or the text cannot be read."""
        try:
            strange = sorted(names(text) - set(known))
        except TemplateError:
            return False  # noted where it is rendered
        for name in strange:
            message = f"nothing is called {quoted(name)} here"
            if name in ABOUT:
                message = f"{quoted(name)} is not known yet when a runbook is loaded, only in a remedy's vars and hosts"
            self._note(message, path, text, word=name, known=known if name not in ABOUT else None)
        return bool(strange)

    def _note(
        self, message: str, path: KeyPath, text: str = "", line: int = 1, word: str = "", known: list[str] | None = None
    ) -> None:
        """Keep a problem, at the word or the line of the template that it is about."""
        offset = max(0, text.find(word, max(0, text.find("{{")))) if word else start_of(text, line)
        self.explained.add(self.document.place(path))
        fix = None
        if word and known is not None:
            fix = did_you_mean(word, known) or (f"there are {', '.join(known)}" if known else None)
        self.problems.append(
            self.document.problem("bad-template", message, path, offset=offset, width=len(word) or 2, fix=fix)
        )


def is_expression(path: KeyPath) -> bool:
    """Return whether PromQL stands at `path`."""
    match path:
        case ("trigger" | "verify", "expr") | ("localize", "culprit", "expr"):
            return True
        case ("guards", "require", _) | ("guards", "require", _, "expr"):
            return True
        case _:
            return False


def is_later(path: KeyPath) -> bool:
    """Return whether what stands at `path` is filled in when an incident is decided, and not before."""
    match path:
        case ("remedies" | "rescue", _, "vars", *_) | ("remedies" | "rescue", _, "hosts"):
            return True
        case ("remedies", _, "steps" | "finally", _, "vars", *_) | ("remedies", _, "steps" | "finally", _, "hosts"):
            return True
        case _:
            return False


def start_of(text: str, line: int) -> int:
    """Return where the first braces on a line of the text begin, or else the line."""
    begin = 0
    for _ in range(line - 1):
        begin = text.find("\n", begin) + 1
    braces = text.find("{{", begin)
    return braces if braces >= 0 and text.count("\n", begin, braces) == 0 else begin
