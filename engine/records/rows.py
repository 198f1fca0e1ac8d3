"""Nouns as plain JSON and back, by their type hints alone.

A dataclass is an object, a tuple a list, a frozenset a sorted list, a mapping (labels too) an object, an enumeration its value.
JSON has no NaN or infinity: where a float is declared they are the strings "NaN", "Inf" and "-Inf"; in a YAML value, where a
string would be ambiguous, they are `{"$float": "NaN"}`, and keys of mappings that begin with `$` get a second one.

Reading is strict: what does not fit the hint, or has a field too many, is a RowError; a field that is missing takes its default,
so that rows written before a field existed stay readable.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from numbers import Integral, Real
from typing import Any, TypeVar

from engine.model.labels import Labels

T = TypeVar("T")
Plain = Any
"""None, bool, int, finite float, str, list of plain, dict of str to plain."""

NAMES = {math.inf: "Inf", -math.inf: "-Inf"}
NUMBERS = {"NaN": math.nan, "Inf": math.inf, "-Inf": -math.inf}
TAG = "$float"
ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


class RowError(ValueError):
    """What is stored does not fit the noun it is said to be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """Both directions of one type hint."""

    encode: Callable[[Any], Plain]
    decode: Callable[[Plain], Any]


def encode(value: object) -> dict[str, Plain]:
    """Return a noun as a plain JSON object."""
    kind: Any = type(value)
    plain: dict[str, Plain] = codec(kind).encode(value)
    return plain


def decode(kind: type[T], plain: Plain) -> T:
    """Return the noun of that kind; raises RowError when `plain` is not one."""
    hint: Any = kind
    noun: T = codec(hint).decode(plain)
    return noun


def to_row(value: object, columns: Sequence[str]) -> dict[str, Plain]:
    """Return a row for a table with those columns; fields without a column go into `rest`."""
    plain = encode(value)
    row = {name: plain.pop(name) for name in columns if name in plain}
    return {**row, "rest": plain} if "rest" in columns else row


def from_row(kind: type[T], row: Mapping[str, Plain]) -> T:
    """Return the noun that a row holds, whatever columns the row has beyond the noun's fields."""
    hint: Any = kind
    known = codecs(hint)
    plain = {name: value for name, value in row.items() if name in known}
    return decode(kind, {**(row.get("rest") or {}), **plain})


def canonical(plain: Plain) -> str:
    """Return the one JSON text of a plain value: sorted keys, no blanks, ASCII."""
    if type(plain) is float and math.isfinite(plain):
        return repr(plain)  # what the encoder says, ten times as fast: values change with every tick
    return ENCODER.encode(plain)


@cache
def codec(hint: Any) -> Codec:
    """Return how values of this type hint are written and read; raises TypeError for a shape no noun uses."""
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if hint is Labels:
        return mapping(codec(str), Labels)
    if hint is str:
        return Codec(text, text)
    if hint is bool:
        return Codec(boolean, boolean)
    if hint is int:
        return Codec(integer, integer)
    if hint is float:
        return Codec(number_out, number_in)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return Codec(lambda value: hint(value).value, lambda plain: member(hint, plain))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return record(hint)
    if origin in (typing.Union, types.UnionType):
        some = [argument for argument in arguments if argument is not types.NoneType]
        return optional(codec(some[0])) if len(some) == 1 else Codec(value_out, value_in)
    if origin is tuple and len(arguments) == 2 and arguments[1] is ...:  # noqa: PLR2004  tuple[X, ...]
        return sequence(codec(arguments[0]), tuple)
    if origin is frozenset:
        return sequence(codec(arguments[0]), frozenset)
    if origin is Mapping and arguments[0] is str:
        return mapping(codec(arguments[1]), dict)
    raise TypeError(f"no way to store {hint!r}")


@cache
def codecs(kind: Any) -> dict[str, Codec]:
    """Return the codec of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: codec(hints[field.name]) for field in dataclasses.fields(kind)}


def record(kind: Any) -> Codec:
    """Return the codec of a dataclass."""
    fields = codecs(kind)

    def write(value: Any) -> dict[str, Plain]:
        if type(value) is not kind:
            raise RowError(f"{type(value).__name__} where {kind.__name__} is declared")
        return {name: each.encode(getattr(value, name)) for name, each in fields.items()}

    def read(plain: Plain) -> Any:
        if not isinstance(plain, dict):
            raise RowError(f"{kind.__name__} is not an object: {plain!r:.80}")
        if unknown := plain.keys() - fields.keys():
            raise RowError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
        try:
            return kind(**{name: fields[name].decode(value) for name, value in plain.items()})
        except TypeError as error:
            raise RowError(f"{kind.__name__}: {error}") from error

    return Codec(write, read)


def optional(inner: Codec) -> Codec:
    """Return the codec of `X | None`."""
    return Codec(
        lambda value: None if value is None else inner.encode(value),
        lambda plain: None if plain is None else inner.decode(plain),
    )


def sequence(inner: Codec, kind: Callable[[Sequence[Any]], Any]) -> Codec:
    """Return the codec of a tuple, which keeps its order, or of a frozenset, which is sorted."""

    def write(value: Any) -> list[Plain]:
        items = sorted(value) if kind is frozenset else value
        return [inner.encode(item) for item in items]

    def read(plain: Plain) -> Any:
        if not isinstance(plain, list):
            raise RowError(f"not a list: {plain!r:.80}")
        return kind([inner.decode(item) for item in plain])

    return Codec(write, read)


def mapping(inner: Codec, kind: Callable[[dict[str, Any]], Any]) -> Codec:
    """Return the codec of a mapping from text."""

    def write(value: Any) -> dict[str, Plain]:
        return {text(name): inner.encode(item) for name, item in value.items()}

    def read(plain: Plain) -> Any:
        if not isinstance(plain, dict):
            raise RowError(f"not an object: {plain!r:.80}")
        return kind({name: inner.decode(item) for name, item in plain.items()})

    return Codec(write, read)


def text(value: Any) -> str:
    """Return a string as it is."""
    if not isinstance(value, str):
        raise RowError(f"not text: {value!r:.80}")
    return str(value)


def boolean(value: Any) -> bool:
    """Return a boolean as it is."""
    if not isinstance(value, bool):
        raise RowError(f"neither true nor false: {value!r:.80}")
    return value


def integer(value: Any) -> int:
    """Return a whole number as an int."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise RowError(f"not a whole number: {value!r:.80}")
    return int(value)


def number_out(value: Any) -> float | str:
    """Return a number as JSON can say it."""
    if isinstance(value, bool) or not isinstance(value, (float, Real)):
        raise RowError(f"not a number: {value!r:.80}")
    number = float(value)
    return number if math.isfinite(number) else NAMES.get(number, "NaN")


def number_in(plain: Plain) -> float:
    """Return the number that `number_out` wrote; infinity may also come as itself, from a column of floats."""
    if isinstance(plain, str) and plain in NUMBERS:
        return NUMBERS[plain]
    if isinstance(plain, bool) or not isinstance(plain, (float, int)):
        raise RowError(f"not a number: {plain!r:.80}")
    return float(plain)


def member(kind: type[StrEnum], plain: Plain) -> StrEnum:
    """Return the member with that value."""
    try:
        return kind(plain)
    except ValueError as error:
        raise RowError(str(error)) from error


def value_out(value: Any) -> Plain:
    """Return a YAML value as plain JSON."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = number_out(value)
        return {TAG: number} if isinstance(number, str) else number
    if isinstance(value, Mapping):
        return {f"${name}" if name.startswith("$") else text(name): value_out(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [value_out(item) for item in value]
    raise RowError(f"not a YAML value: {value!r:.80}")


def value_in(plain: Plain) -> Any:
    """Return the YAML value that `value_out` wrote."""
    if isinstance(plain, list):
        return tuple(value_in(item) for item in plain)
    if isinstance(plain, dict):
        if plain.keys() == {TAG}:
            return number_in(plain[TAG])
        return {
            name.removeprefix("$") if name.startswith("$$") else name: value_in(item) for name, item in plain.items()
        }
    return plain
