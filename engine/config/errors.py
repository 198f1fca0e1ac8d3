"""What is wrong with people's files, each with its place, the line it stands on and, where there is one, the fix."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.model.runbook import Place
from engine.model.veil import veiled

_WIDEST_LINE = 140


class Severity(StrEnum):
    """Whether a file is refused for it, or only remarked upon."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: a code for programs, a sentence for people, and what stands there.

    `width` is how many characters of `source_line` are meant, from the place on.
    """

    code: str
    message: str
    place: Place | None = None
    source_line: str = ""
    width: int = 1
    fix: str | None = None
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Return the problem as people read it: what, where, and a caret under the spot."""
        sentence = f"{self.message}; {self.fix}" if self.fix else self.message
        lines = [f"[{self.severity.upper()}] {self.code}: {sentence}"]
        if self.place is not None:
            lines.append(f"Origin: {self.place}")
            if self.source_line.strip():
                lines += _excerpt(self.place, veiled(self.source_line), self.width)  # logs are read by many
        return "\n".join(lines)


class ConfigError(Exception):
    """People's files cannot be used; `problems` are all that were found, warnings too."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.problems))


def errors(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return those of the problems for which a file is refused."""
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the problems by file, line and column, each once; where there is an error, no warning says the same."""

    def key(problem: Problem) -> tuple[str, int, int]:
        place = problem.place
        return (place.file, place.line, place.column) if place else ("", 0, 0)

    found = dict.fromkeys(problems)
    wrong = {problem.place for problem in errors(found)}
    return tuple(
        sorted((each for each in found if each.severity is Severity.ERROR or each.place not in wrong), key=key)
    )


def closest(word: str, known: Collection[str], cutoff: float = 0.6) -> str | None:
    """Return the one of the `known` words that `word` was most likely meant to be; None when none is close."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    if not close:
        folded = word.replace("-", "_").lower()
        close = [name for name in known if name.replace("-", "_").lower() == folded]
    return close[0] if close else None


def did_you_mean(word: str, known: Collection[str], cutoff: float = 0.6) -> str | None:
    """Return a fix that names the closest of the `known` words; None when none is close."""
    close = closest(word, known, cutoff)
    return f"did you mean '{close}'?" if close else None


def quoted(text: str) -> str:
    """Return `text` in single quotes, on one line and at most 60 characters."""
    shown = text.replace("\n", "\\n").replace("\t", "\\t")
    return f"'{shown[:57]}...'" if len(shown) > 60 else f"'{shown}'"  # noqa: PLR2004  (as the docstring says)


def shown(path: Path) -> str:
    """Return a path as people call it: from the current folder when it is below that."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _excerpt(place: Place, line: str, width: int) -> list[str]:
    """Return the source line with its number, and a caret below; a long line is cut to what stands around the place."""
    start = place.column - 1
    skipped = max(0, start - _WIDEST_LINE // 2)
    cut = "".join(character if character.isprintable() else " " for character in line[skipped : skipped + _WIDEST_LINE])
    before = "…" if skipped else ""
    number = f"{place.line} {before}"
    here = max(0, start - skipped)
    gap = " " * (len(number) + _columns(cut[:here]) + max(0, here - len(cut)))
    carets = "^" * max(1, min(width, _columns(cut[here : here + width])))
    after = "…" if len(line) > skipped + _WIDEST_LINE else ""
    return [f"{number}{cut}{after}".rstrip(), f"{gap}{carets}"]


def _columns(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )
