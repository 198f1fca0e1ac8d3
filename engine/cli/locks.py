"""`mendbook locks`: which hosts are held."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from engine.cli.asking import operator
from engine.cli.exits import Exit, Failure
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, clean, note, output_option, show
from engine.cli.project import opened
from engine.cli.words import age, line, short, when

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.model.execution import Execution
    from engine.model.standing import Standing

EPILOG = """\b
Examples:
  mendbook locks                                            what is held, by what, since when and why
  mendbook locks break web-1 --reason "checked by hand"     set a host free

\b
A host is locked while a remedy works on it, and after it until containment is proved or a person breaks the lock.
An incident that waits for a human keeps its host locked, too: hand it back or close it.
"""


@dataclass(frozen=True, slots=True)
class Held:
    """A lock, with what its owner is doing."""

    target: str
    owner: str
    taken_at: float
    reason: str
    doing: str


@click.group(cls=ListingGroup, epilog=EPILOG)
def command() -> None:
    """Show which hosts are held, by what and since when; break a lock."""


@command.command("list")
@output_option
def list_(output: str) -> None:
    """List the locks."""
    with opened(looking=True) as app:
        show(held(app.record.standing(time.time())), columns(), output, empty="no host is locked")


@command.command("break", short_help="Set a host free, whoever holds it.")
@click.argument("host")
@click.option("--reason", metavar="TEXT", required=True, help="Why that is safe; it goes into the record.")
@click.option("--force", is_flag=True, help="Even while an execution works on the host.")
def break_(host: str, reason: str, *, force: bool) -> None:
    """Set a host free, whoever holds it; the record says who did, whose lock it was, and why.

    It ends nothing that runs there. While an execution works on the host it is refused, or asked for on a terminal.
    """
    with opened() as app:
        standing = app.record.standing(time.time())
        working = [each for each in standing.executions if host in each.targets]
        if working and not force:
            sure(host, working)
        owner = next((lock.owner for lock in standing.locks if lock.target == host), "")
        if not app.desk.release_lock(host, operator(), clean(reason)):
            names = ", ".join(lock.target for lock in standing.locks)
            raise Failure(clean(f"{line(host)} is not locked; {f'locked: {names}' if names else 'no host is'}"))
        note(f"broke the lock of {line(owner)} on {line(host)}")
        if left := next((each for each in held(standing) if each.target == host and "human" in each.doing), None):
            note(f"{left.owner} still waits for a human: `mendbook incidents hand-back {left.owner}`, or close it")


command.add_command(
    click.Command("release", params=break_.params, callback=break_.callback, help=break_.help, hidden=True)
)


def sure(host: str, working: Sequence[Execution]) -> None:
    """Ask whether a host is to be set free though something works on it; where nobody can answer, refuse."""
    names = ", ".join(each.id for each in working)
    works = f"{names} {'works' if len(working) == 1 else 'work'} on {line(host)}"
    if sys.stdin.isatty() and sys.stderr.isatty():
        if click.confirm(f"{works}: another remedy could begin beside it. Break the lock?", err=True):
            return
        raise Failure("nothing was changed", Exit.REFUSED)
    message = f"{works}: `mendbook runs cancel {working[0].id}` ends it; --force breaks the lock all the same"
    raise Failure(clean(message), Exit.REFUSED)


def held(standing: Standing) -> list[Held]:
    """Return the locks with what their owners are doing."""
    doing = doing_of(standing)
    return [Held(each.target, each.owner, each.taken_at, each.reason, doing(each.owner)) for each in standing.locks]


def doing_of(standing: Standing) -> Callable[[str], str]:
    """Return what says of an owner what it is doing."""
    incidents = {each.id: each for each in standing.incidents}
    running = {each.incident or each.id: each for each in standing.executions}

    def doing(owner: str) -> str:
        if owner in running:
            return f"{running[owner].id} is {running[owner].state}"
        incident = incidents.get(owner)
        if incident is None:
            return "is over"
        if incident.attempt is not None and incident.attempt.unproved:
            return f"{incident.attempt.execution} was not proved ended"
        return "waits for a human" if incident.state == "escalated" else str(incident.state)

    return doing


def columns() -> tuple[Column, ...]:
    """Return what is shown of a lock."""
    return (
        Column("HOST", lambda lock: line(lock.target), style="bold", whole=True),
        Column("HELD BY", lambda lock: line(lock.owner), whole=True),
        Column("WHICH", lambda lock: line(lock.doing)),
        Column("SINCE", lambda lock: when(lock.taken_at), whole=True),
        Column("AGE", lambda lock: age(lock.taken_at), right=True, whole=True),
        Column("FOR", lambda lock: short(lock.reason), beneath=True),
    )
