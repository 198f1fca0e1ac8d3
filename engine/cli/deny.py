"""`mendbook deny`: a person's no to what an incident proposes."""

from __future__ import annotations

import sys

import click

from engine.cli.exits import Exit, Failure
from engine.cli.output import note
from engine.cli.project import opened
from engine.cli.words import line

EPILOG = """\b
Examples:
  mendbook deny inc-3f2a --reason "replaced by hand tonight"

\b
The incident then waits for a human: nothing is proposed for it until `mendbook incidents hand-back`, and it closes by itself when
the fault is measured to be over.
"""


@click.command(epilog=EPILOG)
@click.argument("incident_id", metavar="INCIDENT")
@click.option("--reason", metavar="TEXT", default="", help="Why; it goes into the record.")
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal it never does.")
def command(incident_id: str, reason: str, *, yes: bool) -> int:
    """Deny what an incident proposes, and leave it to a human."""
    from engine.cli.approve import ask_for
    from engine.cli.asking import ask_with
    from engine.cli.incidents import find
    from engine.cli.plans import shown

    with opened() as app:
        incident = find(app, incident_id)
        if incident.proposal is None:
            raise Failure(line(f"{incident.id} ({incident.state}) proposes nothing"), Exit.REFUSED)
        for text in shown(incident.proposal):
            note(text)
        if sys.stdin.isatty() and not yes:
            click.confirm("Deny this?", abort=True, err=True)
        ask_with(app, ask_for("deny", incident, incident.proposal, reason))
        note(line(f"denied {incident.id}: {incident.resource} of {incident.target} waits for a human"))
    return Exit.OK
