"""The embedded evaluator: expressions over the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from engine.model.truth import Answer, Query
from engine.promql import Block, Expression, Matcher, ParseError, Storage, answer, parse

PARSED: Final = 4096
"""How many expressions are kept parsed: more than a large catalogue has, with those filled in for incidents."""


class EmbeddedEvaluator:
    """Says what expressions say over `store`, three-valued.

    `fresh` is how old, in seconds, the newest sample of a series may be for its target's answer to be known: a few
    collections' time.
    """

    def __init__(self, store: Storage, *, fresh: float) -> None:
        self._store = store
        self._fresh = round(fresh * 1000)

    def answer(self, queries: Sequence[Query], at: float) -> tuple[Answer, ...]:
        """Return one answer for each query, in order, as of `at` (seconds since the epoch); equal queries are evaluated once.

        An expression that does not parse or errs has an answer with `error` set. Equal selections are read once.
        """
        picture = Picture(self._store)
        moment = round(at * 1000)
        answers = {query: self._one(query, picture, moment) for query in dict.fromkeys(queries)}
        return tuple(answers[query] for query in queries)

    def _one(self, query: Query, picture: Storage, at: int) -> Answer:
        try:
            expression = parsed(query.expr)
        except ParseError as wrong:
            return Answer(query, error=f"does not parse: {wrong}")
        return answer(expression, query, picture, at, self._fresh)


class Picture:
    """A storage read once: what was selected before is answered from memory."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._blocks: dict[tuple[tuple[Matcher, ...], int, int], Block] = {}

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        """Return what the storage said when first asked for this."""
        key = (tuple(matchers), start, end)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = self._storage.select(matchers, start, end)
        return block


@lru_cache(maxsize=PARSED)
def parsed(text: str) -> Expression:
    """Return the tree of an expression. Raises ParseError."""
    return parse(text)
