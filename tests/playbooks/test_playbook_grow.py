"""File systems of this very machine that are grown: disks and partitions in files, in every layout that is understood."""

from __future__ import annotations

import contextlib
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guest import needs_kernel, run_in_guest
from loops import MIB, Disk, disk, mounted, needs, sh
from playbook_run import play, run_module

pytestmark = pytest.mark.lab

TABLES = {
    "gpt": "label: gpt\nstart=2048, size=655360\n",
    "dos": "label: dos\nstart=2048, size=655360\n",
}
SWAP_BEHIND = "start=1433600, size=20480\n"
CAP_SYS_RESOURCE = 24


def grow(mountpoint: Path, *, check: bool = False, **arguments: object) -> dict[str, Any]:
    return run_module(
        "filesystem_grown", check=check, diff=True, mountpoint=str(mountpoint), **{"free": 1, **arguments}
    )


def whole(mountpoint: Path) -> int:
    return int(sh("stat", "--file-system", "--format=%b", str(mountpoint))) * int(
        sh("stat", "--file-system", "--format=%S", str(mountpoint))
    )


def may_resize_ext4() -> bool:
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    return bool(int(held.split()[1], 16) >> CAP_SYS_RESOURCE & 1)


def hosts(folder: Path, python: str = sys.executable) -> Path:
    inventory = folder / "hosts.yml"
    inventory.write_text(
        f"all: {{hosts: {{here: {{ansible_connection: local, ansible_python_interpreter: {python}}}}}}}"
    )
    return inventory


@pytest.fixture(params=["xfs", "ext4"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Disk, Path]]:
    """A disk without partitions and the file system that fills it."""
    needs("losetup", f"mkfs.{request.param}", "growpart", "sfdisk")
    if request.param == "ext4" and not may_resize_ext4():
        pytest.skip("the kernel lets nobody resize ext4 here: CAP_SYS_RESOURCE is missing")
    with disk(tmp_path, 320 * MIB) as one, mounted(one.device, request.param, tmp_path) as place:
        yield one, place


@contextlib.contextmanager
def parted(folder: Path, table: str, size: int = 800 * MIB) -> Iterator[tuple[Disk, Path]]:
    """A disk with a table, and XFS on its first partition."""
    needs("losetup", "mkfs.xfs", "growpart", "sfdisk", "partx")
    with disk(folder, size, table) as one, mounted(one.part(1), "xfs", folder) as place:
        yield one, place


def starts_and_sizes(one: Disk) -> list[list[str]]:
    return [line.split(",")[:2] for line in sh("sfdisk", "--dump", one.device).splitlines() if "start=" in line]


def test_a_file_system_is_grown_to_a_device_that_was_enlarged(bare: tuple[Disk, Path]) -> None:
    one, place = bare
    (place / "data").write_bytes(b"precious" * 100_000)
    before = whole(place)
    assert "no room is left: it fills its device" in grow(place)["msg"]
    one.enlarge(640 * MIB)
    checked = grow(place, check=True)
    assert (checked["changed"], checked["after_bytes"], whole(place)) == (True, 640 * MIB, before)
    done = grow(place)
    assert done["changed"] is True, done
    assert whole(place) > before + 200 * MIB
    assert (place / "data").read_bytes() == b"precious" * 100_000
    for check in (True, False):
        assert "no room is left" in grow(place, check=check)["msg"]


def test_where_enough_is_free_nothing_is_done(bare: tuple[Disk, Path]) -> None:
    one, place = bare
    one.enlarge(640 * MIB)
    before = whole(place)
    assert grow(place, free=0.2)["changed"] is False
    assert whole(place) == before


def test_a_device_that_may_not_be_used_whole_is_left_alone(bare: tuple[Disk, Path]) -> None:
    one, place = bare
    one.enlarge(640 * MIB)
    before = whole(place)
    assert "and may have 500 MiB (disk_limits)" in grow(place, limit="500M")["msg"]
    assert whole(place) == before


@pytest.mark.parametrize("kind", TABLES)
def test_a_partition_takes_the_room_that_a_larger_disk_leaves_behind_it(kind: str, tmp_path: Path) -> None:
    with parted(tmp_path, TABLES[kind], 322 * MIB) as (one, place):
        assert "no room is left: it fills its partition" in grow(place)["msg"]
        one.enlarge(700 * MIB)
        checked = grow(place, check=True)
        assert (checked["changed"], starts_and_sizes(one)[0][1].split("=")[1].strip()) == (True, "655360")
        done = grow(place)
        assert done["changed"] is True, done
        assert done["after_bytes"] == pytest.approx(checked["after_bytes"], abs=2 * MIB)
        assert 640 * MIB < done["after_bytes"] < 700 * MIB
        assert grow(place)["failed"] is True


def test_the_partition_behind_bounds_it_and_stays_what_it_was(tmp_path: Path) -> None:
    with parted(tmp_path, TABLES["gpt"] + SWAP_BEHIND) as (one, place):
        Path(one.part(2)).write_bytes(b"theirs" * 1000)
        behind = starts_and_sizes(one)[1]
        assert grow(place)["changed"] is True
        first, second = starts_and_sizes(one)
        assert second == behind
        assert [int(part.split("=")[1]) for part in (first[0].split(":")[1], first[1])] == [2048, 1433600 - 2048]
        assert Path(one.part(2)).read_bytes().startswith(b"theirs" * 1000)
        refused = grow(place)
        assert "it fills its partition, and behind that 0 MiB" in refused["msg"]


def test_a_logical_partition_is_not_understood(tmp_path: Path) -> None:
    needs("mkfs.xfs", "sfdisk", "partx")
    table = "label: dos\n1 : start=2048, size=1500000, type=5\n5 : start=4096, size=700000\n"
    with disk(tmp_path, 800 * MIB, table) as one, contextlib.ExitStack() as stack:
        if not Path(
            one.part(5)
        ).exists():  # a kernel that does not read such tables is told, of one that does not overlap
            sh("partx", "--delete", "--nr", "1", one.device)
            sh("partx", "--add", "--nr", "5", one.device)
        place = stack.enter_context(mounted(one.part(5), "xfs", tmp_path))
        assert "partition 5 of a table of the kind dos is not understood" in grow(place)["msg"]


def test_a_kind_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    needs("mkfs.btrfs")
    with disk(tmp_path, 320 * MIB) as one, mounted(one.device, "btrfs", tmp_path) as place:
        one.enlarge(640 * MIB)
        assert "a file system of the kind btrfs" in grow(place)["msg"]


def test_what_is_read_only_or_no_mount_point_is_refused(bare: tuple[Disk, Path], tmp_path: Path) -> None:
    one, place = bare
    one.enlarge(640 * MIB)
    sh("mount", "-o", "remount,ro", str(place))
    assert "it is read-only" in grow(place)["msg"]
    assert "nothing is mounted there" in grow(tmp_path)["msg"]


def test_the_playbook_says_it_does_it_and_takes_no_second_step(tmp_path: Path) -> None:
    needs("mkfs.xfs")
    with disk(tmp_path, 320 * MIB) as one, mounted(one.device, "xfs", tmp_path) as place:
        one.enlarge(640 * MIB)
        variables: dict[str, object] = {
            "disk_mountpoint": str(place),
            "disk_free": 1,
            "mendbook_attempt": str(uuid.uuid4()),
        }
        inventory = hosts(tmp_path)
        checked, done = (play("disk_grow", inventory, *how, variables=variables) for how in (["--check", "--diff"], []))
        one.enlarge(900 * MIB)  # the same attempt grows once, whatever has come since
        before = whole(place)
        again = play("disk_grow", inventory, variables=variables)
        assert [(run.changed, run.failed) for run in (checked, done, again)] == [(1, 0), (1, 0), (0, 0)], done.output
        assert "would be grown from 320 MiB to 640 MiB, to its device" in checked.output
        assert whole(place) == before


def test_a_container_is_told_that_the_disk_is_the_machines(tmp_path: Path) -> None:
    needs("unshare", "mkfs.xfs")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec unshare --pid --fork --mount-proc {sys.executable} "$@"\n')
    python.chmod(0o755)
    with disk(tmp_path, 320 * MIB) as one, mounted(one.device, "xfs", tmp_path) as place:
        one.enlarge(640 * MIB)
        before = whole(place)
        for how in ([], ["--check"]):
            refused = play("disk_grow", hosts(tmp_path, str(python)), *how, variables={"disk_mountpoint": str(place)})
            assert (refused.changed, refused.failed) == (0, 1)
            assert "this is a container" in refused.output
        assert whole(place) == before


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What was said on the disks of a kernel of its own, where there is LVM and ext4 may be resized; see `grown_inside.py`."""
    needs_kernel("lvs", "growpart", "sfdisk", "mkfs.xfs", "mkfs.ext4")
    sizes = {"a": 400 * MIB, "b": 400 * MIB, "c": 1024 * MIB, "d": 200 * MIB}
    return run_in_guest(Path(__file__).with_name("grown_inside.py"), tmp_path_factory.mktemp("guest"), sizes)


def outcomes(scene: dict[str, Any], *names: str) -> list[tuple[bool, bool]]:
    """Whether each changed something, and whether it failed; whatever it did, the data is what it was."""
    assert {said["data"] for said in scene.values() if isinstance(said, dict)} == {"precious" * 1000}
    return [(scene[name].get("changed", False), scene[name].get("failed", False)) for name in names]


@pytest.mark.parametrize("layout", ["whole", "partition"])
def test_ext4_is_grown_while_it_is_mounted(layout: str, inside: dict[str, dict[str, Any]]) -> None:
    scene = inside[layout]
    assert outcomes(scene, "check", "done", "again") == [(True, False), (True, False), (False, True)]
    assert scene["check"]["bytes"] < 150 * MIB < 270 * MIB < scene["done"]["bytes"]
    assert scene["check"]["after_bytes"] == pytest.approx(scene["done"]["after_bytes"], abs=2 * MIB)
    assert scene.get("before") == scene.get("after"), "the partition behind is what it was"


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_volume_is_extended_by_a_step_and_up_to_its_limit(kind: str, inside: dict[str, dict[str, Any]]) -> None:
    scene = inside[f"volume {kind}"]
    names = ("check", "first", "bounded", "at the limit")
    assert outcomes(scene, *names) == [(True, False), (True, False), (True, False), (False, True)]
    assert [scene[name].get("after_bytes", 0) // MIB for name in names] == [372, 372, 400, 0]
    assert scene["extents"] == 80 + 13
    assert scene["first"]["before_bytes"] == 320 * MIB, "the check changed nothing"
    assert "may have 400 MiB (disk_limits)" in scene["at the limit"]["msg"]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_volume_without_a_limit_is_left_alone(kind: str, inside: dict[str, dict[str, Any]]) -> None:
    scene = inside[f"volume {kind}"]
    assert outcomes(scene, "unlimited") == [(False, True)]
    assert "nobody said how large it may become" in scene["unlimited"]["msg"]


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_run_that_was_broken_off_is_finished_without_another_step(
    kind: str, inside: dict[str, dict[str, Any]]
) -> None:
    scene = inside[f"volume {kind}"]
    assert outcomes(scene, "finished") == [(True, False)]
    assert (scene["finished"]["after_bytes"] // MIB, scene["extents then"]) == (440, 110)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_no_more_is_taken_than_the_volume_group_has(kind: str, inside: dict[str, dict[str, Any]]) -> None:
    scene = inside[f"volume {kind}"]
    assert outcomes(scene, "all", "nothing left") == [(True, False), (False, True)]
    assert "0 MiB are free in the volume group rooms" in scene["nothing left"]["msg"]


def test_a_volume_with_a_snapshot_is_for_a_person(inside: dict[str, dict[str, Any]]) -> None:
    assert outcomes(inside["snapshot"], "done") == [(False, True)]
    assert "rooms/one has snapshots" in inside["snapshot"]["done"]["msg"]
    assert inside["snapshot"]["extents"] == 80


def test_what_somebody_else_has_mapped_is_not_understood(inside: dict[str, dict[str, Any]]) -> None:
    assert outcomes(inside["mapped"], "done") == [(False, True)]
    assert "mapped by somebody, not by LVM" in inside["mapped"]["done"]["msg"]
