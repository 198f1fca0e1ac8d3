"""Reads Prometheus's text format (version 0.0.4, and what OpenMetrics adds to a line)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engine.model.labels import METRIC_NAME, Labels

NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL: Final = re.compile(
    r'[ \t]*(?:(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)|"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)")[ \t]*'
    r'(?P<equals>=[ \t]*"(?P<value>[^"\\]*(?:\\.[^"\\]*)*)"[ \t]*)?(?P<after>[,}])'
)
"""One label and what follows it; a quoted string without a value is the name of the metric."""
CLOSE: Final = re.compile(r"[ \t]*}")
ESCAPE: Final = re.compile(r'\\([\\"n])')
NUMBER: Final = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE
)
MAX_BYTES: Final = 16 << 20
MAX_SAMPLES: Final = 50_000
NUMBER_LENGTH: Final = 64
"""Characters of the longest number that is read."""


class PageError(ValueError):
    """A page cannot be read; the message says at which line and why."""


@dataclass(frozen=True, slots=True)
class PageLimits:
    """What one page may cost; a page beyond any of these is refused whole."""

    bytes: int = MAX_BYTES
    samples: int = MAX_SAMPLES
    line: int = 16_384
    labels: int = 64


@dataclass(frozen=True, slots=True)
class Page:
    """The samples of one page: `values[i]` belongs to `series[i]`, each series once.

    `series` is the identical tuple as long as an endpoint's pages name the same series in the same order.
    """

    series: tuple[Labels, ...]
    values: list[float]


class PageReader:
    """Reads the pages of one endpoint, one after the other, and remembers the labels of lines it has seen.

    `target` labels are laid over each series; a label of the page with such a name is kept as `exported_NAME`, as
    Prometheus does with `honor_labels: false`. Timestamps of the page are checked and ignored: a sample is of the moment
    of its collection. Exemplars, comments, HELP, TYPE and EOF lines are ignored. Of a series that stands twice on a page
    the first counts.
    """

    def __init__(self, target: Mapping[str, str], limits: PageLimits) -> None:
        self._target = dict(target)
        self._limits = limits
        self._known: dict[str, Labels] = {}
        self._keys: list[str] = []
        self._series: tuple[Labels, ...] = ()
        self._distinct = True

    def read(self, data: bytes) -> Page:
        """Return the samples of a page. Raises PageError."""
        limits = self._limits
        if len(data) > limits.bytes:
            raise PageError(f"more than {limits.bytes} bytes")
        if data.count(b"\n") > 4 * limits.samples + 1000:
            raise PageError(f"more than {4 * limits.samples + 1000} lines")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise PageError(f"line {line}: not UTF-8") from error
        page = self._read_again(text)
        return self._read_anew(text) if page is None else page

    def split(self, line: str) -> tuple[Labels, str]:
        """Return the labels of the series that a line is about, and what stands behind it. Raises PageError."""
        key, labels, rest = self._line(line)
        self._known[key] = labels
        return labels, rest

    def _read_again(self, text: str) -> Page | None:
        """Return the samples where the page has the very lines of the last one, but for the values; else None."""
        if not self._distinct:
            return None
        lines = [line.rpartition(" ") for line in text.split("\n") if line and line[0] != "#"]
        if [line[0] for line in lines] != self._keys:
            return None
        numbers = [line[2] for line in lines]
        if "_" in "".join(numbers) or (numbers and max(map(len, numbers)) > NUMBER_LENGTH):
            return None
        try:
            return Page(self._series, [float(number) for number in numbers])
        except ValueError:
            return None

    def _read_anew(self, text: str) -> Page:
        keys: list[str] = []
        series: list[Labels] = []
        values: list[float] = []
        for number, line in enumerate(text.split("\n"), 1):
            stripped = line.strip(" \t\r")
            if not stripped or stripped[0] == "#":
                continue
            if len(values) >= self._limits.samples:
                raise PageError(f"more than {self._limits.samples} samples")
            if len(stripped) > self._limits.line:
                raise PageError(f"line {number}: longer than {self._limits.line} characters")
            try:
                key, labels, rest = self._line(stripped)
                values.append(read_value(rest))
            except PageError as error:
                raise PageError(f"line {number}: {error}") from None
            self._known[key] = labels
            keys.append(key)
            series.append(labels)
        self._keys = keys
        if len(self._known) > 2 * len(keys) + 100:
            self._known = dict(zip(keys, series, strict=True))
        distinct = dict(zip(reversed(series), reversed(values), strict=True))
        self._distinct = len(distinct) == len(series)
        if not self._distinct:
            series = list(dict.fromkeys(series))
            values = [distinct[labels] for labels in series]
        if tuple(series) != self._series:
            self._series = tuple(series)
        return Page(self._series, values)

    def _line(self, line: str) -> tuple[str, Labels, str]:
        """Return the text of the series of a line, its labels, and the rest of the line."""
        key, _, rest = line.rpartition(" ")
        labels = self._known.get(key)
        if labels is None:
            key, _, value = key.rpartition(" ")
            labels = self._known.get(key)
            rest = f"{value} {rest}"  # with a timestamp
        return self._new_line(line) if labels is None else (key, labels, rest)

    def _new_line(self, line: str) -> tuple[str, Labels, str]:
        name = NAME.match(line)
        at = name.end() if name else 0
        pairs: dict[str, str] = {METRIC_NAME: name.group()} if name else {}
        while line[at : at + 1] in (" ", "\t"):
            at += 1
        end = name.end() if name else 0
        if line[at : at + 1] == "{":
            end = self._labels(line, at + 1, pairs)
        if METRIC_NAME not in pairs:
            raise PageError(f"no metric's name: {line[:40]!r}")
        key = line[:end]
        labels = self._known.get(key)
        if labels is None:
            for clash in [label for label in pairs if label in self._target]:
                renamed = f"exported_{clash}"
                while renamed in pairs or renamed in self._target:
                    renamed = f"exported_{renamed}"
                pairs[renamed] = pairs.pop(clash)
            labels = Labels({**pairs, **self._target})
        return key, labels, line[end:].strip(" \t")

    def _labels(self, line: str, at: int, pairs: dict[str, str]) -> int:
        """Read `name="value", …}` from `at` into `pairs`; return where it ends."""
        close = CLOSE.match(line, at)
        while close is None:
            label = LABEL.match(line, at)
            if label is None:
                raise PageError(f"not a label: {line[at : at + 40]!r}")
            name, value = label["name"], label["value"]
            if label["equals"] is None:
                if name is not None or METRIC_NAME in pairs:
                    raise PageError(f"a label without a value: {line[at : at + 40]!r}")
                name, value = METRIC_NAME, label["quoted"]
            elif name is None:
                name = unescaped(label["quoted"])
            if name in pairs:
                raise PageError(f"label {name!r} stands twice")
            if len(pairs) > self._limits.labels:
                raise PageError(f"more than {self._limits.labels} labels")
            pairs[name] = unescaped(value)
            at = label.end()
            if label["after"] == "}":
                return at
            close = CLOSE.match(line, at)
        return close.end()


def unescaped(text: str) -> str:
    """Return a label's value without its escapes; a backslash before any other character stands for itself."""
    if "\\" not in text:
        return text
    return ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text)


def read_value(rest: str) -> float:
    """Return the value of what follows a series: a number, perhaps a timestamp, perhaps an exemplar. Raises PageError."""
    words = rest.partition("#")[0].split()
    if not 1 <= len(words) <= 2:  # noqa: PLR2004  # value and timestamp
        raise PageError("no value" if not words else f"more than a value and a timestamp: {rest[:40]!r}")
    for word in words:
        if len(word) > NUMBER_LENGTH or not NUMBER.fullmatch(word):
            raise PageError(f"not a number: {word[:40]!r}")
    return float(words[0])
