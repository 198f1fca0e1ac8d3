"""Plain values for tests of the guards and of the plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from engine.core.case import Case
from engine.core.draft import Scene
from engine.model.execution import Execution, PlannedStep
from engine.model.incident import Alert, AlertState, Attempt, Incident, IncidentState, Outcome
from engine.model.labels import Labels, Sample
from engine.model.runbook import Catalog, Limits, Runbook
from engine.model.standing import Standing
from engine.model.target import Fleet, Target
from engine.model.truth import Answer, Coverage, Query
from tests.fakes.world import prepare, runbook

NOW = 1_000_000.0


def fleet_of(count: int) -> Fleet:
    names = [f"web-{number}" for number in range(count)]
    return Fleet({name: Target(name, frozenset({"web"}), frozenset({name})) for name in names})


def answer_of(expr: str, values: dict[str, float], data: Iterable[str]) -> Answer:
    samples = tuple(Sample(Labels({"instance": name}), value) for name, value in values.items())
    return Answer(Query(expr), samples, (Coverage(expr, frozenset(data)),))


def up(fleet: Fleet, silent: Iterable[str] = (), down: Iterable[str] = ()) -> dict[str, Answer]:
    """What `up` and `probe_success` say: one of each host, but for the silent ones; 0 of those that are down."""
    quiet, dead = set(silent), set(down)
    values = {each.name: float(each.name not in dead) for each in fleet if each.name not in quiet}
    return {expr: answer_of(expr, values, values) for expr in ("up", "probe_success")}


def incident_of(target: str, resource: str = "node", name: str = "", **more: object) -> Incident:
    fields: dict[str, object] = {"state": IncidentState.OPEN, "opened_at": NOW - 1, **more}
    return Incident(name or f"inc-{target}-{resource}", target, resource, **fields)  # type: ignore[arg-type]


def alert_of(target: str, book: Runbook, state: AlertState = AlertState.FIRING) -> Alert:
    labels = Labels({"instance": target})
    fired = NOW - 1 if state is AlertState.FIRING else None
    return Alert(f"{book.name}/{target}", book.variant, "Alert", labels, target, state, 1.0, NOW - 1, NOW, NOW, fired)


def attempt_of(
    number: int, target: str, ago: float, book: str = "web-down", outcome: Outcome = Outcome.RESOLVED
) -> Attempt:
    start = NOW - ago
    return Attempt(
        f"att-{number}",
        f"old-{number}",
        book,
        "",
        0,
        "restart",
        None,
        f"run-{number}",
        start,
        start + 1,
        outcome,
        target,
    )


def execution_of(target: str, book: str = "web-down", incident: str = "") -> Execution:
    steps = (PlannedStep("restart.yml", (target,)),)
    return Execution(
        f"run-{target}", f"att-{target}", incident or f"other-{target}", book, "", "restart", target, steps
    )


def case_of(
    book: Runbook | None = None,
    *,
    hosts: int = 4,
    standing: Standing | None = None,
    limits: Limits | None = None,
    answers: dict[str, Answer] | None = None,
    incident: Incident | None = None,
    also: tuple[str, ...] = (),
    operator: str | None = None,
    jump: float = 0.0,
    protected: frozenset[str] = frozenset(),
) -> Case:
    """Return a case for web-0 in which nothing objects."""
    book = book or runbook()
    fleet = fleet_of(hosts)
    incident = incident or incident_of("web-0")
    standing = standing or Standing()
    mine = (incident, *(each for each in standing.incidents if each.id != incident.id))
    standing = replace(standing, incidents=mine)
    return Case(
        runbook=book,
        remedy=book.remedies[0],
        steps=(PlannedStep("restart.yml", ("web-0", *also)),),
        incident=incident,
        target=fleet.targets["web-0"],
        alert=alert_of("web-0", book),
        standing=standing,
        catalog=Catalog(
            (book,), limits=limits or Limits(interval=1.0, max_targets=1.0, max_concurrent=50), protected=protected
        ),
        fleet=fleet,
        answers=up(fleet) if answers is None else answers,
        now=NOW,
        jump=jump,
        operator=operator,
    )


def scene_of(fleet: Fleet, *books: Runbook, broken: Iterable[str], limits: Limits) -> Scene:
    """Return a tick at which every runbook's alert fires on each of the broken hosts."""
    alerts = tuple(alert_of(name, book) for book in books for name in broken)
    return Scene(alerts, up(fleet), Catalog(books, limits=limits), fleet, NOW, prepare)
