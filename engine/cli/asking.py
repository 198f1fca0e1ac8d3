"""What an operator asks of the engine: left for the one that runs, or done here when none does."""

from __future__ import annotations

import getpass
import json
import os
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

from engine.cli.exits import Exit, Failure
from engine.cli.output import clean, note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.app import App
    from engine.model.standing import Request

LOOK_EVERY = 0.2
PATIENCE = 10.0
"""Seconds that an engine may take to answer, beyond two of its intervals."""


def operator() -> str:
    """Return who types: the person behind sudo, else the login name, at this host."""
    try:
        name = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        name = f"uid {os.getuid()}"
    return clean(f"{name}@{socket.gethostname()}".replace("\n", " "))


def ask(app: App, kind: str, subject: str = "", reason: str = "") -> Sequence[Mapping[str, Any]]:
    """Have the engine do something, wait until it did, and return what it says; a refusal is a Failure."""
    from engine.model.standing import Request

    return ask_with(app, Request(f"req-{uuid.uuid4().hex[:10]}", kind, operator(), reason, time.time(), subject))


def ask_with(app: App, request: Request) -> Sequence[Mapping[str, Any]]:
    """Hand a request in, wait until it was done, and return what came of it; a refusal is a Failure."""
    if leads(app):
        _ = app.declarations  # what cannot be read is said before anything is asked for
    app.desk.request(request)
    results = results_of(app, request)
    refusals = [str(why) for each in results for why in each.get("refused", ())]
    if refusals:
        codes = {code for each in results for code in each.get("codes", ())}
        raise Failure(clean("; ".join(refusals)), Exit.DENIED if codes & {"denied", "expired"} else Exit.REFUSED)
    return results


def results_of(app: App, request: Request) -> Sequence[Mapping[str, Any]]:
    """Return what a request came to, as soon as an engine has answered it."""
    deadline = time.monotonic() + 2 * app.settings.interval + PATIENCE
    told = False
    while True:
        state = app.desk.request_state(request.id)
        if state is not None and state[0] == "finished":
            answer = json.loads(state[1] or "[]")
            return [each for each in answer if isinstance(each, dict)]
        if time.monotonic() > deadline:
            message = f"no engine has taken request {request.id} up yet; it stays, and is done as soon as one does"
            raise Failure(message, Exit.TIMEOUT)
        if serves(app):
            continue
        if not told:
            note(f"asked the engine that runs ({app.leadership.holder()})")
            told = True
        time.sleep(LOOK_EVERY)


def serves(app: App) -> bool:
    """Tick once when this process leads, or can, automation kept still; return whether it did."""
    if not leads(app):
        return False
    app.controller(app.samples, automatic=False).tick()
    return True


def leads(app: App) -> bool:
    """Return whether this process is the one that ticks, having become it if no other is."""
    from engine.app import BusyError

    try:
        if not app.leadership.held:
            app.lead()
    except BusyError:
        return False
    return True
