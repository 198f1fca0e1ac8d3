"""`mendbook metrics`: the collected series."""

from __future__ import annotations

import fnmatch
import re
import shutil
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit, Failure
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, ago, clean, console, emit, moment, note, output_option, show
from engine.cli.project import opened
from engine.cli.times import MOMENT, SPAN_TYPE
from engine.cli.words import age, line, number, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.promql import Expression, Matrix, Points, Result
    from engine.samples.store import SampleStore

EPILOG = """\b
Examples:
  mendbook metrics                                             the names of all metrics
  mendbook metrics list 'node_filesystem_avail_bytes{mountpoint="/"}'
  mendbook metrics query 'rate(node_cpu_seconds_total[5m])'
  mendbook metrics query node_load1 --range 1h                 its course, drawn
  mendbook metrics query up --at '2026-01-31 14:05' -o json
"""
PLOTTED = 4
"""So many series get a plot of their own; more get a line each."""
POINTS = 120
"""About how many steps a range has when none is given."""
PLAIN = re.compile(r"[A-Za-z0-9_:*?]+")


@click.group(cls=ListingGroup, epilog=EPILOG)
def command() -> None:
    """Query and list the collected series."""


@command.command()
@click.argument("expr")
@click.option("--range", "span", type=SPAN_TYPE, help="Show the course over this long, as in 1h.")
@click.option("--step", type=SPAN_TYPE, help="How far apart the points of a course are; about 120 of them by default.")
@click.option("--at", type=MOMENT, help="Ask about this moment instead of now.")
@output_option
def query(expr: str, span: float | None, step: float | None, at: float | None, output: str) -> None:
    """Evaluate a PromQL expression."""
    from engine.cli.expressions import pointed, read

    tree = read(expr)
    if step is not None and span is None:
        raise click.UsageError("--step goes with --range")
    with opened() as app:
        from engine.promql import EvaluationError

        store = app.read_samples()
        remark(store, at, app.settings.interval)
        moment_ = time.time() if at is None else at
        try:
            if span is None:
                instant(tree, store, moment_, output)
            else:
                course(tree, store, moment_, span, step or max(1.0, float(round(span / POINTS))), output)
        except EvaluationError as error:
            raise Failure(pointed(expr, *error.span, error.message, "not-evaluated")) from error


def remark(store: SampleStore, at: float | None, interval: float) -> None:
    """Say when there are no samples, or none as new as what is asked about."""
    newest = store.newest()
    if newest is None:
        note("there are no samples yet: `mendbook watch` or `mendbook audit` collects them")
    elif at is None and time.time() - newest > max(5 * interval, 60.0):
        note(f"the newest sample is {age(newest)} old; --at '{moment(newest)}' asks about then")


def instant(tree: Expression, store: SampleStore, at: float, output: str) -> None:
    """Print what an expression says at one moment."""
    from engine.promql import Matrix, evaluate

    result = evaluate(tree, store, round(at * 1000))
    if output != "table":
        emit(rows_of(result), output)
    elif isinstance(result, Matrix):
        print_courses(result, at, at)
    else:
        value = Column("VALUE", lambda row: row["value"] if isinstance(row["value"], str) else number(row["value"]),
                       right=True)  # fmt: skip
        show(rows_of(result), (Column("SERIES", lambda row: line(row["series"])), value), "table", empty="no series")


def rows_of(result: Result) -> list[dict[str, Any]]:
    """Return a result for programs: times in seconds since the epoch."""
    from engine.promql import Matrix, Scalar, Text, Vector

    match result:
        case Scalar(time=at, value=value):
            return [{"series": "scalar", "labels": {}, "time": at / 1000, "value": value}]
        case Text(time=at, value=text):
            return [{"series": "string", "labels": {}, "time": at / 1000, "value": text}]
        case Vector(time=at, series=series, values=values):
            both = zip(series, values.tolist(), strict=True)
            return [{"series": str(one), "labels": one, "time": at / 1000, "value": value} for one, value in both]
        case Matrix(series=rows):
            return [{"series": str(row.labels), "labels": row.labels, "points": pairs_of(row)} for row in rows]


def pairs_of(row: Points) -> list[tuple[float, float]]:
    """Return the points of a series: seconds and value."""
    return [(at / 1000, value) for at, value in zip(row.times.tolist(), row.values.tolist(), strict=True)]


def course(tree: Expression, store: SampleStore, end: float, span: float, step: float, output: str) -> None:
    """Print what an expression says over a stretch of time."""
    from engine.promql import evaluate_range

    last = round(end * 1000)
    matrix = evaluate_range(tree, store, last - round(span * 1000), last, max(1, round(step * 1000)))
    if output != "table":
        emit(rows_of(matrix), output)
        return
    print_courses(matrix, end - span, end)


def print_courses(matrix: Matrix, start: float, end: float) -> None:
    """Draw the courses of several series."""
    if not matrix.series:
        note("no series")
        return
    if start == end:
        start = min(float(row.times[0]) for row in matrix.series) / 1000
    if len(matrix.series) <= PLOTTED:
        for row in matrix.series:
            draw(row, start, end, height=4 if len(matrix.series) > 1 else 8)
        return
    from engine.cli.plot import spark

    columns = (
        Column("SERIES", lambda row: line(row.labels)),
        Column(
            f"{ago(end - start)} UNTIL {moment(end)}",
            lambda row: spark(pairs_of(row), start, end, 30),
            "cyan",
            whole=True,
        ),
        Column("MIN", lambda row: number(float(row.values.min())), right=True),
        Column("MAX", lambda row: number(float(row.values.max())), right=True),
        Column("LAST", lambda row: number(float(row.values[-1])), right=True),
    )
    show(matrix.series, columns, "table")


def draw(row: Points, start: float, end: float, height: int) -> None:
    """Draw the course of one series with its least and greatest value beside it."""
    from rich.text import Text

    from engine.cli.plot import flat, plot, scale

    width = min(100, shutil.get_terminal_size().columns)
    values = row.values.tolist()
    high, low = number(max(values)), number(min(values))
    margin = max(len(high), len(low))
    out = console()
    out.print(Text(line(row.labels) or "scalar", style="bold").append(f"  last {number(values[-1])}", style="not bold"))
    lines = plot(pairs_of(row), start, end, max(10, width - margin - 2), height)
    labels = scale(low, high, height, constant=flat(min(values), max(values)))
    for label, text in zip(labels, lines, strict=True):
        out.print(Text(f"{label:>{margin}} ").append(text, style="cyan"))
    left, right = moment(start), moment(end)
    out.print(Text(f"{'':{margin}} {left}{right:>{max(len(right) + 1, len(lines[0]) - len(left))}}", style="dim"))


@command.command("list", short_help="List metrics by name, or the series that a selector admits.")
@click.argument("matcher", required=False)
@output_option
def list_(matcher: str | None, output: str) -> None:
    """List metrics by name, or the series that a selector such as 'up{job="web"}' admits.

    Part of a name, or a name with * and ?, lists the metrics that it fits.
    """
    with opened() as app:
        store = app.read_samples()
        if store.newest() is None:
            remark(store, None, app.settings.interval)
        names = Counter(labels.get("__name__", "") for labels in store.series())
        if matcher is None or (matcher not in names and PLAIN.fullmatch(matcher)):
            list_names(names, matcher, output)
        else:
            list_series(store, matcher, output)


def list_names(names: Counter[str], part: str | None, output: str) -> None:
    """Print the metrics whose name fits."""
    wanted = part if part is None or set(part) & set("*?") else f"*{part}*"
    fitting = [name for name in sorted(names) if wanted is None or fnmatch.fnmatchcase(name, wanted)]
    if part is not None and not fitting and names:
        raise unknown("metric", part, list(names))
    rows = [{"metric": name, "series": names[name]} for name in fitting]
    columns = (
        Column("METRIC", lambda row: line(row["metric"])),
        Column("SERIES", lambda row: row["series"], right=True),
    )
    show(rows, columns, output, empty="no series")


def list_series(store: SampleStore, text: str, output: str) -> None:
    """Print the series that a selector admits, with the last value of those that still had one in the end."""
    from engine.cli.expressions import pointed, read
    from engine.promql import Vector, evaluate, selectors
    from engine.promql.syntax import Selector

    tree = read(text)
    if not isinstance(tree, Selector) or tree.offset or tree.at is not None:
        message = "a selector was needed here; `metrics query` takes expressions"
        raise Failure(pointed(text, *tree.span, message), Exit.USAGE)
    newest = store.newest()
    result = evaluate(tree, store, round((newest or 0.0) * 1000))
    values = dict(zip(result.series, result.values.tolist(), strict=True)) if isinstance(result, Vector) else {}
    rows: Sequence[dict[str, Any]] = [
        {"series": str(labels), "labels": labels, "value": values.get(labels)}
        for labels in store.series(selectors(tree)[0].matchers)
    ]
    columns = (
        Column("SERIES", lambda row: line(row["series"])),
        Column("LAST", lambda row: "-" if row["value"] is None else number(row["value"]), right=True),
    )
    show(rows, columns, output, empty=clean(f"no series fits {text}"))
