"""What was decided about a host and what happened to it, as `mendbook why` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli.output import ago, moment
from engine.cli.words import age, hanging, line, when

if TYPE_CHECKING:
    from engine.cli.account import Account
    from engine.records.history import Logged


def tell_past(account: Account) -> None:
    """Print what was decided last, and what happened."""
    head("Last decision")
    tell_decision(account.decision, account)
    if account.later is not None:
        head("Later, for no incident")
        tell_decision(account.later, account)
    head("What happened")
    if account.earlier:
        whole = account.earlier + len(account.entries)
        click.secho(f"… {account.earlier} earlier: -n {whole} shows them", dim=True)
    for logged in account.entries:
        click.echo(hanging(f"{moment(logged.at)}  {logged.entry.kind:<12} ", line(sentence(logged, account))))
    if not account.entries and not account.earlier:
        click.echo("nothing is recorded")


def sentence(logged: Logged, account: Account) -> str:
    """Return what an entry says; where it is about another host, that this one was a part of it."""
    elsewhere = logged.entry.target not in (None, account.host)
    return f"{f'as a part of what ran on {logged.entry.target}: ' if elsewhere else ''}{logged.entry.sentence}"


def tell_decision(decision: Logged | None, account: Account) -> None:
    """Print what was decided last, and what each guard said; numbers in its sentences are of the moment of the decision."""
    if decision is None:
        click.echo("nothing was decided about this host")
        return
    entry = decision.entry
    runbook = f" {entry.runbook}:" if entry.runbook else ""
    before = f"{age(decision.at, account.at)} {'earlier' if account.past else 'ago'}"
    click.echo(hanging(f"{moment(decision.at)} ({before})", line(f"{runbook} {sentence(decision, account)}")))
    for each in decision.verdicts:
        mark = click.style("✓", fg="green") if each.allowed else click.style("✗", fg="red")
        again = f" ({until(each.until, account)})" if each.until is not None and not each.allowed else ""
        click.echo(hanging(f"  {mark} {line(each.guard)}: ", f"{line(each.sentence)}{again}"))


def until(at: float, account: Account) -> str:
    """Say until when a guard held, told from the moment that is asked about."""
    if at <= account.at:
        return f"until {moment(at)}, which is over"
    return (
        f"until {moment(at)}, {'' if account.past else 'in '}{ago(at - account.at)}{' later' if account.past else ''}"
    )


def when_of(at: float, account: Account) -> str:
    """Return a moment with how long that was before the one that is asked about."""
    return f"{when(at)} ({age(at, account.at)}{' earlier' if account.past else ''})"


def head(text: str) -> None:
    """Print a heading."""
    click.echo()
    click.secho(text, bold=True, underline=True)
