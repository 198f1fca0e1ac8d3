"""`mendbook why`: why something was done to a host, or was not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from engine.cli.account import gather
from engine.cli.happened import head, tell_past, when_of
from engine.cli.output import ago, clean, emit, moment, note, output_option, plain
from engine.cli.project import hosts, opened, outdated, runbooks
from engine.cli.times import MOMENT
from engine.cli.words import age, counted, hanging, line, number, short, unknown

if TYPE_CHECKING:
    from engine.app import App
    from engine.cli.account import Account
    from engine.cli.evidence import Compared, Reading
    from engine.config.inventory import Inventory
    from engine.model.execution import Execution
    from engine.model.target import Target
    from engine.promql import Explanation
    from engine.samples.store import SampleStore

EPILOG = """\b
Examples:
  mendbook why web-1                                    what holds now, what was decided, what happened
  mendbook why web-1 --at -5m                           as of five minutes ago
  mendbook why web-1 --at 14:05                         the same as of then: what held, what was decided, what ran
  mendbook why web-1 --at 'yesterday 03:00'
  mendbook why web-1 --expr 'rate(errors_total[5m]) > 1'  an expression, part by part, for this host
"""
VALUES = 3
"""So many series of a comparison are shown; the others are counted."""
MARKS = {"true": ("●", "red"), "false": ("○", "green"), "unknown": ("?", "yellow")}


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
        target = find(app, inventory, host)
        store = app.read_samples()
        as_of = time.time() if at is None else at
        if app.server is None:
            remark(store, as_of, at, app.settings.interval)
        if tree is not None:
            from engine.promql import explain

            tree = bound(tree, target)
            part = explain(tree, store, round(as_of * 1000)) if app.server is None else app.server.explain(tree, as_of)
            if output == "table":
                unfold(part)
            else:
                emit(part, output)
            return
        loaded = runbooks(app, inventory)
        if bad := len(errors(loaded.problems)):
            note(f"{counted(bad, 'error')} in runbooks, which are left out: `mendbook lint` shows them")
        holder = app.leadership.holder()
        if at is None and holder is not None and (old := outdated(app, holder.since)):
            note(f"{line(old)}; modes and params below are the new ones")
        account = gather(app, loaded.runbooks, target, store, as_of, count, past=at is not None)
        if output == "table":
            tell(account, target)
        else:
            emit(plainly(account), output)


def find(app: App, inventory: Inventory, host: str) -> Target:
    """Return the host of that name, or the one that exports under it; one that has gone is known to the record."""
    fleet = inventory.fleet
    found = fleet.get(host)
    if found is None:
        several = fleet.of_instance(host)
        found = several[0] if len(several) == 1 else None
    if found is None and app.history.entries(target=host, limit=1):
        from engine.model.target import Target

        note(f"{line(host)} is not in the inventory any more; the record knows it")
        found = Target(host, instances=frozenset({host}))
    if found is None:
        raise unknown("host", host, list(fleet.targets))
    return found


def remark(store: SampleStore, as_of: float, at: float | None, interval: float) -> None:
    """Say when there are no samples as new as what is asked about."""
    newest = store.newest()
    if newest is None:
        note("there are no samples: conditions cannot be judged before `mendbook watch` or `mendbook audit` ran")
    elif at is None and as_of - newest > max(5 * interval, 60.0):
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


def plainly(account: Account) -> dict[str, Any]:
    """Return an account for programs."""
    host = account.host
    return {
        "host": host,
        "at": account.at,
        "newest_sample": account.newest_sample,
        "conditions": account.readings,
        "pauses": [pause for pause in account.pauses if pause.scope in ("all", f"host:{host}")],
        "silences": account.silences,
        "locks": account.locks,
        "incidents": [
            {**plain(each.incident), "state": each.state, "changed_at": each.since, "reason": each.sentence}
            for each in account.incidents
        ],
        "executions": account.executions,
        "decision": account.decision,
        "later": account.later,
        "entries": account.entries,
        "earlier": account.earlier,
    }


def tell(account: Account, target: Target) -> None:
    """Print an account for people."""
    named = sorted(target.groups - {"ungrouped"})
    groups = f" ({', '.join(named)})" if named else ""
    newest = f", newest sample of {moment(account.newest_sample)}" if account.newest_sample else ""
    then = f", {age(account.at)} ago" if account.past else newest
    click.echo(line(f"{account.host}{groups} at {moment(account.at)}{then}"))
    tell_held(account)
    for each in account.incidents:
        why = f": {each.sentence}" if each.sentence else ""
        click.secho(hanging("", line(f"incident {each.incident.id}: {each.incident.resource} {each.state} "
                                     f"since {when_of(each.since, account)}{why}")), bold=True)  # fmt: skip
        proposal = each.incident.proposal
        if (
            not account.past
            and each.incident.code == "held_for_approval"
            and proposal
            and account.at < proposal.expires_at
        ):
            click.echo(
                line(f"  waits for you: mendbook approve {each.incident.id}, or mendbook deny {each.incident.id}")
            )
    for execution in account.executions:
        click.secho(hanging("", line(running(execution, account))), fg="blue")
    head("Conditions")
    if account.readings and all(each.truth == "unknown" for each in account.readings) and account.past:
        click.secho("no samples tell how it was then; what was recorded of alerts is shown", fg="yellow")
    for reading in account.readings:
        tell_reading(reading, recorded=account.past)
    if not account.readings:
        click.echo("no runbook is for this host")
    tell_past(account)


def tell_held(account: Account) -> None:
    """Print what kept automation from the host, whatever its guards say: pauses, silences, locks."""
    for pause in account.pauses:
        if pause.scope in ("all", f"host:{account.host}") or pause.scope.startswith("runbook:"):
            what = "STOPPED" if pause.stop else f"paused: {pause.scope}"
            ends = f" until {moment(pause.until)}" if pause.until else ""
            since = f" since {when_of(pause.since, account)}"
            click.secho(hanging("", line(f"{what} by {pause.by}{since}{ends}: {pause.reason}")), fg="yellow")
    for silence in account.silences:
        ends = f"until {moment(silence.until)}"
        said = f"silenced: {silence.selector} by {silence.by} {ends}: {silence.reason}"
        click.secho(hanging("", line(said)), fg="yellow")
    for lock in account.locks:
        said = f"locked by {lock.owner} since {when_of(lock.taken_at, account)}: {lock.reason}"
        click.secho(hanging("", line(said)), fg="yellow")


def running(execution: Execution, account: Account) -> str:
    """Say what ran on the host, and what came of it since."""
    began = execution.started_at or execution.created_at
    since = f" since {when_of(began, account)}"
    ended = ""
    if execution.ended_at is not None:
        ended = f"; it ended {ago(max(0.0, execution.ended_at - account.at))} later, {execution.state}"
    where = "" if execution.target == account.host else f" on {execution.target}"
    return f"running {execution.id}: {execution.remedy}, of {execution.runbook}{where},{since}{ended}"


def tell_reading(reading: Reading, *, recorded: bool = False) -> None:
    """Print a trigger: whether it holds, its values against their limits, and how long it must hold.

    Where samples do not tell, what was `recorded` of its alert may.
    """
    mark, color = MARKS[reading.truth]
    label = click.style(f"{mark} {reading.truth:<8}", fg=color)
    click.echo(f"{label} {click.style(line(reading.runbook), bold=True)} ({reading.mode}){progress(reading)}")
    for missing in dict.fromkeys(reading.missing):
        click.secho(hanging(" " * 11, line(missing)), fg="yellow")
    if recorded and reading.truth == "unknown" and reading.condition:
        click.echo(hanging(" " * 11, line(f"recorded when it became so: {reading.condition}")))
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
    left = f"{compared.joined} {left}" if compared.joined in ("or", "unless") else left
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


def unfold(part: Explanation, depth: int = 0) -> None:
    """Print every part of an expression with its value, parts below what they are parts of."""
    indent = "  " * depth
    click.secho(f"{indent}{line(part.text)}", bold=depth == 0)
    click.echo(f"{indent}  = {clean(part.value)}")
    for each in part.parts:
        unfold(each, depth + 1)
