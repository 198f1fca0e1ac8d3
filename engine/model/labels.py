"""Series, labels and samples, in Prometheus's words."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

METRIC_NAME = "__name__"


@lru_cache(maxsize=1 << 14)
def shared(name: str, value: str) -> tuple[str, str]:
    """Return the pair, as a rule the same object for the same texts: most series have most of their pairs in common."""
    return name, value


class Labels(Mapping[str, str]):
    """The identity of a series: an immutable, hashable mapping of label names to values.

    A label with an empty value is the same as no label, as in Prometheus. Iteration is in the order of names. There are
    hundreds of thousands of these in memory, and each has few labels: its pairs are looked through, without a dictionary.
    """

    __slots__ = ("_hash", "pairs")

    pairs: tuple[tuple[str, str], ...]

    def __init__(self, pairs: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        items = dict(pairs)
        self.pairs = tuple(sorted(shared(name, value) for name, value in items.items() if value != ""))
        self._hash = hash(self.pairs)

    def __getitem__(self, name: str) -> str:
        for own, value in self.pairs:
            if own == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Labels) and self.pairs == other.pairs

    def __repr__(self) -> str:
        return f"Labels({self!s})"

    def __str__(self) -> str:
        """Return the series as Prometheus writes it: `name{label="value"}`."""
        rest = ", ".join(f"{name}={quote(value)}" for name, value in self.pairs if name != METRIC_NAME)
        name = self.get(METRIC_NAME, "")
        return f"{name}{{{rest}}}" if rest or not name else name

    def without(self, *names: str) -> Labels:
        """Return these labels with the named ones left out."""
        return Labels((name, value) for name, value in self.pairs if name not in names)

    def only(self, *names: str) -> Labels:
        """Return none but the named labels."""
        return Labels((name, value) for name, value in self.pairs if name in names)

    def with_(self, more: Mapping[str, str]) -> Labels:
        """Return these labels with `more` laid over them; an empty value removes a label."""
        return Labels({**dict(self.pairs), **more})

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that depend on the labels alone, stable between processes."""
        text = "\xff".join(f"{name}\xfe{value}" for name, value in self.pairs)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def quote(text: str) -> str:
    """Return `text` as a PromQL string literal in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


@dataclass(frozen=True, slots=True)
class Sample:
    """One series at one instant: its labels and its value."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What one collection brought: `values[i]` belongs to `series[i]`, all at `time` (seconds since the epoch).

    A value may be `STALE`: the series has ended.
    """

    time: float
    series: tuple[Labels, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.series) != len(self.values):
            raise ValueError(f"{len(self.series)} series and {len(self.values)} values")
