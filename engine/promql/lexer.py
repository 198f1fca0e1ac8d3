"""From text to tokens, in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from engine.promql.errors import ParseError, shown


class Kind(StrEnum):
    """What a token is."""

    NUMBER = "number"
    STRING = "string"
    NAME = "name"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text and its place."""

    kind: Kind
    text: str
    start: int
    end: int


SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
NUMBER = re.compile(r"0[xX][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9][0-9_]*)?")
DURATION = re.compile(r"(?:[0-9]+(?:ms|[smhdwy]))+")
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
NAME_IN_BRACKETS = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")  # there, a colon stands between range and step
WORD = re.compile(r"\w")
SYMBOL = re.compile(r"==|=~|!=|!~|>=|<=|</|>/|[-+*/%^=<>@(){}\[\],:]")
CLOSED_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|`[^`]*`')


def tokenize(text: str) -> list[Token]:
    """Return the tokens of `text`, an END token last; raises ParseError."""
    tokens: list[Token] = []
    opened: list[Token] = []
    place = 0
    while True:
        spaces = SPACE.match(text, place)
        place = spaces.end() if spaces else place
        if place >= len(text):
            break
        token = _token(text, place, in_brackets=any(opener.text == "[" for opener in opened[-1:]))
        _balance(token, opened, text)
        tokens.append(token)
        place = token.end
    if opened:
        raise ParseError(f"'{opened[-1].text}' is never closed", opened[-1].start, opened[-1].end, text)
    tokens.append(Token(Kind.END, "", len(text), len(text)))
    return tokens


def _balance(token: Token, opened: list[Token], text: str) -> None:
    if token.kind is not Kind.SYMBOL:
        return
    if token.text in "([{":
        opened.append(token)
    elif token.text in ")]}":
        opener = {")": "(", "]": "[", "}": "{"}[token.text]
        if not opened:
            raise ParseError(f"'{token.text}' closes nothing", token.start, token.end, text)
        if opened[-1].text != opener:
            last = opened[-1]
            raise ParseError(f"'{last.text}' is never closed: '{token.text}' stands first", last.start, last.end, text)
        opened.pop()


def _token(text: str, place: int, *, in_brackets: bool) -> Token:
    letter = text[place]
    if letter in "\"'`":
        found = CLOSED_STRING.match(text, place)
        if found is None:
            raise ParseError("string is never closed", place, place + 1, text)
        return Token(Kind.STRING, found.group(), place, found.end())
    if letter.isascii() and (letter.isdigit() or (letter == "." and text[place + 1 : place + 2].isdigit())):
        return _number(text, place)
    found = (NAME_IN_BRACKETS if in_brackets else NAME).match(text, place)
    if found is not None and found.group() != ":":
        return Token(Kind.NAME, found.group(), place, found.end())
    found = SYMBOL.match(text, place)
    if found is not None:
        return Token(Kind.SYMBOL, found.group(), place, found.end())
    if letter == "!":
        raise ParseError("'!' alone is no operator: write !=, !~ or `unless`", place, place + 1, text)
    raise ParseError(f"unexpected character {letter!r}", place, place + 1, text)


def _number(text: str, place: int) -> Token:
    """Return the number or duration at `place`: whichever reaches further."""
    ends = [found.end() for found in (NUMBER.match(text, place), DURATION.match(text, place)) if found is not None]
    end = max(ends)
    if end < len(text) and WORD.match(text, end):
        while end < len(text) and WORD.match(text, end):
            end += 1
        raise ParseError(f"{shown(text[place:end])} is neither a number nor a duration", place, end, text)
    return Token(Kind.NUMBER, text[place:end], place, end)
