"""The evaluator that asks a Prometheus-compatible server: what expressions say, and what data they had to say it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from engine.model.labels import METRIC_NAME
from engine.model.truth import Answer, Coverage, Query
from engine.promql import (
    Explanation,
    MatchOperator,
    ParseError,
    Result,
    Selected,
    Vector,
    format_expression,
    format_matchers,
    own,
    parse,
    selectors,
)
from engine.promql.coverage import ENOUGH, told
from engine.promql.evaluate import LOOKBACK
from engine.promql.explain import summary
from engine.promql.literals import print_duration
from engine.promql.syntax import NOWHERE, Edge, Expression, NumberLiteral, RangeSelector, StringLiteral, children, walk
from engine.sources.query_api import LATEST, MAX_BYTES, Abilities, Ask, Failure, QueryApi

STEPS: Final = 120
"""Into so many pieces a range is cut to learn how far back its samples reach, where they do not reach far enough."""
SHORTEST_STEP: Final = 1000
REFUSED: Final = frozenset({"bad_data", "execution", "422"})
"""What servers call the error of an expression that they do not understand."""
LONG_AGO: Final = 1 << 60
"""The age, in milliseconds, of a sample whose time is none."""

Replies = Mapping[Ask, Result | Failure]


class PrometheusEvaluator:
    """Says what expressions say on a server, three-valued, exactly as the embedded evaluator does.

    `fresh` is how old, in seconds, the newest sample of a series may be for its target's answer to be known: a few of the
    server's scrape intervals. One call takes about `timeout` seconds at most, twice that where a range is not filled yet.
    Whatever goes wrong is an answer with `error` set, in the server's own words where it has any. Thread-safe.
    """

    def __init__(
        self,
        url: str,
        *,
        fresh: float,
        timeout: float = 10.0,
        headers: Mapping[str, str] = MappingProxyType({}),
        token_file: Path | None = None,
        environment_proxy: bool = False,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._fresh = round(fresh * 1000)
        self._api = QueryApi(
            url,
            timeout=timeout,
            headers=headers,
            token_file=token_file,
            environment_proxy=environment_proxy,
            max_bytes=max_bytes,
        )
        self._abilities: Abilities | None = None
        self._mutex = threading.Lock()

    @property
    def address(self) -> str:
        """Where the server is, without user and password."""
        return self._api.address

    def abilities(self) -> Abilities | Failure:
        """Return what the server is and can do, asked until it has said so; or why it does not."""
        with self._mutex:
            if self._abilities is not None:
                return self._abilities
            found = self._api.abilities()
            if isinstance(found, Abilities):
                self._abilities = found
            return found

    def answer(self, queries: Sequence[Query], at: float) -> tuple[Answer, ...]:
        """Return one answer for each query, in order, as of `at` (seconds since the epoch).

        Equal expressions are asked once, as is what several of them need to know about a selector.
        """
        moment = round(at * 1000)
        needs = {query: needed(query.expr) for query in dict.fromkeys(queries)}
        known = {query: found for query, found in needs.items() if not isinstance(found, Failure)}
        questions = {each: Questions.of(each, moment, self._fresh) for found in known.values() for each in found}
        asks = [Ask(query.expr, moment) for query in known]
        asks += [ask for each in questions.values() for ask in each.asks]
        replies = self._api.ask(dict.fromkeys(asks))
        found = {each: question.covered(replies, self._fresh) for each, question in questions.items()}
        if any(not question.dated for question in questions.values()):
            found = self._only_where_exact(questions, found)
        covered = self._with_oldest(questions, found)

        def one(query: Query) -> Answer:
            selected = needs[query]
            if isinstance(selected, Failure):
                return Answer(query, error=selected.words)
            reply = replies[Ask(query.expr, moment)]
            if isinstance(reply, Failure):
                return Answer(query, error=reply.words)
            coverage = [covered[each] for each in selected]
            failed = next((each for each in coverage if isinstance(each, Failure)), None)
            if failed is not None:
                return Answer(query, error=failed.words)
            whole = tuple(dict.fromkeys(each for each in coverage if isinstance(each, Coverage)))
            return told(query, reply, lambda: whole)

        answers = {query: one(query) for query in needs}
        return tuple(answers[query] for query in queries)

    def explain(self, expr: Expression, at: float) -> Explanation:
        """Return every part of an expression with its value at `at`, as the server says; what it cannot evaluate says why."""
        moment = round(at * 1000)
        texts = {format_expression(node) for node in walk(expr)}
        replies = self._api.ask(Ask(text, moment) for text in texts)

        def explained(node: Expression) -> Explanation:
            text = format_expression(node)
            reply = replies[Ask(text, moment)]
            value = f"error: {reply.words}" if isinstance(reply, Failure) else summary(reply)
            below = () if isinstance(node, RangeSelector) else children(node)
            parts = (each for each in below if not isinstance(each, NumberLiteral | StringLiteral))
            return Explanation(text, node.span, value, tuple(map(explained, parts)))

        return explained(expr)

    def refusals(self, exprs: Iterable[str]) -> Mapping[str, str] | Failure:
        """Return what the server says to those expressions that it cannot evaluate, over whatever data; or why it cannot be asked.

        Each is asked at the epoch, where there are no samples: that costs the server no more than to read it.
        """
        found: dict[str, str] = {}
        asks = {}
        for expr in exprs:
            if isinstance(known := needed(expr), Failure):
                found[expr] = known.words
            else:
                asks[expr] = Ask(expr, 0)
        replies = self._api.ask(asks.values())
        for expr, ask in asks.items():
            reply = replies[ask]
            if isinstance(reply, Failure):
                if reply.kind not in REFUSED:
                    return reply
                found[expr] = reply.words
        return found

    def metrics(self) -> frozenset[str] | Failure:
        """Return the names of the metrics that the server has."""
        return self._api.metrics()

    def close(self) -> None:
        """End the connections."""
        self._api.close()

    def _only_where_exact(
        self, questions: Mapping[Selected, Questions], found: Mapping[Selected, Coverage | Failure]
    ) -> dict[Selected, Coverage | Failure]:
        """Return failures for the selectors whose freshness this server cannot be asked about."""
        abilities = self.abilities()
        if isinstance(abilities, Abilities) and abilities.lookback:
            return dict(found)
        why = abilities.words if isinstance(abilities, Failure) else f"{self.address} does not know lookback_delta"
        return {
            each: coverage
            if questions[each].dated or isinstance(coverage, Failure)
            else Failure(f"how old the samples of {each.text} are is not known, since it names no metric: {why}")
            for each, coverage in found.items()
        }

    def _with_oldest(
        self, questions: Mapping[Selected, Questions], found: Mapping[Selected, Coverage | Failure]
    ) -> Mapping[Selected, Coverage | Failure]:
        """Return the coverages; those that fall short know how far back their samples do reach."""
        short = {each: one for each, one in found.items() if isinstance(one, Coverage) and one.short}
        if not short:
            return found
        asks = {each: questions[each].oldest() for each in short}
        replies = self._api.ask(dict.fromkeys(asks.values()))
        return {
            each: replace(one, oldest=questions[each].oldest_of(replies[asks[each]], one))
            if isinstance(one, Coverage) and each in asks
            else one
            for each, one in found.items()
        }


@lru_cache(maxsize=4096)
def needed(expr: str) -> tuple[Selected, ...] | Failure:
    """Return the selectors that an expression cannot do without; or why there are none."""
    try:
        tree = parse(expr)
    except ParseError as wrong:
        return Failure(f"does not parse: {wrong}")
    if foreign := own(tree):
        return Failure(foreign[0].message)
    found = selectors(tree)
    return tuple(dict.fromkeys(replace(each, span=NOWHERE) for each in found if each.needed))


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask about one selector, so that its coverage is known exactly.

    Each is asked at `moment` (milliseconds), where the selector itself looks, or at the middle of its range; so there is no offset and no
    `@` in any of them. `window` is how far back the selector reads.

    *Fresh* is what an instant selector gives whose lookback is `fresh`: nothing behind a stale marker, nothing older. With the name of a
    metric the age is read from the samples' own times as well (`dated`), for servers that have but one lookback. Without, times cannot be
    had, since metrics of several names would become the same series.

    *Old* is what is not fresh and yet within the usual lookback: the same times say so, or `seen`, one more question, where they are not known.

    *Filled* is a range that has a sample in its older half: asked as just that, which is one number for each instance.
    """

    selected: Selected
    selector: str
    moment: int
    window: int
    dated: bool
    newest: tuple[Ask, ...]
    filled: Ask | None
    seen: Ask | None = None

    @classmethod
    def of(cls, each: Selected, at: int, fresh: int) -> Questions:
        """Return the questions about a selector of an expression that is asked at `at`."""
        moment = (at if each.at is None or isinstance(each.at, Edge) else each.at) - each.offset
        window = each.reach + (LOOKBACK if each.range is None else 0)
        selector = format_matchers(each.matchers)
        dated = any(one.name == METRIC_NAME and one.operator is MatchOperator.EQUAL for one in each.matchers)
        expr = f"max by (instance) (timestamp({selector}))" if dated else f"group by (instance) ({selector})"
        seen = Ask(expr, moment, max(1, min(window, max(LOOKBACK, fresh + 1))))
        exactly = seen if dated else Ask(expr, moment, max(1, min(window, fresh + 1)))
        own = Ask(expr, moment)  # an instant selector sees what the server's own lookback lets it see
        if each.reach <= 0:
            newest = (own,) if dated else (own, exactly)
            return cls(each, selector, moment, window, dated, newest, None, None if dated else own)
        half = math.ceil(each.reach * ENOUGH)
        older = f"group by (instance) (last_over_time({selector}[{print_duration(window - half)}]))"
        filled = Ask(older, moment - half) if window > half else None
        return cls(each, selector, moment, window, dated, (exactly,), filled, None if dated else seen)

    @property
    def asks(self) -> tuple[Ask, ...]:
        """All that is asked at first."""
        asks = self.newest if self.filled is None else (*self.newest, self.filled)
        return asks if self.seen is None or self.seen in asks else (*asks, self.seen)

    def covered(self, replies: Replies, fresh: int) -> Coverage | Failure:
        """Return what the replies say."""
        tables = {}
        for ask in self.asks:
            table = by_instance(replies[ask])
            if isinstance(table, Failure):
                return Failure(f"what data {self.selected.text} has is not known: {table.words}")
            tables[ask] = table
        newest = [tables[ask] for ask in self.newest]
        ages = {instance: self.age(value) for instance, value in newest[0].items()} if self.dated else {}
        reach = self.selected.reach / 1000
        if self.dated:
            alive = frozenset(each for each, age in ages.items() if age <= fresh and age < self.window)
        else:
            alive = frozenset.intersection(*map(frozenset, newest))
        limit = min(self.window, LOOKBACK)
        dated = (each for each, age in ages.items() if age < limit or age == LONG_AGO)
        there = dated if self.seen is None else tables[self.seen]
        old = frozenset(there) - alive
        if self.selected.reach <= 0:
            return Coverage(self.selected.text, alive, frozenset(), reach, max(ages.values(), default=0) / 1000, old)
        filled = tables[self.filled] if self.filled is not None else {}
        short = alive.difference(filled)
        # of those that fall short, the newest sample is known so far; of the others, that they reach back far enough
        oldest = max((ages.get(each, 0) for each in short), default=self.selected.reach * ENOUGH)
        return Coverage(self.selected.text, alive, short, reach, oldest / 1000 if alive else None, old)

    def age(self, seconds: float) -> int:
        """Return how many milliseconds before the moment that time is; one that is no time is long ago."""
        return self.moment - round(seconds * 1000) if abs(seconds) < LATEST else LONG_AGO

    @property
    def half(self) -> int:
        """Milliseconds within which lie all samples of what falls short."""
        return math.ceil(self.selected.reach * ENOUGH)

    def oldest(self) -> Ask:
        """Return the question how far back the samples of each instance reach, for those that fall short.

        The answer is exact where a step has but one sample, and otherwise by less than a step too young.
        """
        step = max(SHORTEST_STEP, self.half // STEPS)
        one = (
            f"min by (instance) (timestamp({self.selector}))"
            if self.dated
            else f"time() * group by (instance) ({self.selector})"
        )
        whole = f"min_over_time(({one})[{print_duration(self.half)}:{print_duration(step)}])"
        return Ask(whole, self.moment, step)

    def oldest_of(self, reply: Result | Failure, coverage: Coverage) -> float | None:
        """Return the age in seconds of the oldest sample of those that fall short; what is known without the reply, if it failed."""
        table = by_instance(reply)
        if isinstance(table, Failure):
            return coverage.oldest
        ages = (min(self.age(value), self.half) / 1000 for each, value in table.items() if each in coverage.short)
        return max((*ages, coverage.oldest or 0.0))


def by_instance(reply: Result | Failure) -> dict[str, float] | Failure:
    """Return the values of a vector that has one sample for each instance."""
    if isinstance(reply, Failure):
        return reply
    if not isinstance(reply, Vector):
        return Failure("the answer is no vector")
    names = (labels.get("instance", "") for labels in reply.series)
    return dict(zip(names, reply.values.tolist(), strict=True))
