"""From text to tree: a precedence climber that knows where everything stands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from engine.promql.block import Matcher, MatchOperator
from engine.promql.check import AGGREGATIONS, check, known_function
from engine.promql.durations import NoDurationError, seconds, whole_milliseconds
from engine.promql.errors import ParseError, shown
from engine.promql.lexer import Kind, Token, tokenize
from engine.promql.literals import LONGEST_DURATION, read_duration
from engine.promql.matchings import MatchingCursor
from engine.promql.patterns import PatternError, compile_pattern
from engine.promql.syntax import (
    PRECEDENCE,
    UNARY,
    Aggregation,
    Binary,
    Call,
    Duration,
    Edge,
    Expression,
    Extension,
    Negation,
    NumberLiteral,
    RangeSelector,
    Selector,
    Span,
    StringLiteral,
    Subquery,
    children,
)

MAX_LENGTH = 64 * 1024
MAX_DEPTH = 150
"""Deep enough for people; shallow enough that no walk over a tree runs out of stack."""

NO_METRIC = frozenset({"on", "ignoring", "group_left", "group_right", "bool", "atan2"})
FARTHEST = 2**63 // 1000


def parse(text: str) -> Expression:
    """Return the tree of `text`, its types checked; raises ParseError with the place of what is wrong."""
    if len(text) > MAX_LENGTH:
        message = f"expression of {len(text)} characters; at most {MAX_LENGTH} are read"
        raise ParseError(message, MAX_LENGTH, len(text), text)
    try:
        text.encode()
    except UnicodeEncodeError as wrong:
        raise ParseError("not UTF-8", wrong.start, wrong.end, text) from None
    parser = Parser(text, tokenize(text))
    if parser.ended():
        raise ParseError("no expression found", 0, len(text), text)
    tree = parser.expression()
    if not parser.ended():
        raise parser.unexpected("an operator or the end")
    _bound_depth(tree, text)
    check(tree, text)
    return tree


def _bound_depth(tree: Expression, text: str) -> None:
    level = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in children(node)]
        if not level:
            return
    raise ParseError(f"nested more than {MAX_DEPTH} deep", *level[0].span, text)


class Parser(MatchingCursor):
    """The rules of the grammar, a method each."""

    in_duration = False

    def expression(self, floor: int = 0) -> Expression:
        """Read an expression whose operators bind at least as tightly as `floor`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"nested more than {MAX_DEPTH} deep", (self.token.start, self.token.end))
        start = self.token.start
        signed, minuses = False, 0
        while self.sees("-", "+"):
            signed = True
            minuses += self.take().text == "-"
        left = self.signed(self.expression(UNARY), minuses, start) if signed else self.operand()
        while (operator := self.operator()) is not None and PRECEDENCE[operator] >= floor:
            self.take()
            answers, matching = self.modifiers(operator)
            binding = PRECEDENCE[operator]
            right = self.expression(binding if operator == "^" else binding + 1)
            left = Binary(operator, left, right, answers, matching, (start, self.behind))
        self.depth -= 1
        return left

    def signed(self, operand: Expression, minuses: int, start: int) -> Expression:
        """Return `operand` below so many minus signs: as a number where it is one, and never more than two deep."""
        span = (start, self.behind)
        if isinstance(operand, NumberLiteral):
            flips = minuses % 2 == 1 and not math.isnan(operand.value)  # one NaN, so that trees compare as equal
            return NumberLiteral(-operand.value if flips else operand.value, span)
        if isinstance(operand, StringLiteral | RangeSelector | Subquery):
            kind = "a string" if isinstance(operand, StringLiteral) else "a range vector"
            raise self.error(f"a sign before {kind}: it needs a scalar or an instant vector", span)
        while isinstance(operand, Negation):
            operand, minuses = operand.expression, minuses + 1
        for _ in range(2 - minuses % 2 if minuses else 0):
            operand = Negation(operand, span)
        return operand

    def operator(self) -> str | None:
        """Return the binary operator that is next, in lower case, if one is."""
        token = self.token
        word = token.text.lower()
        if word in PRECEDENCE and token.kind in {Kind.SYMBOL, Kind.NAME}:
            return word
        if self.sees("</", ">/"):
            raise self.error(f"{token.text} trims native histograms, which are not kept here", self.here())
        if self.sees("="):
            raise self.error("'=' compares labels within {}; values are compared with ==", (token.start, token.end))
        return None

    def operand(self) -> Expression:
        """Read one operand and what stands behind it: ranges, `offset` and `@`."""
        start = self.token.start
        enclosed = self.sees("(")
        head = self.head()
        while True:
            if self.sees("["):
                head = self.ranged(head, start, enclosed)
                enclosed = False
            elif self.sees_word("offset"):
                head = self.shifted(head, start, enclosed)
            elif self.sees("@"):
                head = self.pinned(head, start, enclosed)
            elif self.sees_word(*Extension):
                head = self.extended(head, start, enclosed)
            else:
                return head

    def head(self) -> Expression:
        """Read a number, a string, a selector, a call, an aggregation, or an expression in parentheses."""
        token = self.token
        match token.kind:
            case Kind.NUMBER:
                self.take()
                return NumberLiteral(self.number(token), (token.start, token.end))
            case Kind.STRING:
                self.take()
                return StringLiteral(self.string(token), (token.start, token.end))
            case Kind.NAME:
                return self.named()
        if self.sees("{"):
            return self.selector(None, token.start)
        if self.accept("("):
            if self.sees(")"):
                raise self.error("nothing stands between the parentheses", (token.start, self.token.end))
            inner = self.expression()
            self.expect(")")
            return inner
        raise self.unexpected("an expression")

    def named(self) -> Expression:
        """Read what begins with a name."""
        token = self.take()
        word = token.text.lower()
        if word in {"inf", "nan"}:
            return NumberLiteral(math.inf if word == "inf" else math.nan, (token.start, token.end))
        if self.in_duration and word in {"min", "max"}:
            return Call(f"{word}_of", self.arguments(), (token.start, self.behind))
        if word in AGGREGATIONS and (self.sees("(") or self.sees_word("by", "without")):
            return self.aggregation(token, word)
        if self.sees("("):
            return self.call(token)
        if word in NO_METRIC:
            raise self.error(f"unexpected {shown(token.text)}: expected an expression", (token.start, token.end))
        return self.selector(token.text, token.start)

    def call(self, token: Token) -> Call:
        """Read a function's arguments."""
        known_function(token, self.text)
        arguments = self.arguments()
        return Call(token.text, arguments, (token.start, self.behind))

    def arguments(self) -> tuple[Expression, ...]:
        """Read expressions in parentheses."""
        self.expect("(")
        arguments: list[Expression] = []
        while not self.sees(")"):
            arguments.append(self.expression())
            if not self.sees(")") and not self.accept(","):
                raise self.unexpected("',' or ')'")
            if self.sees(")") and self.tokens[self.place - 1].text == ",":
                raise self.unexpected("another argument")
        self.expect(")")
        return tuple(arguments)

    def aggregation(self, token: Token, operator: str) -> Aggregation:
        """Read an aggregation; its grouping may stand before or behind the parentheses."""
        grouping: tuple[str, ...] = ()
        without = False
        given = False
        if self.sees_word("by", "without"):
            given, without, grouping = True, self.take().text.lower() == "without", self.labels()
        arguments = self.arguments()
        if not given and self.sees_word("by", "without"):
            without, grouping = self.take().text.lower() == "without", self.labels()
        span = (token.start, self.behind)
        wanted = 2 if AGGREGATIONS[operator] is not None else 1
        if len(arguments) != wanted:
            shape = f"{operator}(x)" if wanted == 1 else f"{operator}({AGGREGATIONS[operator]}, x)"
            count = "1 argument" if wanted == 1 else f"{wanted} arguments"
            raise self.error(f"{operator} takes {count}, got {len(arguments)}: write {shape}", span)
        parameter = arguments[0] if wanted > 1 else None
        return Aggregation(operator, arguments[-1], parameter, grouping, without, span)

    def selector(self, name: str | None, start: int) -> Selector:
        """Read the matchers behind `name`; at least one of all must refuse the empty value."""
        found: list[Matcher] = [] if name is None else [Matcher("__name__", MatchOperator.EQUAL, name)]
        named = name is not None
        if self.accept("{"):
            while not self.sees("}"):
                quoted = self.token.kind is Kind.STRING and self.next_is(",", "}")
                if quoted:
                    token = self.take()
                    if named:
                        raise self.error("the metric's name is given twice", (token.start, token.end))
                    found.insert(0, Matcher("__name__", MatchOperator.EQUAL, self.string(token)))
                else:
                    found.append(self.matcher())
                if not self.sees("}") and not self.accept(","):
                    raise self.unexpected("',' or '}'")
            self.expect("}")
        if named and sum(matcher.name == "__name__" for matcher in found) > 1:
            raise self.error("the metric's name is given twice", (start, self.behind))
        return Selector(tuple(found), span=(start, self.behind))

    def matcher(self) -> Matcher:
        """Read one label matcher."""
        name = self.label(empty=True)
        if not self.sees("=", "!=", "=~", "!~"):
            if self.sees("=="):
                raise self.error("labels are compared with a single =", self.here())
            raise self.unexpected("=, !=, =~ or !~")
        operator = MatchOperator(self.take().text)
        if self.token.kind is not Kind.STRING:
            raise self.unexpected("a label value in quotes")
        token = self.take()
        value = self.string(token)
        if operator in {MatchOperator.REGEX, MatchOperator.NOT_REGEX}:
            try:
                compile_pattern(value)
            except PatternError as wrong:
                raise self.error(f"not a regular expression: {wrong}", (token.start, token.end)) from None
        return Matcher(name, operator, value)

    def ranged(self, head: Expression, start: int, enclosed: bool) -> Expression:
        """Read `[range]` behind a selector, or `[range:step]` behind any instant vector."""
        opening = self.expect("[")
        if self.sees("]", ":"):
            raise self.unexpected("a duration, such as 5m")
        reach = self.duration(positive=True)
        if self.accept(":"):
            step = None if self.sees("]") else self.duration(positive=True)
            self.expect("]")
            return Subquery(head, reach, step, span=(start, self.behind))
        self.expect("]")
        span = (opening.start, self.behind)
        if not isinstance(head, Selector) or enclosed:
            message = "a range belongs directly behind a selector; for other expressions write a subquery: [5m:1m]"
            raise self.error(message, span)
        if head.offset != 0 or head.at is not None or head.extension is not None:
            raise self.error("the range stands before offset and @: x[5m] offset 1h", span)
        return RangeSelector(head, reach, (start, self.behind))

    def duration(self, *, positive: bool) -> Duration:
        """Read a span of time: a constant in milliseconds, or an expression over step() and range()."""
        start = self.token.start
        with self.within_duration():
            node = self.expression()
        return self.as_duration(node, (start, self.behind), positive=positive)

    @contextmanager
    def within_duration(self) -> Iterator[None]:
        """Read `min` and `max` as the lesser and the greater of two durations."""
        around, self.in_duration = self.in_duration, True
        yield
        self.in_duration = around

    def as_duration(self, node: Expression, span: Span, *, positive: bool) -> Duration:
        """Return `node` as a span of time: a constant where it is one."""
        try:
            value = seconds(node)
        except NoDurationError as wrong:
            raise self.error(str(wrong), wrong.node.span) from None
        if value is None:
            return node
        exact = read_duration(self.text[slice(*span)])
        if exact is None and not abs(value) <= LONGEST_DURATION:  # seconds, and far too many; NaN, too
            raise self.error("duration out of range", span)
        milliseconds = whole_milliseconds(value) if exact is None else exact
        if positive and milliseconds <= 0:
            raise self.error("a duration must be greater than 0", span)
        if abs(milliseconds) > LONGEST_DURATION:
            raise self.error("duration out of range", span)
        return milliseconds

    def shifted(self, head: Expression, start: int, enclosed: bool) -> Expression:
        """Read `offset` and its span of time."""
        word = self.take()
        sign_start = self.token.start
        minuses = 0
        while self.sees("-", "+"):
            minuses += self.take().text == "-"
        if not (
            self.token.kind is Kind.NUMBER
            or self.sees("(")
            or self.sees_word("step", "range", "min_of", "max_of", "min", "max")
        ):
            raise self.unexpected("a duration, such as 5m")
        with self.within_duration():
            inner = self.head()
        node = self.signed(inner, minuses, sign_start)
        offset = self.as_duration(node, (sign_start, self.behind), positive=False)
        inner_head = head.selector if isinstance(head, RangeSelector) else head
        if enclosed or not isinstance(inner_head, Selector | Subquery):
            message = "offset belongs directly behind a selector or a subquery"
            raise self.error(message, (word.start, self.behind))
        if inner_head.offset != 0:
            raise self.error("offset is given twice", (word.start, self.behind))
        return self._modified(head, replace(inner_head, offset=offset), start)

    def pinned(self, head: Expression, start: int, enclosed: bool) -> Expression:
        """Read `@` and its time."""
        word = self.take()
        at = self.time()
        inner_head = head.selector if isinstance(head, RangeSelector) else head
        if enclosed or not isinstance(inner_head, Selector | Subquery):
            raise self.error("@ belongs directly behind a selector or a subquery", (word.start, self.behind))
        if inner_head.at is not None:
            raise self.error("@ is given twice", (word.start, self.behind))
        return self._modified(head, replace(inner_head, at=at), start)

    def extended(self, head: Expression, start: int, enclosed: bool) -> Expression:
        """Read `anchored` or `smoothed`."""
        word = self.take()
        inner_head = head.selector if isinstance(head, RangeSelector) else head
        if enclosed or not isinstance(inner_head, Selector):
            message = f"{word.text} belongs directly behind a selector; it is not supported for subqueries"
            raise self.error(message, (word.start, self.behind))
        if inner_head.extension is not None:
            raise self.error("anchored and smoothed modifiers cannot be used together", (word.start, self.behind))
        return self._modified(head, replace(inner_head, extension=Extension(word.text.lower())), start)

    def _modified(self, head: Expression, changed: Selector | Subquery, start: int) -> Expression:
        span = (start, self.behind)
        if isinstance(head, RangeSelector) and isinstance(changed, Selector):
            return replace(head, selector=replace(changed, span=span), span=span)
        return replace(changed, span=span)

    def time(self) -> int | Edge:
        """Read the time behind `@`: seconds since the epoch, or an end of the query."""
        start = self.token.start
        if self.sees_word("start", "end"):
            edge = Edge(self.take().text.lower() + "()")
            self.expect("(")
            self.expect(")")
            return edge
        minuses = 0
        while self.sees("-", "+"):
            minuses += self.take().text == "-"
        if self.token.kind is not Kind.NUMBER and not self.sees_word("inf", "nan"):
            raise self.unexpected("a time in seconds since the epoch, start() or end()")
        token = self.take()
        value = math.inf if token.kind is Kind.NAME else self.number(token)
        if not math.isfinite(value) or abs(value) >= FARTHEST:
            raise self.error("time out of range", (start, self.behind))
        return round(-value * 1000 if minuses % 2 else value * 1000)
