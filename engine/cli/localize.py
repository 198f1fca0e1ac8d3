"""`mendbook localize`: which node, which resource, which culprit, since when, and what speaks for it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit, Failure
from engine.cli.output import Column, clean, emit, note, output_option, show
from engine.cli.project import expected, hosts, opened
from engine.cli.times import MOMENT, SPAN_TYPE
from engine.cli.words import age, counted, hanging, line, number, when

if TYPE_CHECKING:
    from engine.app import App
    from engine.app.localization import Evidence
    from engine.core.rca.inquiry import Accused, Finding
    from engine.core.rca.rank import Alarm

EPILOG = """\b
Examples:
  mendbook localize                                    what is wrong now, by the samples of this project
  mendbook localize --at 14:05                         the same as of then
  mendbook localize --input day.parquet --edges calls.csv --at '2026-01-31 14:05'
  mendbook localize --input day.csv --alarm 'shop|latency' -o json

\b
Files: the first column is the time in seconds, every other one a series `node|metric`; `callee|edges<caller` is the latency
of one caller's calls as the caller sees it, `callee|edged<caller` as the callee does. Edges: a CSV file with caller,callee.
"""
HEIGHT = 4
SHOWN = 5
"""So many suspects are told of to people; programs get all."""
OLDEST = 3
"""Samples older than so many steps are not those of now."""


@click.command(epilog=EPILOG)
@click.option("--at", type=MOMENT, help="As of this moment instead of the newest samples.")
@click.option(
    "--input",
    "recording",
    type=click.Path(path_type=Path),
    help="A recording, Parquet or CSV, instead of this project's samples.",
)
@click.option(
    "--edges", type=click.Path(path_type=Path), help="Who calls whom: a CSV file with the columns caller,callee."
)
@click.option(
    "--alarm",
    help="Where it was noticed, as in 'shop|latency': what that node needs is looked at, and this kind of trouble.",
)
@click.option("--step", type=SPAN_TYPE, help="How far apart the compared samples are; the interval by default.")
@click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="Exit with 2 when there is a suspect, with 4 when too little is known to say.",
)
@output_option
def command(at: float | None, recording: Path | None, edges: Path | None, alarm: str | None, step: float | None,
            detailed_exitcode: bool, output: str) -> int:  # fmt: skip
    """Say what is wrong: node, resource and culprit, since when, with what speaks for each suspect."""
    if edges is not None and recording is None:
        raise click.UsageError("--edges goes with --input: this project's own come from its inventory and its series")
    if step is not None and recording is not None:
        raise click.UsageError("--step does not go with --input: a recording has its own")
    incident: bool | None = None
    if recording is None:
        with opened(looking=True) as app:
            evidence, moment_ = of_project(app, at, step)
            found = inquired(evidence, moment_, alarm)
            if at is None:
                incident = any(each.state.live for each in app.record.standing(time.time()).incidents)
    else:
        with expected():
            evidence = of_files(recording, edges)
        if edges is not None:
            strange(evidence, edges)
        found = inquired(evidence, at, alarm)
    for remark in found.remarks:
        note(remark)
    if output == "table":
        tell(found, evidence, incident)
    else:
        emit(plainly(found), output)
    return code(found) if detailed_exitcode else Exit.OK


def of_files(recording: Path, edges: Path | None) -> Evidence:
    """Return what the files say; a mistake in one is a Failure that says where and what helps."""
    from engine.app import localization
    from engine.sources.recording import RecordingError

    try:
        return localization.of_files(recording, edges)
    except RecordingError as error:
        raise Failure(clean(str(error))) from error


def strange(evidence: Evidence, edges: Path) -> None:
    """Say of edges that they are not of this recording: what they say of it is nothing."""
    nodes = {signal.node for signal in evidence.frame.signals}
    named = set(evidence.topology.nodes)
    if named and not named & nodes:
        seen, told = (", ".join(sorted(each)[:3]) for each in (nodes, named))
        note(line(f"{edges} names no node of the recording: it has {seen}, the edges have {told}"))


def of_project(app: App, at: float | None, step: float | None) -> tuple[Evidence, float]:
    """Return what this project's samples say, and the moment that is asked about."""
    from engine.app import localization

    if app.server is not None:
        raise Failure(
            f"the samples are with {app.server.address}: localize reads the engine's own, or a recording with --input",
            Exit.UNAVAILABLE,
        )
    store = app.read_samples()
    newest = store.newest()
    if newest is None:
        raise Failure("there are no samples yet: `mendbook watch` collects them", Exit.UNAVAILABLE)
    step = step or app.settings.interval
    if at is None and time.time() - newest > OLDEST * step:
        note(f"the newest sample is {age(newest)} old: this is how it was then")
    moment_ = newest if at is None else at
    return localization.of_store(store, hosts(app).fleet, moment_, step), moment_


def inquired(evidence: Evidence, at: float | None, alarm: str | None) -> Finding:
    """Return what the evidence says; what cannot be asked is a Failure."""
    from engine.core.rca.inquiry import inquire

    about = None if alarm is None else alarm_of(alarm, evidence)
    if not evidence.frame.signals:
        raise Failure("there is no sample of then: --at asks about another moment", Exit.UNAVAILABLE)
    try:
        return inquire(evidence.frame, evidence.topology, at, about, alarms=evidence.alarms, peers=evidence.peers)
    except ValueError as error:
        first = float(evidence.frame.times[0]) if len(evidence.frame.times) else 0.0
        raise Failure(f"{error}; the first one is of {when(first)}", Exit.USAGE) from error


def alarm_of(text: str, evidence: Evidence) -> Alarm:
    """Return what `node|kind` means; a node that has no series is a Failure."""
    from engine.cli.words import unknown
    from engine.core.rca.rank import Alarm
    from engine.core.rca.signals import Kind, meaning

    node, bar, name = text.partition("|")
    kind = meaning(name).kind
    if not bar or kind is Kind.OTHER:
        raise click.UsageError(f"--alarm {text!r} is not understood; write it like 'shop|latency' or 'shop|errors'")
    nodes = {signal.node for signal in evidence.frame.signals} | set(evidence.topology.nodes)
    if node not in nodes:
        raise unknown("node", node, sorted(nodes))
    return Alarm(node, kind)


def code(found: Finding) -> Exit:
    """Return the exit code that says what was found."""
    from engine.core.rca.inquiry import ENOUGH

    if found.history < ENOUGH:
        return Exit.UNJUDGED
    return Exit.FAULTS if found.suspects else Exit.OK


def plainly(found: Finding) -> dict[str, Any]:
    """Return a finding for programs: times in seconds since the epoch."""
    from engine.core.rca.inquiry import SURE

    return {
        "at": found.at,
        "onset": found.onset,
        "detected_at": found.detected_at,
        "margin": round(found.margin, 4),
        "sure": bool(found.suspects) and found.margin >= SURE,
        "stands_out": found.stands_out,
        "history": found.history,
        "remarks": found.remarks,
        "suspects": [
            {
                "node": each.node,
                "resource": each.resource,
                "culprit": each.culprit,
                "score": each.score,
                "onset": each.onset,
                "evidence": each.evidence,
            }
            for each in found.suspects
        ],
    }


def tell(found: Finding, evidence: Evidence, incident: bool | None = None) -> None:
    """Print a finding for people: the first suspect at length, the next ones in a table.

    `incident` says whether one is open; None where that is not known of the moment that is asked about.
    """
    from engine.core.rca.inquiry import SURE

    if not found.suspects:
        click.echo(f"nothing unusual up to {when(found.at)}, by {counted(found.history, 'row')} of before")
        return
    if not found.stands_out and not incident:
        open_ = "" if incident is None else "no incident is open, and "
        click.echo(f"{open_}nothing stands out: what follows is the least usual")
    first = found.suspects[0]
    since = f" since {when(first.onset)}" if first.onset is not None else ""
    click.echo(click.style(line(f"{what(first)}{since}"), bold=True))
    sure = "" if found.margin >= SURE else ": not sure, look at the next one, too"
    click.echo(f"  score {first.score:.2f}, {found.margin:.0%} ahead of the next node{sure}")
    for sentence in first.evidence:
        click.echo(hanging("  - ", line(sentence)))
    for text in drawn(found, first):
        click.echo(text)
    if rest := found.suspects[1:SHOWN]:
        click.echo()
        columns = (
            Column("SCORE", lambda each: f"{each.score:.2f}", right=True),
            Column("SUSPECT", lambda each: line(what(each)), whole=True),
            Column("SINCE", lambda each: when(each.onset), whole=True),
            Column("EVIDENCE", lambda each: line(each.evidence[0]), beneath=True),
        )
        show(rest, columns, "table")
    more = len(found.suspects) - SHOWN
    if more > 0:
        note(f"{counted(more, 'weaker suspect')} with -o json")
    if not evidence.topology.nodes:
        note(
            "nothing is known of who calls whom: causes and symptoms look alike (depends_on in the inventory, or --edges)"
        )


def what(suspect: Accused) -> str:
    """Return a suspect in words."""
    culprit = f", {suspect.culprit}" if suspect.culprit else ""
    return f"{suspect.resource} of {suspect.node}{culprit}"


def told_apart(*values: float) -> list[str]:
    """Return numbers in four digits, or in so many that they can be told apart."""
    texts: list[str] = []
    for digits in (4, 6, 9, 12):
        texts = [number(float(f"{value:.{digits}g}")) for value in values]
        if len(set(texts)) == len(texts):
            break
    return texts


def drawn(found: Finding, suspect: Accused) -> Iterator[str]:
    """Yield the course of the series that shows a suspect best, with its least and greatest value beside it."""
    from engine.cli.plot import flat, plot, scale

    if suspect.column is None:
        return
    frame = found.scene.now
    values = frame.values[:, suspect.column].tolist()
    points = [(at, value) for at, value in zip(frame.times.tolist(), values, strict=True) if value == value]  # noqa: PLR0124  NaN is no sample
    if len(points) < 2:  # noqa: PLR2004  one point is no course
        return
    start, end = points[0][0], points[-1][0]
    least, most = (pick(value for _, value in points) for pick in (min, max))
    constant = flat(least, most)
    low, high = 2 * told_apart(most) if constant else told_apart(least, most)
    margin = max(len(high), len(low)) + 2
    lines = plot(points, start, end, max(10, min(60, shutil.get_terminal_size().columns - margin - 2)), HEIGHT)
    for label, text in zip(scale(low, high, HEIGHT, constant=constant), lines, strict=True):
        yield f"{label:>{margin}} {text}"
    yield f"{'':{margin}} {when(start)}{when(end):>{max(1, len(lines[0]) - len(when(start)))}}"
