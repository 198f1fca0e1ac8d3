"""A world that changes at random, and what must hold in it whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from engine.controller import Tick
from engine.core.draft import apply
from engine.core.guards import troubled
from engine.model.decision import Change, Run
from engine.model.execution import Execution, ExecutionState, Report, TaskEvent
from engine.model.incident import Incident, IncidentState, Outcome
from engine.model.runbook import Guards, Limits, MinHealthy
from engine.model.standing import Pause, Request, Standing
from engine.records.desk import Desk
from engine.records.store import Record
from tests.fakes.records import MemoryRecords
from tests.fakes.world import Crash, FakeExecutor, House, runbook

HOSTS = ("web-1", "web-2", "web-3", "web-4", "lb")
RUNBOOKS = ("node", "slow", "full")
LUCK = ("mends", "idle", "fails", "times out", "lost", "stuck")
"""How executions end: mended; without effect; failed; timed out; lost; lost and not proved ended."""
SIGNAL = {"node": "down", "cpu": "hot", "disk": "full"}
DAY = 86_400.0


@dataclass
class LuckyExecutor(FakeExecutor):
    """Ends each execution as the world's luck was when it began."""

    luck: str = "mends"
    fates: dict[str, str] = field(default_factory=dict)

    def start(self, execution: Execution) -> None:
        self.fates.setdefault(execution.id, self.luck)
        super().start(execution)

    def report(self, execution: str, after: int) -> Report:
        report = super().report(execution, after)
        if report.state is not ExecutionState.SUCCESSFUL:
            return report
        match self.fates[execution]:
            case "fails":
                return replace(report, state=ExecutionState.FAILED)
            case "times out":
                return replace(report, state=ExecutionState.TIMEOUT)
            case "lost":
                return replace(report, state=ExecutionState.LOST)
            case "stuck":
                return replace(report, state=ExecutionState.LOST, contained=False)
        return report


class WatchedRecords(MemoryRecords):
    """Has every change looked at before and after it is stored; dies at the k-th commit."""

    def __init__(self, clock: Callable[[], float], look: Callable[[Standing, Change, Standing], None]) -> None:
        super().__init__(clock)
        self.look = look
        self.crash_in: int | None = None
        self.after = False

    def commit(self, change: Change) -> bool:
        dies = self.crash_in == 1
        self.crash_in = None if self.crash_in is None or dies else self.crash_in - 1
        if dies and not self.after:
            raise Crash
        before = self.standing(change.at)
        stored = self.store(change)
        if stored:
            self.look(before, change, self.standing(change.at))
        if dies:
            raise Crash
        return stored

    def store(self, change: Change) -> bool:
        return super().commit(change)


class TwinRecords(WatchedRecords):
    """Stores everything in a database too, and holds the two to be the same."""

    def __init__(
        self, clock: Callable[[], float], look: Callable[[Standing, Change, Standing], None], twin: Record
    ) -> None:
        super().__init__(clock, look)
        self.twin, self.desk = twin, Desk(twin)

    def standing(self, now: float) -> Standing:
        standing = super().standing(now)
        assert self.twin.standing(now) == standing
        return standing

    def store(self, change: Change) -> bool:
        stored = super().store(change)
        assert self.twin.commit(change) is stored
        return stored

    def events(self, execution: str, events: Sequence[TaskEvent]) -> None:
        super().events(execution, events)
        self.twin.events(execution, events)

    def request(self, request: Request) -> None:
        super().request(request)
        self.desk.request(request)

    def pause(self, pause: Pause) -> Pause | None:
        there = super().pause(pause)
        assert self.desk.pause(pause) == there
        return there

    def resume(self, scope: str, by: str, reason: str) -> bool:
        self.desk.resume(scope, by, reason)
        return super().resume(scope, by, reason)

    def release_lock(self, target: str, by: str, reason: str) -> bool:
        self.desk.release_lock(target, by, reason)
        return super().release_lock(target, by, reason)


def plain(standing: Standing) -> Standing:
    """Return a standing in which order says nothing, and what is too old to be seen is left out."""
    return replace(
        standing,
        incidents=tuple(sorted(standing.incidents, key=lambda each: each.id)),
        attempts=tuple(sorted(standing.attempts, key=lambda each: each.id)),
        executions=tuple(sorted(standing.executions, key=lambda each: each.id)),
        locks=tuple(sorted(standing.locks, key=lambda each: each.target)),
    )


class Walk(House):
    """A fleet of five behind a balancer, three runbooks with every limit, and rules that are checked at each commit."""

    guards = Guards(cooldown=5.0, max_attempts=3, min_healthy=MinHealthy("web", 2), max_per_hour=20, max_concurrent=2)

    def __init__(self, twin: Record | None = None) -> None:
        books = (
            runbook("node", expr="down", resource="node", remedies=("one", "two"), within=8.0, guards=self.guards),
            runbook("slow", expr="hot", resource="cpu", remedies=("one", "two"), within=6.0, for_=2.0, guards=self.guards),
            runbook("full", expr="full", resource="disk", keep_firing_for=4.0, longest_range=5.0, guards=self.guards),
        )  # fmt: skip
        super().__init__(
            *books,
            hosts=HOSTS,
            depends_on={"lb": HOSTS[:4]},
            groups={"lb": ("lb",)},
            limits=Limits(interval=1.0, storm=3, max_concurrent=2, max_targets=1.0, reopen=30.0, grace=3.0),
        )
        now = self.clock.now
        self.watched = WatchedRecords(now, self.look) if twin is None else TwinRecords(now, self.look, twin)
        self.lucky = LuckyExecutor(self.clock, self.work)
        self.records, self.executor = self.watched, self.lucky  # type: ignore[assignment]
        self.controller = self.boot()
        self.asked = 0
        self.false_at: dict[tuple[str, str], float] = {}
        self.released: set[str] = set()
        """Hosts whose lock a person released: a run that was under way there may go on without."""

    def ticked(self, tick: Tick) -> None:
        assert not tick.lost, "nobody else commits: the plan did not fit its own record"

    def work(self, execution: Execution) -> ExecutionState:
        if self.lucky.fates[execution.id] == "mends":
            super().work(execution)
        return ExecutionState.SUCCESSFUL

    def sick(self, incident: Incident) -> bool:
        """Return whether the fault is really there."""
        return incident.target in self.world.true.get(SIGNAL[incident.resource], set())

    def look(self, before: Standing, change: Change, after: Standing) -> None:
        """Check one change against the rules."""
        assert plain(apply(before, change)) == plain(after)
        if isinstance(change.decision, Run):
            self.check_start(before, change, change.decision.execution, after)
        incident = change.incident
        if change.alerts is not None:
            self.note_false(change.at)
        if incident is not None and incident.resource != "storm":
            self.check_reopening(before, incident, change.at)
            self.check_grace(before, incident, change.at)
            was = next((each for each in before.incidents if each.id == incident.id), None)
            if was is not None and was.state.live and not incident.state.live and incident.code != "closed":
                assert incident.target not in self.world.silent, "healed without data"
                assert SIGNAL[incident.resource] not in self.world.broken, "healed though nothing could be judged"
                assert not self.sick(incident) or incident.resource == "disk", "healed and still sick"
            if incident.state is IncidentState.RESOLVED and incident.outcome is Outcome.RESOLVED:
                assert was is not None
                if was.state.live:
                    assert was.state is IncidentState.VERIFYING
                    assert incident.progress.held >= 2.0
            if was is not None and incident.rung > was.rung and was.state is IncidentState.VERIFYING:
                assert incident.target not in self.world.silent, "climbed without data"
        self.check_standing(after)

    def note_false(self, now: float) -> None:
        """Remember which triggers are seen to be false."""
        for resource, expr in SIGNAL.items():
            if expr not in self.world.broken:
                well = set(HOSTS) - self.world.silent - self.world.true.get(expr, set())
                self.false_at |= {(host, resource): now for host in well}

    def check_reopening(self, before: Standing, incident: Incident, now: float) -> None:
        """Check that what recovered is not taken up again before its trigger was false or its range has passed."""
        ended = [each for each in before.incidents if each.key == incident.key and each.ended_at is not None]
        opened = incident.opened_at == now and all(each.id != incident.id for each in before.incidents)
        reopened = any(each.id == incident.id and each.reopened < incident.reopened for each in ended)
        if ended and (opened or reopened) and incident.triggered_by == "engine" and incident.resource == "disk":
            last = max(each.ended_at or 0.0 for each in ended)
            assert self.false_at.get(incident.key, 0.0) > last or now >= last + 5.0, "taken up again too soon"

    def check_grace(self, before: Standing, incident: Incident, now: float) -> None:
        """Check that what may be a run's own doing opens nothing until its grace is over."""
        if incident.opened_at != now or any(each.id == incident.id for each in before.incidents):
            return
        if incident.triggered_by != "engine" or incident.resource == "storm":
            return
        keys = {each.id: each.key for each in before.incidents}
        for attempt in before.attempts:
            recent = attempt.ran_until is None or now < attempt.ran_until + 3.0
            other = keys.get(attempt.incident) != incident.key
            if other and recent and incident.target in attempt.hosts:
                assert incident.first_active < attempt.started_at, "opened within the grace after a run"

    def check_start(self, before: Standing, change: Change, execution: Execution, after: Standing) -> None:
        """Check what is about to begin."""
        assert execution.id not in self.records.executions or self.records.executions[execution.id].state.active
        assert execution.id not in self.lucky.begun, "begun before"
        assert not any(pause.covers(execution.runbook, execution.target, change.at) for pause in before.pauses)
        busy = {target for each in before.executions for target in each.targets}
        assert not busy & execution.targets
        foreign = {lock.target for lock in before.locks if lock.owner != execution.incident}
        assert not foreign & execution.targets
        well = [
            host
            for host in HOSTS
            if host not in execution.targets
            and host not in self.world.silent
            and host not in self.world.true.get("down", set())
            and host not in {lock.target for lock in after.locks}
        ]
        assert len(well) >= 2, "fewer than min_healthy stay"
        if execution.triggered_by == "engine":
            assert len(troubled(before)) <= 3, "begun in a storm"
            called = {each.target for each in before.incidents if each.state is IncidentState.ESCALATED}
            assert not called & execution.targets, "begun where a human was called"
            incident = next(each for each in before.incidents if each.id == execution.incident)
            assert execution.target not in self.world.silent, "begun without data"
            assert self.sick(incident) or incident.resource == "disk", "begun where nothing is wrong"
        tries = Counter((each.target, each.runbook) for each in after.attempts if each.started_at > change.at - DAY)
        assert tries[execution.target, execution.runbook] <= self.guards.max_attempts

    def check_standing(self, standing: Standing) -> None:
        """Check what must hold between any two commits."""
        assert len(standing.executions) <= self.limits.max_concurrent
        for name in RUNBOOKS:
            assert sum(each.runbook == name for each in standing.executions) <= 2
        targets = [target for each in standing.executions for target in each.targets]
        assert len(targets) == len(set(targets)), "two executions share a target"
        held = {lock.target: lock.owner for lock in standing.locks}
        assert len(held) == len(standing.locks)
        for execution in standing.executions:
            owners = {held.get(target) for target in execution.targets - self.released}
            assert owners <= {execution.incident or execution.id}
        for lock in standing.locks:
            assert lock.owner in self.owners(standing), f"nobody owns the lock on {lock.target}"
        keys = Counter(each.key for each in standing.incidents if each.state.live)
        assert not keys or keys.most_common(1)[0][1] == 1, "two live incidents of one key"
        for incident in standing.incidents:
            running = [each for each in standing.executions if each.incident == incident.id]
            assert bool(running) is (incident.state is IncidentState.REMEDIATING)

    def owners(self, standing: Standing) -> set[str]:
        """Return who may hold a lock: what lives, and what was not proved ended."""
        owners = {each.id for each in standing.incidents if each.state.live}
        owners |= {each.id for each in standing.executions}
        owners |= {each.incident for each in standing.attempts if each.unproved}
        return owners | {name for name, fate in self.lucky.fates.items() if fate == "stuck"}

    def act(self, kind: str, host: str, number: int) -> None:
        """Let one thing happen."""
        live = [each for each in self.records.incidents.values() if each.state.live]
        expr = ("down", "hot", "full")[number % 3]
        match kind:
            case "break":
                self.breaks(host, expr)
            case "mend":
                self.mended(host, expr)
            case "silence":
                self.world.silent.add(host)
            case "speak":
                self.world.silent.discard(host)
            case "err":
                self.world.broken ^= {expr, f"not {expr}"}
            case "luck":
                self.lucky.luck = LUCK[number % len(LUCK)]
            case "crash":
                self.watched.crash_in, self.watched.after = 1 + number % 6, number % 2 == 0
            case "down":
                self.clock.time += 10.0 * number
            case "jump":
                self.clock.shift += 100.0 * (number - 5)
            case "pause":
                scope = ("all", f"host:{host}", f"runbook:{RUNBOOKS[number % 3]}")[number % 3]
                self.records.pause(Pause(scope, "ann", "", self.clock.now(), self.clock.now() + 20.0))
            case "release":
                if self.records.release_lock(host, "ann", ""):
                    self.released.add(host)
            case "run":
                self.ask("run", RUNBOOKS[number % 3], host, check=number > 6)
            case "cancel":
                for execution in self.records.active()[:1]:
                    self.ask("cancel", execution.id)
            case "close" | "acknowledge" | "hand_back":
                if live:
                    self.ask(kind, live[number % len(live)].id)

    def ask(self, kind: str, subject: str, *targets: str, check: bool = False) -> None:
        self.asked += 1
        request = Request(f"r{self.asked}", kind, "ann", "", self.clock.now(), subject, targets, check=check)
        self.records.request(request)

    def calm(self) -> None:
        """End every trouble and give the engine time."""
        self.world.true.clear()
        self.world.silent.clear()
        self.world.broken.clear()
        self.watched.crash_in = None
        for scope in list(self.records.pauses):
            self.records.resume(scope, "ann", "")
        self.run(60)


ACTIONS = (
    *("break",) * 6, *("mend",) * 2, *("silence",) * 2, *("speak",) * 2, *("luck",) * 3, *("crash",) * 3, *("run",) * 2,
    "err", "down", "jump", "pause", "release", "cancel", "close", "acknowledge", "hand_back",
)  # fmt: skip
