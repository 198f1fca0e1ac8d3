"""What a YAML scalar means, without YAML 1.1's surprises, and where in the file each of its characters stands."""

from __future__ import annotations

import re

from engine.model.runbook import Scalar

_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?")
_OCTAL = re.compile(r"[-+]?0[0-9]+")
_WORDS: dict[str, Scalar] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_SWITCHES = {"y": "true", "yes": "true", "on": "true", "n": "false", "no": "false", "off": "false"}
_NUMBER_TRAPS = (
    (re.compile(r"[-+]?0x[0-9a-fA-F_]+"), "hexadecimal"),
    (re.compile(r"[-+]?0b[01_]+"), "binary"),
    (re.compile(r"[-+]?0o?[0-7_]+"), "octal"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "base 60"),
    (re.compile(r"[-+]?[0-9]+(?:_[0-9]+)+"), "a number with underscores"),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), "infinite or not a number"),
)
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*\s+)*")
_BLOCK_HEADER = re.compile(r"[|>][-+0-9]*[ \t]*(?:#[^\n]*)?\n?")
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^\n])", re.DOTALL)
_BROKEN_LINE = re.compile(r"\\\r?\n[ \t]*")


def resolve(text: str) -> Scalar:
    """Return what a plain scalar means: null, true or false, a decimal number, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and not _OCTAL.fullmatch(text):
        number = float(text)
        return number if abs(number) < float("inf") else text
    return text


def trap(text: str) -> tuple[str, str] | None:
    """Return what a plain scalar that is text here means elsewhere, with a fix; None when it is text everywhere."""
    if text.lower() in _SWITCHES and (text.islower() or text.isupper() or text.istitle()):
        return "a boolean", f"write {_SWITCHES[text.lower()]}, or '{text}' in quotes"
    for pattern, kind in _NUMBER_TRAPS:
        if pattern.fullmatch(text):
            return kind, f"write a decimal number, or '{text}' in quotes"
    return None


def locate(source: str, start: int, style: str, value: str, offset: int) -> int:
    """Return where in `source` the character `offset` of a scalar stands, whatever its style.

    `start` is where the scalar begins, properties and quotes included. Value and source are walked side by side: white space is
    folded, quotes are doubled and characters escaped in the source. Where they stop agreeing, the scalar's start is returned.
    """
    properties = _PROPERTIES.match(source, start)
    begin = at = properties.end() if properties else start
    if style in ("'", '"'):
        at += 1
    elif style in ("|", ">"):
        header = _BLOCK_HEADER.match(source, at)
        at = header.end() if header else at
    for place, character in enumerate(value):
        at = _skip(source, at, style, character)
        if place == offset:
            return at
        length = _length(source, at, style, character)
        if length is None:
            return begin
        at += length
    return at if offset >= len(value) else begin


def _skip(source: str, at: int, style: str, character: str) -> int:
    """Return the place of the next character that means something, behind indentation and folded lines."""
    if style == '"':
        while broken := _BROKEN_LINE.match(source, at):
            at = broken.end()
    if not character.isspace():
        while at < len(source) and source[at] in " \t\r\n":
            at += 1
    elif at > 0 and source[at - 1] == "\n" and style in ("|", ">") and character != "\n":
        return at
    return at


def _length(source: str, at: int, style: str, character: str) -> int | None:
    """Return how many characters of the source stand for `character`; None when they do not agree."""
    if at >= len(source):
        return None
    if style == "'" and source.startswith("''", at):
        return 2 if character == "'" else None
    if style == '"' and source[at] == "\\":
        escape = _ESCAPE.match(source, at)
        return len(escape[0]) if escape else None
    if character.isspace():
        if source[at] not in " \t\r\n":
            return None
        if character == "\n" or source[at] == "\n":
            end = at
            while end < len(source) and source[end] in " \t\r":
                end += 1
            return end - at + 1 if end < len(source) and source[end] == "\n" else 1
        return 1
    return 1 if source[at] == character else None
