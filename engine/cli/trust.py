"""`mendbook trust`: how far each runbook goes, how it has done, and whether it has earned more."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from engine.cli.output import Column, clean, emit, moment, note, output_option, plain, show
from engine.cli.project import hosts, opened, runbooks
from engine.cli.words import counted, hanging, lasting, line, unknown, when

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engine.model.incident import Attempt
    from engine.model.runbook import Runbook
    from engine.records.past import Case

EPILOG = """\b
Examples:
  mendbook trust                 every runbook: its mode, what it did, what it would have done
  mendbook trust disk-full       one runbook, case by case
  mendbook trust --days 90       look back further

\b
Nothing is raised by this. A person does, in mendbook.yml: `modes: {disk-full: approve}`. Each case can be looked at with
`mendbook why HOST --at TIME`.
"""
DAY = 86_400.0
FEW = 5
"""Fewer cases than this say little."""
GOOD = 0.9
"""The share of runs that must have healed before a runbook is let loose."""
BAD = 0.5


@dataclass(frozen=True, slots=True)
class Would:
    """One case in which a runbook would have acted, and what became of it without."""

    at: float
    target: str
    remedy: str
    incident: str
    became: str
    seconds: float | None
    healed_alone: bool
    """By itself, within the time that the remedy would have been given."""


@dataclass(frozen=True, slots=True)
class Trust:
    """How far a runbook goes, what it did by its outcome, and what it would have done; `ran` are attempts that ended."""

    runbook: str
    mode: str
    days: int
    ran: int
    outcomes: dict[str, int]
    within: float
    would: tuple[Would, ...]
    advice: str

    @property
    def healed_alone(self) -> int:
        """Return how many cases healed by themselves in time."""
        return sum(each.healed_alone for each in self.would)


@click.command(epilog=EPILOG)
@click.argument("runbook", required=False)
@click.option("--days", type=click.IntRange(1, 366), default=30, show_default=True, help="How many days are counted.")
@output_option
def command(runbook: str | None, days: int, output: str) -> None:
    """Show how far each runbook is trusted, and what speaks for trusting it more."""
    with opened() as app:
        from engine.records.past import Past

        declared = runbooks(app, hosts(app)).runbooks
        names = sorted({each.name for each in declared})
        if runbook is not None and runbook not in names:
            raise unknown("runbook", runbook, names)
        since = time.time() - days * DAY
        attempts, cases = app.history.attempts(since), Past(app.record).cases(since)
        rows = [
            trust_of([each for each in declared if each.name == name], attempts, cases, days)
            for name in names
            if runbook in (None, name)
        ]
        if output != "table":
            emit([{**plain(row), "healed_alone": row.healed_alone} for row in rows], output)
        elif runbook is not None:
            tell(rows[0], proved(runbook, app.settings.root))
        else:
            note(f"the last {counted(days, 'day')}; `mendbook trust RUNBOOK` shows case by case")
            show(rows, columns(), output, empty="there are no runbooks")


def trust_of(variants: Sequence[Runbook], attempts: Sequence[Attempt], cases: Sequence[Case], days: int) -> Trust:
    """Return what is known of one runbook, whose variants these are."""
    name = variants[0].name
    modes = list(dict.fromkeys(str(each.mode) for each in variants))
    within = max(each.verify.within for each in variants)
    ended = [each for each in attempts if each.runbook == name and each.outcome is not None]
    outcomes = Counter(str(each.outcome) for each in ended)
    tried = {each.incident for each in attempts if each.runbook == name}
    would = tuple(would_of(each, within) for each in cases if each.runbook == name and each.incident.id not in tried)
    mode = " / ".join(modes)
    lowest = next((each for each in ("shadow", "approve", "auto") if each in modes), mode)
    return Trust(name, mode, days, len(ended), dict(outcomes), within, would, advice(lowest, outcomes, would, within))


def would_of(case: Case, within: float) -> Would:
    """Return what became of a case."""
    incident = case.incident
    remedy = re.search(r"'([^']+)'", case.sentence)
    took = None if incident.ended_at is None else max(0.0, incident.ended_at - case.at)
    alone = incident.state == "self_healed" and took is not None and took <= within
    became = "closed by a human" if incident.code == "closed" else str(incident.state).replace("_", "-")
    return Would(case.at, case.target, remedy[1] if remedy else "-", incident.id, became, took, alone)


def advice(mode: str, outcomes: Counter[str], would: Sequence[Would], within: float) -> str:
    """Say what the numbers speak for; a person decides."""
    ran, resolved, harmful = sum(outcomes.values()), outcomes["resolved"], outcomes["harmful"]
    did = f"{resolved} of {counted(ran, 'run')} healed"
    if harmful:
        lower = "" if mode == "shadow" else "; lower its mode until that is understood"
        return f"it did harm {counted(harmful, 'time')} in {counted(ran, 'run')}{lower}"
    if mode == "shadow":
        return of_shadow(would, within)
    if not ran:
        asked = f"asked {counted(len(would), 'time')}, " if would else ""
        return f"{asked}nothing was run: nothing speaks for more, or for less"
    if mode == "approve":
        if ran >= FEW and resolved / ran >= GOOD:
            return f"{did}, none did harm: this speaks for auto"
        return f"{did}: {'few to judge by' if ran < FEW else 'find out why the others did not before it gets more'}"
    if ran >= FEW and resolved / ran < BAD:
        return f"{did}: lower it to approve until it does better"
    return f"{did}, none did harm"


def of_shadow(would: Sequence[Would], within: float) -> str:
    """Say what speaks for letting a runbook ask."""
    alone = sum(each.healed_alone for each in would)
    if not would:
        return "nothing happened that it would have acted on: nothing to judge by"
    seen = (
        f"would have run {counted(len(would), 'time')}; {alone or 'none'} healed without help within {lasting(within)}"
    )
    if 2 * alone > len(would):
        return f"{seen}: too eager, a longer `for` would spare most of them"
    if len(would) < FEW:
        return f"{seen}: few to judge by, look at each"
    return f"{seen}: {len(would) - alone} could have been spared a human; this speaks for approve"


def columns() -> tuple[Column, ...]:
    """Return what is shown of a runbook."""

    def count(outcome: str) -> Column:
        head = {"resolved": "HEALED", "ineffective": "IN VAIN", "failed": "FAILED", "harmful": "HARM"}[outcome]
        return Column(head, lambda each: each.outcomes.get(outcome, 0) or "-", right=True, whole=True)

    return (
        Column("RUNBOOK", lambda each: line(each.runbook), style="bold", whole=True),
        Column("MODE", lambda each: each.mode, whole=True),
        Column("RUNS", lambda each: each.ran or "-", right=True, whole=True),
        *(count(outcome) for outcome in ("resolved", "ineffective", "failed", "harmful")),
        Column("WOULD", lambda each: len(each.would) or "-", right=True, whole=True),
        Column("ALONE", lambda each: each.healed_alone or "-", right=True, whole=True),
        Column("WHAT IT SPEAKS FOR", lambda each: each.advice, beneath=True),
    )


def proved(runbook: str, root: Path) -> str:
    """Say when drills last proved the runbook, and on what: those of this project, and those that come with the product; "" when none did."""
    from engine.chaos.figures import proofs
    from engine.chaos.scorecard import known

    found = next((each for each in proofs(known(root).results) if each.runbook == runbook), None)
    if found is None:
        return ""
    return (
        f"{moment(found.at).partition(' ')[0]} by {', '.join(found.experiments)}: {found.passed} of {counted(found.drills, 'drill')} "
        f"passed, with mendbook {found.version}"
    )


def tell(trust: Trust, proof: str) -> None:
    """Print one runbook for people, case by case."""
    did = ", ".join(f"{count} {outcome}" for outcome, count in sorted(trust.outcomes.items())) or "nothing"
    facts = {
        "runbook": f"{trust.runbook} ({trust.mode}), the last {counted(trust.days, 'day')}",
        "did": f"{counted(trust.ran, 'run')}: {did}" if trust.ran else did,
        "asked": f"would have run {counted(len(trust.would), 'time')}; {trust.healed_alone or 'none'} of these healed without help "
        f"within {lasting(trust.within)}" if trust.would else "",
        "proved": proof,
        "so": trust.advice,
    }  # fmt: skip
    if trust.advice.startswith("would have run"):  # it says so itself
        del facts["asked"]
    for name, value in facts.items():
        if value:
            click.echo(hanging(click.style(f"{name:<8} ", bold=name == "so"), clean(value)))
    if trust.would:
        click.echo()
        show(trust.would, case_columns(), "table")


def case_columns() -> tuple[Column, ...]:
    """Return what is shown of one case."""
    return (
        Column("WHEN", lambda each: when(each.at), whole=True),
        Column("HOST", lambda each: line(each.target), style="bold", whole=True),
        Column("BECAME", lambda each: each.became, whole=True),
        Column("AFTER", lambda each: lasting(each.seconds), right=True, whole=True),
        Column("INCIDENT", lambda each: line(each.incident), whole=True),
        Column("REMEDY", lambda each: line(each.remedy), beneath=True),
    )
