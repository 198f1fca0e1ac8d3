"""Recordings: files of samples, Parquet or CSV, and of who calls whom.

The first column is the time, in seconds since the epoch (or since whatever moment); each other column is a series, named
`node|metric`, or `node|metric<caller` where it is about one caller's calls. An empty cell is no sample.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

LABELS = frozenset({"case"})
"""Columns of text that say which recording of several in one file a row belongs to."""
MOST_CELLS = 400_000_000
EARLIEST, LATEST = -62_135_510_400.0, 253_402_214_400.0
"""Seconds: clocks know no times beyond these, a day into the year 1 and a day short of 10000. Who writes milliseconds is behind them."""


class RecordingError(Exception):
    """A file cannot be used: which, where in it, why, and what helps."""

    def __init__(self, path: Path, message: str, fix: str, line: int | None = None) -> None:
        super().__init__(path, message, fix, line)
        self.path, self.message, self.fix, self.line = path, message, fix, line

    def __str__(self) -> str:
        """Return the error as people read it."""
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"[ERROR] bad-recording: {self.message}; {self.fix}\nOrigin: {place}"


@dataclass(frozen=True, slots=True)
class Recording:
    """Series on common times: `times` (T,) ascending, `values` (T, S) for `columns`; `labels` (T,) by their column's name."""

    times: np.ndarray
    columns: tuple[str, ...]
    values: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)


def read_recording(path: Path) -> Recording:
    """Return the samples of a file. Raises RecordingError."""
    _must_be_file(path, "name a .parquet, .csv or .csv.gz file")
    if path.suffix == ".parquet":
        return _in_order(path, _parquet(path))
    if path.suffix == ".csv" or path.name.endswith(".csv.gz"):
        return _in_order(path, _csv(path))
    raise RecordingError(
        path, f"'{path.suffix}' is no kind of file that is known here", "it takes .parquet, .csv or .csv.gz"
    )


def read_edges(path: Path) -> list[tuple[str, str]]:
    """Return the (caller, callee) pairs of a CSV file with these two columns. Raises RecordingError."""
    _must_be_file(path, "name a CSV file with the columns caller,callee")
    with _open(path) as file:
        rows = _rows(path, file)
        head = [cell.strip() for cell in next(rows, (1, []))[1]]
        if "caller" not in head or "callee" not in head:
            raise RecordingError(
                path, f"the head is {','.join(head) or 'empty'}", "its first line must be caller,callee", 1
            )
        caller, callee = head.index("caller"), head.index("callee")
        pairs = []
        for line, row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(head) or not row[caller].strip() or not row[callee].strip():
                raise RecordingError(
                    path, f"{','.join(row)!r} is no pair of nodes", "write caller,callee; quote names with commas", line
                )
            pairs.append((row[caller].strip(), row[callee].strip()))
    return pairs


def _must_be_file(path: Path, fix: str) -> None:
    """Raise RecordingError for what is no file, or is none at all: a pipe would be waited for without end."""
    if path.is_dir():
        raise RecordingError(path, "it is a folder", fix)
    if not path.is_file():
        raise RecordingError(path, "it is no regular file" if path.exists() else "there is no such file", fix)


def _parquet(path: Path) -> Recording:
    """Read a Parquet file; what reads them is an extra of its own."""
    try:
        pa, pq = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise RecordingError(
            path, "Parquet files need pyarrow", "pip install 'mendbook[parquet]', or write the file as CSV"
        ) from error
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordingError(path, f"it cannot be read: {said}", "write it anew") from error
    labels, numbers, names = {}, [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in LABELS:
            labels[name] = np.array(column.to_pylist(), dtype=object)
            continue
        try:
            numbers.append(column.cast(pa.float64()).to_numpy())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise RecordingError(
                path, f"column {name!r} holds {column.type}, not numbers", "leave it out or write numbers"
            ) from error
        names.append(name)
    return _recorded(path, names, np.column_stack(numbers) if numbers else np.empty((0, 0)), labels)


def _csv(path: Path) -> Recording:
    """Read a CSV file."""
    with _open(path) as file:
        rows = _rows(path, file)
        head = [cell.strip() for cell in next(rows, (1, []))[1]]
        kept = [place for place, name in enumerate(head) if name not in LABELS]
        labels: dict[str, list[str]] = {name: [] for name in head if name in LABELS}
        numbers: list[list[float]] = []
        for line, row in rows:
            if not row:
                continue
            if len(row) != len(head):
                raise RecordingError(
                    path, f"{len(row)} cells, but the head has {len(head)}", "give each row as many cells", line
                )
            numbers.append([_number(path, line, head[place], row[place]) for place in kept])
            for name, said in labels.items():
                said.append(row[head.index(name)])
    values = np.array(numbers, dtype=float) if numbers else np.empty((0, len(kept)))
    return _recorded(
        path,
        [head[place] for place in kept],
        values,
        {name: np.array(said, dtype=object) for name, said in labels.items()},
    )


def _number(path: Path, line: int, name: str, text: str) -> float:
    """Return the number of a cell; NaN for an empty one."""
    text = text.strip()
    try:
        return float(text) if text else math.nan
    except ValueError as error:
        raise RecordingError(
            path, f"{text!r} in column {name!r} is no number", "write a number, or nothing for no sample", line
        ) from error


def _recorded(path: Path, names: list[str], numbers: np.ndarray, labels: Mapping[str, np.ndarray]) -> Recording:
    """Check the head of a table of numbers, and return it as a recording."""
    if len(names) < 2 or not len(numbers):  # noqa: PLR2004  the time and one series
        raise RecordingError(path, "there are no samples", "it takes a column of times and one of samples at least")
    if numbers.size > MOST_CELLS:
        raise RecordingError(path, f"{numbers.size} cells are too many", "cut it into shorter files")
    wrong = next((name for name in names[1:] if not all(name.partition("|")[::2])), None)
    if wrong is not None or "|" in names[0]:
        fix = "the first column is the time, the others are node|metric, as in web-1|cpu"
        raise RecordingError(path, f"column {names[0] if wrong is None else wrong!r} is not understood", fix, 1)
    twice = (
        next((name for place, name in enumerate(names) if name in names[:place]), None)
        if len(set(names)) < len(names)
        else None
    )
    if twice is not None:
        raise RecordingError(path, f"column {twice!r} stands there twice", "name each series once", 1)
    return Recording(numbers[:, 0], tuple(names[1:]), numbers[:, 1:], labels)


def _in_order(path: Path, read: Recording) -> Recording:
    """Return the rows in the order of their times."""
    bad = np.flatnonzero(~np.isfinite(read.times))
    if len(bad):
        raise RecordingError(
            path, "a row has no time", "write seconds since the epoch in its first column", int(bad[0]) + 2
        )
    far = np.flatnonzero((read.times < EARLIEST) | (read.times > LATEST))
    if len(far):
        fix = "times are seconds since the epoch, not milliseconds or less"
        raise RecordingError(path, f"{read.times[far[0]]:g} is no time", fix, int(far[0]) + 2)
    order = np.argsort(read.times, kind="stable")
    labels = {name: said[order] for name, said in read.labels.items()}
    return Recording(read.times[order], read.columns, read.values[order], labels)


def _open(path: Path) -> IO[str]:
    """Open a text file that may be compressed."""
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _rows(path: Path, file: IO[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file, each with its line."""
    reader = csv.reader(file)
    try:
        for row in reader:
            yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise RecordingError(
            path, f"it cannot be read: {error}", "write it as CSV in UTF-8", reader.line_num
        ) from error
