"""File systems in files of their own on this very machine, for tests of what grows them and of what swaps to them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 1 << 20
FIRST_PROCESSES = "pid:[4026531836]"
PACKAGES = {
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "mkfs.btrfs": "btrfs-progs",
    "growpart": "cloud-guest-utils",
    "sfdisk": "fdisk",
    "lvs": "lvm2",
    "unshare": "util-linux",
    "systemd-escape": "systemd",
    "linux.uml": "user-mode-linux",
    "insmod": "kmod",
}


def sh(*command: str, text: str = "") -> str:
    """Return what a program prints."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def needs(*programs: str) -> None:
    """Skip, and say what is missing, where this machine cannot have file systems in files."""
    if os.geteuid() != 0:
        pytest.skip("loop devices are root's: run as root")
    if str(Path("/proc/self/ns/pid").readlink()) != FIRST_PROCESSES:
        pytest.skip("this is a container: loop devices and swap are the machine's")
    needs_programs(*programs)
    if not Path("/dev/loop-control").exists():
        pytest.skip("this kernel has no loop devices")


def needs_programs(*programs: str) -> None:
    """Skip, and say what is missing, where one of these is not installed."""
    for program in programs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            pytest.skip(f"there is no {program}: apt-get install {PACKAGES.get(program, program)}")


@dataclass(frozen=True, slots=True)
class Disk:
    """A device over a file."""

    image: Path
    device: str

    def enlarge(self, size: int) -> None:
        """Make the file larger, and have the kernel see it."""
        os.truncate(self.image, size)
        sh("losetup", "--set-capacity", self.device)

    def part(self, index: int) -> str:
        return f"{self.device}p{index}"


@contextmanager
def disk(folder: Path, size: int, table: str = "") -> Iterator[Disk]:
    """A disk of that many bytes, with the partitions that sfdisk is told of; it goes whatever happens."""
    image = folder / "disk.img"
    with image.open("wb") as stream:
        stream.truncate(size)
    if table:
        sh("sfdisk", "--quiet", str(image), text=table)
    device = sh("losetup", "--find", "--show", "--partscan", str(image))
    try:
        if table:
            sh("partx", "--update", device)
        yield Disk(image, device)
    finally:
        sh("losetup", "--detach", device)
        image.unlink()


@contextmanager
def mounted(device: str, kind: str, folder: Path) -> Iterator[Path]:
    """A fresh file system on a device, mounted; it is unmounted whatever happens."""
    sh(f"mkfs.{kind}", "-F" if kind == "ext4" else "-f", "-q", device)
    place = folder / "mounted"
    place.mkdir()
    try:
        sh("mount", "-t", kind, device, str(place))  # which has the kernel load what it needs for that
    except AssertionError:
        if f"\t{kind}\n" not in Path("/proc/filesystems").read_text():
            pytest.skip(f"this kernel has no {kind}")
        raise
    try:
        yield place
    finally:
        sh("umount", str(place))
        place.rmdir()
