"""Which series a set of matchers admits: label values as small numbers, one table for each set of label names."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.model.labels import Labels
from engine.promql.block import Matcher, MatchOperator
from engine.promql.patterns import compile_pattern

REMEMBERED: Final = 256
"""How many sets of matchers have their result kept while the set of series stays the same."""
NOBODY: Final = -1
"""The birth of a number that no series has."""

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Found:
    """The series that matchers admit, in the order of first appearance. The same object until that set of series changes."""

    ids: Ints
    series: tuple[Labels, ...]
    births: Ints


@dataclass(slots=True)
class Vocabulary:
    """The values that one label name has in some series, by code. Codes of values that are gone are used again."""

    codes: dict[str, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    uses: array[int] = field(default_factory=lambda: array("i"))
    free: list[int] = field(default_factory=list)

    def take(self, text: str) -> int:
        """Return the code of a value that one series more has."""
        code = self.codes.get(text)
        if code is None:
            if self.free:
                code = self.free.pop()
                self.texts[code] = text
            else:
                code = len(self.texts)
                self.texts.append(text)
                self.uses.append(0)
            self.codes[text] = code
        self.uses[code] += 1
        return code

    def release(self, code: int) -> None:
        """Take note that one series less has the value."""
        self.uses[code] -= 1
        if not self.uses[code]:
            del self.codes[self.texts[code]]
            self.texts[code] = ""
            self.free.append(code)


@dataclass(slots=True)
class Table:
    """All series with the same label names: a row each, a column of codes for each name."""

    names: tuple[str, ...]
    codes: Codes
    numbers: Codes
    size: int = 0

    def add(self, number: int, codes: list[int]) -> int:
        """Return the row that a series gets."""
        if self.size == len(self.numbers):
            more = max(4, self.size // 2)
            self.codes = np.concatenate((self.codes, np.zeros((more, len(self.names)), np.int32)))
            self.numbers = np.concatenate((self.numbers, np.zeros(more, np.int32)))
        row = self.size
        self.codes[row] = codes
        self.numbers[row] = number
        self.size += 1
        return row

    def remove(self, row: int) -> int:
        """Free a row; return the number of the series that has it now, the last one's."""
        self.size -= 1
        self.codes[row] = self.codes[self.size]
        self.numbers[row] = self.numbers[self.size]
        return int(self.numbers[row])


class Index:
    """Numbers series and finds them by their labels. Numbers of forgotten series are used again. Not thread-safe.

    Beside the labels themselves a series costs four bytes for each of its labels and what its number takes; nothing is kept
    of a label value that no series has.
    """

    def __init__(self) -> None:
        self.ids: dict[Labels, int] = {}
        self._births = np.full(64, NOBODY, np.int64)
        self._rows = np.zeros(64, np.int32)
        self._series: list[Labels] = []
        self._next_birth = 0
        self._free: list[int] = []
        self._vocabularies: dict[str, Vocabulary] = {}
        self._tables: dict[tuple[str, ...], Table] = {}
        self._found: dict[tuple[Matcher, ...], Found] = {}
        self._outdated: dict[tuple[Matcher, ...], Found] = {}
        self._by_birth: tuple[Ints, Ints] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def births(self) -> Ints:
        """The births of series by their numbers, `NOBODY` where a number is free."""
        return self._births[: len(self._series)]

    def labels(self, number: int) -> Labels:
        """Return the labels of a series by its number."""
        return self._series[number]

    def numbers(self, births: Ints) -> Ints:
        """Return the numbers of series by their births, -1 for those that are not known."""
        if self._by_birth is None:
            known = np.flatnonzero(self.births != NOBODY)
            order = known[np.argsort(self._births[known])]
            self._by_birth = self._births[order], order
        ascending, numbers = self._by_birth
        if not numbers.size:
            return np.full(len(births), -1, np.int64)
        places = np.minimum(np.searchsorted(ascending, births), len(ascending) - 1)
        return np.where(ascending[places] == births, numbers[places], -1)

    def add(self, labels: Labels, birth: int | None = None) -> int:
        """Return the number of a series, which is new: it was born now, or as number `birth` of all series."""
        if birth is None:
            birth = self._next_birth
        self._next_birth = max(self._next_birth, birth + 1)
        if self._free:
            number = heapq.heappop(self._free)
            self._series[number] = labels
        else:
            number = len(self._series)
            self._series.append(labels)
            if number == len(self._births):
                more = max(64, number // 4)
                self._births = np.concatenate((self._births, np.full(more, NOBODY, np.int64)))
                self._rows = np.concatenate((self._rows, np.zeros(more, np.int32)))
        self._births[number] = birth
        self.ids[labels] = number
        names = tuple(name for name, _ in labels.pairs)
        table = self._tables.get(names)
        if table is None:
            table = Table(names, np.zeros((1, len(names)), np.int32), np.zeros(1, np.int32))
            self._tables[names] = table
        codes = [self._vocabularies.setdefault(name, Vocabulary()).take(value) for name, value in labels.pairs]
        self._rows[number] = table.add(number, codes)
        self._changed()
        return number

    def remove(self, number: int) -> None:
        """Forget a series."""
        labels = self._series[number]
        del self.ids[labels]
        names = tuple(name for name, _ in labels.pairs)
        table, row = self._tables[names], int(self._rows[number])
        for name, code in zip(names, table.codes[row].tolist(), strict=True):
            vocabulary = self._vocabularies[name]
            vocabulary.release(code)
            if not vocabulary.codes:
                del self._vocabularies[name]
        self._rows[table.remove(row)] = row
        if not table.size:
            del self._tables[names]
        self._births[number] = NOBODY
        self._series[number] = Labels()
        heapq.heappush(self._free, number)
        self._changed()

    def find(self, matchers: Sequence[Matcher]) -> Found:
        """Return the series that every matcher admits. Raises PatternError."""
        key = tuple(matchers)
        found = self._found.get(key)
        if found is None:
            found = self._search(key)
            if len(self._found) >= REMEMBERED:
                self._found.pop(next(iter(self._found)))
            self._found[key] = found
        return found

    def _changed(self) -> None:
        if self._found:
            self._outdated, self._found = self._found, {}
        self._by_birth = None

    def _search(self, matchers: tuple[Matcher, ...]) -> Found:
        tests = [(one, predicate(one)) for one in matchers]  # a pattern that is none errs with or without series
        admitted = [self._admitted(table, tests) for table in self._tables.values()]
        numbers = np.concatenate(admitted).astype(np.int64) if admitted else np.zeros(0, np.int64)
        births = self._births[numbers]
        order = np.argsort(births)
        numbers, births = numbers[order], births[order]
        # Most of what comes and goes is nothing to most matchers: what is known of the series that they admit stays true.
        before = self._outdated.pop(matchers, None)
        if before is not None and np.array_equal(before.births, births) and np.array_equal(before.ids, numbers):
            return before
        return Found(numbers, tuple([self._series[number] for number in numbers.tolist()]), births)

    def _admitted(self, table: Table, tests: list[tuple[Matcher, Callable[[str], bool]]]) -> Codes:
        """Return the numbers of a table's series that every matcher admits."""
        rows: npt.NDArray[np.int64] | None = None
        slow = []
        for one, admits in tests:
            if one.name not in table.names:
                if not admits(""):
                    return table.numbers[:0]
            elif one.operator is MatchOperator.EQUAL:
                code = self._vocabularies[one.name].codes.get(one.value)
                if code is None:
                    return table.numbers[:0]
                column = table.codes[: table.size, table.names.index(one.name)]
                rows = np.flatnonzero(column == code) if rows is None else rows[column[rows] == code]
            else:
                slow.append((one.name, admits))
        if rows is None:
            rows = np.arange(table.size)
        for name, admits in slow:
            texts = self._vocabularies[name].texts
            codes, inverse = np.unique(table.codes[rows, table.names.index(name)], return_inverse=True)
            passes = np.fromiter((admits(texts[code]) for code in codes.tolist()), np.bool_, len(codes))
            rows = rows[passes[inverse]]
        return table.numbers[rows]


def predicate(matcher: Matcher) -> Callable[[str], bool]:
    """Return what `matcher` says about a label value ("" for a label that is not there). Raises PatternError."""
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
