"""Reads files of samples with their times: OpenMetrics, Prometheus's text format, and what `promtool tsdb dump` writes."""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol

from engine.model.labels import Labels
from engine.sources.page import PageError, PageLimits, PageReader, read_value

END: Final = b"# EOF"
"""The last line of OpenMetrics: there, times are seconds; in the other formats, milliseconds."""
EARLIEST: Final = -62_104_060_800_000
LATEST: Final = 253_370_764_800_000
"""Milliseconds: no time is so early or so late, for clocks know none outside the years 1 to 9999. Who reads milliseconds as seconds is behind it."""
EARLY: Final = 100_000_000_000
"""Milliseconds: no time of samples is in the first three years after 1970, unless seconds were read as milliseconds."""
LINE: Final = 65_536
"""Bytes of the longest line."""
FORM: Final = 'a line is a series, a value and a time, as in name{label="value"} 1.5 1795000000'
BROKEN: Final = (EOFError, gzip.BadGzipFile, zlib.error)
"""What gzip raises where a file is not what it should be."""


class DumpError(ValueError):
    """A file cannot be read: why, what helps, and at which line, with its text."""

    def __init__(self, message: str, fix: str, line: int | None = None, text: str = "") -> None:
        super().__init__(message, fix, line, text)
        self.message, self.fix, self.line, self.text = message, fix, line, text

    def __str__(self) -> str:
        """Return the error as people read it."""
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.message}; {self.fix}"


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
    seconds = is_open_metrics(path)
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
                    yield sample_of(reader, text, number, seconds=seconds)
        except BROKEN as error:
            raise broken(error) from error


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
        except BROKEN as error:
            raise broken(error) from error
        return last.rstrip().endswith(END)


def opened(path: Path, raw: io.BufferedReader) -> Bytes:
    """Return what a file is read through."""
    return gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw


def broken(error: Exception) -> DumpError:
    """Return what is said of a file that gzip cannot read to its end."""
    reason = "it ends before its gzip stream does" if isinstance(error, EOFError) else f"gzip cannot read it ({error})"
    return DumpError(reason, "copy or write it again; what is not compressed must not end in .gz")


def sample_of(reader: PageReader, line: bytes, number: int, *, seconds: bool) -> tuple[Labels, int, float]:
    """Return the sample that a line is; its time is in `seconds` or in milliseconds. Raises DumpError."""
    if len(line) > LINE:
        raise DumpError(f"longer than {LINE} bytes", FORM, number, readable(line))
    try:
        labels, rest = reader.split(line.decode())
        value = read_value(rest)
    except UnicodeDecodeError as error:
        raise DumpError("not UTF-8", "write the file anew as UTF-8", number, readable(line)) from error
    except PageError as error:
        raise DumpError(str(error), FORM, number, readable(line)) from error
    words = rest.partition("#")[0].split()
    if len(words) == 1:
        raise DumpError("no time behind the value", FORM, number, readable(line))
    time = float(words[1]) * (1000.0 if seconds else 1.0)
    if (wrong := mistaken(time, words[1], seconds=seconds)) is not None:
        raise DumpError(*wrong, number, readable(line))
    return labels, round(time), value


def mistaken(time: float, word: str, *, seconds: bool) -> tuple[str, str] | None:
    """Return why a time (milliseconds) cannot be meant, and what helps; None where it can."""
    if not math.isfinite(time):
        return f"not a time: {word}", FORM
    if not EARLIEST < time < LATEST:
        fix = f"in a file that ends in '{END.decode()}' times are seconds: leave that line out, or write seconds"
        return f"no time of ours: {word}", fix if seconds else "times are milliseconds since 1970"
    if not seconds and 0 < time < EARLY:
        return (
            f"a time in {1970 + int(time / 31_556_952_000)}: {word}",
            f"where times are seconds (OpenMetrics) the last line must be '{END.decode()}': the file is cut off, or lacks it",
        )
    return None


def readable(line: bytes) -> str:
    """Return a line as far as it can be shown."""
    return line[:LINE].decode(errors="replace")
