"""`mendbook run`: the operator's hand."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit, Failure
from engine.cli.output import clean, note

if TYPE_CHECKING:
    from engine.app import App
    from engine.cli.narrate import Narrator
    from engine.controller import Collector
    from engine.model.standing import Request

EPILOG = """\b
Examples:
  mendbook run disk-full --limit web-1 --check --diff    what it would change
  mendbook run disk-full --limit web-1 --reason "ticket 4711"
  mendbook run service-hung --limit 'web:!web-3' -e service=nginx
"""
ENDED = frozenset({"resolved", "self_healed", "escalated"})


@click.command(epilog=EPILOG)
@click.argument("runbook")
@click.option(
    "--limit", "pattern", required=True, help="The hosts: an Ansible pattern. One that matches none is refused."
)
@click.option("--check", is_flag=True, help="Show what the playbooks would do; change nothing.")
@click.option("--diff", is_flag=True, help="Show changed files as differences.")
@click.option(
    "-e", "extra", multiple=True, metavar="KEY=VALUE", help="An extra variable for the playbooks; never templated."
)
@click.option("--reason", default="", help="Why; it stands in the record.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--timeout", type=float, default=3600.0, show_default=True, help="Seconds to wait for the outcome.")
def command(
    *,
    runbook: str,
    pattern: str,
    check: bool,
    diff: bool,
    extra: tuple[str, ...],
    reason: str,
    yes: bool,
    timeout: float,
) -> int:
    """Run a runbook's first remedy by hand on the hosts that you name.

    It shows what it will do, asks when there is a terminal, obeys the guards, verifies, and records who asked and why. Beside a
    running engine, that engine does it; else this command does it itself.
    """
    from engine.cli.asking import operator
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


def carry_out(app: App, request: Request, timeout: float) -> int:
    """Hand the request in, see it through, and return the exit code of what came of it."""
    from engine.app import BusyError
    from engine.cli.narrate import Narrator
    from engine.cli.output import console

    narrator = Narrator(app.history, console(), time.time())
    stop = threading.Event()
    leading = None
    earlier = {execution.id for execution in app.record.standing(app.clock.now()).executions}
    try:
        app.lead()
    except BusyError as busy:
        note(f"{busy}; it does this")
    else:
        # what may fail is opened here, where it is said; the thread could only leave us waiting
        leading = threading.Thread(target=lead, args=(app, app.collector(app.samples), stop), daemon=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app.desk.request(request)
        if leading is not None:
            leading.start()
        return see_through(app, request, narrator, timeout)
    except KeyboardInterrupt:
        if leading is not None:
            note("interrupted: ending what runs …")
            stop.set()
            leading.join()
            give_up(app, request, earlier)
        else:
            note("interrupted: the engine goes on; `mendbook runs` shows it, `mendbook runs cancel` ends it")
        return Exit.INTERRUPTED
    finally:
        stop.set()
        if leading is not None and leading.is_alive():
            leading.join()


def give_up(app: App, request: Request, earlier: set[str]) -> None:
    """Leave nothing that a later engine would do unasked: not the request, and not what was begun for it."""
    app.desk.withdraw(request.id, request.by)
    app.end_executions(spared=earlier)
    app.controller(app.samples, automatic=False).tick()  # takes the end into the record


def lead(app: App, collector: Collector, stop: threading.Event) -> None:
    """Tick for this request alone: nothing is begun that no operator asked for."""
    collector.once()  # guards fail closed: without samples they would refuse
    collector.start()
    try:
        app.controller(app.samples, automatic=False).watch(min(1.0, app.settings.interval), lambda _: None, stop)
    finally:
        collector.stop()


def see_through(app: App, request: Request, narrator: Narrator, timeout: float) -> int:
    """Follow the request to its end."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        narrator.poll()
        state = app.desk.request_state(request.id)
        if state is not None and state[0] == "finished":
            code = outcome(app, json.loads(state[1] or "[]"))
            if code is not None:
                narrator.poll()
                return code
        time.sleep(0.2)
    note("gave up waiting; what runs goes on (`mendbook status`)")
    return Exit.TIMEOUT


def outcome(app: App, results: list[dict[str, Any]]) -> int | None:
    """Return the exit code of the worst result; None while something is under way."""
    codes = []
    for result in results:
        if "refused" in result:
            for sentence in result["refused"]:
                note(clean(f"refused: {result.get('target', '')} {sentence}"))
            codes.append(Exit.REFUSED)
            continue
        code = of_check(app, result["execution"]) if result.get("check") else of_incident(app, result["incident"])
        if code is None:
            return None
        codes.append(code)
    return max(codes, default=Exit.OK)


def of_check(app: App, name: str) -> Exit | None:
    """Return how a check run ended."""
    execution = app.history.execution(name)
    if execution is None or execution.state.active:
        return None
    return Exit.OK if execution.state == "successful" else Exit.PLAYBOOK_FAILED


def of_incident(app: App, name: str) -> Exit | None:
    """Return how an operator's run ended: what the playbook did, and whether the fault is gone.

    A playbook that failed is told as that, even where the fault went away by itself afterwards.
    """
    incident = app.history.incident(name)
    runs = app.history.executions(incident=name)
    if incident is None or str(incident.state) not in ENDED or not runs or runs[-1].state.active:
        return None
    match str(runs[-1].state):
        case "successful" | "lost":
            return Exit.OK if incident.state in ("resolved", "self_healed") else Exit.FAULT_REMAINS
        case "timeout":
            return Exit.TIMEOUT
    logged = [each.entry for each in app.history.entries(incident=name) if each.entry.kind == "execution"]
    unreachable = bool(logged and logged[-1].data.get("unreachable"))
    return Exit.UNREACHABLE if unreachable else Exit.PLAYBOOK_FAILED
