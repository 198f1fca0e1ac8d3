"""Results on stdout, in the form that was asked for; progress and remarks on stderr."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import click

FORMATS = ("table", "json", "jsonl", "yaml")

INDENT = 4
WIDEST = 1000
"""Columns that a table may ask for when it is measured."""

output_option = click.option(
    "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How results are printed."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its head, and the text of a row."""

    head: str
    text: Callable[[Any], object]
    style: str = ""
    right: bool = False
    whole: bool = False
    """Never broken into lines while another column can be."""
    beneath: bool = False
    """On a terminal that is too narrow for the table, its text goes below each row."""


def show(rows: Sequence[Any], columns: Sequence[Column], output: str, *, empty: str = "nothing to show") -> None:
    """Print rows: a table for people, whole objects for programs."""
    if output != "table":
        emit([plain(row) for row in rows], output)
        return
    if not rows:
        click.echo(empty, err=True)
        return
    out, table = console(), tabled(rows, columns)
    wanted = out.measure(table, options=out.options.update(width=WIDEST)).maximum
    if out.is_terminal and wanted > out.width and any(column.beneath for column in columns):
        print_beneath(out, rows, columns)
    else:
        out.print(table)


def tabled(rows: Sequence[Any], columns: Sequence[Column]) -> Any:
    """Return rows as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.head,
            justify="right" if column.right else "left",
            style=column.style,
            overflow="ellipsis" if column.whole else "fold",
            no_wrap=column.whole,
        )
    for row in rows:
        table.add_row(*(Text(clean(str(column.text(row)).replace("\n", " "))) for column in columns))
    return table


def print_beneath(out: Any, rows: Sequence[Any], columns: Sequence[Column]) -> None:
    """Print a table of the other columns, and below each row the text of those that go beneath; the first must be whole."""
    from rich.padding import Padding
    from rich.segment import Segment, Segments
    from rich.text import Text

    lower = [column for column in columns if column.beneath]
    upper = [column for column in columns if not column.beneath]

    def beneath(row: Any) -> None:
        texts = (clean(str(column.text(row)).replace("\n", " ")) for column in lower)
        text = ": ".join(text for text in texts if text not in ("", "-"))
        if text:
            out.print(Padding(Text(text, "dim"), (0, 0, 0, INDENT)))

    begun = -1  # the head is no row
    for line in out.render_lines(tabled(rows, upper), pad=False):
        if not "".join(part.text for part in line).startswith(" "):
            if begun > 0:
                beneath(rows[begun - 1])
            begun += 1
        out.print(Segments([*line, Segment.line()]), end="")
    beneath(rows[-1])


def emit(value: object, output: str) -> None:
    """Print a value as JSON, JSON lines or YAML."""
    value = plain(value)
    if output == "jsonl":
        for each in value if isinstance(value, list) else [value]:
            click.echo(as_json(each))
    elif output == "yaml":
        import yaml

        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        if not text.replace("\n", "").isprintable():  # YAML leaves alone what turns the direction of writing, say
            text = yaml.safe_dump(value, sort_keys=False)
        click.echo(text, nl=False)
    else:
        click.echo(as_json(value, indent=2))


def as_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON that people can read, what steers a terminal or cannot be seen being escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


def plain(value: object) -> Any:
    """Return a value as JSON can say it; NaN and infinities as text."""
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name.rstrip("_"): plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(plain(each) for each in value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def clean(text: str) -> str:
    """Return text without control characters: names from elsewhere must not steer a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def console(*, stderr: bool = False) -> Any:
    """Return a rich console for stdout or stderr; wide enough for whole lines where nobody looks."""
    from rich.console import Console

    class Piped(Console):
        """Says that the reader has gone instead of leaving with an error of its own."""

        def on_broken_pipe(self) -> None:
            """Pass on what happened: the command line ends quietly of it."""
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Piped(stderr=stderr, width=width, highlight=False, soft_wrap=not stream.isatty())


def note(text: str) -> None:
    """Say something that is not a result."""
    click.echo(clean(text), err=True)


def ago(seconds: float) -> str:
    """Return a span of time as people say it: 4s, 12m, 3h, 2d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def moment(time: float | None) -> str:
    """Return a time as local date and time to the second; "-" for none."""
    if time is None:
        return "-"
    import datetime as dt

    try:
        return dt.datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):  # no calendar has it; what else is told stays told
        return "long ago" if time < 0 else "never"
