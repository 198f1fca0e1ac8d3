#!/usr/bin/python
"""Grows a mounted file system where room is left beneath it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: filesystem_grown
short_description: Grow a file system where room is left beneath it
description:
  - Does nothing where enough is free. Otherwise a file system that is smaller than its device is grown to it; where it fills its
    device, the partition is grown into the room behind it, or the logical volume extended by a step, and then the file system.
  - Nothing is made smaller. Of a partition table no other entry changes, which is looked at afterwards.
  - Refuses in a container, where nothing is left beneath, and where what lies beneath is not a disk, a partition or an ordinary
    logical volume, each with the reason.
author: [Mendbook contributors]
options:
  mountpoint:
    description: Where it is mounted.
    type: path
    required: true
  free:
    description: The share that is to be free.
    type: float
    default: 0.2
  step:
    description: By how much a logical volume is extended, as a size or a share of what it has.
    type: str
    default: 10%
  limit:
    description: How large the device may become. A logical volume is not extended without it.
    type: str
attributes:
  check_mode:
    description: Tells what would be grown and to which size, or why not; growpart is asked for what it would do.
    support: full
  diff_mode:
    description: Shows the size before and after.
    support: full
"""

EXAMPLES = r"""
- name: Grow the data's file system
  filesystem_grown:
    mountpoint: /srv
    step: 5G
    limit: 50G
"""

RETURN = r"""
msg:
  description: What was done, in a sentence.
  type: str
  returned: always
before_bytes:
  description: The file system's size before.
  type: int
  returned: success
after_bytes:
  description: Its size afterwards; in check mode, about what it would be.
  type: int
  returned: success
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SECTOR = 512
LEAST = 8 << 20  # less room than this, or than a hundredth of what there is, is none
TABLE_END = 1 << 20  # what the second copy of a GPT needs behind the last partition, and alignment
FIRST_PROCESSES = "pid:[4026531836]"  # the kernel's own number for the namespace of the machine's processes
CAP_SYS_RESOURCE = 24  # without it the kernel lets nobody resize ext3 and ext4
PACKAGES = {
    "resize2fs": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "xfs_growfs": "xfsprogs",
    "growpart": "cloud-guest-utils, or cloud-utils-growpart",
    "sfdisk": "fdisk, or util-linux",
    "lvs": "lvm2",
    "lvextend": "lvm2",
}


class Refusal(Exception):
    """Nothing may be done, for the reason that the message says."""


@dataclass(frozen=True)
class Mount:
    """What the kernel says of a mount: the device by its numbers, the kind of file system."""

    number: str
    kind: str
    read_only: bool


@dataclass(frozen=True)
class Disk:
    """A whole device with nothing between it and the file system."""


@dataclass(frozen=True)
class Partition:
    """An entry of a disk's table and the bytes behind it that are nobody's."""

    node: str
    disk: str
    index: int
    behind: int


@dataclass(frozen=True)
class Volume:
    """A logical volume; sizes in bytes, what is free in its group in extents."""

    group: str
    name: str
    size: int
    extent: int
    free: int


@dataclass(frozen=True)
class Growth:
    """What is to be done: the device is to have `size` bytes, by so many extents or into the room behind it, or has it already."""

    size: int
    extents: int = 0
    partition: Partition | None = None
    volume: Volume | None = None


def unescaped(text: str) -> str:
    """Return a path of the mount table, in which blanks are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def mounted(mountpoint: str) -> Mount | None:
    """Return what is mounted there, the topmost if there are several; nothing if it is no mount point."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        left, right = line.split(" - ", 1)
        _, _, number, _, place, options = left.split(" ")[:6]
        kind, _, whole = right.split(" ", 2)
        if unescaped(place) == mountpoint:
            found = Mount(number, kind, "ro" in options.split(",") or "ro" in whole.split(","))
    return found


def container() -> bool:
    """Whether this is a container: its processes, or its files, are not the machine's."""
    if os.readlink("/proc/self/ns/pid") != FIRST_PROCESSES:
        return True
    try:
        return not os.path.samefile("/", "/proc/1/root")
    except PermissionError:
        return False


def may_resize() -> bool:
    """Whether the kernel lets this process resize ext3 and ext4."""
    held = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return held is None or bool(int(held[1], 16) >> CAP_SYS_RESOURCE & 1)


def bytes_of(text: str, whole: int = 0) -> int:
    """Return a size in bytes, or a share of the whole; a refusal when it is neither."""
    found = re.fullmatch(r"([1-9]\d{0,6})([MGT%])", text)
    if found is None or (found[2] == "%" and not whole):
        raise Refusal(f"{text!r} is no size: say it as 512M or 5G")
    return whole * int(found[1]) // 100 if found[2] == "%" else int(found[1]) * UNITS[found[2]]


def human(size: int) -> str:
    """Return a size as people read it."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def number_in(path: Path) -> int:
    """Return the number in a file of the kernel's; 0 where there is no such file."""
    try:
        return int(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return 0


class Host:
    """The programs that look and act; a refusal when one is missing or fails."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module

    def run(self, program: str, *arguments: str) -> str:
        """Return what a program prints."""
        code, printed, said = self.run_any(program, *arguments)
        if code:
            raise Refusal(f"{program} failed: {(said or printed).strip()}")
        return printed

    def run_any(self, program: str, *arguments: str) -> tuple[int, str, str]:
        """Return how a program ended and what it said."""
        path = self.module.get_bin_path(program)
        if path is None:
            raise Refusal(f"there is no {program} on this host: install {PACKAGES[program]}")
        code, printed, said = self.module.run_command([path, *arguments], environ_update={"LC_ALL": "C"})
        return code, printed, said

    def size_of(self, mountpoint: str, kind: str, device: str) -> int:
        """Return how large the file system is by its own description, which statvfs does not tell."""
        if kind == "xfs":
            found = re.search(r"^data\s+=\s+bsize=(\d+)\s+blocks=(\d+)", self.run("xfs_growfs", "-n", mountpoint), re.MULTILINE)
            pair = found.groups() if found else None
        else:
            shown = self.run("dumpe2fs", "-h", device)
            rows = [re.search(rf"^{name}:\s+(\d+)$", shown, re.MULTILINE) for name in ("Block size", "Block count")]
            pair = tuple(row[1] for row in rows if row)
        if not pair or len(pair) != 2:
            raise Refusal("how large the file system is cannot be read")
        return int(pair[0]) * int(pair[1])

    def table(self, disk: str) -> dict:
        """Return a disk's partition table."""
        return json.loads(self.run("sfdisk", "--json", disk))["partitiontable"]

    def volume(self, number: str) -> Volume:
        """Return the logical volume with a device's numbers."""
        names = "vg_name,lv_name,lv_size,lv_attr,lv_layout,vg_extent_size,vg_free_count,lv_kernel_major,lv_kernel_minor"
        shown = self.run("lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", names)
        for row in json.loads(shown)["report"][0]["lv"]:
            if f"{row['lv_kernel_major']}:{row['lv_kernel_minor']}" == number:
                name = f"{row['vg_name']}/{row['lv_name']}"
                if row["lv_layout"] not in ("linear", "striped"):
                    raise Refusal(f"{name} is {row['lv_layout']}, which is not understood")
                if row["lv_attr"][0] != "-":
                    raise Refusal(f"{name} has snapshots, or is moved just now: that is for a person")
                return Volume(
                    row["vg_name"], row["lv_name"], int(row["lv_size"]), int(row["vg_extent_size"]), int(row["vg_free_count"])
                )
        raise Refusal("LVM does not know the volume that the kernel says it is")

    def beneath(self, number: str) -> Disk | Partition | Volume:
        """Return what lies beneath a device; a refusal when it is nothing that is understood."""
        known = Path(os.path.realpath(f"/sys/dev/block/{number}"))
        if (known / "partition").exists():
            return self.partition(known)
        if (known / "dm").exists():
            kind = (known / "dm/uuid").read_text(encoding="ascii").strip().split("-")[0]
            if kind != "LVM":
                raise Refusal(f"its device is mapped by {kind or 'somebody'}, not by LVM, which is not understood")
            return self.volume(number)
        if (known / "md").exists():
            raise Refusal("its device is an array of disks, which is not understood")
        if (known / "loop").exists() or (known / "device").exists():
            return Disk()
        raise Refusal(f"its device {known.name} is neither a disk nor a partition nor a logical volume")

    def partition(self, known: Path) -> Partition:
        """Return a partition and the room behind it, up to the next one or the disk's end."""
        index, disk = number_in(known / "partition"), f"/dev/{known.parent.name}"
        table = self.table(disk)
        if table["label"] not in ("gpt", "dos") or (table["label"] == "dos" and index > 4):
            raise Refusal(f"partition {index} of a table of the kind {table['label']} is not understood")
        end = number_in(known / "start") + number_in(known / "size")
        starts = [number_in(each.parent / "start") for each in known.parent.glob("*/partition")]
        last = number_in(known.parent / "size") - TABLE_END // SECTOR
        bound = min([start for start in starts if start >= end] + [last])
        return Partition(f"/dev/{known.name}", disk, index, max(bound - end, 0) * SECTOR)


def objection(mount: Mount | None, mountpoint: str) -> str:
    """Return why it must not be grown, whatever room there is, or ''."""
    if container():
        return "this is a container: what lies beneath its file systems is the machine's"
    if mount is None:
        return "nothing is mounted there"
    if mount.kind not in ("ext3", "ext4", "xfs"):
        return f"a file system of the kind {mount.kind} is not grown while it is mounted, or not by this"
    if mount.read_only:
        return "it is read-only"
    name = os.path.basename(os.path.realpath(f"/sys/dev/block/{mount.number}"))
    errors = number_in(Path(f"/sys/fs/ext4/{name}/errors_count"))
    if errors:
        return f"the kernel has counted {errors} errors of it: have it checked (fsck) first"
    if mount.kind != "xfs" and not may_resize():
        return f"the kernel lets nobody resize {mount.kind} here (CAP_SYS_RESOURCE is missing)"
    return ""


def planned(size: int, device: int, below: Disk | Partition | Volume, step: str, limit: int | None) -> Growth:
    """Return how a file system of that size on a device of that size is grown; a refusal when it cannot be.

    What is left between file system and device is taken first: so a run that was broken off is finished, and takes no second step.
    """
    least = max(LEAST, size // 100)
    if device - size >= least:
        growth = Growth(device)
    elif isinstance(below, Partition) and below.behind >= least:
        growth = Growth(device + below.behind, partition=below)
    elif isinstance(below, Partition):
        raise Refusal(f"no room is left: it fills its partition, and behind that {human(below.behind)} of {below.disk} are free")
    elif isinstance(below, Volume):
        return extended(below, step, limit, least)
    else:
        raise Refusal("no room is left: it fills its device")
    if limit is not None and growth.size > limit:
        raise Refusal(f"it would have {human(growth.size)}, and may have {human(limit)} (disk_limits)")
    return growth


def extended(volume: Volume, step: str, limit: int | None, least: int) -> Growth:
    """Return by how many extents a volume is extended; a refusal when there are too few, or too few that it may have.

    No step is so small that it would not be noticed as room between file system and device.
    """
    room = volume.free * volume.extent
    if room < least:
        raise Refusal(f"no room is left: {human(room)} are free in the volume group {volume.group}")
    if limit is None:
        raise Refusal(
            f"{human(room)} are free in the volume group {volume.group}, and nobody said how large it may become (disk_limits)"
        )
    if limit - volume.size < least:
        raise Refusal(f"it has {human(volume.size)} and may have {human(limit)} (disk_limits)")
    wanted = -(-max(bytes_of(step, volume.size), least) // volume.extent)
    extents = min(wanted, volume.free, (limit - volume.size) // volume.extent)
    return Growth(volume.size + extents * volume.extent, extents=extents, volume=volume)


def enlarge(host: Host, growth: Growth, number: str) -> None:
    """Make the device larger, as planned; a refusal when it did not become so, or when another partition is not what it was."""
    sectors = Path(f"/sys/dev/block/{number}/size")
    before = number_in(sectors)
    if growth.volume:
        host.run("lvextend", "--yes", "--extents", f"+{growth.extents}", f"{growth.volume.group}/{growth.volume.name}")
    elif growth.partition:
        part = growth.partition
        others = [row for row in host.table(part.disk)["partitions"] if row["node"] != part.node]
        host.run("growpart", part.disk, str(part.index))
        table = host.table(part.disk)["partitions"]
        if any(row not in table for row in others):
            raise Refusal(f"another partition of {part.disk} is not what it was: have a person look at it before the next boot")
    if number_in(sectors) <= before:
        raise Refusal("its device was enlarged, and the kernel does not see that; it may after a boot")


def grow(module: AnsibleModule) -> dict[str, object]:
    """Do what is to be done; return the module's result, or a refusal."""
    wanted, host = module.params, Host(module)
    mountpoint = os.path.normpath(wanted["mountpoint"])
    limit = None if wanted["limit"] is None else bytes_of(wanted["limit"])
    bytes_of(wanted["step"], 1)
    if not 0 < wanted["free"] <= 1:
        raise Refusal("a share lies between 0 and 1")
    mount = mounted(mountpoint)
    reason = objection(mount, mountpoint)
    if reason or mount is None:
        raise Refusal(reason)
    room = os.statvfs(mountpoint)
    device = f"/dev/{os.path.basename(os.path.realpath(f'/sys/dev/block/{mount.number}'))}"
    size = host.size_of(mountpoint, mount.kind, device)
    if room.f_bavail >= wanted["free"] * room.f_blocks:
        share = room.f_bavail / room.f_blocks
        return {"changed": False, "msg": f"{share:.0%} of {mountpoint} are free", "before_bytes": size, "after_bytes": size}
    on_device = number_in(Path(f"/sys/dev/block/{mount.number}/size")) * SECTOR
    growth = planned(size, on_device, host.beneath(mount.number), wanted["step"], limit)
    larger = growth.partition is not None or growth.volume is not None
    if module.check_mode:
        if growth.partition:
            would_change(host, growth.partition)
        after = growth.size
    else:
        if larger:
            enlarge(host, growth, mount.number)
        host.run("xfs_growfs", mountpoint) if mount.kind == "xfs" else host.run("resize2fs", device)
        after = host.size_of(mountpoint, mount.kind, device)
        if after <= size:
            raise Refusal(f"its device has room, and it has {human(after)} still")
    by = "its partition with it" if growth.partition else f"its volume by {growth.extents} extents" if growth.volume else "to its device"
    told = "would be grown" if module.check_mode else "was grown"
    return {
        "changed": True,
        "msg": f"{mountpoint} {told} from {human(size)} to {human(after)}, {by}",
        "before_bytes": size,
        "after_bytes": after,
        "diff": {"before": f"{mountpoint} {human(size)}\n", "after": f"{mountpoint} {human(after)}\n"},
    }


def would_change(host: Host, part: Partition) -> None:
    """Ask growpart whether it would grow a partition; a refusal with its words when it would not."""
    code, printed, said = host.run_any("growpart", "--dry-run", part.disk, str(part.index))
    if code:
        raise Refusal(f"growpart would not grow partition {part.index} of {part.disk}: {(printed or said).strip()}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "mountpoint": {"type": "path", "required": True},
            "free": {"type": "float", "default": 0.2},
            "step": {"type": "str", "default": "10%"},
            "limit": {"type": "str"},
        },
        supports_check_mode=True,
    )
    try:
        result = grow(module)
    except Refusal as refusal:
        module.fail_json(msg=f"{module.params['mountpoint']} was not grown: {refusal}")
    except OSError as error:
        module.fail_json(msg=f"{module.params['mountpoint']} was not grown: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
