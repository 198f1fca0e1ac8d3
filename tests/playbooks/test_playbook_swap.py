"""Swap on this very machine: a small file that is made, used by the kernel, kept over a boot, and gone after each test."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loops import MIB, disk, mounted, needs, sh
from playbook_run import play, run_module

pytestmark = pytest.mark.lab

SWAPPINESS = Path("/proc/sys/vm/swappiness")
UNITS = Path("/etc/systemd/system")
SYSCTL = Path("/etc/sysctl.d/60-mendbook-swap.conf")


def active(folder: Path) -> list[list[str]]:
    rows = [line.split() for line in Path("/proc/swaps").read_text().splitlines()[1:]]
    return [row for row in rows if row[0].startswith(f"{folder}/")]


def unit_of(path: Path) -> Path:
    return UNITS / sh("systemd-escape", "--path", "--suffix=swap", str(path))


@pytest.fixture
def forget() -> Iterator[Callable[[Path], None]]:
    """What makes it that a folder is swapped to no more, and that nothing is left of it; done whatever happens."""
    folders: list[Path] = []
    before, there = SWAPPINESS.read_text(), UNITS.joinpath("swap.target.wants").exists()
    kept = SYSCTL.read_text() if SYSCTL.exists() else None
    yield folders.append
    for folder in folders:
        for row in active(folder):
            sh("swapoff", row[0])
        for path in (folder / "swap", folder / "more"):
            unit_of(path).unlink(missing_ok=True)
            (UNITS / "swap.target.wants" / unit_of(path).name).unlink(missing_ok=True)
    if not there and UNITS.joinpath("swap.target.wants").exists():
        UNITS.joinpath("swap.target.wants").rmdir()
    if Path("/run/systemd/system").exists():
        sh("systemctl", "daemon-reload")
    SWAPPINESS.write_text(before)
    if kept is None:
        SYSCTL.unlink(missing_ok=True)
    else:
        SYSCTL.write_text(kept)


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def every(request: pytest.FixtureRequest, tmp_path: Path, forget: Callable[[Path], None]) -> Iterator[Path]:
    """A file system of each kind that can be swapped to."""
    yield from roomy(request.param, tmp_path, forget)


@pytest.fixture
def place(tmp_path: Path, forget: Callable[[Path], None]) -> Iterator[Path]:
    """A file system with room."""
    yield from roomy("ext4", tmp_path, forget)


def roomy(kind: str, folder: Path, forget: Callable[[Path], None]) -> Iterator[Path]:
    needs("mkswap", "swapon", "systemd-escape", f"mkfs.{kind}")
    with disk(folder, 400 * MIB) as one, mounted(one.device, kind, folder) as mount:
        forget(mount)
        try:
            yield mount
        finally:
            for row in active(mount):
                sh("swapoff", row[0])  # before the file system goes, also when the test failed


def wanted_beside_what_is_there(mib: int) -> str:
    """The size to ask for, so that a host with swap of its own lacks so much."""
    rows = [line.split() for line in Path("/proc/swaps").read_text().splitlines()[1:]]
    return f"{sum(int(row[2]) for row in rows) // 1024 + mib}M"


def add(folder: Path, *, check: bool = False, mib: int = 64, **arguments: object) -> dict[str, Any]:
    wanted = {"size": wanted_beside_what_is_there(mib), "file": str(folder / "swap"), **arguments}
    return run_module("swap_added", check=check, diff=True, **wanted)


def test_a_host_gets_swap_that_the_kernel_uses_and_that_lasts(every: Path) -> None:
    size = wanted_beside_what_is_there(64)
    checked = add(every, check=True, size=size)
    assert (checked["changed"], active(every)) == (True, [])
    assert not (every / "swap").exists()
    done = add(every, size=size)
    assert done["changed"] is True, done
    (row,) = active(every)
    assert (row[1], row[4]) == ("file", "10")
    assert 61 <= int(row[2]) / 1024 <= 64  # where its blocks are smaller than pages, the kernel leaves some out
    assert (every / "swap").stat().st_mode & 0o777 == 0o600
    unit = unit_of(every / "swap")
    assert f"What={every}/swap\nPriority=10\n" in unit.read_text()
    assert (UNITS / "swap.target.wants" / unit.name).resolve() == unit
    assert checked["total_bytes"] == pytest.approx(done["total_bytes"], rel=0.05)
    assert add(every, size=size)["changed"] is False


def test_the_unit_is_one_that_systemd_takes(place: Path) -> None:
    needs("systemd-analyze")
    assert add(place)["changed"] is True
    sh("systemd-analyze", "verify", str(unit_of(place / "swap")))


def test_the_playbook_says_it_does_it_and_does_nothing_more(place: Path, tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        f"all: {{hosts: {{here: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}}}}}"
    )
    variables: dict[str, object] = {
        "swap_size": wanted_beside_what_is_there(64),
        "swap_file": str(place / "swap"),
        "swap_swappiness": 31,
        "mendbook_attempt": str(uuid.uuid4()),
    }
    checked, done, again = (
        play("swap_add", inventory, *arguments, variables=variables) for arguments in (["--check", "--diff"], [], [])
    )
    assert [(run.changed, run.failed) for run in (checked, done, again)] == [(1, 0), (1, 0), (0, 0)], done.output
    assert "64 MiB would be made and switched on" in checked.output
    assert "64 MiB was made and switched on" in done.output, done.output
    assert len(active(place)) == 1
    assert (SWAPPINESS.read_text(), "vm.swappiness = 31" in SYSCTL.read_text()) == ("31\n", True)


def test_swap_that_is_there_and_not_in_use_is_switched_on(place: Path) -> None:
    size = wanted_beside_what_is_there(64)
    add(place, size=size)
    sh("swapoff", str(place / "swap"))
    inode = (place / "swap").stat().st_ino
    assert "was switched on" in add(place, size=size)["msg"]
    assert (len(active(place)), (place / "swap").stat().st_ino) == (1, inode)


def test_more_is_made_beside_what_is_there_under_another_name(place: Path) -> None:
    assert add(place)["changed"] is True
    refused = add(place, mib=32)
    assert "name another file" in refused["msg"]
    assert add(place, mib=32, file=str(place / "more"), priority=5)["changed"] is True
    assert [(row[0], row[4]) for row in active(place)] == [(f"{place}/swap", "10"), (f"{place}/more", "5")]


def test_what_a_run_that_was_broken_off_left_is_no_hindrance(place: Path) -> None:
    (place / "swap.mendbook-new").write_bytes(b"half")
    assert add(place)["changed"] is True
    assert sorted(path.name for path in place.iterdir()) == ["lost+found", "swap"]


def test_a_file_system_is_never_filled_beyond_the_share(place: Path) -> None:
    for check in (True, False):
        refused = add(place, check=check, mib=200, fill=0.5)
        assert refused["failed"] is True
        assert "and 50% may be" in refused["msg"]
    assert [path.name for path in place.iterdir()] == ["lost+found"]


def test_a_file_that_is_something_else_is_never_touched(place: Path) -> None:
    (place / "swap").write_bytes(b"precious" * 9000)
    (place / "link").symlink_to(place / "swap")
    for name in ("swap", "link"):
        assert "is there already" in add(place, file=str(place / name))["msg"]
    assert (place / "swap").read_bytes() == b"precious" * 9000


def test_swap_that_others_could_read_is_not_switched_on(place: Path) -> None:
    add(place)
    sh("swapoff", str(place / "swap"))
    (place / "swap").chmod(0o644)
    assert add(place)["failed"] is True
    assert active(place) == []


@pytest.mark.parametrize("check", [True, False])
def test_memory_is_no_place_for_swap(check: bool, tmp_path: Path) -> None:
    needs("mkswap")
    sh("mount", "-t", "tmpfs", "-o", "size=100m", "mendbook-test", str(tmp_path))
    try:
        refused = add(tmp_path, check=check)
        assert "is on tmpfs, whose files cannot be swapped to" in refused["msg"]
        assert list(tmp_path.iterdir()) == []
    finally:
        sh("umount", str(tmp_path))


def test_neither_is_a_file_system_laid_over_another(place: Path) -> None:
    for name in ("upper", "work", "merged"):
        (place / name).mkdir()
    told = f"lowerdir=/usr,upperdir={place}/upper,workdir={place}/work"
    sh("mount", "-t", "overlay", "-o", told, "mendbook-test", str(place / "merged"))
    try:
        assert "is on overlay" in add(place / "merged")["msg"]
    finally:
        sh("umount", str(place / "merged"))


@pytest.mark.parametrize(
    "arguments",
    [{"size": "0G"}, {"size": "much"}, {"fill": 1.5}, {"priority": -1}, {"swappiness": 300}, {"file": "/no/folder/x"}],
)
def test_what_makes_no_sense_is_refused(place: Path, arguments: dict[str, Any]) -> None:
    assert add(place, **arguments)["failed"] is True
    assert active(place) == []


def test_a_container_is_told_that_swap_is_the_machines(tmp_path: Path) -> None:
    needs("unshare")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec unshare --pid --fork --mount-proc {sys.executable} "$@"\n')
    python.chmod(0o755)
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(
        f"all: {{hosts: {{here: {{ansible_connection: local, ansible_python_interpreter: {python}}}}}}}"
    )
    variables: dict[str, object] = {"swap_size": "64M", "swap_file": str(tmp_path / "swap")}
    for arguments in ([], ["--check"]):
        refused = play("swap_add", inventory, *arguments, variables=variables)
        assert (refused.changed, refused.failed) == (0, 1)
        assert "this is a container" in refused.output
        assert "give it to the machine" in refused.output
    assert not (tmp_path / "swap").exists()
