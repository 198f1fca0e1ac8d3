"""`mendbook run`: the operator's hand."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.exits import Exit, Failure
from engine.cli.output import clean, note
from engine.model.secrecy import looks_secret

if TYPE_CHECKING:
    from engine.app import App

EPILOG = """\b
Examples:
  mendbook run disk-full --limit web-1 --check --diff    what it would change
  mendbook run disk-full --limit web-1 --reason "ticket 4711"
  mendbook run service-hung --limit 'web:!web-3' -e service=nginx
  mendbook run --plan plan.json --reason "seen by ann"   exactly what `mendbook plan --out` wrote, or nothing
"""


@click.command(epilog=EPILOG)
@click.argument("runbook", required=False)
@click.option("--limit", "pattern", help="The hosts: an Ansible pattern. One that matches none is refused.")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Run what this file of `mendbook plan --out` says.",
)
@click.option("--check", is_flag=True, help="Show what the playbooks would do; change nothing.")
@click.option("--diff", is_flag=True, help="Show changed files as differences.")
@click.option(
    "-e", "extra", multiple=True, metavar="KEY=VALUE", help="An extra variable for the playbooks; never templated."
)
@click.option("--reason", default="", help="Why; it stands in the record.")
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal it never does.")
@click.option("--timeout", type=float, default=3600.0, show_default=True, help="Seconds to wait for the outcome.")
def command(
    *,
    runbook: str | None,
    pattern: str | None,
    plan_file: Path | None,
    check: bool,
    diff: bool,
    extra: tuple[str, ...],
    reason: str,
    yes: bool,
    timeout: float,
) -> int:
    """Run a runbook's first remedy by hand on the hosts that you name, or what a plan says.

    It shows what it will do, asks when there is a terminal, obeys the guards, verifies, and records who asked and why. Beside a
    running engine, that engine does it; else this command does it itself.
    """
    if plan_file is not None:
        if runbook is not None or pattern is not None or check or diff or extra:
            raise click.UsageError("a plan says what is run and where: --plan goes with --reason, --yes and --timeout")
        return run_plan(plan_file, reason, timeout, yes=yes)
    if runbook is None or pattern is None:
        raise click.UsageError("name a runbook and --limit, or a --plan")
    from engine.cli.asking import operator
    from engine.cli.following import carry_out
    from engine.cli.project import opened
    from engine.model.standing import Request

    variables = dict(pair(text) for text in extra)
    with opened() as app:
        targets = app.inventory.resolve(pattern)
        if not targets:
            raise Failure(f"--limit {pattern!r} matches no host of the inventory; nothing is run", Exit.REFUSED)
        announce(app, runbook, targets, variables, check=check)
        for name in sorted(of_faults(app, runbook, targets, check=check) - variables.keys()):
            note(f"  without {name}, which only a fault would tell: -e {name}=… gives it")
        if sys.stdin.isatty() and not yes and not check:
            click.confirm("Go on?", abort=True, err=True)
        request = Request(
            id=f"req-{uuid.uuid4().hex[:10]}", kind="run", by=operator(), reason=reason, at=app.clock.now(), subject=runbook,
            targets=targets, check=check, diff=diff, vars=variables,
        )  # fmt: skip
        return carry_out(app, request, timeout)


def pair(text: str) -> tuple[str, str]:
    """Return a variable and its value."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="-e")
    if looks_secret(name):
        why = f"{name} looks like a secret, and variables are written into the record: keep it in the inventory or a vault"
        raise click.BadParameter(why, param_hint="-e")
    return name, value


def announce(app: App, name: str, targets: tuple[str, ...], variables: dict[str, str], *, check: bool) -> None:
    """Say what will be run where. Raises Failure for a runbook that there is none of."""
    import difflib

    variants = app.declarations.catalog.variants(name)
    if not variants:
        known = sorted({each.name for each in app.declarations.catalog.runbooks})
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
        raise Failure(f"no runbook '{name}'; {hint}", Exit.USAGE)
    remedy = variants[0].remedies[0]
    note(f"{name}: {variants[0].summary}")
    note(f"{'Would check' if check else 'Will run'} '{remedy.name}' on {', '.join(targets)}:")
    for step in (*remedy.steps, *remedy.finally_):
        where = f" on {step.hosts}" if step.hosts else ""
        note(f"  {step.playbook}{where}")
    if variables:
        note("  with " + ", ".join(f"{key}={value}" for key, value in variables.items()))


def of_faults(app: App, name: str, targets: tuple[str, ...], *, check: bool) -> set[str]:
    """Return the variables of the first remedy that a fault's culprit gives, and that nothing gives on some target.

    A run joins the open incident of its target and has its culprit; a check run stands alone.
    """
    standing = () if check else app.record.standing(app.clock.now()).incidents
    known = {(each.target, each.resource) for each in standing if each.state.live and each.culprit}
    found: set[str] = set()
    for runbook in app.declarations.catalog.variants(name):
        remedy = runbook.remedies[0]
        needed = {
            key
            for step in (*remedy.steps, *remedy.finally_)
            for key, value in step.vars.items()
            if "fault.culprit" in str(value)
        }
        for target in filter(runbook.applies_to, targets):
            if (target, runbook.localize.resource) not in known:
                found |= needed - app.inventory.hosts[target].keys()
    return found


def run_plan(path: Path, reason: str, timeout: float, *, yes: bool) -> int:
    """Have exactly what a plan says begun, or nothing of it."""
    from engine.cli.asking import operator
    from engine.cli.following import carry_out
    from engine.cli.plans import read_plan, shown
    from engine.cli.project import opened
    from engine.core.orders import row_of
    from engine.model.standing import Request

    with opened() as app:
        plan = read_plan(path, app.clock.now(), app.settings.environment)
        for proposal in plan.runs:
            for text in shown(proposal):
                note(text)
        if sys.stdin.isatty() and not yes:
            click.confirm("Run this?", abort=True, err=True)
        request = Request(
            id=f"req-{uuid.uuid4().hex[:10]}", kind="run_plan", by=operator(), reason=clean(reason), at=app.clock.now(),
            vars={
                "created": plan.created,
                "expires_at": plan.expires_at,
                "runs": tuple(row_of(proposal) for proposal in plan.runs),
            },
        )  # fmt: skip
        return carry_out(app, request, timeout)
