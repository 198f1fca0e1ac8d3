"""What stands behind a binary operator: how series of its two sides find each other."""

from __future__ import annotations

import math
from dataclasses import replace

from engine.promql.cursor import Cursor
from engine.promql.errors import shown
from engine.promql.lexer import Kind
from engine.promql.syntax import COMPARISONS, Matching, Side


class MatchingCursor(Cursor):
    """The rules for `bool`, `on`, `ignoring`, `group_left`, `group_right` and fills."""

    def modifiers(self, operator: str) -> tuple[bool, Matching]:
        """Read `bool`, `on` or `ignoring`, `group_left` or `group_right`, and fills, which stand behind an operator."""
        answers = False
        if self.sees_word("bool"):
            token = self.take()
            if operator not in COMPARISONS:
                raise self.error(f"bool goes with comparisons, not with {operator}", (token.start, token.end))
            answers = True
        return answers, self.fills(self.matching())

    def matching(self) -> Matching:
        """Read `on` or `ignoring`, and `group_left` or `group_right`."""
        if not self.sees_word("on", "ignoring"):
            if self.sees_word("group_left", "group_right"):
                raise self.error(f"{self.token.text} needs on(...) or ignoring(...) before it", self.here())
            return Matching()
        on = self.take().text.lower() == "on"
        labels = self.labels()
        if not self.sees_word("group_left", "group_right"):
            return Matching(on, labels)
        token = self.take()
        include = self.labels() if self.sees("(") else ()
        if on and (twice := [label for label in include if label in labels]):
            message = f"label {shown(twice[0])} stands in on(...) and in {token.text}(...) at once"
            raise self.error(message, (token.start, self.behind))
        return Matching(on, labels, Side(token.text.lower()), include)

    def fills(self, matching: Matching) -> Matching:
        """Read `fill`, or `fill_left` and `fill_right`: words only before a parenthesis, metrics elsewhere."""
        given: dict[str, float] = {}
        while self.sees_word("fill", "fill_left", "fill_right") and self.next_is("("):
            token = self.take()
            word = token.text.lower()
            sides = ("fill_left", "fill_right") if word == "fill" else (word,)
            value = self.filling()
            if any(side in given for side in sides):
                raise self.error(f"{word} fills a side that is filled already", (token.start, self.behind))
            given |= dict.fromkeys(sides, value)
        return replace(matching, fill_left=given.get("fill_left"), fill_right=given.get("fill_right"))

    def filling(self) -> float:
        """Read the number to fill with, in parentheses."""
        self.expect("(")
        minuses = 0
        while self.sees("-", "+"):
            minuses += self.take().text == "-"
        if self.token.kind is not Kind.NUMBER and not self.sees_word("inf", "nan"):
            raise self.unexpected("a number to fill with")
        value = self.number(self.take())
        self.expect(")")
        # one NaN, so that trees compare as equal
        return math.nan if math.isnan(value) else -value if minuses % 2 else value
