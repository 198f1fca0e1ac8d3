"""Seeing an operator's request through: beside a running engine, or as the one that ticks, and what came of it."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from engine.cli.exits import Exit
from engine.cli.output import clean, moment, note

if TYPE_CHECKING:
    from engine.app import App
    from engine.cli.narrate import Narrator
    from engine.controller import Collector
    from engine.model.execution import Execution
    from engine.model.standing import Request

ENDED = frozenset({"resolved", "self_healed", "escalated"})
RAN = frozenset({"successful", "lost"})
TOO_LATE = frozenset({"denied", "expired"})


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
                note(clean(f"refused: {f'{where}: ' if (where := result.get('target')) else ''}{sentence}"))
            codes.append(Exit.DENIED if TOO_LATE & set(result.get("codes", ())) else Exit.REFUSED)
            continue
        if "held" in result:
            note(clean(f"approved, and held until {moment(result['until'])} at most by: {'; '.join(result['held'])}"))
            continue
        if "denied" in result:
            continue
        code = outcome_of(app, result)
        if code is None:
            return None
        codes.append(code)
    return max(codes, default=Exit.OK)


def outcome_of(app: App, result: dict[str, Any]) -> Exit | None:
    """Return how what was begun ended: a check, an operator's own run, or what the engine proposed."""
    if result.get("check"):
        return of_check(app, result["execution"])
    incident = app.history.incident(result["incident"])
    if incident is not None and incident.triggered_by == "engine" and result.get("execution"):
        return of_attempt(app, result["execution"])
    return of_incident(app, result["incident"])


def of_attempt(app: App, name: str) -> Exit | None:
    """Return how one attempt ended, whatever its incident comes to: the next remedy may have to be asked for."""
    execution = app.history.execution(name)
    attempt = next((each for each in app.history.attempts() if each.execution == name), None)
    if execution is None or execution.state.active or attempt is None or attempt.outcome is None:
        return None
    if attempt.outcome in ("resolved", "self_healed"):
        return Exit.OK
    return ended_as(app, execution)


def of_check(app: App, name: str) -> Exit | None:
    """Return how a check run ended."""
    execution = app.history.execution(name)
    if execution is None or execution.state.active:
        return None
    match str(execution.state):
        case "successful":
            return Exit.OK
        case "lost":
            return Exit.PLAYBOOK_FAILED
    return ended_as(app, execution)


def of_incident(app: App, name: str) -> Exit | None:
    """Return how an operator's run ended: what the playbook did, and whether the fault is gone.

    A playbook that failed is told as that, even where the fault went away by itself afterwards.
    """
    incident = app.history.incident(name)
    runs = app.history.executions(incident=name)
    if incident is None or str(incident.state) not in ENDED or not runs or runs[-1].state.active:
        return None
    if str(runs[-1].state) in RAN and incident.state in ("resolved", "self_healed"):
        return Exit.OK
    return ended_as(app, runs[-1])


def ended_as(app: App, execution: Execution) -> Exit:
    """Return how an execution ended that healed nothing."""
    match str(execution.state):
        case "successful" | "lost":
            return Exit.FAULT_REMAINS
        case "timeout":
            return Exit.TIMEOUT
    entries = app.history.entries(incident=execution.incident or None, target=execution.target)
    logged = [each.entry for each in entries if each.entry.data.get("execution") == execution.id]
    unreachable = bool(logged and logged[-1].data.get("unreachable"))
    return Exit.UNREACHABLE if unreachable else Exit.PLAYBOOK_FAILED
