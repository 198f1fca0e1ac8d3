"""A record with months in it: faults that come back, remedies that work and that do not, preventions of each kind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import insert

from engine.model.decision import Change, Entry, Hold, Verdict
from engine.model.incident import Attempt, Fault, Incident, IncidentState, Outcome, Suspect
from engine.records.rows import to_row
from engine.records.schema import attempts, incidents
from engine.records.store import Record

DAY = 86_400.0
HOUR = 3600.0


@dataclass(slots=True)
class Months:
    """Writes incidents and attempts straight into a record: thousands at once, as an engine would have left them."""

    record: Record
    now: float
    found: list[Incident] = field(default_factory=list)
    tried: list[Attempt] = field(default_factory=list)

    def fault(
        self,
        at: float,
        target: str = "web-1",
        resource: str = "disk",
        *,
        runbook: str = "disk-full",
        culprit: str | None = "/var",
        remedy: str = "Clear caches",
        outcome: Outcome | None = Outcome.RESOLVED,
        lasts: float = 300.0,
        by: str = "engine",
    ) -> None:
        """Remember one fault; None is one for which nothing was tried, and which healed by itself."""
        name = f"inc-{len(self.found):06}"
        attempt = None
        if outcome is not None:
            attempt = Attempt(
                f"att-{name}", name, runbook, "d", 0, remedy, culprit, f"run-{name}", at + 20, at + lasts, outcome, target
            )  # fmt: skip
            self.tried.append(attempt)
        healed = outcome in (Outcome.RESOLVED, None)
        state = IncidentState.ESCALATED if not healed else IncidentState.SELF_HEALED
        state = IncidentState.RESOLVED if outcome is Outcome.RESOLVED else state
        suspect = Suspect(target, resource, culprit, 0.9)
        self.found.append(
            Incident(
                name,
                target,
                resource,
                state,
                at,
                culprit,
                runbook,
                Fault(suspect, 0.5, (runbook,)),
                at - 60,
                at + 1,
                at + lasts,
                at + lasts if healed else None,
                (outcome or Outcome.SELF_HEALED) if healed else None,
                attempt,
                triggered_by=by,
            )
        )

    def prevention(self, at: float, runbook: str, target: str, resource: str, culprit: str = "/var") -> None:
        """Remember that a prevention was put in force, by its own trigger."""
        self.fault(at, target, resource, runbook=runbook, culprit=culprit, remedy="Prevent", lasts=60.0)

    def held(self, at: float, target: str, runbook: str, code: str, sentence: str) -> None:
        """Remember a decision not to act."""
        entry = Entry("decision", f"Hold: {sentence}", None, target, runbook, code)
        version = self.record.standing(self.now).version
        decision = Hold((Verdict(code, False, code, sentence),))
        assert self.record.commit(Change(version, at, (entry,), decision=decision))

    def write(self) -> None:
        """Put everything into the record."""
        version = self.record.standing(self.now).version
        assert self.record.commit(Change(version, self.now, (Entry("engine", "Looked"),)))
        with self.record.writing() as connection:
            for table, nouns in ((incidents, self.found), (attempts, self.tried)):
                if nouns:
                    columns = [column.name for column in table.columns]
                    connection.execute(insert(table), [to_row(each, columns) for each in nouns])


def chance(generator: random.Random, since: float, until: float, every: float) -> Iterator[float]:
    """Yield moments that come by chance alone, so far apart on average."""
    at = since + generator.expovariate(1 / every)
    while at < until:
        yield at
        at += generator.expovariate(1 / every)


def months(record: Record, now: float, seed: int = 7) -> Months:
    """Write four months: a prevention that works, one that does nothing, one that harms, one that is too new."""
    own, generator = Months(record, now), random.Random(seed)
    begin = now - 120 * DAY
    began = now - 40 * DAY
    for target, resource, runbook, remedy, prevention, since_every, every in (
        ("web-1", "disk", "disk-full", "Clear caches", "disk-fills-soon", 25, 2.0),
        ("web-2", "memory", "memory-leak", "Restart the service", "memory-limit", 1.2, 1.2),
        ("db-1", "cpu", "cpu-runaway", "End the process", "cpu-limit", 0.8, 5.0),
    ):
        for at in chance(generator, begin, began, every * DAY):
            own.fault(at, target, resource, runbook=runbook, remedy=remedy, culprit="app")
        own.prevention(began, prevention, target, resource, "app")
        for at in chance(generator, began + HOUR, now, since_every * DAY):
            failed = resource == "cpu" and generator.random() < 0.7
            outcome = Outcome.INEFFECTIVE if failed else Outcome.RESOLVED
            own.fault(at, target, resource, runbook=runbook, remedy=remedy, culprit="app", outcome=outcome)
    for number in range(12):
        own.fault(now - (number + 0.5) * 9 * DAY, "db-2", "inodes", runbook="inodes-full", remedy="Remove old files")
    own.prevention(now - 2 * DAY, "inodes-fill-soon", "db-2", "inodes")
    for number in range(8):
        night = (now // DAY - 3 * number - 1) * DAY + 2.2 * HOUR + generator.uniform(0, HOUR)
        own.fault(night, "store-1", "disk", outcome=None, lasts=1200.0)
    for number in range(4):
        own.fault(now - (number + 1) * 5 * DAY, "web-3", "service", runbook="service-hung", remedy="Restart it",
                  culprit="app.service", outcome=Outcome.INEFFECTIVE)  # fmt: skip
        own.held(now - (number + 1) * 5 * DAY, "web-3", "service-hung", "cooldown", "cooldown of 30m, 12m are left")
    own.write()
    return own
