"""What a replay shows: each firing with what was decided and held, beside the incidents that the record has of that time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from engine.core.detect import named
from engine.core.localize import localize
from engine.core.review import STORM
from engine.model.decision import Change, Entry, Escalate, Hold, Run, Verdict
from engine.model.incident import Alert, AlertState, Incident
from engine.model.runbook import Catalog, Runbook, Scope
from engine.model.standing import Standing
from engine.model.target import Fleet
from engine.model.truth import Answer

TOLD: Final = frozenset({"execution", "verification", "outcome", "reminder"})
"""Kinds of entries that belong to the story of a firing beside its decisions."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that was decided or seen: `code` is run, hold or escalate for decisions; `guards` are those that objected."""

    at: float
    kind: str
    code: str
    sentence: str
    remedy: str = ""
    guards: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Firing:
    """An incident as the replay has it; `known` are the recorded ones that it would have caught, `beside` those of other resources.

    `earlier` is by how many seconds it would have been opened before the first of `known`; less than 0 is later.
    """

    id: str
    target: str
    resource: str
    runbook: str
    culprit: str | None
    began: float
    opened_at: float
    ended_at: float | None
    state: str
    outcome: str | None
    moments: tuple[Moment, ...]
    known: tuple[str, ...] = ()
    earlier: float | None = None
    beside: tuple[str, ...] = ()

    def count(self, code: str) -> int:
        """Return how many decisions were run, hold or escalate."""
        return sum(each.kind == "decision" and each.code == code for each in self.moments)


@dataclass(frozen=True, slots=True)
class Silent:
    """An alert that fired and opened no incident, and why."""

    at: float
    target: str
    alert: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Known:
    """A recorded incident of the runbook's resource: whether the replay has it, by how much earlier, and if not, why not."""

    id: str
    target: str
    resource: str
    runbook: str | None
    opened_at: float
    ended_at: float | None
    outcome: str | None
    caught: bool
    earlier: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Blind:
    """For how long the trigger could not be judged on a host: in all, and of the longest piece its ends and its reason."""

    target: str
    seconds: float
    since: float
    until: float
    reason: str


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a runbook would have decided, over the time from `since` to `until`; `assumed` says by what the replay goes.

    `wanted` is when it was to begin, where samples begin later. `recorded_since` is when the record begins that was compared
    with; None for none.
    """

    runbook: str
    params: Mapping[str, object]
    since: float
    until: float
    interval: float
    hosts: int
    ticks: int
    instants: int
    firings: tuple[Firing, ...]
    silent: tuple[Silent, ...]
    known: tuple[Known, ...]
    blind: tuple[Blind, ...]
    wanted: float | None = None
    recorded_since: float | None = None
    assumed: tuple[str, ...] = ()

    def unrecorded(self, firing: Firing) -> bool:
        """Return whether the record, which there was by then, has nothing of a firing."""
        over = self.until if firing.ended_at is None else firing.ended_at
        return not firing.known and self.recorded_since is not None and self.recorded_since <= over

    @property
    def runs(self) -> int:
        """Return how often a remedy would have been run."""
        return sum(each.count("run") for each in self.firings)

    @property
    def judged(self) -> float:
        """Return the share of hosts and time that could be judged."""
        whole = self.hosts * self.instants * self.interval
        return 1.0 - sum(each.seconds for each in self.blind) / whole if whole else 0.0


@dataclass(slots=True)
class Held:
    """For how long a condition was seen to hold without a break."""

    target: str
    since: float
    until: float
    fired: bool


@dataclass(slots=True)
class Watcher:
    """Takes note of what a replay shows about the runbook of one name."""

    name: str
    catalog: Catalog
    fleet: Fleet
    _incidents: dict[str, Incident] = field(default_factory=dict)
    _moments: defaultdict[str, list[Moment]] = field(default_factory=lambda: defaultdict(list))
    _runs: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _silent: list[Silent] = field(default_factory=list)
    _held: dict[tuple[str, float], Held] = field(default_factory=dict)
    _firing: frozenset[str] = frozenset()
    _blind: defaultdict[str, list[tuple[int, int, str]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def own(self) -> tuple[Runbook, ...]:
        """Return the variants of the runbook."""
        return self.catalog.variants(self.name)

    def see(self, now: float, alerts: Iterable[Alert], changes: Iterable[Change], standing: Standing) -> None:
        """Take note of a tick, and of what stands after it."""
        mine = [each for each in alerts if named(each.runbook) == self.name]
        for alert in mine:
            if alert.target is not None and alert.last_true == now:
                held = Held(alert.target, alert.active_since, now, alert.fired_at is not None)
                self._held[alert.fingerprint, alert.active_since] = held
        for change in changes:
            self._note(change)
        firing = {each.fingerprint: each for each in mine if each.state is AlertState.FIRING}
        live = {each.key for each in standing.incidents if each.state.live}
        resource = self.own[0].localize.resource if self.own else ""
        fresh = [each for name, each in firing.items() if name not in self._firing]
        unmet = [each for each in fresh if each.target is None or (each.target, resource) not in live]
        if unmet:
            symptoms = localize(alerts, {}, self.catalog, self.fleet, standing, now).symptoms
            for alert in unmet:
                why = symptoms.get((alert.target or "", resource)) or unopened(alert, standing)
                self._silent.append(Silent(now, alert.target or "", alert.name, why))
        self._firing = frozenset(firing)

    def told(self, runbook: Runbook, first: int, beyond: int, answer: Answer) -> None:
        """Take note of where a variant's trigger could not be judged from one instant to before another."""
        fleet_wide = runbook.trigger.scope is Scope.FLEET
        for target in self.fleet:
            if not runbook.applies_to(target.name) or (fleet_wide and runbook.localize.target != target.name):
                continue
            missing = answer.fleet_missing() if fleet_wide else answer.missing(target.instances)
            if missing:
                self._blind[target.name].append((first, beyond, "; ".join(dict.fromkeys(missing))))

    def firings(self) -> tuple[Firing, ...]:
        """Return the incidents that the runbook's own trigger took part in, oldest first."""
        found = [each for each in self._incidents.values() if self._is_mine(each)]
        return tuple(
            Firing(
                id=each.id,
                target=each.target,
                resource=each.resource,
                runbook=each.runbook or self.name,
                culprit=each.culprit,
                began=each.first_active,
                opened_at=each.opened_at,
                ended_at=each.ended_at,
                state=str(each.state),
                outcome=None if each.outcome is None else str(each.outcome),
                moments=tuple(self._moments[each.id]),
            )
            for each in sorted(found, key=lambda each: (each.opened_at, each.target))
        )

    def silent(self) -> tuple[Silent, ...]:
        """Return the alerts that fired and opened no incident."""
        return tuple(self._silent)

    def held(self) -> tuple[Held, ...]:
        """Return for how long the condition held, each time that it did."""
        return tuple(self._held.values())

    def blind(self, start: float, interval: float) -> tuple[Blind, ...]:
        """Return where the trigger could not be judged, the longest first."""
        found = []
        for target, runs in self._blind.items():
            pieces = joined(runs)
            first, beyond, reason = max(pieces, key=lambda piece: piece[1] - piece[0])
            seconds = sum(end - begin for begin, end, _ in pieces) * interval
            found.append(Blind(target, seconds, start + first * interval, start + beyond * interval, reason))
        return tuple(sorted(found, key=lambda each: (-each.seconds, each.target)))

    def _note(self, change: Change) -> None:
        incident = change.incident
        if incident is None or incident.key == STORM:
            return
        self._incidents[incident.id] = incident
        moments = self._moments[incident.id]
        if change.decision is not None:
            verdicts = change.decision.verdicts
            code = {Run: "run", Hold: "hold", Escalate: "escalate"}[type(change.decision)]
            if isinstance(change.decision, Run):
                self._runs[incident.id].append(change.decision.execution.id)
            sentence = next((each.sentence for each in change.entries if each.kind == "decision"), incident.reason)
            sentence = nameless(sentence, self._runs[incident.id])
            against = tuple(each for each in verdicts if not each.allowed)
            moments.append(Moment(change.at, "decision", code, sentence, self._remedy(change), against))
        moments += (
            as_moment(change.at, each, self._runs[incident.id])
            for each in change.entries
            if each.kind in TOLD or each.code == "reopened"
        )

    def _remedy(self, change: Change) -> str:
        """Return the remedy that a decision is about."""
        incident = change.incident
        if isinstance(change.decision, Run) or incident is None:
            return change.decision.execution.remedy if isinstance(change.decision, Run) else ""
        for runbook in self.catalog.variants(incident.runbook or ""):
            if runbook.applies_to(incident.target) and incident.rung < len(runbook.ladder):
                return runbook.ladder[incident.rung].name
        return ""

    def _is_mine(self, incident: Incident) -> bool:
        variants = incident.fault.runbooks if incident.fault is not None else ()
        return incident.runbook == self.name or any(named(each) == self.name for each in variants)


def as_moment(at: float, entry: Entry, runs: Iterable[str] = ()) -> Moment:
    """Return an entry as a moment of a firing's story."""
    return Moment(at, entry.kind, entry.code, nameless(entry.sentence, runs))


def nameless(sentence: str, runs: Iterable[str]) -> str:
    """Return a sentence without the names of runs, which in a replay are of none that can be looked up."""
    for name in runs:
        sentence = sentence.removeprefix(f"{name} ").replace(f" ({name})", "").replace(name, "the run")
    return sentence


def unopened(alert: Alert, standing: Standing) -> str:
    """Say why an alert that fires has no incident, and nothing explains it."""
    if alert.target is None:
        return alert.reason
    held = next((each.held for each in standing.alerts if each.fingerprint == alert.fingerprint), "")
    return held or "the incident that ended before it has not been seen to clear"


def joined(runs: Iterable[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Return stretches that follow one another as one, with the reason of the longest part."""
    pieces: list[tuple[int, int, str]] = []
    longest = 0
    for first, beyond, reason in sorted(runs):
        if pieces and pieces[-1][1] >= first:
            begin, end, said = pieces[-1]
            if beyond - first > longest:
                longest, said = beyond - first, reason
            pieces[-1] = (begin, max(end, beyond), said)
        else:
            pieces.append((first, beyond, reason))
            longest = beyond - first
    return pieces


def compare(
    watcher: Watcher, recorded: Iterable[Incident], blind: Iterable[Blind], until: float, slack: float
) -> tuple[tuple[Firing, ...], tuple[Known, ...]]:
    """Return the firings with what the record has beside them, and the recorded incidents with what the replay has of them.

    They are the same fault where host and resource are, and their times overlap or are less than `slack` seconds apart.
    """
    firings = watcher.firings()
    resources = {each.localize.resource for each in watcher.own}
    everyone = [each for each in recorded if each.key != STORM]
    wanted = [
        each
        for each in everyone
        if (each.resource in resources or each.runbook == watcher.name)
        and any(own.applies_to(each.target) for own in watcher.own)
    ]
    of: dict[str, list[Incident]] = {firing.id: [] for firing in firings}
    known = []
    for incident in wanted:
        own = [each for each in firings if each.target == incident.target and near(each, incident, until, slack)]
        for firing in own:
            of[firing.id].append(incident)
        earlier = incident.opened_at - min(each.opened_at for each in own) if own else None
        why = "" if own else why_missed(watcher, incident, blind, until)
        known.append(known_as(incident, earlier, why))
    told_of = {each.id for each in wanted}
    found = []
    for firing in firings:
        same = sorted(of[firing.id], key=lambda each: each.opened_at)
        beside = tuple(
            each.id
            for each in everyone
            if each.id not in told_of and each.target == firing.target and near(firing, each, until, slack)
        )
        ids = tuple(each.id for each in same)
        earlier = same[0].opened_at - firing.opened_at if same else None
        found.append(replace(firing, known=ids, earlier=earlier, beside=beside))
    return tuple(found), tuple(sorted(known, key=lambda each: each.opened_at))


def near(firing: Firing, incident: Incident, until: float, slack: float) -> bool:
    """Return whether the times of a firing and of a recorded incident overlap, or nearly."""
    began = incident.first_active or incident.opened_at
    ended = until if incident.ended_at is None else incident.ended_at
    over = until if firing.ended_at is None else firing.ended_at
    return firing.began <= ended + slack and over >= began - slack


def known_as(incident: Incident, earlier: float | None, why: str) -> Known:
    """Return a recorded incident as the replay has it, or has not."""
    return Known(
        id=incident.id,
        target=incident.target,
        resource=incident.resource,
        runbook=incident.runbook,
        opened_at=incident.opened_at,
        ended_at=incident.ended_at,
        outcome=None if incident.outcome is None else str(incident.outcome),
        caught=earlier is not None,
        earlier=earlier,
        why=why,
    )


def why_missed(watcher: Watcher, incident: Incident, blind: Iterable[Blind], until: float) -> str:
    """Say why the replay has nothing of a recorded incident."""
    began = incident.first_active or incident.opened_at
    ended = until if incident.ended_at is None else incident.ended_at
    for each in watcher.silent():
        if each.target == incident.target and began <= each.at <= ended:
            return f"{each.alert} fires, and opens no incident: {each.sentence}"
    held = [
        each
        for each in watcher.held()
        if each.target == incident.target and each.since <= ended and each.until >= began
    ]
    if held:
        longest = max(each.until - each.since for each in held)
        wait = max(own.trigger.for_ for own in watcher.own)
        return f"the condition held for {longest:.0f}s at most, and `for` is {wait:.0f}s"
    for dark in blind:
        if dark.target == incident.target and dark.since <= ended and dark.until >= began:
            return f"the condition could not be judged: {dark.reason}"
    return "the condition did not hold"
