"""The demo: a cluster, an engine that knows nothing of what is injected, and a judge that compares afterwards."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.app import App
from engine.lab import files, traffic
from engine.lab.cluster import Cluster, ClusterError
from engine.lab.inject import Injection, inject, undo
from engine.lab.settings import Layout
from engine.model.incident import Incident, IncidentState
from engine.records.leader import Leadership

LONGEST = 75.0
"""Seconds that one injection may take from its effect to its verified end: longer than any runbook takes to its own verdict."""
PATIENCE = 30.0
"""Seconds that the engine may take to see a quiet cluster before an injection."""
SETTLED = frozenset({IncidentState.RESOLVED, IncidentState.SELF_HEALED, IncidentState.ESCALATED})

PROJECT = """\
# Written by `mendbook demo`: the settings of its cluster. Windows are seconds here where production has minutes.
inventory: inventory.yml
interval: 1s
retention: 1h
sources:
  host: false
  exposition:
    - {job: web, hosts: web, url: "{{ mendbook_metrics_url }}", timeout: 800ms}
    - {job: store, hosts: store, url: "{{ mendbook_metrics_url }}", timeout: 800ms}
    - {job: lb, hosts: balancer, url: "{{ mendbook_metrics_url }}", timeout: 800ms}
  probe:
    - {job: tcp, hosts: all, tcp: "{{ mendbook_address }}", timeout: 500ms}
limits:
  storm: 3
  max_targets: 50%
  grace: 2s
modes:
  node-down: auto
  service-hung: auto
  memory-leak: auto
  disk-full: auto
  data-corrupt: auto
  capacity-short: auto
params:
  node-down: {all: {settle: 2s, steady: 2s, recovery: 15s}}
  service-hung: {all: {settle: 2s, steady: 2s, recovery: 15s}}
  memory-leak: {all: {window: 8s, horizon: 20s, short: 0.7, healthy: 0.6, settle: 2s, steady: 2s, recovery: 15s,
                      usage: process_resident_memory_bytes, culprit: job}}
  disk-full: {all: {short: 0.5, healthy: 0.6, settle: 1s, steady: 2s, recovery: 15s,
                    growth: "deriv(mendbook_directory_bytes[6s])", culprit: path}}
  data-corrupt: {all: {settle: 1s, steady: 2s, recovery: 15s}}
  capacity-short: {all: {window: 3s, queue: 10, settle: 1s, steady: 3s, recovery: 30s, replica: lb}}
  request-errors: {all: {window: 6s, settle: 4s, steady: 4s, recovery: 20s}}
  cpu-baseline: {all: {window: 10s, history: 1m, step: 2s, settle: 10s, steady: 5s, recovery: 30s,
                       usage: process_cpu_seconds_total, culprit: job}}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """How one injection was handled; times in seconds from its effect, None where it did not come to that."""

    injection: Injection
    detected: float | None
    localized: str
    """"right", or what was concluded instead."""
    recovered: float | None
    runbook: str
    lost: int
    remark: str = ""
    named: float | None = None
    """When the node, the resource and the culprit were concluded."""

    @property
    def good(self) -> bool:
        """Return whether it was localized right, healed, verified, and nothing else was touched."""
        return self.localized == "right" and self.recovered is not None and not self.remark


@dataclass(slots=True)
class Demo:
    """One run of the demo; `watch` is called several times a second while it waits."""

    cluster: Cluster
    app: App
    watch: Callable[[], None]
    say: Callable[[str], None]

    def settle(self) -> None:
        """Wait until nothing is wrong and every incident has ended. Raises TimeoutError when that takes too long."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.pause()
            live = [each for each in self.app.history.incidents() if each.state.live]
            if not live and not self.app.history.alerts() and self.app.history.incidents() is not None:
                return
        raise TimeoutError("the cluster did not become quiet: see `mendbook why`")

    def pause(self) -> None:
        """Let a fifth of a second pass, showing what happens in it."""
        self.watch()
        time.sleep(0.2)

    def play(self, injection: Injection) -> Row:
        """Inject, wait for the end, undo, and compare with the truth."""
        self.say(f"injecting {injection.name} into {injection.node}")
        began = inject(self.cluster, injection)
        try:
            end = time.monotonic() + LONGEST
            while time.monotonic() < end:
                self.pause()
                found = self.app.history.incidents(since=began)
                if found and all(each.state in SETTLED for each in found):
                    break
            self.watch()
        finally:
            undo(self.cluster, injection)
        return self.judge(injection, began)

    def judge(self, injection: Injection, began: float) -> Row:
        """Compare what the record says with what was injected."""
        found = self.app.history.incidents(since=began)
        if not found:
            return Row(injection, None, "not detected", None, "-", self.lost(began, time.time()))
        own = next((each for each in found if right(each, injection)), found[0])
        recovered = own.ended_at if own.state is IncidentState.RESOLVED else None
        touched = [each.target for each in self.app.history.executions(since=began) if each.incident != own.id]
        remark = f"also acted on {', '.join(sorted(set(touched)))}" if touched else ""
        return Row(
            injection=injection,
            detected=own.opened_at - began,
            localized="right" if right(own, injection) else f"{own.resource} of {own.target}, {own.culprit}",
            recovered=None if recovered is None else recovered - began,
            runbook=own.runbook or "-",
            lost=self.lost(began, recovered or time.time()),
            remark=remark or ("" if recovered else f"{own.state}: {own.reason}"),
            named=None if own.localized_at is None else own.localized_at - began,
        )

    def lost(self, since: float, until: float) -> int:
        """Return how many requests failed or timed out in that time."""
        return traffic.lost(self.cluster.directory, since, until)


def right(incident: Incident, injection: Injection) -> bool:
    """Return whether the incident names the node, the resource and the culprit of the injection."""
    return (incident.target, incident.resource, incident.culprit) == (
        injection.node, injection.resource, injection.culprit,
    )  # fmt: skip


@contextmanager
def demo(directory: Path, *, seed: int, keep: bool, trouble: Callable[[str], None]) -> Iterator[tuple[Cluster, App]]:
    """Start the cluster and an engine that watches it, in an empty place below `directory`; end both."""
    prepare(directory)
    with ExitStack() as ending:
        cluster = Cluster.start(directory, seed=seed, keep=keep)
        if not keep:
            ending.callback(cluster.stop)
        app = ending.enter_context(App.open(directory, trouble=trouble))
        stop = threading.Event()
        watching = threading.Thread(target=app.watch, args=(stop,), name="watch")
        watching.start()
        try:
            yield cluster, app
        finally:
            stop.set()
            watching.join()
            app.end_executions()


def prepare(directory: Path) -> None:
    """Lay out the project that the engine of the demo works on; what an earlier demo left is cleared away.

    Raises ClusterError, and changes nothing, in a folder that an earlier demo did not make or where something still runs.
    """
    refuse(directory.absolute())
    for name in (".mendbook", "mendbook.yml"):
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "mendbook.yml").write_text(PROJECT)


def refuse(directory: Path) -> None:
    """Raise ClusterError unless the folder is an earlier demo's, at rest, or empty: everything in it would be lost."""
    if not directory.exists() or not any(directory.iterdir()):
        return
    settings = directory / "mendbook.yml"
    if not settings.is_file() or not settings.read_bytes().startswith(PROJECT.partition("\n")[0].encode()):
        raise ClusterError(f"{directory} was not made by a demo, which would write over it; choose another folder")
    if any(one.alive() for one in files.read_pids(Layout(directory))):
        raise ClusterError(f"a demo cluster already runs below {directory}; `mendbook lab down` ends it")
    engine = Leadership(directory / ".mendbook" / "record.sqlite3").holder()
    if engine is not None:
        raise ClusterError(f"an engine works on {directory}: {engine}; end it first")
