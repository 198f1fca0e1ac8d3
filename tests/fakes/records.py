"""The record in memory: what `engine.records` promises, without a disk; for tests of everything above it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from engine.model.decision import Change, Entry
from engine.model.execution import Execution, TaskEvent
from engine.model.incident import Alert, Attempt, Incident
from engine.model.runbook import Value
from engine.model.standing import Lock, Pause, Request, Silence, Standing

DAY = 86_400.0
RECENT = 1_000


class MemoryRecords:
    """Keeps `engine.ports.Records` and the operators' side of it; everything stored is open to assertions."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.version = 0
        self.entries: list[Entry] = []
        self.changes: list[Change] = []
        """Every change that was stored, in order."""
        self.alerts: tuple[Alert, ...] = ()
        self.incidents: dict[str, Incident] = {}
        self.attempts: dict[str, Attempt] = {}
        self.executions: dict[str, Execution] = {}
        self.locks: dict[str, Lock] = {}
        self.pauses: dict[str, Pause] = {}
        self.silences: dict[str, Silence] = {}
        self.requests: dict[str, Request] = {}
        self.results: dict[str, str] = {}
        """What finished requests came to."""
        self.task_events: dict[str, dict[int, TaskEvent]] = {}
        self.last_tick: float | None = None
        self.fleet: frozenset[str] = frozenset()

    def standing(self, now: float) -> Standing:
        """Return one consistent reading of everything a tick needs."""
        ended = [one for one in self.incidents.values() if not one.state.live and since_end(one, now) <= DAY]
        ended = sorted(ended, key=lambda one: (one.ended_at or 0.0, one.id), reverse=True)[:RECENT]
        live = [one for one in self.incidents.values() if one.state.live]
        return Standing(
            version=self.version,
            alerts=self.alerts,
            incidents=tuple(sorted([*live, *ended], key=lambda one: (one.opened_at, one.id))),
            attempts=tuple(
                sorted(
                    (one for one in self.attempts.values() if one.started_at >= now - DAY),
                    key=lambda one: (one.started_at, one.id),
                )
            ),
            executions=tuple(sorted(self.active(), key=lambda one: (one.created_at, one.id))),
            locks=tuple(self.locks[target] for target in sorted(self.locks)),
            pauses=tuple(
                self.pauses[scope]
                for scope in sorted(self.pauses)
                if (until := self.pauses[scope].until) is None or until > now
            ),
            silences=tuple(
                sorted((one for one in self.silences.values() if one.until > now), key=lambda one: (one.since, one.id))
            ),
            requests=tuple(
                sorted(
                    (one for one in self.requests.values() if one.id not in self.results),
                    key=lambda one: (one.at, one.id),
                )
            ),
            last_tick=self.last_tick,
            fleet=self.fleet,
        )

    def commit(self, change: Change) -> bool:
        """Store the change if the record still is at its version; return whether it was stored."""
        if change.version != self.version or not self.fits(change):
            return False
        self.version += 1
        if change.alerts is not None:
            self.alerts = change.alerts
            self.last_tick = change.at
        if change.incident is not None:
            self.incidents[change.incident.id] = change.incident
            if change.incident.attempt is not None:
                self.attempts[change.incident.attempt.id] = change.incident.attempt
        if change.execution is not None:
            self.executions[change.execution.id] = change.execution
        for target in change.unlock:
            self.locks.pop(target, None)
        for target in change.locks:
            self.locks.setdefault(target, Lock(target, change.owner, change.at, change.why))
        if change.finished_request in self.requests:
            self.results.setdefault(change.finished_request, change.request_result)
        if change.fleet is not None:
            self.fleet = change.fleet
        self.entries.extend(change.entries)
        self.changes.append(change)
        return True

    def fits(self, change: Change) -> bool:
        """Return whether no target that the change locks or runs on is another's."""
        held = {target: lock.owner for target, lock in self.locks.items() if target not in change.unlock}
        if any(held.get(target, change.owner) != change.owner for target in change.locks):
            return False
        execution = change.execution
        if execution is None or not execution.state.active:
            return True
        return all(one.id == execution.id or not one.targets & execution.targets for one in self.active())

    def active(self) -> list[Execution]:
        """Return the executions that have not ended."""
        return [one for one in self.executions.values() if one.state.active]

    def follow(self, execution: str) -> int:
        """Return the number of the last event stored of this execution (0 for none)."""
        return max(self.task_events.get(execution, {}), default=0)

    def events(self, execution: str, events: Sequence[TaskEvent]) -> None:
        """Store events of an execution; one that is stored already is not stored again."""
        stored = self.task_events.setdefault(execution, {})
        for event in events:
            stored.setdefault(event.number, event)

    def request(self, request: Request) -> None:
        """Append what an operator asks for; the version stays."""
        self.requests.setdefault(request.id, request)

    def request_state(self, request: str) -> tuple[str, str] | None:
        """Return ("open" or "finished", result); None for a request that was never made."""
        if request not in self.requests:
            return None
        return ("finished", self.results[request]) if request in self.results else ("open", "")

    def pause(self, pause: Pause) -> Pause | None:
        """Store the pause in place of one with the same scope, unless that holds longer; a change planned before it is refused."""
        there = self.pauses.get(pause.scope)
        if there is not None and there.outlasts(pause, self.clock()):
            return there
        self.pauses[pause.scope] = pause
        what = "stopped everything" if pause.stop else f"paused {pause.scope}"
        data: dict[str, Value] = {"by": pause.by, "scope": pause.scope, "until": pause.until, "reason": pause.reason}
        self.operator(f"{pause.by} {what}: {pause.reason}", "stop" if pause.stop else "pause", data)
        return None

    def resume(self, scope: str, by: str, reason: str) -> bool:
        """End the pause of that scope; return whether there was one that had not run out."""
        pause = self.pauses.pop(scope, None)
        if pause is None:
            return False
        self.operator(f"{by} resumed {scope}: {reason}", "resume", {"by": by, "scope": scope})
        return pause.until is None or pause.until > self.clock()

    def silence(self, silence: Silence) -> None:
        """Store the silence in place of one with the same id; a change planned before it is refused."""
        self.silences[silence.id] = silence
        more = {"silence": silence.id, "selector": silence.selector, "until": silence.until}
        sentence = f"{silence.by} silenced {silence.selector}: {silence.reason}"
        self.operator(sentence, "silence", {"by": silence.by, **more})

    def unsilence(self, silence: str, by: str, reason: str) -> bool:
        """End the silence with that id; return whether there was one that had not run out."""
        found = self.silences.pop(silence, None)
        if found is None:
            return False
        more = {"silence": silence, "selector": found.selector}
        self.operator(f"{by} ended the silence of {found.selector}: {reason}", "unsilence", {"by": by, **more})
        return found.until > self.clock()

    def release_lock(self, target: str, by: str, reason: str) -> bool:
        """Free the target; return whether it was locked."""
        lock = self.locks.pop(target, None)
        if lock is None:
            return False
        sentence = f"{by} broke the lock of {lock.owner} on {target}: {reason}"
        self.operator(sentence, "release_lock", {"by": by}, target)
        return True

    def operator(self, sentence: str, code: str, data: Mapping[str, Value], target: str | None = None) -> None:
        """Count the version on and say who did what."""
        self.version += 1
        self.entries.append(Entry("operator", sentence, target=target, code=code, data=data))


def since_end(incident: Incident, now: float) -> float:
    """Return how long ago an incident ended, in seconds."""
    ended = incident.ended_at if incident.ended_at is not None else incident.changed_at
    return now - ended
