"""The figures of the article that this began with, on the real store, evaluator and loader.

CPU 70, 75, … 115: the mean of the last ten is 92.5, above 90; the fault is the CPU's, and the runbook that restarts the node acts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config.runbooks import load_runbooks
from engine.config.settings import Settings
from engine.controller import Controller, Declared
from engine.model.execution import Execution, ExecutionState
from engine.model.incident import Outcome
from engine.model.labels import Batch, Labels
from engine.model.runbook import Catalog, Limits
from engine.model.target import Fleet, Target
from engine.model.truth import Truth
from engine.samples.evaluator import EmbeddedEvaluator
from engine.samples.store import SampleStore
from tests.fakes.records import MemoryRecords
from tests.fakes.world import FakeClock, FakeExecutor, prepare

FIXTURE = Path(__file__).parents[1] / "fixtures" / "article"
MINUTE = 60.0
QUIET = {"cpu": [35.0] * 10, "memory": [50.0] * 10, "disk": [60.0] * 10}
CPU = [70.0 + 5 * number for number in range(10)]
MEMORY = [80.0 + 5 * number for number in range(10)]
DISK = [70.0 + 5 * number for number in range(10)]


class Node:
    """One node, what it measures once a minute, and the engine that watches it."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock(1_000_020.0)
        self.store = SampleStore(folder)
        self.fleet = Fleet({"node-1": Target("node-1", instances=frozenset({"node-1:9100"}))})
        settings = Settings(root=FIXTURE, playbooks=(FIXTURE / "playbooks",))
        runbooks = load_runbooks([FIXTURE / "runbooks"], fleet=self.fleet, settings=settings).checked()
        catalog = Catalog(runbooks, limits=Limits(interval=MINUTE, max_targets=1.0))
        self.records = MemoryRecords(self.clock.now)
        self.executor = FakeExecutor(self.clock, self.mend, length=10.0)
        self.mended = False
        self.controller = Controller(
            clock=self.clock,
            records=self.records,
            evaluator=EmbeddedEvaluator(self.store, fresh=2.5 * MINUTE),
            executor=self.executor,
            samples=self.store,
            declared=lambda: Declared(catalog, self.fleet, prepare),
        )

    def mend(self, execution: Execution) -> ExecutionState:
        self.mended = True
        return ExecutionState.SUCCESSFUL

    def live(self, *, ticks: bool = True, **figures: list[float]) -> None:
        """Measure, and tick, once a minute; after a remedy every figure is 20."""
        for values in zip(*figures.values(), strict=True):
            series = {
                Labels({"__name__": f"{name}_percent", "instance": "node-1:9100"}): 20.0 if self.mended else value
                for name, value in zip(figures, values, strict=True)
            }
            self.store.append(Batch(self.clock.now(), tuple(series), tuple(series.values())))
            if ticks:
                self.controller.tick()
            self.clock.time += MINUTE


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.store.close()


def test_cpu_from_70_to_115_is_a_mean_of_92_5_and_the_node_is_restarted(node: Node) -> None:
    node.live(**QUIET)
    node.live(cpu=CPU[:9], memory=[50.0] * 9, disk=[60.0] * 9)
    assert not node.records.incidents, "the mean of the last ten is not yet above 90"
    node.live(cpu=CPU[9:], memory=[50.0], disk=[60.0])
    (alert,) = node.records.alerts
    assert alert.value == 92.5
    assert "92.5" in alert.condition
    assert "90" in alert.condition
    (incident,) = node.records.incidents.values()
    assert (incident.target, incident.resource) == ("node-1", "cpu")
    (execution,) = node.records.executions.values()
    assert (execution.runbook, execution.remedy) == ("cpu-high", "Restart the node")
    assert [step.playbook for step in execution.steps] == ["node_restart.yml"]
    assert node.executor.started == [execution.id]


@pytest.mark.parametrize(
    ("resource", "values", "mean", "playbook"),
    [
        ("cpu", CPU, 92.5, "node_restart.yml"),
        ("memory", MEMORY, 102.5, "service_restart.yml"),
        ("disk", DISK, 92.5, "space_clear.yml"),
    ],
)
def test_each_figure_by_itself_is_localized_to_its_resource_and_mended(
    node: Node, resource: str, values: list[float], mean: float, playbook: str
) -> None:
    last = {name: [figures[-1]] for name, figures in {**QUIET, resource: values}.items()}
    node.live(ticks=False, **{name: figures[:9] for name, figures in {**QUIET, resource: values}.items()})
    node.live(**last)
    (alert,) = node.records.alerts
    assert alert.value == mean
    (incident,) = node.records.incidents.values()
    assert (incident.target, incident.resource) == ("node-1", resource)
    (execution,) = node.records.executions.values()
    assert [step.playbook for step in execution.steps] == [playbook]
    node.live(**QUIET)
    assert node.records.incidents[incident.id].outcome is Outcome.RESOLVED
    assert node.executor.started == [execution.id]


def test_nothing_above_its_threshold_is_no_fault_and_nothing_is_run(node: Node) -> None:
    node.live(**QUIET)
    node.live(cpu=[80.0] * 10, memory=[89.0] * 10, disk=[90.0] * 10)
    assert not node.records.alerts
    assert not node.records.incidents
    assert not node.records.entries
    assert not node.executor.started


def test_a_figure_that_nobody_measured_is_unknown_and_nothing_is_run(node: Node) -> None:
    node.live(memory=[50.0] * 10, disk=[60.0] * 10)
    answer = node.controller.look().scene.answers["avg_over_time(cpu_percent[10m]) > 90"]
    assert answer.truth({"node-1:9100"}) is Truth.UNKNOWN
    assert not node.records.incidents
    assert not node.executor.started


def test_what_restarts_a_node_on_a_busy_cpu_alone_is_not_shipped() -> None:
    shipped = Path(__file__).parents[2] / "runbooks"
    for path in shipped.glob("*.yml"):
        text = path.read_text()
        assert not ("resource: cpu" in text and "node_restart.yml" in text), path.name
