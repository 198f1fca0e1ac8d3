"""A place in the tokens of a text: what stands there, how to go on, and the smallest things that can be read."""

from __future__ import annotations

from engine.promql.errors import ParseError, shown
from engine.promql.lexer import Kind, Token
from engine.promql.literals import LEGAL_LABEL, read_number, read_string
from engine.promql.syntax import Span

NO_LABELS = frozenset({"without", "inf", "nan"})
"""What Prometheus does not take for a label's name in a grouping unless it is quoted."""


class Cursor:
    """One pass over the tokens of one text."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.place = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        """The token not yet taken."""
        return self.tokens[self.place]

    @property
    def behind(self) -> int:
        """Where the token taken last ends."""
        return self.tokens[self.place - 1].end if self.place else 0

    def ended(self) -> bool:
        """Return whether all tokens are taken."""
        return self.token.kind is Kind.END

    def take(self) -> Token:
        """Return the next token and step over it."""
        token = self.tokens[self.place]
        self.place += 1
        return token

    def sees(self, *symbols: str) -> bool:
        """Return whether the next token is one of these symbols."""
        return self.token.kind is Kind.SYMBOL and self.token.text in symbols

    def sees_word(self, *words: str) -> bool:
        """Return whether the next token is one of these keywords, in whatever case."""
        return self.token.kind is Kind.NAME and self.token.text.lower() in words

    def accept(self, symbol: str) -> bool:
        """Step over `symbol` if it is next."""
        if not self.sees(symbol):
            return False
        self.place += 1
        return True

    def expect(self, symbol: str) -> Token:
        """Step over `symbol`, which must be next."""
        if not self.sees(symbol):
            raise self.unexpected(f"'{symbol}'")
        return self.take()

    def unexpected(self, wanted: str) -> ParseError:
        """Return the error that says what stands here instead of what is `wanted`."""
        token = self.token
        if token.kind is Kind.END:
            return ParseError(f"unexpected end: expected {wanted}", token.start, token.end, self.text)
        return ParseError(f"unexpected {shown(token.text)}: expected {wanted}", token.start, token.end, self.text)

    def error(self, message: str, span: Span) -> ParseError:
        """Return an error about `span`."""
        return ParseError(message, *span, self.text)

    def here(self) -> Span:
        """Return the span of the next token."""
        return self.token.start, self.token.end

    def next_is(self, *symbols: str) -> bool:
        """Return whether one of these symbols stands behind the next token."""
        following = self.tokens[self.place + 1]
        return following.kind is Kind.SYMBOL and following.text in symbols

    def number(self, token: Token) -> float:
        """Return the value of a number's token."""
        try:
            return read_number(token.text)
        except OverflowError as wrong:
            raise self.error(str(wrong), (token.start, token.end)) from None
        except ValueError:
            hint = ": units go from large to small, each once" if token.text[-1:].isalpha() else ""
            message = f"{shown(token.text)} is neither a number nor a duration{hint}"
            raise self.error(message, (token.start, token.end)) from None

    def string(self, token: Token) -> str:
        """Return the value of a string's token."""
        try:
            return read_string(token.text)
        except ValueError as wrong:
            raise self.error(str(wrong), (token.start, token.end)) from None

    def labels(self) -> tuple[str, ...]:
        """Read label names in parentheses."""
        self.expect("(")
        labels = []
        while not self.sees(")"):
            labels.append(self.grouped())
            if not self.sees(")") and not self.accept(","):
                raise self.unexpected("',' or ')'")
        self.expect(")")
        return tuple(labels)

    def grouped(self) -> str:
        """Read a label name of a list in parentheses: there, some words are none, and a colon may stand in one."""
        token = self.token
        if token.kind is not Kind.NAME:
            return self.label()
        if token.text.lower() in NO_LABELS:
            raise self.error(f"{shown(token.text)} is a word of the language: put it in quotes", self.here())
        return self.take().text

    def label(self, *, empty: bool = False) -> str:
        """Read one label name, bare or quoted; `empty` says whether it may be, in quotes."""
        token = self.token
        if token.kind is Kind.STRING:
            self.take()
            name = self.string(token)
            if not (name or empty) or not _is_text(name):
                raise self.error("a label name is UTF-8 and not empty", (token.start, token.end))
            return name
        if token.kind is Kind.NAME and LEGAL_LABEL.fullmatch(token.text):
            return self.take().text
        raise self.unexpected("a label name")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
