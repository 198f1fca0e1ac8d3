"""A storage in plain memory, written for clearness: what the evaluator's tests read from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from engine.model.labels import Labels
from engine.promql import Block, Matcher, MatchOperator, compile_pattern


class Memory:
    """Series and their samples; times in milliseconds."""

    def __init__(self, series: Mapping[Labels, Iterable[tuple[int, float]]] | None = None) -> None:
        self.series: dict[Labels, dict[int, float]] = {}
        for labels, samples in (series or {}).items():
            self.add(labels, samples)

    def add(self, labels: Labels, samples: Iterable[tuple[int, float]]) -> None:
        self.series.setdefault(labels, {}).update(samples)

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> Block:
        names, counts, times, values = [], [0], [], []
        for labels, samples in self.series.items():
            if all(admits(matcher, labels) for matcher in matchers):
                found = sorted((time, value) for time, value in samples.items() if start < time <= end)
                if found:
                    names.append(labels)
                    counts.append(len(found))
                    times += [time for time, _ in found]
                    values += [value for _, value in found]
        return Block(tuple(names), np.cumsum(counts), np.array(times, np.int64), np.array(values, np.float64))


def admits(matcher: Matcher, labels: Labels) -> bool:
    value = labels.get(matcher.name, "")
    match matcher.operator:
        case MatchOperator.EQUAL:
            return value == matcher.value
        case MatchOperator.NOT_EQUAL:
            return value != matcher.value
        case MatchOperator.REGEX:
            return compile_pattern(matcher.value).fullmatch(value) is not None
        case MatchOperator.NOT_REGEX:
            return compile_pattern(matcher.value).fullmatch(value) is None
