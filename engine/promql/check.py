"""Whether an expression makes sense: names that exist, types that fit, matchers that select."""

from __future__ import annotations

from difflib import get_close_matches

from engine.promql.block import Matcher
from engine.promql.catalogue import FUNCTIONS
from engine.promql.errors import ParseError
from engine.promql.lexer import Token
from engine.promql.patterns import admits_empty
from engine.promql.syntax import (
    COMPARISONS,
    SETS,
    Aggregation,
    Binary,
    Call,
    Expression,
    Extension,
    Negation,
    NumberLiteral,
    RangeSelector,
    Selector,
    Side,
    StringLiteral,
    Subquery,
    Type,
    walk,
)

AGGREGATIONS: dict[str, str | None] = {
    **dict.fromkeys(("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")),
    **dict.fromkeys(("topk", "bottomk", "limitk"), "k"),
    "limit_ratio": "ratio",
    "quantile": "φ",
    "count_values": '"label"',
}
"""The aggregations, and what those with a parameter call it."""


EXTENDED = {
    Extension.ANCHORED: ("changes", "delta", "increase", "rate", "resets"),
    Extension.SMOOTHED: ("delta", "increase", "rate"),
}
"""The functions that know what to make of samples beyond the range."""


def known_function(token: Token, text: str) -> None:
    """Raise ParseError, with the likeliest name meant, unless `token` names a function."""
    name = token.text
    if name in FUNCTIONS:
        return
    known = [*FUNCTIONS, *AGGREGATIONS]
    near = get_close_matches(name.lower()[:100], known, n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    raise ParseError(f"unknown function `{name[:100]}`{hint}", token.start, token.end, text)


def type_of(node: Expression) -> Type:
    """Return what `node` evaluates to."""
    match node:
        case NumberLiteral():
            return Type.SCALAR
        case StringLiteral():
            return Type.TEXT
        case Selector() | Aggregation():
            return Type.VECTOR
        case RangeSelector() | Subquery():
            return Type.RANGE
        case Call(function=function):
            return FUNCTIONS[function].gives
        case Negation(expression=below):
            return type_of(below)
        case Binary(left=left, right=right):
            both = type_of(left) is Type.SCALAR and type_of(right) is Type.SCALAR
            return Type.SCALAR if both else Type.VECTOR


def check(tree: Expression, text: str) -> None:
    """Raise ParseError at the first part of `tree` that makes no sense."""
    for node in walk(tree):
        match node:
            case Selector(matchers=matchers):
                _selects(node, matchers, text)
            case Subquery(expression=below):
                _wants(below, Type.VECTOR, "a subquery", text)
            case Negation(expression=below) if type_of(below) not in {Type.SCALAR, Type.VECTOR}:
                raise ParseError(f"a sign before a {type_of(below)}", *node.span, text)
            case Call():
                _call(node, text)
            case Aggregation():
                _aggregation(node, text)
            case Binary():
                _binary(node, text)


def _selects(node: Selector, matchers: tuple[Matcher, ...], text: str) -> None:
    if all(map(admits_empty, matchers)):
        message = "the selector would match every series: at least one matcher must refuse the empty value"
        raise ParseError(message, *node.span, text)


def _wants(node: Expression, wanted: Type, what: str, text: str) -> None:
    found = type_of(node)
    if found is wanted:
        return
    message = f"{what} needs {_article(wanted)}, got {_article(found)}{_fix(node, wanted, found, text)}"
    raise ParseError(message, *node.span, text)


def _article(kind: Type) -> str:
    return f"an {kind}" if kind is Type.VECTOR else f"a {kind}"


def _fix(node: Expression, wanted: Type, found: Type, text: str) -> str:
    """Return what to write instead, where there is something."""
    shown = text[slice(*node.span)]
    shown = shown if len(shown) <= 40 and "\n" not in shown else "x"  # noqa: PLR2004  (a hint is short)
    match (wanted, found):
        case (Type.RANGE, Type.VECTOR) if isinstance(node, Selector) and not (node.offset or node.at):
            return f": write {shown}[5m]"
        case (Type.RANGE, Type.VECTOR) if isinstance(node, Selector):
            return ": put the range before the modifiers, x[5m] offset 1h"
        case (Type.RANGE, Type.VECTOR):
            return f": write a subquery, ({shown})[5m:1m]"
        case (Type.VECTOR, Type.RANGE):
            return ": leave out the range, or reduce it with a function such as rate or avg_over_time"
        case (Type.VECTOR, Type.SCALAR):
            return f": write vector({shown})"
        case (Type.SCALAR, Type.VECTOR):
            return f": write scalar({shown})"
        case (Type.TEXT, _):
            return ": put it in quotes"
        case _:
            return ""


def _call(node: Call, text: str) -> None:
    function = FUNCTIONS[node.function]
    given, takes = len(node.arguments), len(function.takes)
    fewest = takes - function.optional
    if given < fewest or (given > takes and not function.repeats):
        wanted = (
            f"at least {fewest}" if function.repeats else str(fewest) if fewest == takes else f"{fewest} to {takes}"
        )
        kinds = ", ".join(function.takes)
        shape = f" ({kinds})" if kinds else ""
        raise ParseError(
            f"{node.function} takes {wanted} {'argument' if wanted in {'1', 'at least 1'} else 'arguments'}{shape}, got {given}",
            *node.span,
            text,
        )
    for place, argument in enumerate(node.arguments):
        _wants(argument, function.takes[min(place, takes - 1)], node.function, text)
        if isinstance(argument, RangeSelector) and argument.selector.extension is not None:
            _extended(argument.selector.extension, node, text)


def _extended(extension: Extension, node: Call, text: str) -> None:
    if node.function not in EXTENDED[extension]:
        good = ", ".join(EXTENDED[extension])
        message = f"{extension} modifier can only be used with: {good} - not with {node.function}"
        raise ParseError(message, *node.span, text)


def _aggregation(node: Aggregation, text: str) -> None:
    _wants(node.expression, Type.VECTOR, node.operator, text)
    if node.parameter is not None:
        wanted = Type.TEXT if node.operator == "count_values" else Type.SCALAR
        _wants(node.parameter, wanted, f"the parameter of {node.operator}", text)


def _binary(node: Binary, text: str) -> None:
    types = []
    for side in (node.left, node.right):
        found = type_of(side)
        if found not in {Type.SCALAR, Type.VECTOR}:
            message = f"{node.operator} works on scalars and instant vectors, got {_article(found)}"
            raise ParseError(message + _fix(side, Type.VECTOR, found, text), *side.span, text)
        types.append(found)
    scalars = types.count(Type.SCALAR)
    if scalars == 2 and node.operator in COMPARISONS and not node.bool:  # noqa: PLR2004  (both sides)
        message = f"two scalars compare with bool: write {node.operator} bool"
        raise ParseError(message, *node.span, text)
    if scalars and node.operator in SETS:
        side = node.left if types[0] is Type.SCALAR else node.right
        message = f"{node.operator} works on instant vectors, got a scalar{_fix(side, Type.VECTOR, Type.SCALAR, text)}"
        raise ParseError(message, *side.span, text)
    filled = node.matching.fill_left is not None or node.matching.fill_right is not None
    if filled and (scalars or node.operator in SETS):
        what = "scalars" if scalars else "set operators"
        raise ParseError(f"fill stands for series that are missing, which {what} have no use for", *node.span, text)
    if scalars and node.matching.labels:
        raise ParseError("on, ignoring and group go between instant vectors, not scalars", *node.span, text)
    if node.operator in SETS and node.matching.many is not Side.NEITHER:
        raise ParseError(f"{node.operator} always works many-to-many: leave out {node.matching.many}", *node.span, text)
