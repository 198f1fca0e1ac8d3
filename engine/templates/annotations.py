"""What a published alerting rule says in its labels and annotations: the part of Go's templates that such rules use.

`{{ $value | humanize }}`, `{{ $labels.instance }}` and `{{ printf "%.1f" $value }}` are left alone when a runbook is loaded
and filled in when its alert is true. Which words exist and what they do is told in Prometheus's template reference.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from engine.model.labels import quote
from engine.promql.literals import read_string
from engine.templates.errors import TemplateError
from engine.templates.expressions import render_text
from engine.templates.filters import LONGEST_TEXT
from engine.templates.pieces import HOLE

Word = str | float

_FOREIGN = re.compile(r"\$(labels|value|externalLabels|externalURL)\b|^\{\{-?\s*\.(Labels|Value)\b")
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
          |(?P<number>[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)
          |(?P<label>(?:\$labels|\.Labels)\.(?P<labelname>[a-zA-Z_][a-zA-Z0-9_]*))
          |(?P<labels>\$labels|\.Labels)
          |(?P<value>\$value|\.Value)
          |(?P<word>[a-zA-Z][a-zA-Z0-9]*)
          |(?P<mark>[|()]))""",
    re.VERBOSE,
)
_VERB = re.compile(r"%[-+# 0]*[0-9]{0,3}(?:\.[0-9]{1,3})?([a-zA-Z%])")
_ABOVE = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_BELOW = ("", "m", "u", "n", "p", "f", "a", "z", "y")
_DEEPEST = 20


def foreign(text: str) -> bool:
    """Return whether `text` has a part that is filled in when the alert is true."""
    return any(_FOREIGN.search(hole[0]) for hole in HOLE.finditer(text))


def fill_annotation(text: str, values: Mapping[str, object]) -> str:
    """Return `text` with `values` filled in, and what belongs to the alert left alone, after a trial that it can be read.

    Raises TemplateError.
    """

    def fill(hole: re.Match[str]) -> str:
        if _FOREIGN.search(hole[0]):
            try:
                _Reader(hole[0][2:-2], {}, 1.0).result()
            except TemplateError as error:
                raise TemplateError(error.message, text.count("\n", 0, hole.start()) + 1) from None
            return hole[0]
        return render_text(hole[0], values)

    return HOLE.sub(fill, text)


def render_annotation(text: str, labels: Mapping[str, str], value: float) -> str:
    """Return `text` with the alert's labels and value filled in; what cannot be read stays as it is.

    Labels are values: braces in one of them are not looked at.
    """

    def fill(hole: re.Match[str]) -> str:
        try:
            return _text(_Reader(hole[0][2:-2], labels, value).result())
        except TemplateError:
            return hole[0]

    return HOLE.sub(fill, text)[:LONGEST_TEXT]


class _Reader:
    """Reads one pair of braces and computes as it goes."""

    def __init__(self, text: str, labels: Mapping[str, str], value: float) -> None:
        self.labels = labels
        self.value = value
        self.tokens: list[tuple[str, str]] = []
        self.place = 0
        body = text.removeprefix("-").removesuffix("-").strip()
        at = 0
        while at < len(body):
            found = _TOKEN.match(body, at)
            if found is None or found.lastgroup is None:
                raise TemplateError(f"cannot read {body[at:].strip()[:40]!r} in {{{{ {body} }}}}")
            kind = "label" if found["label"] else found.lastgroup
            self.tokens.append((kind, found["labelname"] if kind == "label" else found[kind]))
            at = found.end()

    def result(self) -> Word:
        """Return what the whole says."""
        result = self._pipeline(0)
        if self.place < len(self.tokens):
            raise TemplateError(f"did not expect {self.tokens[self.place][1]!r}")
        return result

    def _pipeline(self, depth: int) -> Word:
        if depth > _DEEPEST:
            raise TemplateError("nested too deeply")
        result = self._command(None, depth)
        while self._take("|"):
            result = self._command(result, depth)
        return result

    def _command(self, piped: Word | None, depth: int) -> Word:
        """Return the result of one word and its arguments; what comes through the pipe is the last argument."""
        if self.place < len(self.tokens) and self.tokens[self.place][0] == "word":
            name = self.tokens[self.place][1]
            self.place += 1
            if name == "index":
                return self._index()
            arguments = []
            while self.place < len(self.tokens) and self.tokens[self.place] not in (("mark", "|"), ("mark", ")")):
                arguments.append(self._operand(depth))
            return _call(name, arguments if piped is None else [*arguments, piped])
        if piped is not None:
            raise TemplateError("after | stands the name of a function")
        return self._operand(depth)

    def _operand(self, depth: int) -> Word:
        if self.place >= len(self.tokens):
            raise TemplateError("expected a value")
        kind, text = self.tokens[self.place]
        self.place += 1
        match kind:
            case "text":
                try:
                    return read_string(text)
                except ValueError as error:
                    raise TemplateError(str(error)) from None
            case "number":
                return float(text)
            case "label":
                return self.labels.get(text, "")
            case "value":
                return self.value
            case "mark" if text == "(":
                inside = self._pipeline(depth + 1)
                if not self._take(")"):
                    raise TemplateError("expected )")
                return inside
            case "word":
                return _call(text, [])
            case _:
                raise TemplateError(f"did not expect {text!r}")

    def _index(self) -> str:
        if not self._take("$labels") and not self._take(".Labels"):
            raise TemplateError("index is for $labels")
        name = self._operand(0)
        return self.labels.get(_text(name), "")

    def _take(self, text: str) -> bool:
        if self.place < len(self.tokens) and self.tokens[self.place][1] == text:
            self.place += 1
            return True
        return False


def _call(name: str, arguments: list[Word]) -> Word:
    if name in ("printf", "print"):
        if name == "print":
            return "".join(map(_text, arguments))
        if not arguments or not isinstance(arguments[0], str):
            raise TemplateError("printf needs a format")
        return _printf(arguments[0], arguments[1:])
    function = _FUNCTIONS.get(name)
    if function is None:
        raise TemplateError(f"there is no function {name!r}; there are printf, {', '.join(sorted(_FUNCTIONS))}")
    if len(arguments) != 1:
        raise TemplateError(f"{name} takes one value, not {len(arguments)}")
    return function(arguments[0])


def _number(word: Word) -> float:
    try:
        return float(word)
    except ValueError:
        # labels that are given when a file is loaded for trial are empty
        if word == "":
            return math.nan
        raise TemplateError(f"{word!r} is no number") from None


def _text(word: Word) -> str:
    if isinstance(word, str):
        return word
    if math.isfinite(word) and word == int(word) and abs(word) < 1e21:  # noqa: PLR2004  (Go writes larger ones with an exponent)
        return str(int(word))
    return {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(repr(word), repr(word))


def _printf(pattern: str, arguments: list[Word]) -> str:
    left = list(arguments)

    def verb(found: re.Match[str]) -> str:
        kind = found[1]
        if kind == "%":
            return "%"
        if not left:
            raise TemplateError(f"printf has no value for {found[0]}")
        word = left.pop(0)
        if kind in "sv":
            return (found[0][:-1] + "s") % _text(word)
        if kind == "q":
            return quote(_text(word))
        number = _number(word)
        if kind == "d" and not math.isfinite(number):
            return _text(number)
        if kind in "dfFeEgG":
            return found[0] % (int(number) if kind == "d" else number)
        raise TemplateError(f"printf does not know {found[0]}")

    result = _VERB.sub(verb, pattern)
    if left:
        raise TemplateError(f"printf was given {len(left)} values too many")
    return result


def _humanize(word: Word) -> str:
    number = _number(word)
    if number == 0 or not math.isfinite(number):
        return _short(number)
    step = 0
    prefixes, factor = (_ABOVE, 1 / 1000) if abs(number) >= 1 else (_BELOW, 1000.0)
    while step < len(prefixes) - 1 and (abs(number) >= 1000 if factor < 1 else abs(number) < 1):  # noqa: PLR2004
        number *= factor
        step += 1
    return _short(number) + prefixes[step]


def _humanize_1024(word: Word) -> str:
    number = _number(word)
    if abs(number) <= 1 or not math.isfinite(number):
        return _short(number)
    step = 0
    while step < len(_ABOVE) - 1 and abs(number) >= 1024:  # noqa: PLR2004
        number /= 1024
        step += 1
    return _short(number) + (_ABOVE[step] + "i" if step else "")


def _humanize_percentage(word: Word) -> str:
    return f"{_short(_number(word) * 100)}%"


def _humanize_duration(word: Word) -> str:
    number = _number(word)
    if not math.isfinite(number):
        return _short(number)
    if abs(number) < 1:
        return f"{_humanize(number)}s" if number else "0s"
    sign = "-" if number < 0 else ""
    whole = int(abs(number))
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{_short(number)}s"


def _short(number: float) -> str:
    return f"{number:.4g}" if math.isfinite(number) else _text(number)


def _strip_port(word: Word) -> str:
    return re.sub(r":[0-9]+$", "", _text(word))


_FUNCTIONS: Mapping[str, Callable[[Word], str]] = MappingProxyType(
    {
        "humanize": _humanize,
        "humanize1024": _humanize_1024,
        "humanizePercentage": _humanize_percentage,
        "humanizeDuration": _humanize_duration,
        "stripPort": _strip_port,
        "title": lambda word: _text(word).title(),
        "toUpper": lambda word: _text(word).upper(),
        "toLower": lambda word: _text(word).lower(),
    }
)
