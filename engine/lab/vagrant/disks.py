"""Each node's own file systems: ext4 in a file of this machine where loop devices can be had, else plain folders."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from engine.lab.vagrant.commands import Commands
from engine.lab.vagrant.place import Place
from engine.lab.vagrant.plan import Disk, LabError, Node, disks


def folder(place: Place, node: Node, disk: Disk) -> Path:
    """Return where a node's file system is seen from this machine."""
    return place.disks / f"{node.name}-{disk.name}"


def make(commands: Commands) -> str:
    """Have every node's file systems there; return "" when they are file systems, or why they are plain folders."""
    place, trouble = commands.lab.place, ""
    for node in commands.lab.plan.nodes:
        for disk in disks():
            where = folder(place, node, disk)
            where.mkdir(parents=True, exist_ok=True)
            if os.path.ismount(where) or trouble:
                continue
            try:
                mount(commands, where, disk)
            except LabError as error:
                trouble = f"no file systems of the nodes' own, but folders without a limit: {error}"
    return trouble


def mount(commands: Commands, where: Path, disk: Disk) -> None:
    """Make a file system of a disk's size unless there is one, and mount it. Raises LabError."""
    image = where.with_name(f"{where.name}.img")
    if not image.exists():
        part = image.with_suffix(".part")
        commands.run("truncate", "-s", disk.size, part)
        commands.run("mkfs.ext4", "-q", "-F", "-m", "0", "-N", str(disk.inodes), "-O", "^has_journal", part)
        part.rename(image)
    commands.run("mount", "-o", "loop,nodev", image, where)


def remove(commands: Commands) -> None:
    """Unmount and delete every file system of the lab. Safe to repeat. Raises LabError when one is in use."""
    base = commands.lab.place.disks
    for where in mounts_below(base):
        commands.run("umount", where)
    for line in commands.run("losetup", "-n", "-O", "NAME,BACK-FILE", check=False).splitlines():
        device, _, file = line.strip().partition(" ")
        if Path(file.strip().removesuffix(" (deleted)")).is_relative_to(base):
            commands.run("losetup", "-d", device, check=False)
    with suppress(FileNotFoundError):
        shutil.rmtree(base)


def mounts_below(base: Path) -> list[Path]:
    """Return what is mounted on or below a folder, the innermost first, as the kernel tells it."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if point.is_relative_to(base):
            found.append(point)
    return sorted(found, key=lambda each: len(each.parts), reverse=True)
