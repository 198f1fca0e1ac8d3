"""Reads files of samples with their times: OpenMetrics, Prometheus's text format, and what `promtool tsdb dump` writes."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from engine.model.labels import Labels
from engine.sources.page import PageError, PageLimits, PageReader, read_value

END: Final = b"# EOF"
"""The last line of OpenMetrics: there, times are seconds; in the other formats, milliseconds."""
LATEST: Final = 1 << 53
LINE: Final = 65_536
"""Bytes of the longest line."""


class DumpError(ValueError):
    """A file cannot be read; the message says at which line and why."""


class Bytes(Protocol):
    """What is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        ...

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line."""
        ...


def read_dump(
    path: Path, progress: Callable[[int, int], None] = lambda *_: None
) -> Iterator[tuple[Labels, int, float]]:
    """Yield each sample's series, time (milliseconds) and value; `progress` is told now and then how much of how much is read.

    A file that ends in `.gz` is read through gzip. Raises DumpError, OSError.
    """
    scale = 1000.0 if is_open_metrics(path) else 1.0
    reader = PageReader({}, PageLimits(line=LINE))
    whole = path.stat().st_size
    with path.open("rb") as raw:
        file = opened(path, raw)
        try:
            for number, line in enumerate(iter(lambda: file.readline(LINE + 1), b""), 1):
                if number % 100_000 == 0:
                    progress(raw.tell(), whole)
                text = line.strip()
                if text and not text.startswith(b"#"):
                    yield sample_of(reader, text, number, scale)
        except (EOFError, gzip.BadGzipFile) as error:
            raise DumpError(str(error)) from error


def is_open_metrics(path: Path) -> bool:
    """Return whether a file ends as OpenMetrics does."""
    with path.open("rb") as raw:
        if path.suffix != ".gz":
            raw.seek(max(0, os.fstat(raw.fileno()).st_size - 64))
            return raw.read().rstrip().endswith(END)
        last = b""
        file = opened(path, raw)
        try:
            while piece := file.read(1 << 20):
                last = last[-64:] + piece
        except (EOFError, gzip.BadGzipFile) as error:
            raise DumpError(str(error)) from error
        return last.rstrip().endswith(END)


def opened(path: Path, raw: io.BufferedReader) -> Bytes:
    """Return what a file is read through."""
    return gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw


def sample_of(reader: PageReader, line: bytes, number: int, scale: float) -> tuple[Labels, int, float]:
    """Return the sample that a line is. Raises DumpError."""
    try:
        return parsed(reader, line, scale)
    except (PageError, UnicodeDecodeError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise DumpError(f"line {number}: {reason}") from error


def parsed(reader: PageReader, line: bytes, scale: float) -> tuple[Labels, int, float]:
    """Return series, time and value. Raises PageError, UnicodeDecodeError."""
    if len(line) > LINE:
        raise PageError(f"longer than {LINE} bytes")
    labels, rest = reader.split(line.decode())
    value = read_value(rest)
    words = rest.partition("#")[0].split()
    if len(words) == 1:
        raise PageError("no time behind the value")
    time = float(words[1]) * scale
    if not -LATEST < time < LATEST:
        raise PageError(f"not a time: {words[1]}")
    return labels, round(time), value
