#!/usr/bin/python
"""Tells which services and processes hold files open that are deleted and still take room."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: deleted_open
short_description: Find who holds deleted files open
description:
  - A file that is deleted takes its room until the last who has it open lets go. Finds regular files without a name, on one
    file system or on all, and who holds them, by systemd unit where there is one.
  - Changes nothing.
author: [Mendbook contributors]
options:
  mountpoint:
    description: The file system, by its mount point or anything on it. Without it, all.
    type: path
  min_bytes:
    description: Holders of less than this together are not told.
    type: int
    default: 1048576
attributes:
  check_mode:
    description: It only reads.
    support: full
"""

EXAMPLES = r"""
- name: Find who holds deleted files of the file system with the logs
  deleted_open:
    mountpoint: /var/log
"""

RETURN = r"""
bytes:
  description: What all of them take.
  type: int
  returned: always
units:
  description: Units that hold such files, with C(unit), C(bytes), whether it can C(reload), and whether it is C(transient).
  type: list
  elements: dict
  returned: always
processes:
  description: Processes of no unit that hold such files, each as its number, its start in ticks since boot, and its name.
  type: list
  elements: str
  returned: always
"""

import os
import re
import stat
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}\.service")
BLOCK = 512


def held(pid: int, device: int | None) -> dict[tuple[int, int], int]:
    """Return the deleted regular files that a process has open, by device and inode, with the bytes that each takes on disk."""
    found = {}
    try:
        numbers = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return {}
    for number in numbers:
        try:
            known = os.stat(f"/proc/{pid}/fd/{number}")
        except OSError:
            continue
        if stat.S_ISREG(known.st_mode) and known.st_nlink == 0 and device in (None, known.st_dev):
            found[known.st_dev, known.st_ino] = known.st_blocks * BLOCK
    return found


def text_of(pid: int, name: str) -> str:
    """Return a file of the process; '' when it has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def unit_of(pid: int) -> str:
    """Return the systemd unit that a process is in, or ''."""
    for line in text_of(pid, "cgroup").splitlines():
        _, controller, path = line.split(":", 2)
        if controller in ("", "name=systemd"):
            parts = [part for part in path.split("/") if part.endswith((".service", ".scope"))]
            if parts and UNIT.fullmatch(parts[-1]):
                return parts[-1]
    return ""


def described(pid: int) -> str:
    """Return a process as its number, start and name; '' when it has ended."""
    text = text_of(pid, "stat")
    if ")" not in text:
        return ""
    return f"{pid} {text[text.rindex(')') + 2 :].split()[19]} {text[text.index('(') + 1 : text.rindex(')')]}"


def main() -> None:
    module = AnsibleModule(
        argument_spec={"mountpoint": {"type": "path"}, "min_bytes": {"type": "int", "default": 1 << 20}},
        supports_check_mode=True,
    )
    mountpoint = module.params["mountpoint"]
    device = None
    if mountpoint:
        try:
            device = os.stat(mountpoint).st_dev
        except OSError as error:
            module.fail_json(msg=f"{mountpoint}: {error.strerror}")
    files: dict[tuple[int, int], int] = {}
    holders: dict[tuple[str, str], dict[tuple[int, int], int]] = {}
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        mine = held(pid, device)
        if mine:
            unit = unit_of(pid)
            holders.setdefault((unit, "" if unit else described(pid)), {}).update(mine)
            files.update(mine)
    large = {
        key: sum(sizes.values()) for key, sizes in holders.items() if sum(sizes.values()) >= module.params["min_bytes"]
    }
    systemctl = module.get_bin_path("systemctl")
    units = []
    for (unit, _), size in sorted(large.items()):
        if unit and systemctl:
            _, shown, _ = module.run_command(
                [systemctl, "show", "--property=CanReload,Transient", "--", unit], check_rc=True
            )
            said = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
            reload, transient = said.get("CanReload") == "yes", said.get("Transient") == "yes"
            units.append({"unit": unit, "bytes": size, "reload": reload, "transient": transient})
    processes = [told for (unit, told) in sorted(large) if not unit and told]
    module.exit_json(changed=False, bytes=sum(files.values()), units=units, processes=processes)


if __name__ == "__main__":
    main()
