"""The kinds of values that people write in files, each with its own sentence for what is not one, and its JSON Schema.

A value may be a template there (`"{{ settle }}"`); by the time it is checked, the template is filled in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from engine.config.errors import did_you_mean, quoted
from engine.model.runbook import Approval, Mode, Purpose, Scalar, Scope, Value
from engine.promql import ParseError, parse
from engine.promql.literals import LEGAL_LABEL, read_duration

_TEMPLATE = r"\{\{.*\}\}"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*((?:[KMGT]i?)?B)")
_UNITS: dict[str, int] = {"B": 1} | {
    f"{letter}{kind}": base**power
    for kind, base in (("B", 1000), ("iB", 1024))
    for power, letter in enumerate("KMGT", start=1)
}
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%")
_LONGEST_DURATION = 366 * 86_400.0
_LARGEST_COUNT = 1_000_000
_LONGEST_TEXT = 8192


class Section(BaseModel):
    """A mapping in a file: unknown keys are refused, and nothing is turned into what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)

    HINT: ClassVar[str | None] = None
    """What to say of an unknown key that resembles none."""
    LATER: ClassVar[Mapping[str, str]] = {}
    """The keys that are part of the design and not built yet, each with what it will do."""
    ELSEWHERE: ClassVar[Mapping[str, str]] = {}
    """The keys that people look for here, each with where it stands instead."""


class OrText:
    """Marks a mapping that may be written as a single text, for the JSON Schema."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of either."""
        return {"anyOf": [{"type": "string"}, handler(schema)]}


def wrong(code: str, message: str, fix: str | None = None, *, offset: int = 0, width: int = 1) -> PydanticCustomError:
    """Return an error that pydantic passes on as it is.

    `fix` says what to write instead; `offset` and `width` are the characters of a text that it is about.
    """
    # braces in a pydantic template stand for context
    context = {"sentence": message, "fix": fix, "offset": offset, "width": width}
    return PydanticCustomError(code, "{sentence}", context)


def kind(value: object) -> str:
    """Say what a value is, in YAML's words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {quoted(value)}"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"


def _text(value: object) -> str:
    if not isinstance(value, str):
        scalar = isinstance(value, bool | int | float)
        raise wrong("wrong-type", f"expected text, not {kind(value)}", "put it in quotes" if scalar else None)
    if len(value) > _LONGEST_TEXT:
        raise wrong("too-long", f"longer than {_LONGEST_TEXT} characters")
    return value


def _some_text(value: object) -> str:
    text = _text(value)
    if not text.strip():
        raise wrong("wrong-value", "this text is empty")
    return text


def _parses(value: str) -> str:
    try:
        parse(value)
    except ParseError as error:
        width = max(1, error.end - error.start)
        raise wrong("bad-promql", error.message, offset=error.start, width=width) from None
    return value


def _name(value: object) -> str:
    text = _text(value)
    if not _NAME.fullmatch(text):
        fix = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63]
        message = f"{quoted(text)} is no name: small letters, digits and - make one"
        raise wrong("wrong-value", message, f"did you mean '{fix}'?" if fix else None)
    return text


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise wrong("wrong-value", f"{quoted(value)} is no name of a host variable: letters, digits and _ make one")
    return value


def _label(value: str) -> str:
    if not LEGAL_LABEL.fullmatch(value):
        raise wrong("wrong-value", f"{quoted(value)} is no label name: letters, digits and _ make one")
    return value


def duration(value: object) -> float:
    """Return the seconds of a duration; raises pydantic's error for what is none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise wrong("wrong-value", f"the duration {value} has no unit", f"did you mean '{value:g}s'?")
    text = _text(value).strip()
    milliseconds = read_duration(text)
    if milliseconds is None:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            raise wrong("wrong-value", f"the duration {quoted(text)} has no unit", f"did you mean '{text}s'?")
        raise wrong("wrong-value", f"{quoted(text)} is no duration", "write it like 90s, 5m or 1h30m")
    if milliseconds / 1000 > _LONGEST_DURATION:
        raise wrong("wrong-value", f"{text} is longer than a year")
    return milliseconds / 1000


def _some_time(value: float) -> float:
    if value <= 0:
        raise wrong("wrong-value", "the duration must be longer than nothing")
    return value


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) else ""
    fix = {"yes": "write true", "on": "write true", "no": "write false", "off": "write false"}.get(word)
    if word in ("true", "false"):
        fix = "leave the quotes out"
    raise wrong("wrong-type", f"expected true or false, not {kind(value)}", fix)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        fix = "leave the quotes out" if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else None
        raise wrong("wrong-type", f"expected a number, not {kind(value)}", fix)
    if not math.isfinite(value):
        raise wrong("wrong-value", "the number must be finite")
    return value


def _integer(value: object) -> int:
    number = _number(value)
    if not isinstance(number, int):
        raise wrong("wrong-type", f"expected a whole number, not {kind(value)}")
    if abs(number) > _LARGEST_COUNT:
        raise wrong("wrong-value", f"{number} is too large")
    return number


def _count(value: object) -> int:
    number = _integer(value)
    if number < 1:
        raise wrong("wrong-value", f"{number} is too small: at least 1")
    return number


def size(value: object) -> int:
    """Return a number of bytes: `1GiB`, `500 MB`, or just a number."""
    found = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None:
        number = int(float(found[1]) * _UNITS[found[2]])
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise wrong("wrong-value", f"{quoted(str(value))} is no size", "write it like 500MiB, 1GiB or 2GB")
    if number < 1:
        raise wrong("wrong-value", f"{number} is too small: at least 1")
    return number


def at_least(value: object) -> tuple[float, bool]:
    """Return a number and whether it is a share: `2` is two, `50%` is half."""
    if isinstance(value, str):
        found = _SHARE.fullmatch(value.strip())
        if found is None:
            raise wrong("wrong-value", f"{quoted(value)} is neither a number nor a share", "write it like 2 or 50%")
        share = float(found[1]) / 100
        if not 0 < share <= 1:
            raise wrong("wrong-value", f"{value} is no share: more than 0% and at most 100%")
        return share, True
    return float(_count(value)), False


def share(value: object) -> float:
    """Return a share between 0 and 1 that is written as a percentage or as a number."""
    if isinstance(value, str):
        return at_least(value)[0]
    number = _number(value)
    if not 0 < number <= 1:
        raise wrong("wrong-value", f"{number} is no share: more than 0 and at most 1", "write it like 0.5 or 50%")
    return float(number)


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise wrong("wrong-type", f"expected text, a number, true or false, not {kind(value)}")


def _variables(value: object) -> Mapping[str, Value]:
    if not isinstance(value, Mapping):
        raise wrong("wrong-type", f"expected a mapping of names to values, not {kind(value)}")
    for name in value:
        if not _VARIABLE.fullmatch(name):
            fixed = re.sub(r"[^A-Za-z0-9_]", "_", name)
            fix = f"did you mean '{fixed}'?" if _VARIABLE.fullmatch(fixed) else None
            raise wrong("wrong-value", f"{quoted(name)} is no name that Ansible takes", fix)
    return value


def _choice(kinds: type[StrEnum]) -> Any:
    def choose(value: object) -> StrEnum:
        text = _text(value)
        if text not in set(kinds):
            fix = did_you_mean(text.lower(), list(kinds)) or f"write one of {', '.join(kinds)}"
            raise wrong("wrong-value", f"{quoted(text)} is no {kinds.__name__.lower()}", fix)
        return kinds(text)

    return choose


def _or_template(schema: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [schema, {"type": "string", "pattern": _TEMPLATE}]})


Text = Annotated[str, BeforeValidator(_some_text), WithJsonSchema({"type": "string", "minLength": 1})]
Expr = Annotated[
    str, BeforeValidator(_some_text), WithJsonSchema({"type": "string", "minLength": 1, "description": "PromQL"})
]
PlainExpr = Annotated[Expr, AfterValidator(_parses)]
"""PromQL in which there are no templates."""
Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})]
AnyText = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": "string"})]
LabelName = Annotated[str, BeforeValidator(_text), AfterValidator(_label), WithJsonSchema({"type": "string"})]
HostVariable = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(_variable),
    WithJsonSchema({"type": "string", "pattern": f"^{_VARIABLE.pattern}$"}),
]
Duration = Annotated[
    float,
    BeforeValidator(duration),
    WithJsonSchema(
        {"type": "string", "pattern": rf"^([0-9]+(ms|[smhdwy]))+$|{_TEMPLATE}", "description": "such as 90s, 5m, 1h30m"}
    ),
]
Time = Annotated[Duration, AfterValidator(_some_time)]
Flag = Annotated[bool, BeforeValidator(_flag), _or_template({"type": "boolean"})]
Number = Annotated[float, BeforeValidator(_number), _or_template({"type": "number"})]
Integer = Annotated[int, BeforeValidator(_integer), _or_template({"type": "integer"})]
Count = Annotated[int, BeforeValidator(_count), _or_template({"type": "integer", "minimum": 1})]
Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*([KMGT]i?)?B$"},
            ],
            "description": "bytes, such as 500MiB or 1GiB",
        }
    ),
]
AtLeast = Annotated[
    tuple[float, bool],
    BeforeValidator(at_least),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "string", "pattern": rf"^[0-9]+(\.[0-9]+)?\s*%$|{_TEMPLATE}"},
            ]
        }
    ),
]
Share = Annotated[
    float,
    BeforeValidator(share),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"type": "string", "pattern": "%$"}]}
    ),
]
Param = Annotated[
    str | int | float | bool | None,
    BeforeValidator(_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean", "null"]}),
]
Variables = Annotated[Any, BeforeValidator(_variables), WithJsonSchema({"type": "object"})]
ModeChoice = Annotated[
    Mode, BeforeValidator(_choice(Mode)), WithJsonSchema({"type": "string", "enum": [str(one) for one in Mode]})
]
ApprovalChoice = Annotated[
    Approval,
    BeforeValidator(_choice(Approval)),
    WithJsonSchema({"type": "string", "enum": [str(one) for one in Approval]}),
]
PurposeChoice = Annotated[
    Purpose,
    BeforeValidator(_choice(Purpose)),
    WithJsonSchema({"type": "string", "enum": [str(one) for one in Purpose]}),
]
ScopeChoice = Annotated[
    Scope, BeforeValidator(_choice(Scope)), WithJsonSchema({"type": "string", "enum": [str(one) for one in Scope]})
]
