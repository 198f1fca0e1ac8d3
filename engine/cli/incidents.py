"""`mendbook incidents`: what went wrong, and the human side of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from engine.cli.asking import ask
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, clean, console, emit, moment, note, output_option, plain, show
from engine.cli.project import opened
from engine.cli.times import since_option
from engine.cli.words import age, because, hanging, lasting, line, unknown, when

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.app import App
    from engine.model.incident import Incident

EPILOG = """\b
Examples:
  mendbook incidents                                   the newest, open ones too
  mendbook incidents --state escalated                 what waits for a human
  mendbook incidents --target web-1 --since 2d         one host, the last two days
  mendbook incidents show inc-3f2                      everything about one; an id may be shortened
  mendbook incidents ack inc-3f2 --reason "on it"      no more reminders; automation keeps off
  mendbook incidents hand-back inc-3f2 --reason "done" automation may try again, from the first remedy
"""
STATES = ("live", "open", "remediating", "verifying", "escalated", "resolved", "self_healed")
reason_option = click.option("--reason", metavar="TEXT", default="", help="Why; it goes into the record.")


@click.group(cls=ListingGroup, epilog=EPILOG)
def command() -> None:
    """List incidents, show one, acknowledge, close or hand one back."""


@command.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state; live is any that has not ended.")
@click.option("--target", metavar="HOST", help="Only those of this host.")
@since_option
@click.option("-n", "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@output_option
def list_(state: str | None, target: str | None, since: float | None, limit: int, output: str) -> None:
    """List incidents, the newest last."""
    with opened(looking=True) as app:
        from engine.model.incident import IncidentState

        exact = None if state in (None, "live") else IncidentState(state or "")
        if state == "live":
            standing = app.record.standing(time.time()).incidents
            found = [
                each
                for each in standing
                if each.state.live and target in (None, each.target) and each.opened_at >= (since or 0.0)
            ][-limit:]
        else:
            found = list(app.history.incidents(since=since, target=target, state=exact, limit=limit))
        from engine.records.past import Past

        seen = Past(app.record).acknowledged([each.id for each in found if each.acknowledged_by])
        if output != "table":
            emit([{**plain(each), "acknowledged_at": seen.get(each.id)} for each in found], output)
            return
        show(found, columns(seen), output, empty="no incident")


def columns(seen: Mapping[str, float]) -> tuple[Column, ...]:
    """Return what is shown of an incident in the list; `seen` says when one was acknowledged."""

    def state(each: Incident) -> str:
        return f"{each.state}, seen" if each.acknowledged_by and each.state.live else str(each.state)

    def why(each: Incident) -> str:
        told = f"; seen by {seen_by(each, seen)}" if each.acknowledged_by and each.state.live else ""
        return f"{because(each)}{told}"

    return (
        Column("ID", lambda each: line(each.id), whole=True),
        Column("OPENED", lambda each: when(each.opened_at), whole=True),
        Column("STATE", state, style="bold", whole=True),
        Column("HOST", lambda each: line(each.target), style="bold", whole=True),
        Column("RESOURCE", lambda each: line(each.resource), whole=True),
        Column("CULPRIT", lambda each: line(each.culprit or "-")),
        Column("RUNBOOK", lambda each: line(each.runbook or "-"), beneath=True),
        Column("LASTED", lambda each: lasting((each.ended_at or time.time()) - each.opened_at), right=True, whole=True),
        Column("WHY", why, beneath=True),
    )


def seen_by(incident: Incident, seen: Mapping[str, float]) -> str:
    """Say who acknowledged an incident, and since when."""
    at = seen.get(incident.id)
    return line(f"{incident.acknowledged_by}{f' since {when(at)} ({age(at)})' if at is not None else ''}")


@command.command("show")
@click.argument("incident_id", metavar="ID")
@output_option
def show_(incident_id: str, output: str) -> None:
    """Show everything that is known of one incident."""
    with opened(looking=True) as app:
        incident = find(app, incident_id)
        if output == "table":
            tell(app, incident)
            return
        executions = app.history.executions(incident=incident.id)
        emit(
            {
                "incident": incident,
                "executions": [{"execution": each, "events": app.history.events_of(each.id)} for each in executions],
                "entries": app.history.entries(incident=incident.id, limit=100_000),
            },
            output,
        )


def find(app: App, prefix: str) -> Incident:
    """Return the incident that is meant; a Failure when there is none."""
    found = app.history.incident(prefix)
    if found is None:
        raise unknown("incident", prefix, [each.id for each in app.history.incidents(limit=200)])
    return found


def tell(app: App, incident: Incident) -> None:
    """Print an incident: its facts, its suspects, and its story."""
    facts = {
        "incident": f"{incident.id}  {incident.state}" + (f" ({incident.outcome})" if incident.outcome else ""),
        "what": f"{incident.resource} of {incident.target}, culprit {incident.culprit or 'unknown'}",
        "runbook": incident.runbook or "-",
        "opened": f"{moment(incident.opened_at)} ({age(incident.opened_at)} ago) by {incident.triggered_by}",
        "ended": moment(incident.ended_at),
        "why": incident.reason or incident.code or "-",
        "times": times_of(incident),
    }
    if incident.acknowledged_by:
        from engine.records.past import Past

        facts["seen by"] = seen_by(incident, Past(app.record).acknowledged([incident.id]))
    if incident.reopened:
        facts["reopened"] = f"{incident.reopened} times"
    for name, value in facts.items():
        click.echo(hanging(f"{name:<10} ", line(value)))
    if incident.fault is not None:
        click.echo(f"{'suspects':<10} (margin {incident.fault.margin:.2f})")
        for suspect in (incident.fault.suspect, *incident.fault.others):
            culprit = f", {suspect.culprit}" if suspect.culprit else ""
            click.echo(line(f"  {suspect.score:4.2f}  {suspect.resource} of {suspect.node}{culprit}"))
            for each in suspect.evidence:
                click.echo(line(f"        · {each}"))
    click.echo()
    from engine.cli.narrate import Narrator

    Narrator(app.history, console(), incident.opened_at, incident=incident.id).poll()


def times_of(incident: Incident) -> str:
    """Say how long it took to detect, to localize and to recover."""
    began = incident.first_active or incident.opened_at
    localized = None if incident.localized_at is None else incident.localized_at - incident.opened_at
    recovered = None if incident.ended_at is None else incident.ended_at - incident.opened_at
    parts = {"detected": incident.opened_at - began, "localized": localized, "recovered": recovered}
    return ", ".join(f"{name} after {lasting(value)}" for name, value in parts.items() if value is not None)


@command.command()
@click.argument("incident_id", metavar="ID")
@reason_option
def ack(incident_id: str, reason: str) -> None:
    """Acknowledge an incident: a human has seen it."""
    attend(incident_id, "acknowledge", reason, "acknowledged")


@command.command(short_help="Close an incident that a human took care of.")
@click.argument("incident_id", metavar="ID")
@reason_option
def close(incident_id: str, reason: str) -> None:
    """Close an incident that a human took care of; its outcome counts as not measured."""
    attend(incident_id, "close", reason, "closed")


@command.command("hand-back", short_help="Hand an escalated incident back to automation.")
@click.argument("incident_id", metavar="ID")
@reason_option
def hand_back(incident_id: str, reason: str) -> None:
    """Hand an escalated incident back to automation, which begins again with the first remedy."""
    attend(incident_id, "hand_back", reason, "handed back")


command.add_command(
    click.Command("handback", params=hand_back.params, callback=hand_back.callback, help=hand_back.help, hidden=True)
)


def attend(prefix: str, kind: str, reason: str, done: str) -> None:
    """Ask the engine for it, and say that it was done."""
    with opened() as app:
        incident = find(app, prefix)
        ask(app, kind, incident.id, clean(reason))
        note(f"{done} {incident.id}: {incident.resource} of {line(incident.target)}")
