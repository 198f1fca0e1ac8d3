"""The CPU of a real node: a process that runs away is made nicer or ended; a service keeps running within its quota."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab_nodes import Node, nodes, wait_until

pytestmark = pytest.mark.lab

HOG = "setsid --fork stress-ng --cpu 2 --timeout 120 </dev/null >/dev/null 2>&1; sleep 1"


@pytest.fixture
def hog() -> Iterator[Node]:
    """A web node whose CPU a process takes that is no service."""
    (one,) = nodes("web1")
    one.sh(HOG)
    wait_until(lambda: "stress-ng-cpu" in one.sh("ps -eo comm"))
    yield one
    one.sh("killall -q -9 stress-ng stress-ng-cpu; true")


def test_the_process_is_made_nicer_and_goes_on(hog: Node) -> None:
    runs = hog.run_thrice("cpu_relieve", process="stress-ng-cpu")
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    assert "10" in hog.sh("ps -C stress-ng-cpu -o ni=").split()


def test_the_process_is_ended_with_all_that_its_program_started(hog: Node) -> None:
    runs = hog.run_thrice("cpu_relieve", process="stress-ng-cpu", process_end=True)
    assert [(run.changed, run.failed) for run in runs] == [(1, 0), (1, 0), (0, 0)]
    assert "stress-ng" not in hog.sh("ps -eo comm")
