"""`mendbook silence`: alerts that start nothing for a while."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import click

from engine.cli.asking import operator
from engine.cli.exits import Exit, Failure
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, clean, moment, note, output_option, show
from engine.cli.project import opened
from engine.cli.times import SPAN_TYPE
from engine.cli.words import age, line, short, unknown, when

if TYPE_CHECKING:
    from engine.app import App
    from engine.model.standing import Silence

EPILOG = """\b
Examples:
  mendbook silence                                                    what is silenced
  mendbook silence add 'HostDown{target="web-1"}' --for 2h --reason "new disk"
  mendbook silence add '{team="db", instance=~"db.*"}' --for 30m --reason "#4711"
  mendbook silence expire sil-3f2a --reason "disk is in"

\b
A selector is matched against an alert's labels: those of its series, those that the rule adds, `alertname` and `target`. What is
silenced is detected and recorded as ever; it starts nothing. `mendbook run` is not held by it.
"""


@click.group(cls=ListingGroup, epilog=EPILOG)
def command() -> None:
    """Have alerts start nothing for a while, and say why."""


@command.command("list")
@output_option
def list_(output: str) -> None:
    """List the silences."""
    with opened(looking=True) as app:
        show(app.record.standing(time.time()).silences, columns(), output, empty="nothing is silenced")


@command.command()
@click.argument("selector")
@click.option("--for", "length", type=SPAN_TYPE, required=True, help="For how long, as in 2h.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; everyone who looks will read it.")
def add(selector: str, length: float, reason: str) -> None:
    """Silence the alerts that a selector matches."""
    check(selector)
    from engine.core.silences import covers
    from engine.model.incident import AlertState
    from engine.model.standing import Silence

    now = time.time()
    silence = Silence(f"sil-{uuid.uuid4().hex[:8]}", selector, operator(), clean(reason), now, now + length)
    with opened() as app:
        app.desk.silence(silence)
        standing = app.record.standing(now)
        firing = [each for each in standing.alerts if each.state is not AlertState.RESOLVED]
        count = sum(covers(selector, each) for each in firing)
        remark(app, selector)
    note(
        line(
            f"silenced {selector} until {moment(silence.until)} as {silence.id}; it covers {count} of {len(firing)} alerts now"
        )
    )


@command.command()
@click.argument("silence_id", metavar="ID")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it goes into the record.")
def expire(silence_id: str, reason: str) -> None:
    """End a silence before its time."""
    with opened() as app:
        silence = find(app, silence_id)
        if not app.desk.unsilence(silence.id, operator(), clean(reason)):
            raise Failure(clean(f"{silence.id} had run out already"))
        note(line(f"{silence.selector} starts things again"))


def remark(app: App, selector: str) -> None:
    """Say when no runbook has an alert of the name that a selector asks for: it would silence nothing."""
    from engine.cli.project import hosts, runbooks
    from engine.config.inventory import InventoryError
    from engine.core.silences import matchers
    from engine.promql import MatchOperator

    asked = [each.value for each in matchers(selector)
             if each.name == "alertname" and each.operator is MatchOperator.EQUAL]  # fmt: skip
    try:
        known = {each.trigger.alert for each in runbooks(app, hosts(app)).runbooks} if asked else set()
    except InventoryError:  # then nothing can be said of names
        return
    for name in asked:
        if known and name not in known:
            note(str(unknown("alert", name, known).message))


def find(app: App, prefix: str) -> Silence:
    """Return the silence that is meant; a Failure when there is none, or several."""
    silences = app.record.standing(time.time()).silences
    found = [each for each in silences if each.id.startswith(prefix)]
    if len(found) > 1:
        raise Failure(clean(f"'{line(prefix)}' may be {', '.join(each.id for each in found)}"), Exit.USAGE)
    if not found or not prefix:
        raise unknown("silence", prefix, [each.id for each in silences])
    return found[0]


def check(selector: str) -> None:
    """Refuse what is no selector, with a caret where it goes wrong."""
    from engine.core.silences import matchers
    from engine.promql import ParseError

    try:
        matchers(selector)
    except ParseError as error:
        shown = clean(selector.replace("\n", " "))
        raise Failure(f"{error.message}\n  {shown}\n  {' ' * error.start}^", Exit.USAGE) from error


def columns() -> tuple[Column, ...]:
    """Return what is shown of a silence."""
    return (
        Column("ID", lambda each: line(each.id), whole=True),
        Column("SELECTOR", lambda each: line(each.selector), style="bold"),
        Column("BY", lambda each: line(each.by)),
        Column("SINCE", lambda each: age(each.since), right=True, whole=True),
        Column("UNTIL", lambda each: when(each.until), whole=True),
        Column("WHY", lambda each: short(each.reason), beneath=True),
    )
