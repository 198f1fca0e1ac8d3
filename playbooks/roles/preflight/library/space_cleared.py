#!/usr/bin/python
"""Removes old files below folders that may be cleaned, and nothing else."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: space_cleared
short_description: Remove files below folders that may be cleaned
description:
  - Removes regular files whose names match O(patterns) and not O(keep) below O(paths). Folders stay.
  - Symbolic links are neither followed nor removed, other file systems are not entered, and a listed path that is a
    link, that belongs to the system, or that holds or lies in anything of O(protected) is refused before anything is
    removed.
author: [Mendbook contributors]
options:
  paths:
    description: The folders that may be cleaned. One that does not exist is passed over.
    type: list
    elements: path
    required: true
  patterns:
    description: Shell patterns of the names of files that may go.
    type: list
    elements: str
    required: true
  keep:
    description: Shell patterns of the names of files that stay.
    type: list
    elements: str
    default: []
  min_age:
    description: Only files that were last written this long ago go. Seconds, or a number with s, m, h, d or w.
    type: str
    default: "0"
  protected:
    description: Files and folders that hold data; no listed path may be one of them, hold one or lie in one.
    type: list
    elements: path
    default: []
  mountpoint:
    description: A file system, by its mount point or anything on it. Paths on others are passed over. Without it, none are.
    type: path
  min_entries:
    description: Only folders that hold at least so many files directly are cleaned.
    type: int
    default: 0
attributes:
  check_mode:
    description: Tells what would be removed.
    support: full
  diff_mode:
    description: Lists the files, at most a hundred.
    support: full
"""

EXAMPLES = r"""
- name: Remove rotated logs of last week and before
  space_cleared:
    paths: [/var/log]
    patterns: ["*.gz", "*.[0-9]"]
    min_age: 7d
"""

RETURN = r"""
freed_bytes:
  description: Bytes on disk that were freed, or in check mode would be.
  type: int
  returned: always
folders:
  description: The folders from which files were removed, or in check mode would be, whose names are plain; at most a hundred.
  type: list
  elements: str
  returned: always
removed:
  description: How many files were removed, or in check mode would be.
  type: int
  returned: always
left:
  description: Files that could not be removed, at most ten, with the reason.
  type: list
  elements: str
  returned: always
"""

import fnmatch
import os
import re
import stat
import time

from ansible.module_utils.basic import AnsibleModule

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")
# These, and what lies directly in them, hold people's and services' data.
TOO_WIDE = ("/home", "/var/lib", "/var/spool")
BLOCK = 512
SHOWN = 100
LEFT = 10


class Refused(Exception):
    """A path that must not be cleaned, or an option that makes no sense."""


def seconds(text: str) -> float:
    """Return a duration such as 90, 10m or 7d in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    if match is None:
        raise Refused(f"{text!r} is not a duration such as 90, 10m or 7d")
    return float(match[1]) * UNITS[match[2]]


def within(path: str, folder: str) -> bool:
    """Whether the path is the folder or lies in it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def check(path: str, protected: list[str]) -> str:
    """Return the folder's real path, or '' when it does not exist; Refused when it must not be cleaned."""
    if not os.path.isabs(path) or ".." in path.split("/"):
        raise Refused(f"{path!r} is not an absolute path without '..'")
    if os.path.islink(path.rstrip("/")):
        raise Refused(f"{path} is a symbolic link")
    real = os.path.realpath(path)
    parts = [part for part in real.split("/") if part]
    if len(parts) < 2:  # noqa: PLR2004 - the root and what lies directly in it
        raise Refused(f"{real} is too wide to be cleaned")
    if real in TOO_WIDE or os.path.dirname(real) in TOO_WIDE:
        raise Refused(f"{real} holds data of people or services")
    if any(within(real, folder) for folder in SYSTEM):
        raise Refused(f"{real} belongs to the system")
    for item in protected:
        guarded = os.path.realpath(item)
        if within(real, guarded) or within(guarded, real):
            raise Refused(f"{real} holds data or lies in it ({guarded})")
    if not os.path.lexists(real):
        return ""
    if not os.path.isdir(real):
        raise Refused(f"{real} is not a folder")
    return real


def on_file_system(roots: list[str], mountpoint: str | None) -> list[str]:
    """Return the folders that exist and lie on the file system of the mount point, if one is given that exists."""
    found = [root for root in roots if root]
    if not mountpoint or not os.path.exists(mountpoint):
        return found
    device = os.stat(mountpoint).st_dev
    return [root for root in found if os.lstat(root).st_dev == device]


class Sweep:
    """What goes, or in check mode would go, and how much that frees."""

    def __init__(self, wanted: dict, *, check_mode: bool) -> None:
        self._patterns, self._keep = wanted["patterns"], wanted["keep"]
        self._before = time.time() - seconds(wanted["min_age"])
        self._min_entries = wanted["min_entries"]
        self._check_mode = check_mode
        self.freed = 0
        self.removed: list[str] = []
        self.left: list[str] = []

    def run(self, root: str) -> None:
        """Sweep one folder by descriptors, so that a folder exchanged for a link meanwhile leads nowhere."""
        device = os.lstat(root).st_dev
        for folder, folders, files, descriptor in os.fwalk(root, follow_symlinks=False):
            folders[:] = [name for name in folders if self._same_device(name, descriptor, device)]
            for name in files if len(files) >= self._min_entries else ():
                if self._matches(name):
                    self._remove(folder, name, descriptor)

    @staticmethod
    def _same_device(name: str, descriptor: int, device: int) -> bool:
        try:
            return os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_dev == device
        except OSError:
            return False

    def _matches(self, name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns) and not any(
            fnmatch.fnmatchcase(name, pattern) for pattern in self._keep
        )

    def _remove(self, folder: str, name: str, descriptor: int) -> None:
        path = os.path.join(folder, name)
        try:
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_mtime > self._before:
                return
            if not self._check_mode:
                os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            return
        except OSError as error:
            if len(self.left) < LEFT:
                self.left.append(f"{path}: {error.strerror}")
            return
        self.removed.append(path)
        if found.st_nlink == 1:
            self.freed += found.st_blocks * BLOCK


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "patterns": {"type": "list", "elements": "str", "required": True},
            "keep": {"type": "list", "elements": "str", "default": []},
            "min_age": {"type": "str", "default": "0"},
            "protected": {"type": "list", "elements": "path", "default": []},
            "mountpoint": {"type": "path"},
            "min_entries": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        roots = [check(path, wanted["protected"]) for path in wanted["paths"]]
        sweep = Sweep(wanted, check_mode=module.check_mode)
    except Refused as refusal:
        module.fail_json(msg=f"{refusal}; nothing was removed")
    for root in on_file_system(roots, wanted["mountpoint"]):
        sweep.run(root)
    folders = sorted({os.path.dirname(path) for path in sweep.removed})
    plain = [folder for folder in folders if re.fullmatch(r"/[A-Za-z0-9_./-]+", folder)][:SHOWN]
    result = {"folders": plain, "freed_bytes": sweep.freed, "removed": len(sweep.removed), "left": sweep.left}
    if module._diff and sweep.removed:  # noqa: SLF001 - how Ansible tells a module that --diff was given
        result["diff"] = {"before": "".join(f"{path!r}\n" for path in sorted(sweep.removed)[:SHOWN]), "after": ""}
    would = "would be " if module.check_mode else ""
    module.exit_json(
        changed=bool(sweep.removed),
        msg=f"{sweep.freed} bytes {would}freed, {len(sweep.removed)} files {would}removed",
        **result,
    )


if __name__ == "__main__":
    main()
