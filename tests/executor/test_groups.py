"""Control groups of the kernel, where this machine lets us make any."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.executor import groups, processes
from engine.executor.groups import Group
from tests.executor.conftest import wait

ESCAPES = "setsid env -i sleep 96 & (setsid env -i sleep 95 &) ; exec env -i sleep 94"
FUGITIVE = "import os\nwhile True:\n    if os.fork(): os._exit(0)"


@pytest.fixture(params=["v2", "freezer", "pids"])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    kinds = {"v2": "cgroup2", "freezer": "freezer", "pids": "pids"}
    places = [place for place in groups.places() if kind(place) == kinds[request.param]]
    made = groups.create(f"test-{request.param}-{os.getpid()}", places)  # others may run this, too
    if made is None:
        pytest.skip(
            f"no control group of {kinds[request.param]} can be made here: it wants a hierarchy that is mounted and writable"
        )
    yield made
    made.kill()
    made.remove()


def kind(place: Path) -> str:
    """Return what is mounted where a place lies."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    _, found, options = max(
        (len(line[1]), line[2], line[3])
        for line in lines
        if place.is_relative_to(line[1]) and line[2].startswith("cgroup")
    )
    return found if found == "cgroup2" else next(each for each in options.split(",") if each in ("freezer", "pids"))


def named(pid: int) -> str:
    """Return the name of a process; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_what_runs_in_a_group_is_found_and_killed_whatever_it_forgets(group: Group) -> None:
    with subprocess.Popen(["sh", "-c", ESCAPES], preexec_fn=group.enter) as shell:  # noqa: PLW1509 - no thread runs here
        wait(lambda: [named(pid) for pid in group.pids()] == ["sleep"] * 3, "three sleepers, and none on its way there")
        assert not group.empty
        found = processes.members("nobody", group)
        assert {process.pid for process in found} == group.pids()
        left = lambda: processes.members("nobody", group)  # noqa: E731
        assert processes.end(left, grace=0.0, limit=5.0, hard=group.kill, meanwhile=shell.poll)
        assert shell.wait(5) == -signal.SIGKILL
    wait(lambda: group.empty, "an empty group")
    assert not [each for each in found if processes.running().get(each.pid) == each]


def test_what_is_another_process_at_every_moment_is_killed_at_once(group: Group) -> None:
    if not ((group.path / "cgroup.kill").exists() or (group.path / "freezer.state").exists()):
        pytest.skip("a counter of processes can neither kill nor freeze what is in it")
    with subprocess.Popen([sys.executable, "-c", FUGITIVE], preexec_fn=group.enter) as first:  # noqa: PLW1509
        first.wait(10)
        assert not group.empty
        group.kill()
    wait(lambda: group.empty, "an empty group")


def test_a_group_is_removed_once_it_is_empty_and_only_ours_is_ever_taken_for_one(group: Group) -> None:
    assert groups.at(str(group.path)) == group
    with subprocess.Popen(["sleep", "91"], preexec_fn=group.enter) as sleeper:  # noqa: PLW1509
        group.remove()
        assert group.path.exists()
        assert not group.empty
        sleeper.kill()
    wait(lambda: group.empty, "an empty group")
    group.remove()
    assert not group.path.exists()
    assert group.empty
    assert group.pids() == set()
    for path in (str(group.path.parent), "/tmp/mendbook-x", f"{group.path}/../mendbook-x", "/sys/fs/cgroup", ""):
        assert groups.at(path) is None


def test_a_process_joins_the_group_of_another(group: Group) -> None:
    with subprocess.Popen(["sleep", "90"], preexec_fn=group.enter) as sleeper:  # noqa: PLW1509
        joins = f"from engine.executor import groups; groups.join({sleeper.pid}); print(); input()"
        with subprocess.Popen([sys.executable, "-c", joins], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as joiner:
            assert joiner.stdout is not None
            joiner.stdout.readline()
            assert group.pids() == {sleeper.pid, joiner.pid}
            group.kill()


def test_where_no_group_can_be_made_there_is_none(tmp_path: Path) -> None:
    assert groups.create("x", [tmp_path / "absent", tmp_path]) is None
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_and_never_written_down_is_removed_by_its_name_unless_it_is_in_use(group: Group) -> None:
    if group.path.parent not in groups.places():
        pytest.skip("this process is not in that hierarchy")
    name = group.path.name.removeprefix("mendbook-").rpartition("-")[0]
    with subprocess.Popen(["sleep", "89"], preexec_fn=group.enter) as sleeper:  # noqa: PLW1509
        groups.forget(name)
        assert group.path.exists()
        sleeper.kill()
    wait(lambda: group.empty, "an empty group")
    groups.forget(name[:-1])
    assert group.path.exists()
    groups.forget(name)
    assert not group.path.exists()
