"""`mendbook why`: why something was done to a host, or was not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import ago, clean, emit, moment, note, output_option
from engine.cli.project import hosts, opened, runbooks
from engine.cli.times import MOMENT
from engine.cli.words import age, counted, hanging, line, number, short, unknown

if TYPE_CHECKING:
    from engine.app import App
    from engine.cli.evidence import Compared, Reading
    from engine.config.inventory import Inventory
    from engine.model.incident import Incident
    from engine.model.runbook import Runbook
    from engine.model.standing import Standing
    from engine.model.target import Target
    from engine.promql import Explanation
    from engine.records.history import Logged
    from engine.samples.store import SampleStore

EPILOG = """\b
Examples:
  mendbook why web-1                                    what holds now, what was decided, what happened
  mendbook why web-1 --at 14:05                         the same as of then, as far as samples reach back
  mendbook why web-1 --expr 'rate(errors_total[5m]) > 1'  an expression, part by part, for this host
"""
VALUES = 3
"""So many series of a comparison are shown; the others are counted."""
MARKS = {"true": ("●", "red"), "false": ("○", "green"), "unknown": ("?", "yellow")}


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that is said about a host."""

    host: str
    at: float
    newest_sample: float | None
    readings: tuple[Reading, ...]
    standing: Standing
    incidents: tuple[Incident, ...]
    decision: Logged | None
    entries: tuple[Logged, ...]


@click.command(epilog=EPILOG)
@click.argument("host")
@click.option("--at", type=MOMENT, help="As of this moment instead of now.")
@click.option("--expr", help="Show this expression for the host, each part with its value.")
@click.option("-n", "--entries", "count", type=click.IntRange(0, 10_000), default=12, show_default=True,
              help="How many entries of the record are shown.")  # fmt: skip
@output_option
def command(host: str, at: float | None, expr: str | None, count: int, output: str) -> None:
    """Say why something was done to a host, or was not."""
    from engine.cli.expressions import read
    from engine.config.errors import errors

    tree = None if expr is None else read(expr)
    with opened() as app:
        inventory = hosts(app)
        target = find(inventory, host)
        store = app.read_samples()
        when = time.time() if at is None else at
        if app.server is None:
            remark(store, when, at, app.settings.interval)
        if tree is not None:
            from engine.promql import explain

            tree = bound(tree, target)
            part = explain(tree, store, round(when * 1000)) if app.server is None else app.server.explain(tree, when)
            if output == "table":
                unfold(part)
            else:
                emit(part, output)
            return
        loaded = runbooks(app, inventory)
        if bad := len(errors(loaded.problems)):
            note(f"{counted(bad, 'error')} in runbooks, which are left out: `mendbook lint` shows them")
        account = gather(app, loaded.runbooks, target, store, when, count, past=at is not None)
        if output == "table":
            tell(account, target)
        else:
            emit(plainly(account), output)


def find(inventory: Inventory, host: str) -> Target:
    """Return the host of that name, or the one that exports under it."""
    fleet = inventory.fleet
    found = fleet.get(host)
    if found is None:
        several = fleet.of_instance(host)
        found = several[0] if len(several) == 1 else None
    if found is None:
        raise unknown("host", host, list(fleet.targets))
    return found


def remark(store: SampleStore, when: float, at: float | None, interval: float) -> None:
    """Say when there are no samples as new as what is asked about."""
    newest = store.newest()
    if newest is None:
        note("there are no samples: conditions cannot be judged before `mendbook watch` or `mendbook audit` ran")
    elif at is None and when - newest > max(5 * interval, 60.0):
        note(f"the newest sample is {age(newest)} old; --at '{moment(newest)}' asks about then")


def bound(tree: Any, target: Target) -> Any:
    """Return an expression whose selectors read this host's series alone, and those of no host."""
    import re

    from engine.model.instance import on_any_port
    from engine.promql import Matcher, MatchOperator, bind

    anywhere = on_any_port(target.instances)
    names = (
        re.escape(name).replace("\\-", "-") + ("(:[0-9]+)?" if name in anywhere else "")
        for name in sorted(target.instances)
    )
    return bind(tree, (Matcher("instance", MatchOperator.REGEX, f"{'|'.join(names)}|"),))


def gather(
    app: App,
    declared: Sequence[Runbook],
    target: Target,
    store: SampleStore,
    when: float,
    count: int,
    *,
    past: bool,
) -> Account:
    """Collect what is known about a host."""
    from engine.cli.evidence import reading
    from engine.model.runbook import Scope

    evaluator = app.evaluator(store)
    alerts = () if past else app.history.alerts(target=target.name)
    readings = [
        reading(runbook, target, evaluator, alerts, when)
        for runbook in declared
        if runbook.applies_to(target.name)
        and (runbook.trigger.scope is Scope.TARGET or runbook.localize.target == target.name)
    ]
    until = when + 1e-3
    entries = app.history.entries(target=target.name, until=until)
    decided = [each for each in entries if each.entry.kind == "decision"]
    incidents = app.history.incidents(target=target.name, until=until)
    return Account(
        host=target.name,
        at=when,
        newest_sample=store.newest(),
        readings=tuple(sorted(readings, key=lambda each: ("true", "unknown", "false").index(each.truth))),
        standing=app.record.standing(time.time()),
        incidents=tuple(each for each in incidents if each.ended_at is None or each.ended_at > when),
        decision=decided[-1] if decided else None,
        entries=entries[-count:] if count else (),
    )


def plainly(account: Account) -> dict[str, Any]:
    """Return an account for programs."""
    standing, host = account.standing, account.host
    return {
        "host": host,
        "at": account.at,
        "newest_sample": account.newest_sample,
        "conditions": account.readings,
        "pauses": [pause for pause in standing.pauses if pause.scope in ("all", f"host:{host}")],
        "locks": [lock for lock in standing.locks if lock.target == host],
        "incidents": account.incidents,
        "decision": account.decision,
        "entries": account.entries,
    }


def tell(account: Account, target: Target) -> None:
    """Print an account for people."""
    named = sorted(target.groups - {"ungrouped"})
    groups = f" ({', '.join(named)})" if named else ""
    newest = f", newest sample of {moment(account.newest_sample)}" if account.newest_sample else ""
    click.echo(line(f"{account.host}{groups} at {moment(account.at)}{newest}"))
    for pause in account.standing.pauses:
        if pause.scope in ("all", f"host:{account.host}") or pause.scope.startswith("runbook:"):
            until = f" until {moment(pause.until)}" if pause.until else ""
            click.secho(line(f"paused: {pause.scope} by {pause.by}{until}: {pause.reason}"), fg="yellow")
    for lock in account.standing.locks:
        if lock.target == account.host:
            click.secho(line(f"locked by {lock.owner} for {age(lock.taken_at)}: {lock.reason}"), fg="yellow")
    for incident in account.incidents:
        why = incident.reason or incident.code
        click.secho(line(f"incident {incident.id}: {incident.resource} {incident.state}{f': {why}' if why else ''}"),
                    bold=True)  # fmt: skip
    head("Conditions")
    for reading in account.readings:
        tell_reading(reading)
    if not account.readings:
        click.echo("no runbook is for this host")
    head("Last decision")
    tell_decision(account.decision)
    head("What happened")
    for logged in account.entries:
        entry = logged.entry
        click.echo(hanging(f"{moment(logged.at)}  {entry.kind:<12} ", line(entry.sentence)))
    if not account.entries:
        click.echo("nothing is recorded")


def head(text: str) -> None:
    """Print a heading."""
    click.echo()
    click.secho(text, bold=True, underline=True)


def tell_reading(reading: Reading) -> None:
    """Print a trigger: whether it holds, its values against their limits, and how long it must hold."""
    mark, color = MARKS[reading.truth]
    label = click.style(f"{mark} {reading.truth:<8}", fg=color)
    click.echo(f"{label} {click.style(line(reading.runbook), bold=True)} ({reading.mode}){progress(reading)}")
    for missing in reading.missing:
        click.secho(hanging(" " * 11, line(missing)), fg="yellow")
    for each in reading.comparisons:
        if each.values or not reading.missing:
            for text in sides(each):
                click.echo(f"           {text}")


def progress(reading: Reading) -> str:
    """Say how far a trigger is on its way to firing."""
    if reading.state is None or reading.held is None:
        return f"; must hold for {ago(reading.needed)}" if reading.truth == "true" and reading.needed else ""
    if reading.state == "pending":
        return f"; pending, held {ago(min(reading.held, reading.needed))} of {ago(reading.needed)}"
    return f"; {reading.state} since {ago(reading.held)}"


def sides(compared: Compared) -> list[str]:
    """Return a comparison as lines, one for each series shown."""
    left, right = line(compared.left), line(compared.right)
    if not compared.values:
        return [click.style(short(left), dim=True), f"  no value, limit {compared.operator} {short(right)}"]
    lines = []
    for each in compared.values[:VALUES]:
        labels = each.labels.without("__name__", "instance", "job")
        which = f" {line(labels)}" if labels else ""
        limit = short(right) if each.limit is None else number(each.limit)
        lines.append(f"{number(each.value)}{which}, limit {compared.operator} {limit}")
    more = len(compared.values) - VALUES
    if more > 0:
        lines.append(f"and {more} more")
    return [click.style(short(left), dim=True), *(f"  {text}" for text in lines)]


def tell_decision(decision: Logged | None) -> None:
    """Print what was decided last, and what each guard said."""
    if decision is None:
        click.echo("nothing was decided about this host")
        return
    entry = decision.entry
    runbook = f" {entry.runbook}:" if entry.runbook else ""
    click.echo(line(f"{moment(decision.at)} ({age(decision.at)} ago){runbook} {entry.sentence}"))
    for each in decision.verdicts:
        mark = click.style("✓", fg="green") if each.allowed else click.style("✗", fg="red")
        again = ""
        if each.until is not None and each.until > time.time():
            again = f" (until {moment(each.until)}, in {ago(each.until - time.time())})"
        click.echo(hanging(f"  {mark} {line(each.guard)}: ", f"{line(each.sentence)}{again}"))


def unfold(part: Explanation, depth: int = 0) -> None:
    """Print every part of an expression with its value, parts below what they are parts of."""
    indent = "  " * depth
    click.secho(f"{indent}{line(part.text)}", bold=depth == 0)
    click.echo(f"{indent}  = {clean(part.value)}")
    inner: Sequence[Explanation] = part.parts
    for each in inner:
        unfold(each, depth + 1)
