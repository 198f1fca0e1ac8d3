#!/usr/bin/python
"""Rotates logs that have grown beyond a size, and keeps a number of old ones, compressed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: log_rotated
short_description: Rotate logs that have grown beyond a size
description:
  - A log that is larger than O(max_size) is copied to C(NAME.1.gz) and emptied in place, so that its writer need not be told;
    what is written between the copy and the emptying is lost. Older copies move on by one, those beyond O(keep) go.
  - Files that are links are left alone.
author: [Mendbook contributors]
options:
  paths:
    description: The folders that hold logs; they are not searched deeper. One that does not exist is passed over.
    type: list
    elements: path
    required: true
  patterns:
    description: Shell patterns of the logs' names.
    type: list
    elements: str
    default: ["*.log"]
  max_size:
    description: The size from which a log is rotated, a number of bytes or one with K, M or G.
    type: str
    default: 10M
  keep:
    description: How many old copies are kept.
    type: int
    default: 5
  cut:
    description: Whether a log for whose compressed copy there is no room is emptied all the same; its last mebibyte is kept then.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells which logs would be rotated.
    support: full
"""

EXAMPLES = r"""
- name: Rotate the application's logs
  log_rotated:
    paths: [/var/log/app]
    max_size: 50M
"""

RETURN = r"""
rotated:
  description: The logs that were rotated, or in check mode would be.
  type: list
  elements: str
  returned: always
cut:
  description: Those of which only the end was kept.
  type: list
  elements: str
  returned: always
"""

import errno
import fnmatch
import gzip
import os
import re
import shutil
import stat

from ansible.module_utils.basic import AnsibleModule

TAIL = 1 << 20
SIZE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text: str) -> int:
    """Return a size such as 10M in bytes. Raises ValueError."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a size such as 10M")
    return int(match[1]) * SIZE[match[2]]


def grown(folder: str, patterns: list[str], limit: int) -> list[str]:
    """Return the logs in the folder that are larger than the limit."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns):
                    known = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(known.st_mode) and known.st_size > limit:
                        found.append(entry.path)
    except FileNotFoundError:
        return []
    return sorted(found)


def rotate(path: str, keep: int) -> None:
    """Move the old copies on by one, compress the log into the first place and empty it; the log loses nothing if this fails."""
    fresh = f"{path}.0.gz"
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as log:
        known = os.fstat(descriptor)
        try:
            target = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, stat.S_IMODE(known.st_mode))
            with os.fdopen(target, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb") as packed:
                shutil.copyfileobj(log, packed)
            if os.geteuid() == 0:
                os.chown(fresh, known.st_uid, known.st_gid)
        except OSError:
            if os.path.lexists(fresh):
                os.unlink(fresh)
            raise
        for number in range(keep, -1, -1):
            old = f"{path}.{number}.gz"
            if not os.path.lexists(old):
                continue
            if number == keep:
                os.unlink(old)
            else:
                os.rename(old, f"{path}.{number + 1}.gz")
        os.ftruncate(descriptor, 0)


def cut(path: str) -> None:
    """Empty the log and keep its end as the newest old copy. What lies before is lost: on a full disk there is no other room."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as log:
        known = os.fstat(descriptor)
        log.seek(max(known.st_size - TAIL, 0))
        tail = gzip.compress(log.read())
        os.ftruncate(descriptor, 0)
        kept = os.open(
            f"{path}.1.gz", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, stat.S_IMODE(known.st_mode)
        )
        with os.fdopen(kept, "wb") as target:
            target.write(tail)


def emptied(path: str, keep: int, *, may_cut: bool) -> bool:
    """Rotate a log, or cut it where there is no room for that; tell whether it was cut."""
    try:
        rotate(path, keep)
    except OSError as error:
        if error.errno != errno.ENOSPC or not may_cut:
            raise
        cut(path)
        return True
    return False


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "paths": {"type": "list", "elements": "path", "required": True},
            "patterns": {"type": "list", "elements": "str", "default": ["*.log"]},
            "max_size": {"type": "str", "default": "10M"},
            "keep": {"type": "int", "default": 5},
            "cut": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    rotated: list[str] = []
    shortened: list[str] = []
    if wanted["keep"] < 1:
        module.fail_json(msg="at least one old copy is kept")
    try:
        limit = size(wanted["max_size"])
        for folder in wanted["paths"]:
            for path in grown(folder, wanted["patterns"], limit):
                if not module.check_mode and emptied(path, wanted["keep"], may_cut=wanted["cut"]):
                    shortened.append(path)
                rotated.append(path)
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error), rotated=rotated, cut=shortened)
    module.exit_json(changed=bool(rotated), rotated=rotated, cut=shortened)


if __name__ == "__main__":
    main()
