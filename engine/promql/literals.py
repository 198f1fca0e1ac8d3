"""Numbers, durations and strings: from text to value and back."""

from __future__ import annotations

import math
import re

from engine.model.labels import quote

UNITS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
"""Milliseconds of each unit, the largest first."""

DURATION = re.compile("".join(f"(?:([0-9]+){unit})?" for unit in ("y", "w", "d", "h", "m(?!s)", "s", "ms")))
LEGAL_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
LEGAL_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

LONGEST_DURATION = (2**63 - 1) // 1_000_000
"""Prometheus counts durations in 63 bits of nanoseconds."""

ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34}
HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
NUMERIC_ESCAPES = {"x": 2, "u": 4, "U": 8}


def read_duration(text: str) -> int | None:
    """Return the milliseconds of a duration such as `1h30m`; None when it is none (units large to small, once each)."""
    found = DURATION.fullmatch(text)
    if found is None or not text:
        return None
    return sum(int(count) * size for count, size in zip(found.groups(), UNITS.values(), strict=True) if count)


def print_duration(milliseconds: int) -> str:
    """Return `milliseconds` as a duration that reads back as the same."""
    if milliseconds < 0:
        return "-" + print_duration(-milliseconds)
    if milliseconds == 0:
        return "0s"
    parts = []
    for unit, size in UNITS.items():
        # 1y and 1w are for people; 365d would print as 1y, which is the same span
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def read_number(text: str) -> float:
    """Return the value of a number literal: decimal, hexadecimal, `Inf`, `NaN` or a duration.

    Raises ValueError when it is none, OverflowError when it is beyond what Prometheus can hold.
    """
    lower = text.lower()
    if lower == "inf":
        return math.inf
    if lower == "nan":
        return math.nan
    duration = read_duration(text)
    if duration is not None:
        if duration > LONGEST_DURATION:
            raise OverflowError("duration out of range")
        return duration / 1000
    if not _underscores_stand_between_digits(lower):
        raise ValueError(text)
    plain = lower.replace("_", "")
    if plain.startswith("0x"):
        whole = int(plain, 16)
        if whole >= 1 << 63:
            raise OverflowError("number out of range")
        return float(whole)
    if len(plain) > 1 and plain.startswith("0") and plain.isdigit() and not set(plain) & {"8", "9"}:
        return float(int(plain, 8))  # as in Go, a leading zero means octal
    value = float(plain)
    if math.isinf(value):
        raise OverflowError("number out of range")
    return value


def _underscores_stand_between_digits(text: str) -> bool:
    return "_" not in text or (
        re.fullmatch(r"0x(_?[0-9a-f]+)+|[0-9]+(_[0-9]+)*(\.([0-9]+(_[0-9]+)*)?)?(e[+-]?[0-9]+(_[0-9]+)*)?", text)
        is not None
    )


def print_number(value: float) -> str:
    """Return `value` as Prometheus writes it."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e16:  # noqa: PLR2004  (whole numbers below this print exactly)
        return str(int(value)) if value or math.copysign(1, value) > 0 else "-0"
    return repr(value)


def print_plain(value: float) -> str:
    """Return `value` in full digits without an exponent, as it becomes a label value."""
    text = print_number(value)
    if "e" not in text:
        return text
    mantissa, _, exponent = text.partition("e")
    sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = digits.partition(".")
    shift = int(exponent)
    if shift >= 0:
        fraction = fraction.ljust(shift, "0")
        whole, fraction = whole + fraction[:shift], fraction[shift:]
    else:
        whole = whole.rjust(-shift + 1, "0")
        whole, fraction = whole[:shift], whole[shift:] + fraction
    fraction = fraction.rstrip("0")
    return sign + (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def read_string(text: str) -> str:
    """Return the value of a string literal with its quotes.

    Bytes that are not UTF-8 become lone surrogates. Raises ValueError with a sentence about what is wrong.
    """
    mark, body = text[0], text[1:-1]
    if mark == "`" or "\\" not in body:
        return body
    value = bytearray()
    place = 0
    while place < len(body):
        escape = body.find("\\", place)
        if escape < 0:
            value += body[place:].encode("utf-8", "surrogateescape")
            break
        value += body[place:escape].encode("utf-8", "surrogateescape")
        place = _read_escape(body, escape + 1, mark, value)
    return value.decode("utf-8", "surrogateescape")


def _read_escape(body: str, place: int, mark: str, value: bytearray) -> int:
    """Append what the escape at `place` means to `value`; return the place behind it."""
    letter = body[place]
    if letter in ESCAPES and (letter not in "'\"" or letter == mark):
        value.append(ESCAPES[letter])
        return place + 1
    if letter in NUMERIC_ESCAPES:
        digits = body[place + 1 : place + 1 + NUMERIC_ESCAPES[letter]]
        if len(digits) == NUMERIC_ESCAPES[letter] and set(digits) <= HEXADECIMAL:
            point = int(digits, 16)
            if letter == "x":
                value.append(point)
            elif point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:  # noqa: PLR2004  (the bounds of Unicode)
                raise ValueError(f"\\{letter}{digits} is no character")
            else:
                value += chr(point).encode()
            return place + 1 + len(digits)
        raise ValueError(f"\\{letter} needs {NUMERIC_ESCAPES[letter]} hexadecimal digits")
    digits = body[place : place + 3]
    if re.fullmatch("[0-3][0-7]{2}", digits):
        value.append(int(digits, 8))
        return place + 3
    raise ValueError(f"unknown escape \\{letter}; for a backslash write \\\\")


def _bytes(value: str) -> bytes:
    """Return the bytes that `value` was read from, or the nearest to it: half a character has none."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")


def print_string(value: str) -> str:
    """Return `value` as a string literal that reads back as the same, whatever is in it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        pieces = []
        for byte in _bytes(value):
            plain = 0x20 <= byte < 0x7F and byte not in b'"\\'  # noqa: PLR2004  (printable ASCII)
            pieces.append(chr(byte) if plain else f"\\x{byte:02x}")
        return '"' + "".join(pieces) + '"'
    return quote(value)
