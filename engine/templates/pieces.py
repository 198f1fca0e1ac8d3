"""Texts with holes: which part of the result comes from which part of the template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.templates.expressions import render_text

HOLE = re.compile(r"\{\{.*?\}\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the result, from `start`, and where in the template it comes from; a hole's result is all of it at once."""

    start: int
    length: int
    source: int
    hole: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered text that can say where in the template each of its characters comes from."""

    text: str
    pieces: tuple[Piece, ...] = ()

    def source(self, offset: int) -> int:
        """Return the place in the template of the result's character `offset`; a hole stands for all it was filled with."""
        for piece in self.pieces:
            if offset < piece.start + piece.length or piece is self.pieces[-1]:
                return piece.source if piece.hole else piece.source + offset - piece.start
        return offset

    def filled(self, offset: int) -> str | None:
        """Return what a hole was filled with, when the result's character `offset` comes from one."""
        for piece in self.pieces:
            if piece.hole and piece.start <= offset < piece.start + piece.length:
                return self.text[piece.start : piece.start + piece.length]
        return None


def render_pieces(text: str, values: Mapping[str, object]) -> Rendered:
    """Return `text` with `values` filled in, and where everything in it comes from. Raises TemplateError.

    With statements (`{% … %}`) or comments in it, the places are unknown and all stand for the start.
    """
    if "{%" in text or "{#" in text:
        whole = render_text(text, values)
        return Rendered(whole, (Piece(0, len(whole), 0, hole=True),))
    pieces: list[Piece] = []
    parts: list[str] = []
    length = last = 0
    for hole in HOLE.finditer(text):
        for start, part, is_hole in (
            (last, text[last : hole.start()], False),
            (hole.start(), render_text(hole[0], values), True),
        ):
            if part:
                pieces.append(Piece(length, len(part), start, is_hole))
                parts.append(part)
                length += len(part)
        last = hole.end()
    rest = text[last:]
    if rest or not pieces:
        pieces.append(Piece(length, len(rest), last, hole=False))
        parts.append(rest if "{{" not in rest else render_text(rest, values))
    return Rendered("".join(parts), tuple(pieces))
