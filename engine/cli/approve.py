"""`mendbook approve`: a person's word for what an incident proposes."""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING

import click

from engine.cli.exits import Exit, Failure
from engine.cli.output import clean, moment, note
from engine.cli.project import opened
from engine.cli.words import line

if TYPE_CHECKING:
    from engine.app import App
    from engine.model.incident import Incident, Proposal
    from engine.model.standing import Request

EPILOG = """\b
Examples:
  mendbook approve inc-3f2a --reason "ticket 4711"   show what would be run, ask, and have it begin
  mendbook approve inc-3f2a --yes --no-wait          without a question, without waiting for the outcome

\b
Approved is what was shown: if the culprit, the hosts, a variable or a file of the runbook changed since, it is refused (20);
also when the proposal expired or was denied (21). All other guards hold as ever.
"""


@click.command(epilog=EPILOG)
@click.argument("incident_id", metavar="INCIDENT")
@click.option("--reason", metavar="TEXT", default="", help="Why; it goes into the record.")
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal it never does.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the outcome.")
@click.option("--timeout", type=float, default=3600.0, show_default=True, help="Seconds to wait for it.")
def command(*, incident_id: str, reason: str, yes: bool, wait: bool, timeout: float) -> int:
    """Approve what an incident proposes: exactly what is shown, for a while."""
    from engine.cli.asking import ask_with
    from engine.cli.following import carry_out
    from engine.cli.incidents import find

    with opened() as app:
        incident = find(app, incident_id)
        proposal = proposal_of(app, incident)
        tell(app, incident, proposal)
        if sys.stdin.isatty() and not yes:
            click.confirm("Approve this?", abort=True, err=True)
        request = ask_for("approve", incident, proposal, reason)
        if wait or not app.leadership.holder():
            return carry_out(app, request, timeout)
        (answer,) = ask_with(app, request)
        if "held" in answer:
            note(clean(f"approved, and held by: {'; '.join(map(str, answer['held']))}"))
        else:
            note(clean(f"approved: {answer.get('execution', '')} begins"))
        return Exit.OK


def proposal_of(app: App, incident: Incident) -> Proposal:
    """Return what an incident proposes; a Failure when it proposes nothing, or its time is over."""
    if incident.code == "denied":
        raise Failure(clean(f"{incident.id} was {incident.reason}; hand it back first"), Exit.DENIED)
    if incident.proposal is None:
        raise Failure(
            clean(f"{incident.id} ({incident.state}) proposes nothing: {incident.reason or 'nothing is held'}"),
            Exit.REFUSED,
        )
    now, until = app.clock.now(), incident.proposal.expires_at
    if now >= until:
        held = f"what {incident.id} proposes could be approved until {moment(until)}; a running engine proposes it anew"
        raise Failure(clean(held), Exit.DENIED)
    return incident.proposal


def tell(app: App, incident: Incident, proposal: Proposal) -> None:
    """Show exactly what would be run, and what each guard says to it now."""
    from engine.cli.glance import glance
    from engine.cli.plans import shown
    from engine.core.localize import localize
    from engine.core.weigh import weigh

    look, _ = glance(app, 0.0)
    scene, standing = look.scene, look.standing
    findings = localize(scene.alerts, scene.answers, scene.catalog, scene.fleet, standing, scene.now)
    weighed = weigh(scene, findings, standing, incident)
    verdicts = () if weighed.case is None else weighed.decision.verdicts
    for text in shown(proposal, verdicts):
        note(text)
    if weighed.case is None:
        note(line(f"  now it would not be run, approved or not: {incident.reason}"))
    elif weighed.case.digest != proposal.digest:
        note("  what would be run now is something else: this will be refused")
    note(f"  to be approved until {moment(proposal.expires_at)}")


def ask_for(kind: str, incident: Incident, proposal: Proposal, reason: str) -> Request:
    """Return the request that carries a person's word, bound to the proposal that was shown."""
    import time

    from engine.cli.asking import operator
    from engine.model.standing import Request

    return Request(
        id=f"req-{uuid.uuid4().hex[:10]}", kind=kind, by=operator(), reason=clean(reason), at=time.time(),
        subject=incident.id, vars={"digest": proposal.digest, "expires_at": proposal.expires_at},
    )  # fmt: skip
