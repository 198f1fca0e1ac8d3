"""`mendbook watch`: the daemon."""

from __future__ import annotations

import re
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click
import structlog

from engine.cli.exits import Exit
from engine.cli.output import note
from engine.cli.project import outdated
from engine.cli.words import counted, line, when

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.app import App
    from engine.controller import Tick

log = structlog.get_logger("mendbook")

EPILOG = """\b
Examples:
  mendbook watch                 a live table on a terminal, log lines without one
  mendbook watch --lines         log lines on a terminal, too
  mendbook watch --for 1h        end by itself
  mendbook watch --listen 127.0.0.1:9464   with /metrics and /-/healthy
"""


@click.command(epilog=EPILOG)
@click.option("--lines", is_flag=True, help="Log lines instead of the live table.")
@click.option("--for", "length", help="End after this long, such as 90s or 1h.")
@click.option("--listen", metavar="HOST:PORT", help="Serve the engine's own /metrics and /-/healthy there.")
def command(*, lines: bool, length: str | None, listen: str | None) -> int:
    """Be the daemon: collect, evaluate and heal until stopped.

    What runs when it is stopped goes on, and is followed when it starts again. Runbooks, playbooks and the inventory are read
    again when they change; mendbook.yml is read at the start.
    """
    from engine.cli.checks import tell_refusals
    from engine.cli.project import opened
    from engine.promql.literals import read_duration

    milliseconds = read_duration(length) if length else None
    if length and milliseconds is None:
        raise click.BadParameter(f"{length!r} is no duration: write it like 90s or 1h", param_hint="--for")
    if listen is not None and not re.fullmatch(r".+:[0-9]{1,5}", listen):
        raise click.BadParameter(f"{listen!r} is not host:port, such as 127.0.0.1:9464", param_hint="--listen")
    stop, began = threading.Event(), time.time()
    for number in (signal.SIGTERM, signal.SIGINT):
        # in a thread: the one that is interrupted may be about to wait for the event, and holds its lock
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    if milliseconds is not None:
        timer = threading.Timer(milliseconds / 1000, stop.set)
        timer.daemon = True
        timer.start()
    with opened() as app:
        settings = app.settings
        note(
            f"watching {counted(len(app.inventory.fleet), 'host')} with "
            f"{counted(len(app.declarations.catalog.runbooks), 'runbook')} "
            f"every {settings.interval:g}s; the record is {settings.record_place}"
        )
        tell_refusals(app)
        if sys.stdout.isatty() and not lines:
            live(app, stop, began, listen)
        else:
            follow(app, stop, began, listen)
    note("stopped; what runs goes on and is followed at the next start")
    return Exit.OK


def follow(app: App, stop: threading.Event, began: float, listen: str | None = None) -> None:
    """Print a line for whatever happens."""
    from engine.cli.narrate import Narrator
    from engine.cli.output import console

    narrator = Narrator(app.history, console(), time.time())
    told = ""

    def poll(_: Tick) -> None:
        nonlocal told
        old = outdated(app, began)
        if old and old != told:
            log.warning(old)
        told = old
        narrator.poll()

    app.watch(stop, Patient(poll), listen)
    narrator.poll()


class Patient:
    """Shows each tick; what can be neither read nor written now is left out, since the engine must go on.

    A reader that went away is no such case: it ends the engine, as it ends any command.
    """

    def __init__(self, show: Callable[[Tick], None]) -> None:
        self.show = show
        self.failing = ""

    def __call__(self, tick: Tick) -> None:
        """Show a tick; why it cannot be shown is logged when it is new."""
        from engine.records.errors import RecordError

        try:
            self.show(tick)
        except BrokenPipeError:
            raise
        except (OSError, RecordError) as error:
            if str(error) != self.failing:
                log.warning("what happens cannot be shown", error=str(error))
            self.failing = str(error)
        else:
            self.failing = ""


def live(app: App, stop: threading.Event, began: float, listen: str | None = None) -> None:
    """Keep a table of what is going on up to date."""
    from rich.live import Live

    from engine.cli.output import console

    with Live(console=console(), screen=False, auto_refresh=False) as screen:
        app.watch(stop, Patient(lambda tick: screen.update(picture(app, tick, began), refresh=True)), listen)


def picture(app: App, tick: Tick, began: float | None = None) -> Any:
    """Return the live table: a head line, open incidents, alerts, what runs, and the last lines of the record."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from engine.cli.narrate import STYLES
    from engine.cli.output import ago, clean, moment

    standing = app.record.standing(tick.now)
    live_incidents = [each for each in standing.incidents if each.state.live]
    pauses = "".join(
        f" · {'STOPPED' if each.stop else f'PAUSED {each.scope}'} by {each.by}: {each.reason}"
        for each in standing.pauses
    )
    head = Text(
        f"{moment(tick.now)} · {counted(len(app.inventory.fleet), 'host')} · {counted(len(tick.alerts), 'alert')} · "
        f"{counted(len(live_incidents), 'open incident')} · {len(standing.executions) or 'nothing'} running", style="bold",
    )  # fmt: skip
    head.append(clean(pauses), style="bold red")
    if old := outdated(app, began):
        head.append(clean(f"\n{old}"), style="yellow")
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
    last = Table(box=None, show_header=False, pad_edge=False)
    for whole in (True, True, True, False):
        last.add_column(no_wrap=whole, overflow="fold")
    for logged in app.history.entries(limit=12):
        kind = Text(logged.entry.kind, style=STYLES.get(logged.entry.kind, ""))
        # what has several lines could look like entries of their own
        where, sentence = (Text(line(text)) for text in (logged.entry.target or "", logged.entry.sentence))
        last.add_row(Text(when(logged.at), style="dim"), kind, where, sentence)
    parts: list[Any] = [head, Text()]
    parts += [incidents, Text()] if live_incidents else []
    parts += [alerts, Text()] if tick.alerts else []
    return Group(*parts, last)
