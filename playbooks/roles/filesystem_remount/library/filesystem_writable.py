#!/usr/bin/python
"""Remounts a file system that turned read-only, unless it did so for a reason."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: filesystem_writable
short_description: Remount a file system writable
description:
  - Does nothing to one that is writable. Refuses where the kernel has counted errors of it, where its device does not take
    writes, and where C(/etc/fstab) says that it is read-only. A write afterwards is the proof.
author: [Mendbook contributors]
options:
  mountpoint:
    description: Where it is mounted.
    type: path
    required: true
attributes:
  check_mode:
    description: Tells whether it would be remounted, or refused. Whether the kernel lets it, only the act tells.
    support: full
"""

EXAMPLES = r"""
- name: Make the data's file system writable again
  filesystem_writable:
    mountpoint: /srv
"""

RETURN = r"""
device:
  description: The device that is mounted there.
  type: str
  returned: always
"""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule


@dataclass(frozen=True)
class Mount:
    """What the kernel says of a mount; `read_only` of this mount, `whole_read_only` of the file system behind it."""

    number: str
    kind: str
    device: str
    read_only: bool
    whole_read_only: bool


def unescaped(text: str) -> str:
    """Return a path of the mount table, in which blanks are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def mounted(mountpoint: str) -> Mount | None:
    """Return what is mounted there, the topmost if there are several; nothing if it is no mount point."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        left, right = line.split(" - ", 1)
        _, _, number, _, place, options = left.split(" ")[:6]
        kind, device, whole = right.split(" ", 2)
        if unescaped(place) == mountpoint:
            found = Mount(number, kind, device, "ro" in options.split(","), "ro" in whole.split(","))
    return found


def is_meant(mountpoint: str) -> bool:
    """Whether the configuration says that it is read-only."""
    try:
        lines = Path("/etc/fstab").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    known = [line.split() for line in lines if not line.lstrip().startswith("#")]
    return any(
        len(fields) > 3 and unescaped(fields[1]) == mountpoint and "ro" in fields[3].split(",") for fields in known
    )  # noqa: PLR2004


def number_in(path: str) -> int:
    """Return the number in a file of the kernel's; 0 where there is no such file."""
    try:
        return int(Path(path).read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return 0


def objection(mountpoint: str, mount: Mount) -> str:
    """Return why it must not be remounted, or ''."""
    if is_meant(mountpoint):
        return "/etc/fstab says that it is read-only"
    known = f"/sys/dev/block/{mount.number}"
    name = os.path.basename(os.path.realpath(known if os.path.exists(known) else mount.device))
    errors = number_in(f"/sys/fs/ext4/{name}/errors_count")
    if errors:
        return f"the kernel has counted {errors} errors of it: have it checked (fsck) before anything is written"
    if number_in(f"{known}/ro"):
        return "its device does not take writes"
    return ""


def write_test(mountpoint: str) -> str:
    """Return why it cannot be written to, or ''."""
    try:
        with tempfile.NamedTemporaryFile(dir=mountpoint, prefix=".mendbook-"):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def main() -> None:
    module = AnsibleModule(argument_spec={"mountpoint": {"type": "path", "required": True}}, supports_check_mode=True)
    mountpoint = os.path.normpath(module.params["mountpoint"])
    mount = mounted(mountpoint)
    if mount is None:
        module.fail_json(msg=f"nothing is mounted at {mountpoint}")
    if not mount.read_only and not mount.whole_read_only:
        module.exit_json(changed=False, msg="it is writable", device=mount.device)
    reason = objection(mountpoint, mount)
    if reason:
        module.fail_json(msg=f"{mountpoint} stays read-only: {reason}", device=mount.device)
    if not module.check_mode:
        program = module.get_bin_path("mount", required=True)
        if mount.whole_read_only:
            module.run_command([program, "-o", "remount,rw", "--", mountpoint], check_rc=True)
        if mount.read_only:
            module.run_command([program, "-o", "remount,bind,rw", "--", mountpoint], check_rc=True)
        reason = write_test(mountpoint)
        if reason:
            module.fail_json(
                msg=f"{mountpoint} was remounted and still cannot be written to: {reason}", device=mount.device
            )
    module.exit_json(changed=True, msg="it was remounted", device=mount.device)


if __name__ == "__main__":
    main()
