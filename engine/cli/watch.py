"""`mendbook watch`: the daemon."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit
from engine.cli.output import note

if TYPE_CHECKING:
    from engine.app import App
    from engine.controller import Tick

EPILOG = """\b
Examples:
  mendbook watch                 a live table on a terminal, log lines without one
  mendbook watch --lines         log lines on a terminal, too
  mendbook watch --for 1h        end by itself
"""


@click.command(epilog=EPILOG)
@click.option("--lines", is_flag=True, help="Log lines instead of the live table.")
@click.option("--for", "length", help="End after this long, such as 90s or 1h.")
def command(*, lines: bool, length: str | None) -> int:
    """Be the daemon: collect, evaluate and heal until stopped.

    What runs when it is stopped goes on, and is followed when it starts again.
    """
    from engine.cli.project import opened
    from engine.promql.literals import read_duration

    milliseconds = read_duration(length) if length else None
    if length and milliseconds is None:
        raise click.BadParameter(f"{length!r} is no duration: write it like 90s or 1h", param_hint="--for")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if milliseconds is not None:
        timer = threading.Timer(milliseconds / 1000, stop.set)
        timer.daemon = True
        timer.start()
    with opened() as app:
        settings = app.settings
        note(
            f"watching {len(app.inventory.fleet)} hosts with {len(app.declarations.catalog.runbooks)} runbooks "
            f"every {settings.interval:g}s; the record is {settings.record}"
        )
        if sys.stdout.isatty() and not lines:
            live(app, stop)
        else:
            follow(app, stop)
    note("stopped; what runs goes on and is followed at the next start")
    return Exit.OK


def follow(app: App, stop: threading.Event) -> None:
    """Print a line for whatever happens."""
    from engine.cli.narrate import Narrator
    from engine.cli.output import console

    narrator = Narrator(app.history, console(), time.time())
    app.watch(stop, lambda _: narrator.poll())
    narrator.poll()


def live(app: App, stop: threading.Event) -> None:
    """Keep a table of what is going on up to date."""
    from rich.live import Live

    from engine.cli.output import console

    with Live(console=console(), screen=False, auto_refresh=False) as screen:

        def seen(tick: Tick) -> None:
            screen.update(picture(app, tick), refresh=True)

        app.watch(stop, seen)


def picture(app: App, tick: Tick) -> Any:
    """Return the live table: a head line, open incidents, alerts, what runs, and the last lines of the record."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from engine.cli.narrate import STYLES
    from engine.cli.output import ago, clean, moment

    standing = app.record.standing(tick.now)
    live_incidents = [each for each in standing.incidents if each.state.live]
    pauses = "".join(f" · PAUSED {each.scope} by {each.by}: {each.reason}" for each in standing.pauses)
    head = Text(
        f"{moment(tick.now)} · {len(app.inventory.fleet)} hosts · {len(tick.alerts)} alerts · "
        f"{len(live_incidents)} open incidents · {len(standing.executions)} running", style="bold",
    )  # fmt: skip
    head.append(clean(pauses), style="bold red")
    incidents = Table("HOST", "RESOURCE", "CULPRIT", "STATE", "SINCE", "RUNBOOK", "WHY", box=None, header_style="bold")
    for each in live_incidents:
        since = ago(tick.now - each.opened_at)
        incidents.add_row(
            *(Text(clean(text)) for text in (
                each.target, each.resource, each.culprit or "?", str(each.state), since, each.runbook or "-", each.reason,
            ))
        )  # fmt: skip
    alerts = Table("ALERT", "HOST", "STATE", "CONDITION", box=None, header_style="bold")
    for alert in tick.alerts[:20]:
        alerts.add_row(
            *(Text(clean(text)) for text in (alert.name, alert.target or "?", str(alert.state), alert.condition))
        )
    last = Text()
    for logged in app.history.entries(limit=12):
        last.append(f"{moment(logged.at)} ", style="dim")
        last.append(f"{logged.entry.kind:<13}", style=STYLES.get(logged.entry.kind, ""))
        last.append(clean(f"{logged.entry.target or ''} {logged.entry.sentence}\n"))
    parts = [head, Text()]
    parts += [incidents, Text()] if live_incidents else []  # type: ignore[list-item]
    parts += [alerts, Text()] if tick.alerts else []  # type: ignore[list-item]
    return Group(*parts, last)
