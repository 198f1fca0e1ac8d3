"""The report of a period as Markdown, for a ticket or a wiki: the same as on a terminal, and in the same order."""

from __future__ import annotations

from collections.abc import Sequence

from engine.report import words
from engine.report.period import Report, named
from engine.report.sheet import day, span

MANY = 50
SPECIAL = str.maketrans({each: f"\\{each}" for each in "\\`*_[]<>|#"})


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    parts = [f"# Report, {day(report.since)} to {day(report.until)}", "", text(words.headline(report)), ""]
    parts += [f"> {text(each)}\n" for each in words.notes(report)]
    if report.began is None or report.empty:
        return "\n".join(parts)
    own = report.measures
    parts += section(
        "Does not work",
        ("What", "Name", "Verdict", "Because"),
        [(each.kind, each.name, each.verdict, each.sentence) for each in report.failing],
    )
    parts += section(
        "Measures",
        ("Measure", "Figure"),
        [
            ("Faults by day", words.plot(report.daily)),
            ("To detect", words.times(own.detect)),
            ("To localize", words.times(own.localize)),
            ("To recover", words.times(own.recover)),
            ("To heal by itself", words.times(own.alone)),
            ("Prevention", words.effect(report)),
        ],
    )
    parts += section(
        "Preventions",
        ("Prevention", "Of", "Verdict", "Before and since"),
        [(named(each), each.resource, str(each.effect), each.sentence) for each in report.preventions],
    )
    parts += section(
        "What came back",
        ("Fault", "Times", "In 30 days with data", "Every", "Causes", "Habit"),
        [
            (each.name, str(each.count), words.rate(each), words.every(each), words.causes(each),
             "; ".join(habit.sentence for habit in each.habits))
            for each in report.recurring
        ],
    )  # fmt: skip
    parts += section(
        "Remedies",
        ("Runbook", "Remedy", "Healed", "Takes", "Verdict"),
        [
            (each.runbook, each.remedy, words.healing(each), span(each.seconds), each.verdict)
            for each in report.remedies
        ],
    )
    parts += section(
        "Guards that held",
        ("Guard", "Incidents", "Healed alone after", "Remedied after", "Last said"),
        [
            (words.guard(each), str(each.incidents), str(each.healed_alone), str(each.remedied), each.sentence)
            for each in report.guards
        ],
    )
    parts += section(
        "Advice",
        ("Against", "Prevention", "Today", "Worth"),
        [
            (f"{each.resource} of {each.target}", each.runbook, each.mode or "not in this project", each.sentence)
            for each in report.advice
        ],
    )
    return "\n".join(parts)


def section(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table below its title; nothing without rows."""
    if not rows:
        return []
    lines = [f"## {title}", "", f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
    lines += [f"| {' | '.join(text(cell) or '-' for cell in row)} |" for row in rows[:MANY]]
    if len(rows) > MANY:
        lines += ["", f"and {len(rows) - MANY} more"]
    return [*lines, ""]


def text(value: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return " ".join(value.split()).translate(SPECIAL)
