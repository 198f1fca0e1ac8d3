#!/usr/bin/python
"""Puts the newest snapshot that passes its checksums in the place of a service's data, and keeps what was there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: snapshot_restore
short_description: Restore data files from the newest snapshot that passes its checksums
description:
  - A snapshot is a folder below O(snapshots) whose name begins with its UTC time (C(20251122T224400Z) or
    C(2025-11-22T22:44:00Z)) and which holds the files and a C(SHA256SUMS) in the form of C(sha256sum -c).
  - Broken snapshots are passed over, and the result says why.
  - Nothing is due when the data equals the newest valid snapshot, when it passes O(sums), or when this O(attempt) has
    restored it already.
  - The copy is made beside the data and checked before the old files are moved, so that a full disk or a snapshot that
    breaks meanwhile leaves everything as it was. Old files are moved to C(aside/) and never overwritten.
author: [Mendbook contributors]
options:
  directory:
    description: The data's folder.
    type: path
    required: true
  files:
    description: The names of the files that make up the data.
    type: list
    elements: str
    required: true
  snapshots:
    description: The folder of the snapshots.
    type: path
    required: true
  state:
    description: V(planned) only finds out whether a restore is due and from where; V(restored) does it.
    type: str
    choices: [planned, restored]
    default: restored
  snapshot:
    description: With V(restored), the folder that V(planned) chose; without it the choice is made anew.
    type: path
  sums:
    description: The name of a file in O(directory), in the form of C(sha256sum -c), that the live data is held against.
    type: str
  attempt:
    description: The attempt's identity, which names the folder below C(aside/). Empty means the present time.
    type: str
    default: ""
attributes:
  check_mode:
    description: Checksums are read and nothing is written.
    support: full
  diff_mode:
    description: Shows the digest of each file before and after.
    support: full
"""

EXAMPLES = r"""
- name: Restore the data from the newest snapshot that passes its checksums
  snapshot_restore:
    directory: /srv/app/data
    files: [data.bin, data.sums]
    snapshots: /srv/app/snapshots
"""

RETURN = r"""
due:
  description: Whether the data has to be restored.
  type: bool
  returned: always
snapshot:
  description: The folder of the snapshot that is restored; empty when nothing is due.
  type: str
  returned: always
passed_over:
  description: The newer snapshots that were passed over, each with the reason.
  type: list
  elements: str
  returned: always
aside:
  description: The folder that holds the old files; empty when none were moved.
  type: str
  returned: always
"""

import hashlib
import os
import re
import shutil
import stat
import time

from ansible.module_utils.basic import AnsibleModule

PROOF = "SHA256SUMS"
RESTORED = ".restored"
STAMPED = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}")
PROOF_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
PROOF_LIMIT = 1 << 20
PIECE = 1 << 20


class Trouble(Exception):
    """The restore cannot be done; nothing was changed unless the message says so."""


class Broken(Exception):
    """A snapshot or the live data does not pass its checksums; the message says why."""


def digest(path: str) -> str:
    """Return the SHA-256 of a regular file; Broken for anything else. A symbolic link is not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise Broken(f"{os.path.basename(path)} cannot be read: {error.strerror}") from error
    found = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Broken(f"{os.path.basename(path)} is not a regular file")
        try:
            for piece in iter(lambda: stream.read(PIECE), b""):
                found.update(piece)
        except OSError as error:
            raise Broken(f"{os.path.basename(path)} cannot be read: {error.strerror}") from error
    return found.hexdigest()


def read_proof(path: str) -> dict[str, str]:
    """Return the digests that a file in the form of sha256sum promises, by file name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, encoding="utf-8") as stream:
            text = stream.read(PROOF_LIMIT)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Broken(f"{os.path.basename(path)} cannot be read: {reason}") from error
    promised = {}
    for line in text.splitlines():
        match = PROOF_LINE.fullmatch(line)
        if match is None:
            raise Broken(f"{os.path.basename(path)} has a line that is not a checksum")
        promised[match[2]] = match[1].lower()
    return promised


def verify(folder: str, files: list[str], proof: str) -> dict[str, str]:
    """Return the digests of the files, all of which match the proof; Broken when one does not."""
    promised = read_proof(proof)
    found = {}
    for name in files:
        if name not in promised:
            raise Broken(f"{os.path.basename(proof)} does not list {name}")
        found[name] = digest(os.path.join(folder, name))
        if found[name] != promised[name]:
            raise Broken(f"{name} does not match its checksum")
    return found


def candidates(folder: str) -> list[str]:
    """Return the snapshots' folders, newest first by the time in their names; links and foreign folders are left out."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name for entry in entries if STAMPED.match(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
    except OSError as error:
        raise Trouble(f"the snapshots in {folder} cannot be listed: {error.strerror}") from error
    names.sort(key=lambda name: (re.sub(r"[^0-9]", "", name), name), reverse=True)
    return [os.path.join(folder, name) for name in names]


def newest_valid(folder: str, files: list[str], skipped: list[str]) -> tuple[str, dict[str, str]]:
    """Return the newest snapshot that passes and its digests; ('', {}) when none does. Says why others were skipped."""
    for path in candidates(folder):
        try:
            return path, verify(path, files, os.path.join(path, PROOF))
        except Broken as reason:
            skipped.append(f"{os.path.basename(path)}: {reason}")
    return "", {}


def live(directory: str, files: list[str]) -> dict[str, str]:
    """Return the digests of the live files; '' for one that cannot be read."""
    found = {}
    for name in files:
        try:
            found[name] = digest(os.path.join(directory, name))
        except Broken:
            found[name] = ""
    return found


def passes(directory: str, files: list[str], sums: str | None) -> bool:
    """Whether the live data passes the checksums that lie beside it, if there are any."""
    if not sums:
        return False
    try:
        verify(directory, [name for name in files if name != sums], os.path.join(directory, sums))
    except Broken:
        return False
    return True


def aside_name(attempt: str) -> str:
    """Return a folder's name for the attempt: its id where that is a plain name, else a digest of it."""
    if not attempt:
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", attempt):
        return attempt
    return hashlib.sha256(attempt.encode(errors="surrogateescape")).hexdigest()[:32]


def plan(wanted: dict) -> dict:
    """Find out whether a restore is due, and from which snapshot. Raises Trouble when it is due and there is none."""
    directory, files = wanted["directory"], wanted["files"]
    aside = os.path.join(directory, "aside", aside_name(wanted["attempt"]))
    nothing = {"due": False, "snapshot": "", "passed_over": [], "before": {}, "after": {}, "aside": ""}
    if wanted["attempt"] and os.path.lexists(os.path.join(aside, RESTORED)):
        return {**nothing, "reason": "this attempt has restored the data already"}
    if passes(directory, files, wanted["sums"]):
        return {**nothing, "reason": f"the data passes {wanted['sums']}"}
    skipped: list[str] = []
    if wanted["snapshot"]:
        snapshot = wanted["snapshot"]
        try:
            promised = read_proof(os.path.join(snapshot, PROOF))
            after = {name: promised.get(name, "") for name in files}
        except Broken as reason:
            raise Trouble(f"{snapshot} is broken: {reason}") from reason
    else:
        snapshot, after = newest_valid(wanted["snapshots"], files, skipped)
    if not snapshot:
        told = "; ".join(skipped) or "there are no snapshots"
        raise Trouble(f"no snapshot in {wanted['snapshots']} can be restored ({told}); nothing was touched")
    before = live(directory, files)
    if before == after:
        return {**nothing, "passed_over": skipped, "reason": f"the data equals {os.path.basename(snapshot)}"}
    return {
        "due": True,
        "snapshot": snapshot,
        "passed_over": skipped,
        "before": before,
        "after": after,
        "aside": aside,
        "reason": f"the data differs from {os.path.basename(snapshot)}, the newest snapshot that passes",
    }


def stage(planned: dict, directory: str, files: list[str]) -> str:
    """Copy the snapshot beside the data and check the copy; return its folder. Leaves nothing behind when it fails."""
    staging = os.path.join(directory, f".restoring-{os.path.basename(planned['aside'])}")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        os.mkdir(staging, 0o700)
        for name in files:
            target = os.path.join(staging, name)
            shutil.copyfile(os.path.join(planned["snapshot"], name), target, follow_symlinks=False)
            like(os.path.join(directory, name), os.path.join(planned["snapshot"], name), target)
            settle(target)
        verify(staging, files, os.path.join(planned["snapshot"], PROOF))
    except (OSError, Broken) as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise Trouble(f"the snapshot cannot be copied, the data is as it was: {error}") from error
    return staging


def like(old: str, source: str, target: str) -> None:
    """Give the copy the old file's mode and owner; the snapshot's where the old file is gone or is a link."""
    try:
        known = os.lstat(old)
    except FileNotFoundError:
        known = os.lstat(source)
    if stat.S_ISLNK(known.st_mode):
        known = os.lstat(source)
    if os.geteuid() == 0:
        os.chown(target, known.st_uid, known.st_gid)
    os.chmod(target, stat.S_IMODE(known.st_mode))


def settle(path: str) -> None:
    """Have the kernel write a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_name(folder: str, name: str) -> str:
    """Return a path in the folder that does not exist yet."""
    path, number = os.path.join(folder, name), 0
    while os.path.lexists(path):
        number += 1
        path = os.path.join(folder, f"{name}.{number}")
    return path


def swap(planned: dict, staging: str, directory: str, files: list[str]) -> None:
    """Move the old files aside and the checked copy in their place; take it back when that fails half-way."""
    aside, undo = planned["aside"], []
    try:
        os.makedirs(aside, exist_ok=True)
        for name in files:
            path = os.path.join(directory, name)
            if os.path.lexists(path):
                kept = free_name(aside, name)
                os.rename(path, kept)
                undo.append((kept, path))
        for name in files:
            path = os.path.join(directory, name)
            os.rename(os.path.join(staging, name), path)
            undo.append((path, os.path.join(staging, name)))
        settle(directory)
        verify(directory, files, os.path.join(planned["snapshot"], PROOF))
        with open(os.path.join(aside, RESTORED), "w", encoding="utf-8") as stream:
            stream.write(planned["snapshot"] + "\n")
    except (OSError, Broken) as error:
        for now, then in reversed(undo):
            os.rename(now, then)
        raise Trouble(f"the restore was taken back, the data is as it was: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check(wanted: dict) -> None:
    """Refuse names that are not plain file names, and folders that are none."""
    for name in [*wanted["files"], *([wanted["sums"]] if wanted["sums"] else [])]:
        if name in ("", ".", "..", "aside", PROOF) or "/" in name or "\0" in name or "\n" in name:
            raise Trouble(f"{name!r} is not the name of a data file")
    if not wanted["files"]:
        raise Trouble("no files were named")
    for folder in ("directory", "snapshots"):
        if not os.path.isabs(wanted[folder]) or not os.path.isdir(wanted[folder]):
            raise Trouble(f"{wanted[folder]} is not a folder with an absolute path")


def shown(digests: dict[str, str]) -> str:
    """Return the digests as lines for a diff."""
    return "".join(f"{value or 'unreadable'}  {name}\n" for name, value in digests.items())


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "files": {"type": "list", "elements": "str", "required": True},
            "snapshots": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["planned", "restored"], "default": "restored"},
            "snapshot": {"type": "path"},
            "sums": {"type": "str"},
            "attempt": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        check(wanted)
        planned = plan(wanted)
        due = planned["due"] and wanted["state"] == "restored"
        if due and not module.check_mode:
            swap(planned, stage(planned, wanted["directory"], wanted["files"]), wanted["directory"], wanted["files"])
    except Trouble as error:
        module.fail_json(msg=str(error))
    result = {key: planned[key] for key in ("due", "snapshot", "passed_over", "aside", "reason")}
    if module._diff and due:  # noqa: SLF001 - how Ansible tells a module that --diff was given
        where = wanted["directory"]
        headers = {"before_header": where, "after_header": planned["snapshot"]}
        result["diff"] = {"before": shown(planned["before"]), "after": shown(planned["after"]), **headers}
    module.exit_json(changed=due, **result)


if __name__ == "__main__":
    main()
