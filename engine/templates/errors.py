"""What can go wrong with a template, and on which of its lines."""

from __future__ import annotations


class TemplateError(ValueError):
    """The template cannot be read, or has no value; `line` counts from 1 within the template's own text."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line

    def __reduce__(self) -> tuple[type[TemplateError], tuple[str, int]]:
        return type(self), (self.message, self.line)
