"""Which series a set of matchers admits: posting sets by label name and value."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.model.labels import Labels
from engine.promql.block import Matcher, MatchOperator
from engine.promql.patterns import compile_pattern

REMEMBERED: Final = 256
"""How many sets of matchers have their result kept while the set of series stays the same."""


@dataclass(frozen=True, slots=True)
class Found:
    """The series that matchers admit, in the order of first appearance. The same object until the set of series changes."""

    ids: npt.NDArray[np.int64]
    series: tuple[Labels, ...]


class Index:
    """Numbers series and finds them by their labels. Numbers of forgotten series are used again. Not thread-safe."""

    def __init__(self) -> None:
        self.ids: dict[Labels, int] = {}
        self.births: list[int] = []
        self._series: list[Labels] = []
        self._next_birth = 0
        self._free: list[int] = []
        self._postings: dict[str, dict[str, set[int]]] = {}
        self._found: dict[tuple[Matcher, ...], Found] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def labels(self, number: int) -> Labels:
        """Return the labels of a series by its number."""
        return self._series[number]

    def add(self, labels: Labels, birth: int | None = None) -> int:
        """Return the number of a series, which is new: it was born now, or as number `birth` of all series."""
        if birth is None:
            birth = self._next_birth
        self._next_birth = max(self._next_birth, birth + 1)
        if self._free:
            number = heapq.heappop(self._free)
            self._series[number] = labels
            self.births[number] = birth
        else:
            number = len(self._series)
            self._series.append(labels)
            self.births.append(birth)
        self.ids[labels] = number
        for name, value in labels.pairs:
            self._postings.setdefault(name, {}).setdefault(value, set()).add(number)
        self._found.clear()
        return number

    def remove(self, number: int) -> None:
        """Forget a series."""
        labels = self._series[number]
        del self.ids[labels]
        for name, value in labels.pairs:
            values = self._postings[name]
            values[value].discard(number)
            if not values[value]:
                del values[value]
            if not values:
                del self._postings[name]
        heapq.heappush(self._free, number)
        self._found.clear()

    def find(self, matchers: Sequence[Matcher]) -> Found:
        """Return the series that every matcher admits. Raises PatternError."""
        key = tuple(matchers)
        found = self._found.get(key)
        if found is None:
            numbers = sorted(self._admitted(key), key=self.births.__getitem__)
            found = Found(np.array(numbers, np.int64), tuple(self._series[number] for number in numbers))
            if len(self._found) >= REMEMBERED:
                self._found.pop(next(iter(self._found)))
            self._found[key] = found
        return found

    def _admitted(self, matchers: Sequence[Matcher]) -> set[int]:
        positive = [
            self._postings.get(one.name, {}).get(one.value, set())
            for one in matchers
            if one.operator is MatchOperator.EQUAL and one.value
        ]
        result = set.intersection(*sorted(positive, key=len)) if positive else set(self.ids.values())
        for one in matchers:
            if not result:
                break
            if one.operator is MatchOperator.EQUAL and one.value:
                continue
            admits = predicate(one)
            values = self._postings.get(one.name, {})
            if admits(""):
                result = result.difference(*(numbers for value, numbers in values.items() if not admits(value)))
            else:
                result &= set().union(*(numbers for value, numbers in values.items() if admits(value)))
        return result


def predicate(matcher: Matcher) -> Callable[[str], bool]:
    """Return what `matcher` says about a label value ("" for a label that is not there)."""
    match matcher.operator:
        case MatchOperator.EQUAL:
            return lambda value: value == matcher.value
        case MatchOperator.NOT_EQUAL:
            return lambda value: value != matcher.value
        case MatchOperator.REGEX:
            return pattern(matcher.value)
        case MatchOperator.NOT_REGEX:
            admits = pattern(matcher.value)
            return lambda value: not admits(value)


def pattern(text: str) -> Callable[[str], bool]:
    """Return whether a regular expression matches the whole of a label value. Raises PatternError, a ValueError."""
    fullmatch = compile_pattern(text).fullmatch

    def admits(value: str) -> bool:
        # Patterns read UTF-8; what is not (a file name's stray byte) matches as a question mark.
        return fullmatch(value.encode("utf-8", "replace").decode()) is not None

    return admits
