"""`mendbook backtest`: what a runbook would have decided on the samples of the past."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit
from engine.cli.output import emit, moment, note, output_option, plain
from engine.cli.times import MOMENT, SPAN_TYPE, moment_of, span
from engine.cli.words import counted, hanging, line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.app import App
    from engine.app.subject import Asked
    from engine.core.backtest import Backtest, Blind, Firing
    from engine.model.runbook import Scalar

EPILOG = """\b
Examples:
  mendbook backtest disk-full                            the last seven days of this project
  mendbook backtest ./draft.yml --since 2d               a runbook that is not yet in the project
  mendbook backtest disk-full --set short=0.2 --compare  as it is, and with another value, side by side
  mendbook backtest disk-full --input samples.om         over what `promtool tsdb dump-openmetrics` wrote
  mendbook backtest disk-full -o json | jq '.firings[] | {target, opened_at, earlier}'
"""
MODES = ("auto", "approve", "shadow", "declared")
PACE = 0.2
"""Seconds between two words of how far it is."""
MARKS = {"run": ("run", "green"), "hold": ("held", "yellow"), "escalate": ("escalated", "red")}


@click.command(epilog=EPILOG)
@click.argument("runbook")
@click.option(
    "--since", metavar="TIME", help="From when on, as in 7d (default) or '2026-01-31 14:05'; of a recording, all."
)
@click.option("--until", type=MOMENT, help="Until when; else until the newest sample.")
@click.option(
    "--input",
    "given",
    type=click.Path(exists=True, path_type=Path),
    help="A recording instead: a project, a folder of samples, or a file in OpenMetrics or Prometheus's text format with times.",
)
@click.option("--set", "changes", multiple=True, metavar="PARAM=VALUE", help="Another value of a param, on all hosts.")
@click.option("--compare", is_flag=True, help="Beside it, as it is without --set.")
@click.option("--mode", type=click.Choice(MODES), default="auto", show_default=True,
              help="As if the runbook had this mode; declared: the one it has.")  # fmt: skip
@click.option("--approved", is_flag=True, help="As if a person approved at once whatever waits for it.")
@click.option(
    "--alone", is_flag=True, help="Without the project's other runbooks, which explain alerts and hold hosts."
)
@click.option("--takes", type=SPAN_TYPE, help="How long a run is taken to last; else an interval.")
@click.option("--interval", type=SPAN_TYPE, help="How often is judged; else as the settings say.")
@click.option("-n", "--limit", type=click.IntRange(0, 100_000), default=30, show_default=True,
              help="How many firings a table shows, the newest.")  # fmt: skip
@click.option(
    "--detailed-exitcode", is_flag=True, help="2 when something would have been run, 4 when not all could be judged."
)
@output_option
def command(**options: Any) -> int:
    """Show what a runbook would have decided on the samples of the past.

    They are replayed through its trigger, localization and guards with the clock of then: each firing with what was decided,
    what was held and why, and what the record has of that time. Nothing is started and nothing is recorded; a running engine
    is not in the way.
    """
    from engine.cli.project import opened

    with opened() as app:
        found = tested(
            app, **{name: options[name] for name in options if name not in ("limit", "detailed_exitcode", "output")}
        )
    if options["output"] != "table":
        shown = [{**plain(each), "runs": each.runs, "judged": each.judged} for each in found]
        emit(shown if len(shown) > 1 else shown[0], options["output"])
    elif len(found) > 1:
        beside(found)
    else:
        tell(found[0], options["limit"])
    for each in found[-1].assumed if options["output"] == "table" else ():
        note(f"assumed: {each}")
    if not options["detailed_exitcode"]:
        return Exit.OK
    last = found[-1]
    return Exit.FAULTS if last.runs else Exit.UNJUDGED if last.blind else Exit.OK


def tested(
    app: App,
    *,
    runbook: str,
    since: str | None,
    until: float | None,
    given: Path | None,
    changes: Sequence[str],
    compare: bool,
    mode: str,
    approved: bool,
    alone: bool,
    takes: float | None,
    interval: float | None,
) -> list[Backtest]:
    """Replay what is asked for: as it is, where that is to be compared, and with what was set."""
    from engine.app.allocation import keep_freed
    from engine.app.backtest import backtest, samples_of
    from engine.app.subject import Asked, declared
    from engine.model.runbook import Mode

    params = dict(map(assigned, changes))
    if compare and not params:
        raise click.UsageError("--compare is about what --set changes: set a param")
    back, moment_ = begun(since)
    asked = Asked(
        runbook,
        since=moment_,
        span=back,
        until=until,
        params=params,
        mode=None if mode == "declared" else Mode(mode),
        approved=approved,
        alone=alone,
        takes=takes,
        interval=interval,
    )
    variants: list[Asked] = [without(asked), asked] if compare else [asked]
    subjects = [
        declared(app.settings, each, note if each is asked else lambda _: None) for each in variants
    ]  # before samples are read, which may take long
    keep_freed()
    told = progress()
    past = samples_of(app, given, told)
    found = [backtest(app, each, past, told, note, live=given is None) for each in subjects]
    told("", 1.0)
    return found


def without(asked: Asked) -> Asked:
    """Return the same without other params."""
    import dataclasses

    return dataclasses.replace(asked, params={})


def assigned(text: str) -> tuple[str, Scalar]:
    """Return a param and its value as YAML has it."""
    from engine.config.scalars import resolve

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--set takes PARAM=VALUE, not '{line(text)}'")
    return name.strip(), resolve(value.strip())


def begun(since: str | None) -> tuple[float | None, float | None]:
    """Return how many seconds back it begins, or at which moment."""
    if since is None:
        return None, None
    back = span(since.removesuffix("ago").strip().removeprefix("-"))
    if back is not None:
        return back, None
    at = moment_of(since)
    if at is None:
        raise click.UsageError(f"'{line(since)}' is no time; write 7d, or '2026-01-31 14:05'")
    return None, at


def progress() -> Callable[[str, float], None]:
    """Return what says on a terminal how far it is, and wipes that away in the end."""
    if not sys.stderr.isatty():
        return lambda *_: None
    last = time.monotonic()
    wide = 0

    def told(what: str, share: float) -> None:
        nonlocal last, wide
        if what and time.monotonic() - last < PACE:
            return
        text = f"{what} … {share:4.0%}" if what else ""
        click.echo(f"\r{text.ljust(wide)}\r{text}", nl=False, err=True)
        last, wide = time.monotonic(), len(text)

    return told


def tell(found: Backtest, limit: int) -> None:
    """Print a backtest for people: its sum first, then firings, what the record has, and what could not be judged."""
    whole = exactly(found.until - found.since)
    params = "".join(f", {name}={value}" for name, value in found.params.items() if len(str(value)) < 20)  # noqa: PLR2004
    click.secho(line(f"{found.runbook} from {moment(found.since)} to {moment(found.until)} ({whole})"), bold=True)
    click.echo(line(f"{counted(found.hosts, 'host')}, every {exactly(found.interval)}{params}"))
    if found.wanted is not None:
        click.echo(f"samples begin only then; it was to begin at {moment(found.wanted)}")
    for text in summary(found):
        click.echo(text)
    left = len(found.firings) - limit
    if found.firings and limit:
        head(f"Firings{f', the newest {limit} of {len(found.firings)}' if left > 0 else ''}")
        for firing in found.firings[max(0, left) :]:
            tell_firing(found, firing)
    if found.silent and limit:
        head("Alerts that fired and opened no incident")
        for each in found.silent[-limit:]:
            click.echo(hanging(f"{moment(each.at)}  {line(each.target)}  ", line(f"{each.alert}: {each.sentence}")))
    if found.known:
        head("Recorded incidents")
        for one in found.known:
            verdict = click.style("caught", fg="green") if one.caught else click.style("missed", fg="red")
            why = sooner(one.earlier) if one.earlier is not None else one.why
            click.echo(
                hanging(
                    f"{moment(one.opened_at)}  {verdict}  ", line(f"{one.id} {one.resource} of {one.target}: {why}")
                )
            )
    tell_blind(found)


def summary(found: Backtest) -> list[str]:
    """Return what came of it in few lines."""
    import statistics

    holds = sum(bool(each.count("hold")) and not each.count("run") for each in found.firings)
    escalations = sum(each.count("escalate") for each in found.firings)
    came = (counted(found.runs, "run"), f"{holds} held throughout", counted(escalations, "escalation"))
    lines = [f"{counted(len(found.firings), 'firing')}: {', '.join(came)}"]
    caught = [each.earlier for each in found.known if each.earlier is not None]
    if found.known:
        before = sum(each > 0 for each in caught)
        when = f", {before} of them earlier; the median is {sooner(statistics.median(caught))}" if caught else ""
        lines.append(f"{len(caught)} of {counted(len(found.known), 'recorded incident')} caught{when}")
    if found.recorded_since is None:
        lines.append("no record of that time: nothing to compare with")
    elif found.recorded_since > found.since:
        lines.append(f"the record begins at {moment(found.recorded_since)}: what was before may be missing from it")
    new = sum(found.unrecorded(each) for each in found.firings)
    if new:
        lines.append(f"{counted(new, 'firing')} with no recorded incident of this resource")
    return lines


def head(text: str) -> None:
    """Print a heading."""
    click.echo()
    click.secho(text, bold=True, underline=True)


def tell_firing(found: Backtest, firing: Firing) -> None:
    """Print a firing: where and what, what the record has beside it, and its story."""
    culprit = f", culprit {firing.culprit}" if firing.culprit else ""
    known = (
        f"; {firing.known[0]}, {sooner(firing.earlier)}"
        if firing.known and firing.earlier is not None
        else "; no recorded incident"
        if found.unrecorded(firing)
        else ""
    )
    others = f" (but {', '.join(firing.beside)} of another resource)" if firing.beside and not firing.known else ""
    ended = f"{firing.state} after {exactly(firing.ended_at - firing.opened_at)}" if firing.ended_at else firing.state
    click.secho(
        hanging(
            f"{moment(firing.opened_at)}  ",
            line(f"{firing.target}: {firing.resource}{culprit}, {ended}{known}{others}"),
        ),
        bold=True,
    )
    for each in firing.moments:
        word, color = MARKS.get(each.code, (each.kind, "")) if each.kind == "decision" else (each.kind, "")
        said = "; ".join(f"{verdict.guard}: {verdict.sentence}" for verdict in each.guards) or each.sentence
        remedy = f"{each.remedy!r}: " if each.guards and each.remedy else ""
        label = click.style(f"{word:<12}", fg=color or None)
        click.echo(hanging(f"  +{exactly(each.at - firing.opened_at):<10} {label} ", line(f"{remedy}{said}")))


def tell_blind(found: Backtest) -> None:
    """Print where the trigger could not be judged; hosts of which the same is to be said stand together."""
    if not found.blind:
        return
    head(f"Could not be judged: {1 - found.judged:.2%} of the time of all hosts")
    same: dict[tuple[float, str], list[Blind]] = {}
    for each in found.blind:
        same.setdefault((each.seconds, each.reason), []).append(each)
    for (seconds, reason), hosts in same.items():
        names = ", ".join(each.target for each in hosts[:5]) + (f" and {len(hosts) - 5} more" if len(hosts) > 5 else "")  # noqa: PLR2004
        longest = f"{moment(hosts[0].since)} to {moment(hosts[0].until)}"
        click.echo(hanging(f"{exactly(seconds):>10}  ", line(f"{names}: {reason} (longest: {longest})")))


def beside(found: Sequence[Backtest]) -> None:
    """Print two backtests beside each other: what differs in params, sums, and which firings only one of them has."""
    one, other = found
    differing = [name for name in other.params if one.params.get(name) != other.params[name]]
    click.secho(line(f"{other.runbook} from {moment(other.since)} to {moment(other.until)}"), bold=True)
    rows = [(name, str(one.params.get(name)), str(other.params[name])) for name in differing]
    for name, of in (
        ("firings", lambda each: len(each.firings)),
        ("runs", lambda each: each.runs),
        ("escalations", lambda each: sum(firing.count("escalate") for firing in each.firings)),
        ("recorded incidents caught", lambda each: f"{sum(known.caught for known in each.known)} of {len(each.known)}"),
        ("of them earlier", lambda each: sum((known.earlier or 0) > 0 for known in each.known)),
        ("firings with none recorded", lambda each: sum(map(each.unrecorded, each.firings))),
        ("could not be judged", lambda each: f"{1 - each.judged:.2%}"),
    ):
        rows.append((name, str(of(one)), str(of(other))))
    click.echo(f"{'':<28}{'as it is':>16}{'with --set':>16}")
    for name, first, second in rows:
        click.echo(line(f"{name:<28}{first:>16}{second:>16}"))
    for title, mine, theirs in (("Only as it is", one, other), ("Only with --set", other, one)):
        seen: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for each in theirs.firings:
            seen.setdefault((each.target, each.resource), []).append((each.began, each.ended_at or theirs.until))
        alone = [
            each
            for each in mine.firings
            if not any(
                began <= (each.ended_at or mine.until) and ended >= each.began
                for began, ended in seen.get((each.target, each.resource), [])
            )
        ]
        if alone:
            head(f"{title}: {counted(len(alone), 'firing')}")
            for firing in alone:
                tell_firing(mine, firing)


def sooner(earlier: float | None) -> str:
    """Return by how much one thing was before another."""
    if earlier is None:
        return "-"
    return (
        f"{exactly(earlier)} earlier"
        if earlier > 0
        else f"{exactly(-earlier)} later"
        if earlier < 0
        else "at the same time"
    )


def exactly(seconds: float) -> str:
    """Return a span of time with its two largest units, as in 4m15s."""
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= length and len(parts) < 2:  # noqa: PLR2004
            parts.append(f"{left // length}{unit}")
            left %= length
        elif parts:
            break
    return "".join(parts) or "0s"
