"""`mendbook status`: what is the case now, and how remedies have done so far."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import Column, ago, clean, emit, note, output_option, show
from engine.cli.project import opened, outdated
from engine.cli.words import age, because, lasting, line, share, when

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.app import App
    from engine.core.learn import Recurrence, Success
    from engine.model.execution import Execution
    from engine.model.incident import Incident
    from engine.model.standing import Standing

EPILOG = """\b
Examples:
  mendbook status                  open incidents, what runs, locks, pauses, and how remedies did this week
  mendbook status --days 30        the same, counting the last month
  mendbook status -o json          for programs
"""
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Engine:
    """Who ticks, and when it last did."""

    running: bool
    pid: int | None
    host: str | None
    since: float | None
    last_tick: float | None
    interval: float

    @property
    def late(self) -> bool:
        """Return whether it runs and has not ticked for several intervals."""
        newest = max(self.last_tick or 0.0, self.since or 0.0)
        return self.running and time.time() - newest > max(5 * self.interval, 30.0)


@click.command(epilog=EPILOG)
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True, help="How many days are counted.")
@output_option
def command(days: int, output: str) -> None:
    """Show open incidents, what runs, locks, pauses and the score so far."""
    with opened(looking=True) as app:
        now = time.time()
        standing = app.record.standing(now)
        engine = engine_of(app, standing)
        attempts = app.history.attempts(now - days * DAY)
        from engine.core.learn import recurrence, success

        recurring, succeeded = recurrence(attempts), success(attempts)
        live = [incident for incident in standing.incidents if incident.state.live]
        if output != "table":
            emit(
                {
                    "engine": engine,
                    "incidents": live,
                    "executions": standing.executions,
                    "locks": standing.locks,
                    "pauses": standing.pauses,
                    "recurrence": recurring,
                    "success": succeeded,
                },
                output,
            )
            return
        tell_engine(engine)
        if old := outdated(app, engine.since):
            click.secho(f"settings   {line(old)}", fg="yellow")
        tell_standing(standing, live)
        tell_proposals(live, now)
        tell_score(recurring, succeeded, days)


def engine_of(app: App, standing: Standing) -> Engine:
    """Return who ticks."""
    holder = app.leadership.holder()
    interval = app.settings.interval
    if holder is None:
        return Engine(False, None, None, None, standing.last_tick, interval)
    return Engine(True, holder.pid, holder.host, holder.since, standing.last_tick, interval)


def tell_engine(engine: Engine) -> None:
    """Say who ticks."""
    last = f"last tick {age(engine.last_tick)} ago" if engine.last_tick else "no tick yet"
    if engine.running:
        late = "  it is late: see its log" if engine.late else ""
        click.echo(clean(f"engine     process {engine.pid} on {engine.host}, {last}{late}"))
    else:
        click.echo(f"engine     none runs; {last}  (`mendbook watch` starts one)")


def tell_standing(standing: Standing, live: Sequence[Incident]) -> None:
    """Say what stands open; a table only where there is something for it."""
    if not live:
        ended = Counter(str(each.outcome or each.state) for each in standing.incidents)
        day = ", ".join(f"{count} {name}" for name, count in sorted(ended.items()))
        click.echo(f"incidents  none open{f'; in the last day {day}' if day else ''}")
    table("Open incidents", live, incident_columns())
    table("Running", standing.executions, execution_columns())
    from engine.cli.locks import columns as lock_columns
    from engine.cli.locks import held

    table("Locks", held(standing), lock_columns())
    pauses = (
        Column("PAUSED", lambda pause: "all, STOPPED" if pause.stop else line(pause.scope), style="bold yellow"),
        Column("BY", lambda pause: line(pause.by)),
        Column("UNTIL", lambda pause: when(pause.until) if pause.until else "resumed", whole=True),
        Column("BECAUSE", lambda pause: line(pause.reason)),
    )
    table("Pauses", standing.pauses, pauses)


def tell_proposals(live: Sequence[Incident], now: float) -> None:
    """Say what to type where nothing but a person's word is waited for."""
    for each in live:
        if each.proposal is not None and each.code == "held_for_approval" and now < each.proposal.expires_at:
            note(line(f"waits for you: mendbook approve {each.id}, or mendbook deny {each.id}"))


def tell_score(recurring: Sequence[Recurrence], succeeded: Sequence[Success], days: int) -> None:
    """Say what came back, and which remedies work."""
    if not recurring:
        note(f"no remedy was tried in the last {days} day{'s' if days > 1 else ''}")
        return
    remedies = (
        Column("RUNBOOK", lambda each: line(each.runbook), style="bold", whole=True),
        Column("REMEDY", lambda each: line(each.remedy)),
        Column("HEALED", lambda each: share(each.healed, each.attempts), right=True),
        Column("TAKES", lambda each: lasting(each.mean_seconds), right=True),
    )
    table(f"Remedies, last {days}d", succeeded, remedies)
    faults = (
        Column("HOST", lambda each: line(each.target), style="bold", whole=True),
        Column("RUNBOOK", lambda each: line(each.runbook)),
        Column("INCIDENTS", lambda each: each.incidents, right=True),
        Column("ATTEMPTS", lambda each: each.attempts, right=True),
        Column("EVERY", lambda each: ago(each.mean_interval) if each.mean_interval else "-", right=True),
    )
    table(f"Recurrence, last {days}d", recurring[:20], faults)


def table(title: str, rows: Sequence[Any], columns: Sequence[Column]) -> None:
    """Print a table under its title; nothing without rows."""
    if rows:
        click.echo()
        click.secho(title, bold=True, underline=True)
        show(rows, columns, "table")


def incident_columns() -> tuple[Column, ...]:
    """Return what is shown of an incident."""

    def state(each: Incident) -> str:
        return f"{each.state}, seen" if each.acknowledged_by else str(each.state)

    return (
        Column("ID", lambda each: line(each.id), whole=True),
        Column("STATE", state, style="bold", whole=True),
        Column("HOST", lambda each: line(each.target), style="bold", whole=True),
        Column("RESOURCE", lambda each: line(each.resource)),
        Column("CULPRIT", lambda each: line(each.culprit or "-")),
        Column("RUNBOOK", lambda each: line(each.runbook or "-"), beneath=True),
        Column("AGE", lambda each: age(each.opened_at), right=True, whole=True),
        Column("WHY", because, beneath=True),
    )


def execution_columns() -> tuple[Column, ...]:
    """Return what is shown of an execution."""

    def where(each: Execution) -> str:
        others = len(each.targets) - 1
        return f"{line(each.target)}{f' +{others}' if others else ''}"

    def taken(each: Execution) -> str:
        if each.started_at is None:
            return "-"
        return lasting((each.ended_at or time.time()) - each.started_at)

    return (
        Column("ID", lambda each: line(each.id), whole=True),
        Column("STATE", lambda each: f"{each.state}{' (check)' if each.check else ''}", style="bold", whole=True),
        Column("HOST", where, style="bold", whole=True),
        Column("RUNBOOK", lambda each: line(each.runbook)),
        Column("REMEDY", lambda each: line(each.remedy), beneath=True),
        Column("BY", lambda each: line(each.triggered_by)),
        Column("BEGAN", lambda each: when(each.started_at or each.created_at), whole=True),
        Column("TOOK", taken, right=True, whole=True),
    )
