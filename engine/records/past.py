"""What was: the record as of a moment, and counted over a span of time."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, Table, func, select

from engine.model.execution import Execution
from engine.model.incident import Alert, AlertState, Incident
from engine.model.labels import Labels
from engine.model.standing import Pause, Silence
from engine.records.history import Logged, logged
from engine.records.schema import alerts, entries, execution_targets, executions, incidents, locks, pauses, requests
from engine.records.store import ACTIVE, LIVE, Record, many

HOLDING = ("pause", "stop", "resume", "restored", "silence", "unsilence")
"""What people do to hold automation back, and to let it go on."""
MOST_ALERTS = 500
"""So many changes of a host's alerts are looked back on."""
MOST_RUNS = 50
"""So many runs elsewhere that took a host in are looked back on."""
OF_RUNS = ("decision", "execution", "verification", "outcome")
"""Kinds of entries that say of a run why it was begun and how it went."""
UNTRUSTED = frozenset({"shadow", "held_for_approval"})
"""Codes of the guards that hold for want of trust, and of nothing else."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of what stands in the record; `incidents`, `alerts` and `executions` by their state."""

    incidents: Mapping[str, int] = field(default_factory=dict)
    alerts: Mapping[str, int] = field(default_factory=dict)
    executions: Mapping[str, int] = field(default_factory=dict)
    locks: int = 0
    paused: bool = False
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """What a runbook would have done, or asked to do: nothing held it back but the trust that it has.

    `code` is shadow or held_for_approval; `incident` as it stands now.
    """

    at: float
    runbook: str
    target: str
    code: str
    sentence: str
    incident: Incident


@dataclass(frozen=True, slots=True)
class Then:
    """An incident as it was at a moment: its state, since when, and what was said of it."""

    incident: Incident
    state: str
    since: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What the record knows of one host at a moment: what was seen, decided and run, and what held automation back."""

    at: float
    alerts: tuple[Alert, ...]
    incidents: tuple[Then, ...]
    decision: Logged | None
    """The last that belongs to an incident; where none does, the last of all."""
    later: Logged | None
    """One after it that belongs to none, as when a runbook with no incident is held."""
    executions: tuple[Execution, ...]
    pauses: tuple[Pause, ...]
    silences: tuple[Silence, ...]


class Past:
    """Reads a record from whatever thread; every method may raise RecordError. Times are seconds since the epoch."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def newest(self) -> int:
        """Return the number of the last entry; 0 for none."""
        with self.record.reading() as connection:
            return connection.execute(select(func.max(entries.c.number))).scalar() or 0

    def oldest(self) -> float | None:
        """Return when the first entry was written that is there; None for none."""
        with self.record.reading() as connection:
            at = connection.execute(select(entries.c.at).order_by(entries.c.number).limit(1)).scalar()
            return None if at is None else float(at)

    def entries_after(self, number: int, limit: int) -> tuple[Logged, ...]:
        """Return the first `limit` entries with a higher number, in order."""
        query = select(entries).where(entries.c.number > number).order_by(entries.c.number).limit(limit)
        with self.record.reading() as connection:
            return tuple(logged(dict(row)) for row in connection.execute(query).mappings())

    def acknowledged(self, incidents: Collection[str]) -> dict[str, float]:
        """Return when each of these incidents was acknowledged last; one that never was is left out."""
        seen = (entries.c.kind == "operator") & (entries.c.code == "acknowledge")
        query = select(entries.c.incident, func.max(entries.c.at)).where(seen, entries.c.incident.in_(tuple(incidents)))
        with self.record.reading() as connection:
            rows = connection.execute(query.group_by(entries.c.incident)).all() if incidents else ()
            return {str(incident): float(at) for incident, at in rows}

    def held(self, until: float) -> tuple[Logged, ...]:
        """Return what people did until a moment to hold automation back and to let it go on: `pauses_of` and `silences_of` read it."""
        with self.record.reading() as connection:
            return written(connection, until, entries.c.kind.in_(("operator", "engine")) & entries.c.code.in_(HOLDING))

    def moment(self, target: str, at: float) -> Moment:
        """Return what was the case with a host at a moment, by what had been written until then."""
        with self.record.reading() as connection:
            own = entries.c.target == target
            acts = written(connection, at, entries.c.kind.in_(("operator", "engine")) & entries.c.code.in_(HOLDING))
            decision = own & (entries.c.kind == "decision")
            newest = written(connection, at, decision, limit=1)
            shared = (each for each in parts(connection, target, at) if each.entry.kind == "decision")
            of_incident = (*written(connection, at, decision & entries.c.incident.is_not(None), limit=1), *shared)
            decided = max(of_incident or newest, key=lambda each: each.number, default=None)
            seen = written(connection, at, own & (entries.c.kind == "alert"), limit=MOST_ALERTS)
            return Moment(
                at,
                alerts_of(seen),
                tuple(lived(connection, target, at)),
                decided,
                next((each for each in newest if decided is not None and each.number > decided.number), None),
                ran(connection, target, at),
                pauses_of(acts, at),
                silences_of(acts, at),
            )

    def happened(self, target: str, at: float, limit: int) -> tuple[tuple[Logged, ...], int]:
        """Return what was written until a moment about a host, and about runs elsewhere that took it in.

        The newest `limit` of it, and how many entries were before.
        """
        mine = entries.c.target == target
        count = select(func.count()).select_from(entries).where(mine, entries.c.at <= at)
        with self.record.reading() as connection:
            shared = parts(connection, target, at)
            found = merged(written(connection, at, mine, limit), shared)
            whole = int(connection.execute(count).scalar_one()) + sum(each.entry.target != target for each in shared)
        shown = found[max(0, len(found) - limit) :]
        return shown, whole - len(shown)

    def cases(self, since: float) -> tuple[Case, ...]:
        """Return what runbooks would have done since, had they been trusted: once for each incident and runbook, oldest first."""
        held = (entries.c.kind == "decision") & (entries.c.decision == "hold") & (entries.c.at >= since)
        trust = entries.c.code.like("%shadow%") | entries.c.code.like("%held_for_approval%")
        query = select(entries).where(held & trust, entries.c.incident.is_not(None)).order_by(entries.c.number)
        found: dict[tuple[str, str], Logged] = {}
        with self.record.reading() as connection:
            for row in connection.execute(query).mappings():
                each = logged(dict(row))
                if set(each.entry.code.split(",")) <= UNTRUSTED:
                    found.setdefault((each.entry.incident or "", each.entry.runbook or ""), each)
            named = tuple({incident for incident, _ in found})
            known = many(connection, Incident, select(incidents).where(incidents.c.id.in_(named)))
        about = {each.id: each for each in known}
        return tuple(
            Case(
                each.at,
                runbook,
                about[incident].target,
                each.entry.code.split(",")[0],
                each.entry.sentence,
                about[incident],
            )
            for (incident, runbook), each in found.items()
            if incident in about
        )

    def counts(self, now: float) -> Counts:
        """Return how much of what stands in the record now, in one reading."""
        live = incidents.c.state.in_(LIVE)
        active = executions.c.state.in_(ACTIVE)
        holds = (pauses.c.scope == "all") & (pauses.c.until.is_(None) | (pauses.c.until > now))
        with self.record.reading() as connection:

            def by_state(table: Table, *where: ColumnElement[bool]) -> dict[str, int]:
                query = select(table.c.state, func.count()).where(*where).group_by(table.c.state)
                return {str(state): int(count) for state, count in connection.execute(query)}

            def count(table: Table, *where: ColumnElement[bool]) -> int:
                return int(connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one())

            return Counts(
                incidents=by_state(incidents, live),
                alerts=by_state(alerts),
                executions=by_state(executions, active),
                locks=count(locks),
                paused=bool(count(pauses, holds)),
                requests=count(requests, requests.c.finished.is_(False)),
            )


def written(
    connection: Connection, at: float, where: ColumnElement[bool], limit: int | None = None
) -> tuple[Logged, ...]:
    """Return the entries until a moment, the newest `limit` of them, in order."""
    query = select(entries).where(where, entries.c.at <= at).order_by(entries.c.number.desc()).limit(limit)
    rows = connection.execute(query).mappings().all()
    return tuple(logged(dict(row)) for row in reversed(rows))


def merged(*several: Sequence[Logged]) -> tuple[Logged, ...]:
    """Return entries in their order, each once."""
    each_once = {each.number: each for entries_ in several for each in entries_}
    return tuple(each_once[number] for number in sorted(each_once))


def parts(connection: Connection, target: str, at: float) -> tuple[Logged, ...]:
    """Return what was written until a moment of the newest runs for another host that took this one in.

    From the decision to run on it until its outcome, or until the next remedy was decided on, which may not take it in.
    """
    touching = select(execution_targets.c.execution).where(execution_targets.c.target == target)
    query = select(executions).where(
        executions.c.id.in_(touching), executions.c.target != target, executions.c.created_at <= at
    )
    query = query.order_by(executions.c.created_at.desc()).limit(MOST_RUNS)
    runs = {(each.incident, each.created_at) for each in many(connection, Execution, query) if each.incident}
    if not runs:
        return ()
    incident = entries.c.incident.in_({name for name, _ in runs})
    began = entries.c.at >= min(created for _, created in runs)
    found: list[Logged] = []
    within: set[str | None] = set()
    for each in written(connection, at, incident & began & entries.c.kind.in_(OF_RUNS)):
        name = each.entry.incident
        if each.decision == "run":
            within.discard(name)
            if (name, each.at) in runs:
                within.add(name)
        if name in within and (each.entry.kind != "decision" or each.decision == "run"):
            found.append(each)
    return tuple(found)


def alerts_of(seen: Sequence[Logged]) -> tuple[Alert, ...]:
    """Return the alerts that had not ended, by the last that was written of each."""
    last = {str(each.entry.data.get("fingerprint")): each for each in seen}
    return tuple(alert_of(each) for each in last.values() if each.entry.code != AlertState.RESOLVED)


def alert_of(each: Logged) -> Alert:
    """Return an alert from the line that was written when it changed its state."""
    data = each.entry.data
    labels, value, since = data.get("labels"), data.get("value"), data.get("active_since")
    return Alert(
        fingerprint=str(data.get("fingerprint")),
        runbook=each.entry.runbook or "",
        name=each.entry.sentence.partition(" on ")[0],
        labels=Labels({name: str(label) for name, label in labels.items()} if isinstance(labels, Mapping) else {}),
        target=each.entry.target,
        state=AlertState(each.entry.code),
        value=float(value) if isinstance(value, int | float) else math.nan,
        active_since=float(since) if isinstance(since, int | float) else each.at,
        last_true=each.at,
        last_seen=each.at,
        condition=str(data.get("condition") or ""),
    )


def lived(connection: Connection, target: str, at: float) -> Iterator[Then]:
    """Yield the incidents of a host that had been opened and had not ended."""
    over = incidents.c.ended_at.is_not(None) & (incidents.c.ended_at <= at) & (incidents.c.reopened == 0)
    query = select(incidents).where(incidents.c.target == target, incidents.c.opened_at <= at, ~over)
    for incident in many(connection, Incident, query.order_by(incidents.c.opened_at)):
        state, since, sentence = "open", incident.opened_at, ""
        for each in written(connection, at, entries.c.incident == incident.id):
            became = state_after(each)
            if became is not None:
                state, since, sentence = became, each.at, each.entry.sentence
        if state in LIVE:
            yield Then(incident, state, since, sentence)


def state_after(each: Logged) -> str | None:
    """Return the state of an incident after an entry about it; None when the entry does not change it."""
    entry = each.entry
    match entry.kind:
        case "fault":
            return "open"
        case "decision":
            return {"run": "remediating", "hold": "open", "escalate": "escalated"}.get(each.decision or "")
        case "execution":
            return "verifying" if entry.code in ("successful", "lost") else "open"
        case "verification" if entry.code == "fail":
            return "open"
        case "outcome":
            return "self_healed" if entry.code == "self_healed" else "resolved"
        case "operator" if entry.code == "hand_back":
            return "open"
    return None


def ran(connection: Connection, target: str, at: float) -> tuple[Execution, ...]:
    """Return the executions that had been ordered and had not ended."""
    touching = select(execution_targets.c.execution).where(execution_targets.c.target == target)
    open_ = executions.c.ended_at.is_(None) | (executions.c.ended_at > at)
    query = select(executions).where(executions.c.id.in_(touching), executions.c.created_at <= at, open_)
    return many(connection, Execution, query.order_by(executions.c.created_at))


def pauses_of(acts: Sequence[Logged], at: float) -> tuple[Pause, ...]:
    """Return the pauses that were in force."""
    standing: dict[str, Pause] = {}
    for each in acts:
        data, code = each.entry.data, each.entry.code
        scope, until, by = str(data.get("scope", "all")), data.get("until"), str(data.get("by", "mendbook"))
        if code == "resume":
            standing.pop(scope, None)
        elif code in ("pause", "stop", "restored"):
            reason = str(data.get("reason", each.entry.sentence.removeprefix("Paused: ")))
            end = float(until) if isinstance(until, int | float) else None
            standing[scope] = Pause(scope, by, reason, each.at, end, stop=code == "stop")
    return tuple(pause for pause in standing.values() if pause.until is None or pause.until > at)


def silences_of(acts: Sequence[Logged], at: float) -> tuple[Silence, ...]:
    """Return the silences that were in force."""
    standing: dict[str, Silence] = {}
    for each in acts:
        data, name = each.entry.data, str(each.entry.data.get("silence"))
        until = data.get("until")
        if each.entry.code == "unsilence":
            standing.pop(name, None)
        elif each.entry.code == "silence" and isinstance(until, int | float):
            reason = each.entry.sentence.partition(": ")[2]
            by = str(data.get("by", ""))
            standing[name] = Silence(name, str(data.get("selector")), by, reason, each.at, float(until))
    return tuple(silence for silence in standing.values() if silence.until > at)
