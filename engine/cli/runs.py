"""`mendbook runs`: executions, and what their playbooks did."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from engine.cli.asking import LOOK_EVERY, ask, operator, serves
from engine.cli.exits import Exit, Failure
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, clean, emit, moment, note, output_option, show
from engine.cli.project import opened
from engine.cli.times import since_option
from engine.cli.words import hanging, lasting, line, short, unknown

if TYPE_CHECKING:
    from engine.app import App
    from engine.model.execution import Execution, TaskEvent

EPILOG = """\b
Examples:
  mendbook runs                            the newest executions
  mendbook runs --target web-1             those that may have touched a host
  mendbook runs show run-9c1               one, with its steps and tasks; an id may be shortened
  mendbook runs logs -f run-9c1            follow its output until it ends
  mendbook runs cancel run-9c1 --reason x  end every process of it
"""
CONTAINED = 60.0
"""Seconds that ending an execution may take before we stop watching."""
STYLES = {"ok": "green", "changed": "yellow", "failed": "red", "unreachable": "red", "skipped": "bright_black"}


@click.group(cls=ListingGroup, epilog=EPILOG)
def command() -> None:
    """List executions, show one, follow its output, cancel it."""


@command.command("list")
@click.option("--target", metavar="HOST", help="Only those that may have touched this host.")
@click.option("--runbook", metavar="NAME", help="Only those of this runbook.")
@since_option
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=30, show_default=True, help="How many at most.")
@output_option
def list_(target: str | None, runbook: str | None, since: float | None, limit: int, output: str) -> None:
    """List executions, the newest last."""
    with opened(looking=True) as app:
        from engine.cli.status import execution_columns

        found = app.history.executions(since=since, target=target, runbook=runbook, limit=limit)
        because = Column("BECAUSE", lambda each: short(each.reason or "-"), beneath=True)
        message = Column("MESSAGE", lambda each: short(each.message or "-"), beneath=True)
        show(found, (*execution_columns(), because, message), output, empty="nothing was run")


@command.command("show", short_help="Show an execution, frozen as it was ordered, and its tasks.")
@click.argument("execution_id", metavar="ID")
@output_option
def show_(execution_id: str, output: str) -> None:
    """Show an execution, frozen as it was ordered, and the tasks of its playbooks."""
    with opened(looking=True) as app:
        execution = find(app, execution_id)
        events = tuple(events_of(app, execution))
        if output != "table":
            emit({"execution": execution, "events": events}, output)
            return
        tell(execution)
        click.echo()
        for event in events:
            click.echo(said(event, execution))


@command.command()
@click.argument("execution_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends.")
@click.option("-o", "--output", type=click.Choice(("table", "jsonl")), default="table", show_default=True,
              help="How events are printed.")  # fmt: skip
def logs(execution_id: str, follow: bool, output: str) -> None:
    """Print what an execution's playbooks say, as they say it."""
    with opened(looking=True) as app:
        execution = find(app, execution_id)
        number = 0
        for event in events_of(app, execution, follow=follow):
            number = event.number
            if output == "jsonl":
                emit(event, output)
            else:
                click.echo(said(event, execution))
        now = app.executor.report(execution.id, number) if execution.state.active else execution
        note(f"{execution.id}: {now.state}{f', {line(now.message)}' if now.message else ''}")


@command.command()
@click.argument("execution_id", metavar="ID")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it goes into the record.")
def cancel(execution_id: str, reason: str) -> None:
    """End every process of an execution, and return when none is left."""
    with opened(looking=True) as app:
        execution = find(app, execution_id)
        if not execution.state.active:
            raise Failure(f"{execution.id} has ended already: {execution.state}", Exit.REFUSED)
        recorded = order(app, execution, clean(reason))
        deadline = time.monotonic() + CONTAINED
        report = app.executor.report(execution.id, 0)
        while report.state.active:
            if time.monotonic() > deadline:
                raise Failure(f"{execution.id} has not ended yet; `mendbook runs show` tells when", Exit.TIMEOUT)
            time.sleep(LOOK_EVERY)
            report = app.executor.report(execution.id, 0)
        if recorded and app.leadership.held:
            serves(app)  # no other engine would write down how it ended
        left = "" if report.contained else "; processes of it may be left, its hosts stay locked"
        note(f"{execution.id} is {report.state}{left}")


def order(app: App, execution: Execution, reason: str) -> bool:
    """Have the execution canceled: by the engine, or directly when nothing else can be read; return whether it is recorded."""
    from engine.config.errors import ConfigError
    from engine.config.inventory import InventoryError

    try:
        ask(app, "cancel", execution.id, reason)
    except (ConfigError, InventoryError) as error:
        note(f"canceled directly, since the project cannot be read: {error}")
        app.executor.cancel(execution.id, f"by {operator()}: {reason}")
        return False
    return True


def find(app: App, prefix: str) -> Execution:
    """Return the execution that is meant; a Failure when there is none."""
    found = app.history.execution(prefix)
    if found is None:
        raise unknown("execution", prefix, [each.id for each in app.history.executions(limit=200)])
    return found


def events_of(app: App, execution: Execution, *, follow: bool = False) -> Iterator[TaskEvent]:
    """Yield the events of an execution: those in the record, then what is newer.

    The record learns of events with every tick; what happened since is read where the supervisor writes it.
    """
    number = 0
    for event in app.history.events_of(execution.id):
        number = event.number
        yield event
    going = execution.state.active
    while going:
        report = app.executor.report(execution.id, number)
        for event in report.events:
            number = event.number
            yield event
        going = bool(report.events) or (follow and report.state.active)
        if going and not report.events:
            time.sleep(LOOK_EVERY)


def said(event: TaskEvent, execution: Execution) -> str:
    """Return one event as a line, with what it printed below."""
    at = moment(event.at).split(" ", 1)[-1]
    match event.kind:
        case "step_started":
            hosts = execution.steps[event.step - 1].hosts if 0 < event.step <= len(execution.steps) else ()
            where = f" on {', '.join(hosts)}" if hosts else ""
            head = click.style(line(f"{at} step {event.step}: {event.task or event.text}{where}"), bold=True)
            text = ""
        case "step_ended":
            head, text = f"{at} step {event.step} ended {line(event.text)}".rstrip(), ""
        case "play_started" | "task_started":
            return click.style(f"{at} {event.kind.replace('_started', '')} {line(event.task or event.text)}", dim=True)
        case "message":
            head, text = f"{at} {line(event.text)}", ""
        case kind:
            head = f"{at} {click.style(f'{kind:<11}', fg=STYLES.get(kind))} {line(event.host)}: {line(event.task)}"
            text = event.text
    indent = " " * 9
    return "\n".join((head, *(indent + clean(each) for each in text.splitlines())))


def tell(execution: Execution) -> None:
    """Print what was ordered and what became of it."""
    took = None if execution.started_at is None else (execution.ended_at or time.time()) - execution.started_at
    facts = {
        "execution": f"{execution.id}  {execution.state}{'  (check)' if execution.check else ''}",
        "remedy": f"{execution.remedy}, of {execution.runbook} ({execution.digest[:12] or 'no digest'})",
        "for": f"{execution.target}" + (f", incident {execution.incident}" if execution.incident else ""),
        "by": f"{execution.triggered_by}" + (f": {execution.reason}" if execution.reason else ""),
        "began": f"{moment(execution.started_at or execution.created_at)}, took {lasting(took)}",
        "message": execution.message or "-",
    }
    for name, value in facts.items():
        click.echo(hanging(f"{name:<10} ", line(value)))
    for number, step in enumerate(execution.steps, 1):
        always = ", always" if step.always else ""
        click.echo(line(f"step {number}     {step.playbook} on {', '.join(step.hosts)}{always}"))
        for name, variable in step.vars.items():
            click.echo(line(f"             {name}: {variable}"))
