"""One drill from its steady state before to its steady state after; whatever happens in between, the undo runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engine.chaos import harm
from engine.chaos.experiment import Ending, Experiment, Hit, When
from engine.chaos.inject import Injector
from engine.chaos.place import DrillError, Place
from engine.chaos.probes import Shell, answers_ssh, page
from engine.chaos.result import Result
from engine.chaos.running import Engine, live, reading, story, unrest, unseen
from engine.chaos.score import Seen, Story, false_alarms, incidents_about, judge, news, timeline, wrong_acts
from engine.chaos.steady import HTTP, OK, ills, wait_steady
from engine.chaos.traffic import Tally, Traffic
from engine.model.incident import IncidentState

QUIET = 6.0
"""Seconds without anything ill or any alert, before it counts as steady."""
PATIENCE = 240.0
LOOK_EVERY = 1.0
FOR_REMEDY = 120.0
"""So long is waited for an execution in which something is to happen."""
AFTER_CALL = 10.0
"""So long is watched after a person was called: whether anything is touched nevertheless."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What drills work with; `traffic` makes the traffic of one drill, None where the lab has no balancer."""

    place: Place
    engine: Engine
    injector: Injector
    shell: Shell
    folder: Path
    say: Callable[[str], None]
    rate: float = 20.0
    stop: threading.Event = field(default_factory=threading.Event)

    def pause(self, seconds: float) -> None:
        """Let time pass. Raises KeyboardInterrupt as soon as somebody wants the end."""
        if self.stop.wait(seconds):
            raise KeyboardInterrupt

    @property
    def acknowledged(self) -> Path:
        """The list of transfers that were acknowledged."""
        return self.folder / "acknowledged"

    def traffic(self, seed: int) -> Traffic | None:
        """Return traffic that is not started yet."""
        balancers = self.place.group("balancers")
        if not balancers:
            return None
        return Traffic(f"http://{balancers[0].address}:{HTTP}", self.acknowledged, rate=self.rate, seed=seed)

    def unsteady(self) -> list[str]:
        """Say what is not steady: services seen from outside, and the engine's own view."""
        said = ills(self.place, self.shell)
        with reading(self.place) as history:
            return said + unseen(self.place) + unrest(history)


@dataclass(slots=True)
class Watch:
    """Looks from outside at what was injected, in a thread of its own, until it is told to end."""

    bench: Bench
    hits: dict[str, Hit] = field(default_factory=dict)
    looks: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def add(self, hit: Hit) -> None:
        """Look at one more."""
        key = name_of(hit)
        self.hits[key], self.looks[key] = hit, []
        thread = threading.Thread(target=self.run, args=(key,), name=f"look {key}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def run(self, key: str) -> None:
        """Look again and again."""
        while not self._end.is_set():
            at = time.time()
            self.looks[key].append((at, well(self.bench, self.hits[key])))
            self._end.wait(max(0.0, LOOK_EVERY - (time.time() - at)))

    def stop(self) -> None:
        """End."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def good(self, key: str) -> bool:
        """Return whether the last look was well."""
        return bool(self.looks[key]) and self.looks[key][-1][1]


def name_of(hit: Hit) -> str:
    """Return what names a hit within a drill."""
    return f"{hit.injection.name}@{hit.node}"


def well(bench: Bench, hit: Hit) -> bool:
    """Return whether nothing of an injection is to be seen from outside."""
    node = bench.place.node(hit.watched)
    if not answers_ssh(node):
        return False
    if hit.recovered:
        return bench.shell.holds(node, hit.recovered)
    return "web" not in node.groups or page(node, HTTP, "/healthz")[0] == OK


@dataclass(slots=True)
class Drill:
    """One repeat of one experiment, with the nodes that were chosen for it."""

    bench: Bench
    experiment: Experiment
    hits: tuple[Hit, ...]
    repeat: int
    seed: int
    version: str
    commit: str
    seen: dict[str, Seen] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """What names it in the journal and in folders."""
        return f"{self.experiment.name}-{self.repeat}"

    def run(self) -> Result:
        """Run it; return how it went. Raises DrillError when it cannot begin, or the lab does not come back."""
        bench = self.bench
        began = time.time()
        wait_steady(bench.unsteady, PATIENCE, QUIET, bench.pause, bench.say)
        then = harm.before(bench.place, bench.acknowledged)
        traffic = bench.traffic(self.seed + self.repeat)
        if traffic is not None:
            traffic.start()
            bench.pause(3.0)
        watch = Watch(bench)
        try:
            self.play(watch)
        finally:
            self.undo(watch)
            watch.stop()
            if traffic is not None:
                traffic.stop()
        self.finish()
        return self.result(began, then, traffic.tally if traffic is not None else Tally())

    def play(self, watch: Watch) -> None:
        """Inject in order, and wait for the end."""
        for hit in self.hits:
            if hit.injection.when is When.BEFORE:
                self.inject(hit, watch)
        for hit in self.hits:
            if hit.injection.when is When.START:
                self.inject(hit, watch)
        later = [hit for hit in self.hits if hit.injection.when is When.REMEDY]
        if later:
            self.await_remedy()
            for hit in later:
                self.inject(hit, watch)
        self.await_end(watch)

    def inject(self, hit: Hit, watch: Watch) -> None:
        """Do one injection, and look at it from then on."""
        if hit.injection.action == "engine-kill":
            self.bench.say("killing the engine, and starting it again at once")
            at = time.time()
            self.bench.engine.kill()
            self.bench.engine.start()
        else:
            _, at = self.bench.injector.inject(self.id, hit, self.bench.place.node(hit.node))
        if hit.truth is not None:
            watch.add(hit)
        self.seen[name_of(hit)] = Seen(hit, at)

    @property
    def zero(self) -> float:
        """When the first injection took effect, those in wait left out."""
        ats = [each.at for each in self.seen.values() if each.hit.injection.when is not When.BEFORE]
        return min(ats, default=time.time())

    def story(self) -> Story:
        """Return what the engine's record says since shortly before the first injection."""
        with reading(self.bench.place) as history:
            return story(history, self.zero - 1.0)

    def await_remedy(self) -> None:
        """Wait until an execution of the engine runs. Raises DrillError when none does."""
        end = time.monotonic() + FOR_REMEDY
        while time.monotonic() < end:
            if any(each.state == "running" for each in self.story().executions):
                return
            self.bench.pause(0.2)
        self.remarks.append(
            f"no remedy ran within {FOR_REMEDY:.0f}s, so that what belongs into it was injected after that"
        )

    def await_end(self, watch: Watch) -> None:
        """Wait until everything came to its end and was observed for a while, or the limit is over."""
        limit = self.zero + self.experiment.limit
        since: float | None = None
        told = ""
        while (now := time.time()) < limit + self.experiment.observe:
            self.bench.pause(0.5)
            known = self.story()
            told = self.tell(known, told)
            if all(self.over(each, known, watch) for each in self.seen.values() if each.hit.truth is not None):
                since = since or now
                called = any(each.state is IncidentState.ESCALATED for each in known.incidents)
                if now - since >= (AFTER_CALL if called else self.experiment.observe):
                    return
            else:
                since = None
                if now > limit:
                    return

    def over(self, each: Seen, known: Story, watch: Watch) -> bool:
        """Return whether one truth has come to its end."""
        truth = each.hit.truth
        if truth is None:
            return True
        about = incidents_about(truth, known, each.at)
        if any(incident.state is IncidentState.ESCALATED for incident in about):
            return True
        ended = bool(about) and all(not incident.state.live for incident in about)
        if truth.expect is Ending.HELD:
            done = time.time() >= each.at + each.hit.injection.duration
            return (
                done and watch.good(name_of(each.hit)) and all(not incident.state.live for incident in known.incidents)
            )
        return ended and watch.good(name_of(each.hit))

    def tell(self, known: Story, told: str) -> str:
        """Say what is new in the engine's record; return the last that was said."""
        newest = news(timeline(tuple(self.seen.values()), known, self.zero))
        if newest is None or newest.text == told:
            return told
        seen = time.time() - self.zero  # the moment that it is seen: what is told never runs backwards
        self.bench.say(f"{seen:6.1f}s {newest.kind} {newest.host}: {newest.text}")
        return newest.text

    def undo(self, watch: Watch) -> None:
        """Take everything back, whatever is known by then. Raises InjectionError for what cannot be taken back now."""
        at = time.time()
        try:
            for key, each in self.seen.items():
                looks = tuple(watch.looks.get(key, ()))
                self.seen[key] = Seen(each.hit, each.at, tuple(look for look in looks if look[0] <= at), at)
            self.outcome = self.story() if self.seen else Story()
        finally:
            self.bench.injector.undo_all()

    outcome: Story = field(default_factory=Story)
    """What the record said when the undo began: what the undo heals is not the engine's."""

    def finish(self) -> None:
        """Wait until the lab is steady again; what waits for a person then is closed as one would."""
        bench = self.bench

        def left() -> list[str]:
            said = ills(bench.place, bench.shell)
            with reading(bench.place) as history:
                return said + [
                    f"{each.resource} of {each.target}"
                    for each in live(history)
                    if each.state is not IncidentState.ESCALATED
                ]

        try:
            wait_steady(left, PATIENCE, QUIET / 2, bench.pause, bench.say)
        except DrillError as error:
            self.remarks.append(f"after the undo, {error}")

    def result(self, began: float, then: harm.Before, tally: Tally) -> Result:
        """Return how it went."""
        bench, all_seen = self.bench, tuple(self.seen.values())
        zero, until = self.zero, max((each.until for each in all_seen), default=time.time())
        known = self.outcome
        acts = wrong_acts([each.hit for each in all_seen], known)
        cost = harm.harm(bench.place, bench.shell, bench.acknowledged, then, tally, (zero, until), acts)
        return Result(
            experiment=self.experiment.name,
            summary=self.experiment.summary,
            digest=self.experiment.digest,
            version=self.version,
            commit=self.commit,
            at=zero,
            seed=self.seed,
            repeat=self.repeat,
            seconds=round(time.time() - began, 1),
            found=tuple(judge(each, known) for each in all_seen if each.hit.truth is not None),
            harm=cost,
            false_alarms=false_alarms(all_seen, known),
            remarks=tuple(self.remarks),
            timeline=timeline(all_seen, known, zero),
            traffic=tally.series(zero - 3, until, zero),
        )
