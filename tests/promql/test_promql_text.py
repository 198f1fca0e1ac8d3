"""Text and tree: what parses, how it prints, and what is said where it does not parse."""

from __future__ import annotations

import math
import time
from pathlib import Path

import promql_parser
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from promql_expressions import expressions
from promql_memory import Memory
from promql_script import INSTANT, RANGE, commands
from test_conformance import SHARED

from engine.promql import EvaluationError, ParseError, bind, evaluate, format_expression, parse
from engine.promql.block import Matcher, MatchOperator
from engine.promql.literals import print_duration, print_plain, print_string, read_duration, read_string
from engine.promql.parser import MAX_DEPTH, MAX_LENGTH
from engine.promql.syntax import (
    Aggregation,
    Binary,
    Call,
    Expression,
    Negation,
    NumberLiteral,
    RangeSelector,
    Selector,
    StringLiteral,
    Subquery,
    children,
    metric_name,
    walk,
)

CASES = Path(__file__).parent / "cases"


def blocks(name: str) -> list[list[str]]:
    text = (CASES / name).read_text()
    return [block.split("\n") for block in text.strip("\n").split("\n\n") if not block.startswith("# ")]


@pytest.mark.parametrize("case", blocks("errors.txt"), ids=lambda case: case[0])
def test_an_error_says_what_is_wrong_and_points_at_it(case: list[str]) -> None:
    text, carets, message = case
    with pytest.raises(ParseError) as caught:
        parse(text)
    error = caught.value
    assert " " * error.start + "^" * max(1, error.end - error.start) == carets
    assert error.message == message
    assert error.text == text


@pytest.mark.parametrize("case", blocks("canonical.txt"), ids=lambda case: case[0])
def test_canonical_text_is_this(case: list[str]) -> None:
    text, canonical = "\n".join(case[:-1]), case[-1]
    assert format_expression(parse(text)) == canonical
    assert parse(canonical) == parse(text)


@given(expressions())
@settings(max_examples=300, deadline=None)
def test_what_is_printed_reads_back_as_the_same(text: str) -> None:
    tree = parse(text)
    printed = format_expression(tree)
    assert parse(printed) == tree
    assert format_expression(parse(printed)) == printed


@given(expressions())
@settings(max_examples=100, deadline=None)
def test_every_part_knows_its_place(text: str) -> None:
    for node in walk(parse(text)):
        start, end = node.span
        assert 0 <= start < end <= len(text)
        if not isinstance(node, NumberLiteral):
            part = parse_loosely(text[start:end])
            # x[5m] offset 1h has one span for the range and its selector, - - x one for both negations
            assert node in (part, *children(part))


def parse_loosely(text: str) -> Expression:
    """Parse a part, which by itself may be of a type that the whole could not be."""
    from engine.promql.lexer import tokenize
    from engine.promql.parser import Parser

    # the span of `(a) + (b)` begins and ends with its operands' own parentheses
    return Parser(text, tokenize(text)).expression()


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_parses_or_is_refused_with_a_place_in_it(text: str) -> None:
    error = refusal(text)
    if error is None:
        assert parse(format_expression(parse(text))) == parse(text)
    else:
        assert 0 <= error.start <= error.end <= len(text)
        assert error.message


@given(st.text(alphabet="(){}[]+-*/%^=<>!~@,:\"'`#\\ \n0123456789.eExsmhabyNIonfutcprw", max_size=80))
@settings(max_examples=500, deadline=None)
def test_any_pile_of_signs_parses_or_is_refused(text: str) -> None:
    error = refusal(text)
    assert error is None or 0 <= error.start <= error.end <= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 20_000 + "x" + ")" * 20_000,
        "abs(" * 5_000 + "x" + ")" * 5_000,
        "x + " * 10_000 + "x",
        "1 ^ " * 10_000 + "1",
        "x[5m" * 5_000,
        "sum by (a) (" * 3_000 + "x" + ")" * 3_000,
        "x" + "[5m:1m]" * 5_000,
        "- (" * 9_000 + "x" + ")" * 9_000,
        "x" * (MAX_LENGTH + 1),
    ],
    ids=lambda text: text[:6],
)
def test_what_is_too_long_or_too_deep_is_refused_at_once(text: str) -> None:
    begun = time.process_time()
    with pytest.raises(ParseError):
        parse(text)
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "text", ["x[1e300]", "x[-1e300]", "x[(2 ^ 1000)]", "x offset -(2 ^ 1000)", "x[NaN]", "x[5m:1e300]", "x[1e17]"]
)
def test_a_span_beyond_all_time_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="out of range"):
        parse(text)


@pytest.mark.parametrize("text", ["1" * 9_000 + "z", "x[" + "1y" * 9_000 + "]", "x " + "y" * 9_000, "f" * 9_000 + "()"])
def test_a_message_does_not_repeat_a_flood(text: str) -> None:
    error = refusal(text)
    assert error is not None
    assert len(error.message) < 200


def test_a_tree_of_the_greatest_depth_can_be_printed_bound_and_evaluated() -> None:
    text = "abs(" * (MAX_DEPTH - 1) + "x" + ")" * (MAX_DEPTH - 1)
    tree = bind(parse(text), [Matcher("a", MatchOperator.EQUAL, "b")])
    assert parse(format_expression(tree)) == tree
    assert evaluate(tree, Memory(), 0).series == ()


def test_eight_thousand_minus_signs_are_read_in_no_time() -> None:
    begun = time.process_time()
    assert parse("-" * 8_000 + "1") == NumberLiteral(1.0)
    assert format_expression(parse("-" * 8_001 + "x")) == "-x"
    assert format_expression(parse("-" * 8_000 + "x")) == "--x"
    assert time.process_time() - begun < 1


@given(st.text(), st.text())
def test_a_bound_value_cannot_break_out(value: str, more: str) -> None:
    matchers = [Matcher("instance", MatchOperator.EQUAL, value), Matcher("job", MatchOperator.NOT_EQUAL, more)]
    bound = bind(parse('rate(x{a="b"}[5m]) > 1'), matchers)
    assert parse(format_expression(bound)) == bound


@given(st.integers(min_value=1, max_value=10**12))
def test_durations_read_back(milliseconds: int) -> None:
    assert read_duration(print_duration(milliseconds)) == milliseconds


@given(st.binary())
def test_strings_read_back_whatever_their_bytes(value: bytes) -> None:
    text = value.decode("utf-8", "surrogateescape")
    assert read_string(print_string(text)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_plain_numbers_have_no_exponent_and_the_same_value(value: float) -> None:
    text = print_plain(value)
    assert "e" not in text
    assert math.isclose(float(text), value, rel_tol=0, abs_tol=0)


# What the library is known to read otherwise than Prometheus does, or not at all.
LIBRARY_REFUSES = (
    "1_000",
    "offset (",
    "step()",
    "range()",
    "min_of",
    "max_of",
    "start()",
    "end()",
    "histogram_quantiles",
)
LIBRARY_LACKS = ("mad_over_time", "ts_of_", "first_over_time", "limitk", "limit_ratio")


def known_queries() -> list[str]:
    found = []
    for path in sorted(SHARED.glob("*.test")):
        for command in commands(path.read_text()):
            spec = INSTANT.fullmatch(command.head) or RANGE.fullmatch(command.head)
            if spec is not None:
                found.append(spec.group(spec.re.groups))
    found += ["\n".join(case[:-1]) for case in blocks("canonical.txt")] + [case[0] for case in blocks("errors.txt")]
    return [text for text in dict.fromkeys(found) if not any(word in text for word in LIBRARY_REFUSES + LIBRARY_LACKS)]


def test_the_library_agrees_on_what_parses() -> None:
    disagreed = {text for text in known_queries() if ours(text) != theirs(text)}
    assert disagreed == {
        'x{a="b" or c="d"}',  # it takes what Prometheus refuses
        'sum by ("") (cpu)',
        "cpu[1000y]",
        "cpu > 300y",
        "cpu > 1e400",
        'sum by (a:b, "without") (cpu)',  # it refuses what Prometheus takes
        '{__name__=~"a|b", x=`back\\slash`}',  # and this
    }


@given(expressions())
@settings(max_examples=200, deadline=None)
def test_the_library_sees_the_same_structure(text: str) -> None:
    assume(theirs(text))
    assert their_shape(promql_parser.parse(text)) == our_shape(parse(text))
    assert their_shape(promql_parser.parse(format_expression(parse(text)))) == our_shape(parse(text))


def our_shape(node: Expression) -> object:
    """Return how operators nest, and around which names; signs left out."""
    match node:
        case Binary():
            return our_shape(node.left), our_shape(node.right)
        case Call():
            return node.function, *map(our_shape, node.arguments)
        case Negation() | Subquery():
            return our_shape(node.expression)
        case Aggregation():
            return node.grouping, our_shape(node.expression)
        case RangeSelector():
            return our_shape(node.selector)
        case Selector():
            return metric_name(node.matchers)
        case NumberLiteral():
            return str(abs(node.value))
        case StringLiteral():
            return node.value


def their_shape(node: promql_parser.Expr) -> object:
    match type(node).__name__:
        case "ParenExpr" | "UnaryExpr" | "SubqueryExpr":
            return their_shape(node.expr)
        case "BinaryExpr":
            return their_shape(node.lhs), their_shape(node.rhs)
        case "Call":
            return node.func.name, *map(their_shape, node.args)
        case "AggregateExpr":
            return tuple(node.modifier.labels) if node.modifier else (), their_shape(node.expr)
        case "MatrixSelector":
            return their_shape(node.vector_selector)
        case "VectorSelector":
            return node.name
        case "NumberLiteral":
            return str(abs(node.val))
        case _:
            return node.val


def ours(text: str) -> bool:
    return refusal(text) is None


def refusal(text: str) -> ParseError | None:
    try:
        parse(text)
    except ParseError as error:
        return error
    return None


def theirs(text: str) -> bool:
    try:
        promql_parser.parse(text)
    except ValueError:
        return False
    return True


def test_errors_travel_between_processes() -> None:
    import pickle

    with pytest.raises(ParseError) as caught:
        parse("rate(x)")
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  (our own bytes)
    assert (copy.message, copy.start, copy.end, copy.text) == (caught.value.message, 5, 6, "rate(x)")
    error = EvaluationError("no", (1, 2))
    assert pickle.loads(pickle.dumps(error)).span == (1, 2)  # noqa: S301  (our own bytes)
