"""The steady state: what must be well before anything is injected, and again afterwards, seen from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from engine.chaos.place import DrillError, Node, Place
from engine.chaos.probes import Shell, answers_ssh, page

HTTP = 8080
OK = 200
IN_RECOVERY = "runuser -u postgres -- psql -X -A -t -q -c 'SELECT pg_is_in_recovery()'"
STREAMING = (
    "runuser -u postgres -- psql -X -A -t -q -c \"SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'\""
)
SHOWN = 6
STREAMS = 2
"""A replica and the archive follow the primary."""


def ills(place: Place, shell: Shell) -> list[str]:
    """Say what is not well in the lab, by what each node is there for."""
    checks: list[Callable[[], str | None]] = [partial(greets, node) for node in place.nodes.values()]
    checks += [partial(serves, node) for group in ("web", "balancers") for node in place.group(group)]
    if place.group("db"):
        checks.append(partial(databases, place, shell))
    with ThreadPoolExecutor(8) as pool:
        return [said for said in pool.map(lambda check: check(), checks) if said]


def greets(node: Node) -> str | None:
    """Say when a node does not answer by SSH."""
    return None if answers_ssh(node) else f"{node.name} does not answer by SSH"


def serves(node: Node) -> str | None:
    """Say when a node does not serve the ledger."""
    status, _ = page(node, HTTP, "/healthz")
    return None if status == OK else f"{node.name}:{HTTP}/healthz answers {status or 'nothing'}"


def databases(place: Place, shell: Shell) -> str | None:
    """Say when there is not one primary that the replica and the archive follow."""
    roles = roles_of(place, shell)
    primaries = [name for name, role in roles.items() if role == "primary"]
    if len(primaries) != 1 or len(roles) != len(place.group("db")):
        known = ", ".join(f"{name} is {role}" for name, role in roles.items()) or "none answers"
        return f"there must be one primary and replicas: {known}"
    done = shell.run(place.node(primaries[0]), STREAMING)
    streams = int(done.stdout.strip() or 0) if done is not None and done.returncode == 0 else 0
    wanted = min(STREAMS, len(place.group("db")) - 1 + len(place.group("spare")))
    return None if streams >= wanted else f"{streams} of {wanted} follow the primary {primaries[0]}"


def roles_of(place: Place, shell: Shell) -> dict[str, str]:
    """Return which database server is primary and which is a replica; one that does not answer is left out."""
    found = {}
    for node in place.group("db"):
        done = shell.run(node, IN_RECOVERY)
        if done is not None and done.returncode == 0:
            found[node.name] = "replica" if done.stdout.strip() == "t" else "primary"
    return found


def ledger(place: Place) -> tuple[int, int, int] | None:
    """Return accounts, total and transfers as the ledger itself counts them; None when it does not answer."""
    for node in place.group("web"):
        status, text = page(node, HTTP, "/invariant")
        if status == OK:
            try:
                raw = json.loads(text)
                return int(raw["accounts"]), int(raw["total"]), int(raw["transfers"])
            except (ValueError, KeyError, TypeError):
                continue
    return None


def wait_steady(
    look: Callable[[], list[str]],
    patience: float,
    hold: float,
    pause: Callable[[float], None],
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Wait until nothing is ill for `hold` seconds, saying what is. Raises DrillError with it, after `patience` seconds."""
    end = time.monotonic() + patience
    since: float | None = None
    told: list[str] = []
    while True:
        said = look()
        now = time.monotonic()
        since = None if said else (now if since is None else since)
        if since is not None and now - since >= hold:
            return
        if now >= end and said:
            raise DrillError("the lab is not steady: " + "; ".join(said[:SHOWN]))
        if said and said != told:
            say("waiting: " + "; ".join(said[:SHOWN]))
            told = said
        pause(1.0)
