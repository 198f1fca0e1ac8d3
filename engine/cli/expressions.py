"""Expressions that are typed on the command line, with a caret under what is wrong with one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.exits import Exit, Failure

if TYPE_CHECKING:
    from engine.promql import Expression


def read(text: str) -> Expression:
    """Return the tree of an expression; one that does not parse is a Failure that shows where."""
    from engine.promql import ParseError, parse

    try:
        return parse(text)
    except ParseError as error:
        raise Failure(pointed(text, error.start, error.end, error.message), Exit.USAGE) from error


def pointed(text: str, start: int, end: int, message: str, code: str = "bad-promql") -> str:
    """Return a message about part of an expression, with the line it is on and a caret under it."""
    from engine.config.errors import Problem
    from engine.model.runbook import Place

    begin = text.rfind("\n", 0, start) + 1
    source = text[begin:].split("\n", 1)[0]
    place = Place("expression", text.count("\n", 0, start) + 1, start - begin + 1)
    return str(Problem(code, message, place, source, max(1, min(end - start, len(source) - (start - begin)))))
