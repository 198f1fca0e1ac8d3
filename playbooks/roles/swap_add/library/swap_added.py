#!/usr/bin/python
"""Gives a host swap in a file, where it has none or too little."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: swap_added
short_description: Have as much swap as is wanted
description:
  - What is missing of O(size) is made as one file with a name of its own that is complete before it gets it, and switched on.
    A unit of systemd switches it on again at each boot; C(/etc/fstab) belongs to others, and a line that is wrong there can stop a boot.
  - A file that is swap already and is merely not in use is switched on. A file that is anything else is never touched.
  - Refuses in a container, whose swap would be the whole machine's; on file systems other than ext2 to ext4, XFS and Btrfs (where the
    file is made without copy on write); and where more than O(fill) of the file system would be in use.
author: [Mendbook contributors]
options:
  size:
    description: How much swap there is to be in all, such as 2G; a twentieth less is enough.
    type: str
    required: true
  file:
    description: Where the file is made.
    type: path
    required: true
  fill:
    description: The share of the file system that may be in use afterwards.
    type: float
    default: 0.8
  priority:
    description: The file's priority.
    type: int
    default: 10
  swappiness:
    description: What C(vm.swappiness) is to be, now and after a boot.
    type: int
attributes:
  check_mode:
    description: Tells whether a file would be made, or why not. Whether the kernel takes it, only the act tells.
    support: full
  diff_mode:
    description: Shows the swap before and after.
    support: full
"""

EXAMPLES = r"""
- name: Have 2 GiB of swap
  swap_added:
    size: 2G
    file: /swapfile
"""

RETURN = r"""
msg:
  description: What was done, in a sentence.
  type: str
  returned: always
total_bytes:
  description: How much swap there is, in bytes; in check mode, how much there would be.
  type: int
  returned: success
"""

import array
import fcntl
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SMALLEST = 10 << 20  # less is not worth a file
TOLERATED = 20  # what lacks less than this part is enough: the kernel leaves out what does not lie in whole pages
KINDS = ("ext2", "ext3", "ext4", "xfs", "btrfs")
GET_FLAGS, SET_FLAGS, NOT_COPIED = 0x80086601, 0x40086602, 0x00800000  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_NOCOW_FL
FIRST_PROCESSES = "pid:[4026531836]"  # the kernel's own number for the namespace of the machine's processes
SYSCTL = Path("/etc/sysctl.d/60-mendbook-swap.conf")
SWAPPINESS = Path("/proc/sys/vm/swappiness")
HEAD = "# Written by the playbook swap_add.yml of Mendbook, which overwrites changes.\n"


class Refusal(Exception):
    """Nothing may be done, for the reason that the message says."""


@dataclass(frozen=True)
class Swap:
    """A place that is swapped to, as the kernel lists it; sizes in bytes."""

    path: str
    size: int
    priority: int


@dataclass(frozen=True)
class Plan:
    """What is to be done: `make` a file of that many bytes (0: none), and `enable` it."""

    make: int
    enable: bool
    total: int


def unescaped(text: str) -> str:
    """Return a path of one of the kernel's tables, in which blanks are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def container() -> str:
    """Return how it is known that this is a container, or ''.

    One that shares the machine's processes is known by its root; where that cannot be looked at, the kernel lets nobody swap either.
    """
    if os.readlink("/proc/self/ns/pid") != FIRST_PROCESSES:
        return "its processes are not the machine's"
    try:
        return "" if os.path.samefile("/", "/proc/1/root") else "its files are not the machine's"
    except PermissionError:
        return ""


def swaps() -> list[Swap]:
    """Return what is swapped to."""
    lines = Path("/proc/swaps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]
    rows = [line.split() for line in lines]
    return [Swap(unescaped(row[0]), int(row[2]) << 10, int(row[4])) for row in rows]


def kind_of(folder: str) -> str:
    """Return which file system a folder is on: that of the longest mount point above it, the last of several."""
    best, kind = "", ""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        left, right = line.split(" - ", 1)
        place = unescaped(left.split(" ")[4])
        if (folder + "/").startswith(place.rstrip("/") + "/") and len(place) >= len(best):
            best, kind = place, right.split(" ", 1)[0]
    return kind


def bytes_of(text: str) -> int:
    """Return a size in bytes; a refusal when it is none."""
    found = re.fullmatch(r"([1-9]\d{0,6})([MGT])", text)
    if found is None:
        raise Refusal(f"{text!r} is no size: say it as 512M or 2G")
    return int(found[1]) * UNITS[found[2]]


def human(size: int) -> str:
    """Return a size as people read it."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.0f} MiB"


def is_swap(path: str) -> bool:
    """Whether a file that exists is swap that may be switched on: root's own, nobody else's, and marked by mkswap."""
    with open(path, "rb") as stream:
        known = os.fstat(stream.fileno())
        stream.seek(os.sysconf("SC_PAGE_SIZE") - 10)
        marked = stream.read(10) == b"SWAPSPACE2"
    return marked and stat.S_ISREG(known.st_mode) and known.st_uid == 0 and not known.st_mode & 0o077


def planned(size: int, path: str, fill: float, active: list[Swap]) -> Plan:
    """Return what is to be done so that there is so much swap; a refusal when that must not be."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = sum(swap.size for swap in active)
    missing = size - total
    if missing <= size // TOLERATED:
        return Plan(0, enable=False, total=total)
    if any(swap.path == path for swap in active):
        raise Refusal(f"{path} is in use and {human(missing)} are missing beside it: name another file (swap_file)")
    if os.path.lexists(path):
        if os.path.islink(path) or not os.path.isfile(path) or not is_swap(path):
            raise Refusal(f"{path} is there already, and is no swap file of root's own")
        held = os.path.getsize(path)
        if held + page < missing:
            raise Refusal(f"{path} is there with {human(held)}, and {human(missing)} are missing: name another file")
        return Plan(0, enable=True, total=total + held - page)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise Refusal(f"there is no folder {folder}")
    kind = kind_of(folder)
    if kind not in KINDS:
        raise Refusal(f"{folder} is on {kind or 'no file system that is known'}, whose files cannot be swapped to")
    make = -(-max(missing + page, SMALLEST) // page) * page
    room = os.statvfs(folder)
    free, whole = room.f_bavail * room.f_frsize, (room.f_blocks - room.f_bfree + room.f_bavail) * room.f_frsize
    if whole - free + make > fill * whole:
        raise Refusal(
            f"{human(make)} more would fill the file system of {folder} to {(whole - free + make) / whole:.0%}, "
            f"and {fill:.0%} may be: {human(free)} of {human(whole)} are free"
        )
    return Plan(make, enable=True, total=total + make - page)


def make_file(module: AnsibleModule, path: str, size: int, kind: str) -> None:
    """Make the file beside its place, private from the start, whole, marked as swap; then give it its name."""
    fresh = f"{path}.mendbook-new"
    if os.path.lexists(fresh):
        os.unlink(fresh)  # what a run that was broken off left
    try:
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        try:
            if kind == "btrfs":
                flags = array.array("L", [0])
                fcntl.ioctl(descriptor, GET_FLAGS, flags)
                flags[0] |= NOT_COPIED
                fcntl.ioctl(descriptor, SET_FLAGS, flags)
            os.posix_fallocate(descriptor, 0, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        module.run_command([module.get_bin_path("mkswap", required=True), "--", fresh], check_rc=True)
        os.rename(fresh, path)
    finally:
        if os.path.lexists(fresh):
            os.unlink(fresh)


def written(module: AnsibleModule, path: Path, text: str) -> bool:
    """Have a file say this; tell whether it had to be written."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    if not module.check_mode:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o644)
        fresh.replace(path)
    return True


def kept(module: AnsibleModule, path: str, priority: int) -> bool:
    """Have systemd switch the file on at each boot; tell whether anything had to be written for that."""
    lines = Path("/etc/fstab").read_text(encoding="utf-8").splitlines() if Path("/etc/fstab").exists() else []
    if any(unescaped(line.split()[0]) == path for line in lines if line.strip() and not line.lstrip().startswith("#")):
        return False  # it is kept already, by somebody else
    escape = module.get_bin_path("systemd-escape", required=True)
    _, shown, _ = module.run_command([escape, "--path", "--suffix=swap", "--", path], check_rc=True)
    unit = Path("/etc/systemd/system") / shown.strip()
    wanted = unit.parent / "swap.target.wants" / unit.name
    named = path.replace("\\", "\\\\").replace("%", "%%")
    changed = written(
        module, unit, f"{HEAD}[Unit]\nDescription=Swap in {named}\n\n[Swap]\nWhat={named}\nPriority={priority}\n"
    )
    if not wanted.is_symlink():
        changed = True
        if not module.check_mode:
            wanted.parent.mkdir(parents=True, exist_ok=True)
            wanted.symlink_to(unit)
    if changed and not module.check_mode and os.path.isdir("/run/systemd/system"):
        module.run_command([module.get_bin_path("systemctl", required=True), "daemon-reload"], check_rc=True)
    return changed


def swapped_as_wanted(module: AnsibleModule, value: int) -> bool:
    """Have vm.swappiness be this, now and after a boot; tell whether anything had to be done for that."""
    changed = written(module, SYSCTL, f"{HEAD}vm.swappiness = {value}\n")
    if int(SWAPPINESS.read_text(encoding="ascii")) != value:
        changed = True
        if not module.check_mode:
            SWAPPINESS.write_text(f"{value}\n", encoding="ascii")
    return changed


def add(module: AnsibleModule) -> dict[str, object]:
    """Do what is to be done; return the module's result, or a refusal."""
    wanted = module.params
    path = os.path.normpath(wanted["file"])
    folder = os.path.realpath(os.path.dirname(path))
    path = os.path.join(folder, os.path.basename(path))
    size = bytes_of(wanted["size"])
    if not 0 < wanted["fill"] <= 1 or not 0 <= wanted["priority"] <= 32767:
        raise Refusal("a share lies between 0 and 1, and a priority between 0 and 32767")
    if wanted["swappiness"] is not None and not 0 <= wanted["swappiness"] <= 200:
        raise Refusal("vm.swappiness lies between 0 and 200")
    if re.search(r"[\x00-\x20\x7f\"']", path):
        raise Refusal(f"{path!r} cannot be named in a unit: choose a path without blanks and quotes")
    sign = container()
    if sign:
        raise Refusal(f"this is a container ({sign}): swap would be the whole machine's, so give it to the machine")
    before = swaps()
    plan = planned(size, path, wanted["fill"], before)
    if plan.enable and not module.check_mode:
        if plan.make:
            make_file(module, path, plan.make, kind_of(folder))
        switch_on(module, path, wanted["priority"], made=plan.make > 0)
    ours = plan.enable or any(swap.path == path for swap in swaps())
    changed = [
        plan.enable,
        ours and kept(module, path, wanted["priority"]),
        wanted["swappiness"] is not None and swapped_as_wanted(module, wanted["swappiness"]),
    ]
    total = plan.total if module.check_mode else sum(swap.size for swap in swaps())
    told = f"{path} with {human(plan.make)} was made and switched on" if plan.make else f"{path} was switched on"
    would = told.replace(" was ", " would be ")
    had = f"there are {human(total)} of swap"
    return {
        "changed": any(changed),
        "msg": f"{would if module.check_mode else told}: {had}" if plan.enable else had,
        "total_bytes": total,
        "diff": {
            "before": "".join(f"{swap.path} {human(swap.size)} priority {swap.priority}\n" for swap in before),
            "after": "".join(f"{swap.path} {human(swap.size)} priority {swap.priority}\n" for swap in before)
            + (f"{path} {human(plan.total - sum(swap.size for swap in before))} priority {wanted['priority']}\n" * plan.enable),
        },
    }


def switch_on(module: AnsibleModule, path: str, priority: int, *, made: bool) -> None:
    """Have the kernel swap to the file; where it does not take it, take away a file that was made for that."""
    program = module.get_bin_path("swapon", required=True)
    code, _, said = module.run_command([program, "--priority", str(priority), "--", path])
    if code:
        if made:
            os.unlink(path)
        raise Refusal(f"the kernel does not swap to {path}: {said.strip()}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "size": {"type": "str", "required": True},
            "file": {"type": "path", "required": True},
            "fill": {"type": "float", "default": 0.8},
            "priority": {"type": "int", "default": 10},
            "swappiness": {"type": "int"},
        },
        supports_check_mode=True,
    )
    try:
        result = add(module)
    except Refusal as refusal:
        module.fail_json(msg=f"no swap was added: {refusal}")
    except OSError as error:
        module.fail_json(msg=f"no swap was added: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
