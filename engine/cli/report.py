"""`mendbook report`: what came back, what works and what does not, which preventions are proved, over a period."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import FORMATS, Column, clean, emit, note, show
from engine.cli.project import expected, hosts, opened, runbooks
from engine.cli.times import SPAN_TYPE
from engine.cli.words import hanging, line, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.app import App
    from engine.records.store import Record
    from engine.report.period import Report

EPILOG = """\b
Examples:
  mendbook report                        the last 30 days; what does not work stands first
  mendbook report --since 90d --html report.html   the same of three months as a page of its own
  mendbook report -o markdown > report.md          for a ticket or a wiki
  mendbook report --advice review/       the preventions that it advises, as runbooks to review, in shadow
"""
MANY = 20
"""So many rows of a table are shown to people; programs get all."""
LONGEST = 70
"""Letters of a name: what is longer would leave no room for what is said of it."""


@click.command(epilog=EPILOG)
@click.option("--since", type=SPAN_TYPE, default="30d", show_default=True, help="How far to look back, such as 7d.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write a page of its own to this file.")
@click.option(
    "--advice",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the preventions that it advises into this folder, to be reviewed. None is enabled by it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice((*FORMATS, "markdown")),
    default="table",
    show_default=True,
    help="How results are printed.",
)
def command(since: float, html: Path | None, folder: Path | None, output: str) -> None:
    """Report on a period: the four measures, what came back, what works and what does not, what prevents."""
    with opened(looking=True) as app:
        from engine.app.looking_back import look_back

        now = time.time()
        inventory = hosts(app)
        declared = runbooks(app, inventory).runbooks
        names = [target.name for target in inventory.fleet]
        with reading(app) as record:
            found = look_back(app.settings, record, declared, now, now - since, names)
        if output == "markdown":
            from engine.report.markdown import markdown

            click.echo(clean(markdown(found)), nl=False)
        elif output != "table":
            emit(found, output)
        else:
            tell(found)
        with expected():
            if html is not None:
                from engine.app.files import write_whole
                from engine.report.page import page

                write_whole(html, page(found))
                note(f"wrote {html}")
            if folder is not None:
                write_advice(found, folder)


@contextmanager
def reading(app: App) -> Iterator[Record]:
    """Give the record to be read, without a wait for an engine that writes; one that must be brought up first is."""
    from engine.records.errors import RecordError
    from engine.records.store import Record

    settings = app.settings
    if settings.database is None and not settings.record.exists():
        yield app.record
        return
    try:
        record = Record(settings.database or settings.record, read_only=True)
    except RecordError:  # of an older Mendbook, say: what opens it for writing knows what to do, or what to say
        yield app.record
        return
    with record:
        yield record


def write_advice(found: Report, folder: Path) -> None:
    """Write each prevention that is advised as a runbook in shadow, with what speaks for it at its top."""
    from engine.app.files import write_whole
    from engine.app.looking_back import drafts

    written = 0
    for name, text in drafts(found.advice):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        if path.exists() and path.read_bytes() != text.encode():
            note(f"{path} is there already and was left as it is")
            continue
        write_whole(path, text)
        written += 1
        note(f"wrote {path}")
    if not written:
        note("nothing new to advise")


def tell(found: Report) -> None:
    """Print the report for people."""
    from engine.report import words

    own = found.measures
    click.echo(click.style(words.headline(found), bold=True))
    for each in words.notes(found):
        note(each)
    if found.began is None or found.empty:
        return
    facts = {
        "by day": words.plot(found.daily),
        "detect": words.times(own.detect),
        "localize": words.times(own.localize),
        "recover": words.times(own.recover),
        "by itself": words.times(own.alone),
        "prevention": words.effect(found),
    }
    for name, value in facts.items():
        if value != "-":
            click.echo(hanging(f"{name:<10} ", line(value)))
    table("Does not work", found.failing, failing_columns(), "bold red")
    table("Preventions", found.preventions, prevention_columns())
    table("What came back, 30 days with data", found.recurring, recurring_columns())
    table("Remedies", found.remedies, remedy_columns())
    table("Guards that held", found.guards, guard_columns())
    table("Advice", found.advice, advice_columns())
    if found.advice:
        note("`mendbook report --advice DIR` writes these runbooks, in shadow, to be reviewed")


def table(title: str, rows: Sequence[Any], columns: tuple[Column, ...], style: str = "bold") -> None:
    """Print a table below its title; nothing when there are no rows."""
    if not rows:
        return
    colour = "red" if "red" in style else None
    click.secho(f"\n{title}", bold=True, fg=colour)
    show(rows[:MANY], columns, "table")
    if len(rows) > MANY:
        note(f"and {len(rows) - MANY} more: -o json gives all")


def failing_columns() -> tuple[Column, ...]:
    """Return what is shown of what does not work."""
    return (
        Column("WHAT", lambda each: each.kind, whole=True),
        Column("NAME", lambda each: short(each.name, LONGEST), style="bold", whole=True),
        Column("VERDICT", lambda each: each.verdict, style="red", whole=True),
        Column("BECAUSE", lambda each: line(each.sentence), beneath=True),
    )


def prevention_columns() -> tuple[Column, ...]:
    """Return what is shown of a prevention."""
    from engine.report.period import named

    return (
        Column("PREVENTION", lambda each: short(named(each), LONGEST), style="bold", whole=True),
        Column("OF", lambda each: short(each.resource, LONGEST), whole=True),
        Column("VERDICT", lambda each: each.effect, whole=True),
        Column("BEFORE AND SINCE", lambda each: line(each.sentence), beneath=True),
    )


def recurring_columns() -> tuple[Column, ...]:
    """Return what is shown of a recurring fault."""
    from engine.report import words

    return (
        Column("FAULT", lambda each: short(each.name, LONGEST), style="bold", whole=True),
        Column("TIMES", lambda each: each.count, right=True, whole=True),
        Column("IN 30D", words.rate, right=True, whole=True),
        Column("EVERY", words.every, right=True, whole=True),
        Column("CAUSES", lambda each: short(words.causes(each), LONGEST), beneath=True),
        Column("HABIT", lambda each: line("; ".join(habit.sentence for habit in each.habits)), beneath=True),
    )


def remedy_columns() -> tuple[Column, ...]:
    """Return what is shown of a remedy."""
    from engine.report import words
    from engine.report.sheet import span

    return (
        Column("RUNBOOK", lambda each: short(each.runbook, LONGEST), style="bold", whole=True),
        Column("REMEDY", lambda each: line(each.remedy), beneath=True),
        Column("HEALED", words.healing, right=True, whole=True),
        Column("TAKES", lambda each: span(each.seconds), right=True, whole=True),
        Column("VERDICT", lambda each: each.verdict, whole=True),
    )


def guard_columns() -> tuple[Column, ...]:
    """Return what is shown of a guard."""
    from engine.report import words

    return (
        Column("GUARD", words.guard, style="bold", whole=True),
        Column("INCIDENTS", lambda each: each.incidents, right=True, whole=True),
        Column("HEALED ALONE", lambda each: each.healed_alone, right=True, whole=True),
        Column("THEN REMEDIED", lambda each: each.remedied, right=True, whole=True),
        Column("LAST SAID", lambda each: line(each.sentence), beneath=True),
    )


def advice_columns() -> tuple[Column, ...]:
    """Return what is shown of advice."""
    return (
        Column("AGAINST", lambda each: short(f"{each.resource} of {each.target}", LONGEST), style="bold", whole=True),
        Column("PREVENTION", lambda each: each.runbook, whole=True),
        Column("TODAY", lambda each: each.mode or "not in this project", whole=True),
        Column("WORTH", lambda each: line(each.sentence), beneath=True),
    )
