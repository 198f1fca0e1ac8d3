"""What can go wrong with an expression, and where in its text."""

from __future__ import annotations

SHOWN = 40
"""So many characters of a text are repeated in a message about it."""


def shown(text: str) -> str:
    """Return `text` in quotes, cut where it is long."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")


class ParseError(ValueError):
    """The text is not an expression, or its types do not fit.

    `start` and `end` are offsets in characters into `text`, so that a caret can be drawn under the culprit.
    """

    def __init__(self, message: str, start: int, end: int, text: str) -> None:
        super().__init__(message)
        self.message = message
        self.start = start
        self.end = end
        self.text = text

    def __str__(self) -> str:
        return f"{self.message} (at {self.start + 1})"

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, int, int, str]]:
        return type(self), (self.message, self.start, self.end, self.text)


class EvaluationError(ValueError):
    """The expression is sound, but has no result over this data; `span` is the part that failed."""

    def __init__(self, message: str, span: tuple[int, int]) -> None:
        super().__init__(message)
        self.message = message
        self.span = span

    def __reduce__(self) -> tuple[type[EvaluationError], tuple[str, tuple[int, int]]]:
        return type(self), (self.message, self.span)
