#!/usr/bin/python
"""Restores a folder from the newest restic snapshot that verifies, and sets the old one aside."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: restic_restored
short_description: Restore a folder from a restic repository
description:
  - The repository is checked first. Then snapshots of the folder are restored beside it, the newest first, until one verifies against
    restic's own digests and, where the snapshot carries them, against checksums as C(sha256sum) writes them.
  - Only then the old folder is moved to O(aside), where nothing is ever overwritten, and the restored one takes its place.
  - A folder that has all files of the newest snapshot, unchanged, is left alone.
author: [Mendbook contributors]
options:
  path:
    description: The folder.
    type: path
    required: true
  repository:
    description: The restic repository.
    type: str
    required: true
  password_file:
    description: The file with its password, on the host.
    type: path
    required: true
  sums:
    description: Where a snapshot holds the checksums of the folder's files, by their paths in it.
    type: path
  tag:
    description: Only snapshots with this tag count.
    type: str
  cache:
    description: The folder of restic's cache.
    type: path
  attempt:
    description: The attempt's identity; it restores once. Empty means that it always restores.
    type: str
    default: ""
  timeout:
    description: Seconds that each call of restic may take.
    type: int
    default: 600
attributes:
  check_mode:
    description: Tells which snapshot would be tried first. Whether it verifies cannot be told without restoring it.
    support: partial
"""

EXAMPLES = r"""
- name: Restore the pages
  restic_restored:
    path: /srv/app/www
    repository: sftp:backup:/srv/backup/app
    password_file: /etc/app/restic-password
"""

RETURN = r"""
snapshot:
  description: The snapshot that was restored; empty when none was.
  type: str
  returned: always
passed_over:
  description: What was found wrong with the repository and with newer snapshots.
  type: list
  elements: str
  returned: always
aside:
  description: Where the old folder is now; empty when there was none.
  type: str
  returned: always
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

RESTORED = ".restored"


class Trouble(Exception):
    """The restore cannot be done; the folder is as it was."""


class Broken(Exception):
    """A snapshot does not verify; the message says why."""


def restic(wanted: dict, *words: str) -> str:
    """Return what restic printed; Broken when it fails."""
    environment = {
        **os.environ,
        "RESTIC_REPOSITORY": wanted["repository"],
        "RESTIC_PASSWORD_FILE": wanted["password_file"],
        "LC_ALL": "C.UTF-8",
    }
    if wanted["cache"]:
        environment["RESTIC_CACHE_DIR"] = wanted["cache"]
    try:
        done = subprocess.run(
            ["restic", "--quiet", *words],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=wanted["timeout"],
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Broken(f"restic {words[0]}: {error}") from error
    if done.returncode:
        raise Broken(f"restic {words[0]}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def snapshots(wanted: dict) -> list[str]:
    """Return the snapshots that hold the folder, the newest first; Trouble when there is none."""
    tagged = ["--tag", wanted["tag"]] if wanted["tag"] else []
    try:
        told = json.loads(restic(wanted, "snapshots", "--json", *tagged)) or []
    except (Broken, ValueError) as error:
        raise Trouble(f"the repository cannot be read: {error}") from error
    path = wanted["path"]
    held = [one for one in told if any(path == each or path.startswith(each.rstrip("/") + "/") for each in one["paths"])]
    if not held:
        raise Trouble(f"{wanted['repository']} has no snapshot of {path}")
    return [one["id"] for one in sorted(held, key=lambda one: one["time"], reverse=True)]


def sums_in(text: str) -> dict[str, str]:
    """Return the digests by path of a text as sha256sum writes it."""
    lines = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return {name.removeprefix("*"): digest.lower() for digest, name in lines}


def sums_of(folder: Path) -> dict[str, str]:
    """Return the digests of the regular files below a folder, by their paths in it."""
    found = {}
    for top, _, names in os.walk(folder):
        for name in names:
            path = Path(top) / name
            if not path.is_symlink() and path.is_file():
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def intact(wanted: dict, newest: str) -> bool:
    """Whether the folder has every file of the newest snapshot, unchanged; never known without checksums."""
    if not wanted["sums"] or not os.path.isdir(wanted["path"]):
        return False
    try:
        promised = sums_in(restic(wanted, "dump", newest, wanted["sums"]))
    except (Broken, ValueError):
        return False
    live = sums_of(Path(wanted["path"]))
    return bool(promised) and all(live.get(name) == digest for name, digest in promised.items())


def stage(wanted: dict, snapshot: str, staging: Path) -> Path:
    """Restore a snapshot into the staging folder and return where the folder is in it; Broken when it does not verify."""
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700, parents=True)
    included = ["--include", wanted["path"], *(["--include", wanted["sums"]] if wanted["sums"] else [])]
    restic(wanted, "restore", snapshot, "--target", str(staging), "--verify", *included)
    made = staging / wanted["path"].lstrip("/")
    if not made.is_dir():
        raise Broken("it does not hold the folder")
    if wanted["sums"]:
        try:
            promised = sums_in((staging / wanted["sums"].lstrip("/")).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise Broken(f"its checksums cannot be read: {error}") from error
        wrong = sorted(name for name, digest in promised.items() if sums_of(made).get(name) != digest)
        if wrong or not promised:
            raise Broken(f"it differs from its checksums in {', '.join(wrong[:5]) or 'having none'}")
    return made


def free(path: Path) -> Path:
    """Return the path, or one like it, that does not exist yet."""
    found, number = path, 0
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found


def swap(path: Path, made: Path, aside: Path, snapshot: str) -> str:
    """Move the old folder aside and the restored one in its place; taken back when that fails half-way."""
    aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = None
    if os.path.lexists(path):
        kept = free(aside / path.name)
        os.rename(path, kept)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.rename(made, path)
        (aside / RESTORED).write_text(snapshot + "\n", encoding="utf-8")
    except OSError as error:
        if kept is not None and not os.path.lexists(path):
            os.rename(kept, path)
        raise Trouble(f"the restore was taken back: {error}") from error
    return str(kept or "")


def aside_of(path: Path, attempt: str) -> Path:
    """Return the folder, beside the restored one, that takes what was there before."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", attempt)
    name = attempt if plain else time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return path.parent / f"{path.name}.aside" / name


def restore(module: AnsibleModule, result: dict) -> None:
    """Find out whether a restore is due, and do it. Raises Trouble."""
    wanted = module.params
    path = Path(wanted["path"])
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 3 or path.is_symlink():  # noqa: PLR2004
        raise Trouble(f"{path} is not an absolute path below a top folder, or is a link")
    aside = aside_of(path, wanted["attempt"])
    if wanted["attempt"] and (aside / RESTORED).exists():
        result["msg"] = "this attempt has restored the folder already"
        return
    found = snapshots(wanted)
    if intact(wanted, found[0]):
        result["msg"] = f"{path} has all files of the newest snapshot, {found[0][:8]}"
        return
    result["changed"] = True
    if module.check_mode:
        result["snapshot"] = found[0]
        result["msg"] = f"snapshot {found[0][:8]} would be restored, or an older one: only restoring tells whether it verifies"
        return
    try:
        restic(wanted, "check")
    except Broken as reason:
        result["passed_over"].append(f"the repository: {reason}")
    staging = path.parent / f".restoring-{path.name}"
    try:
        for snapshot in found:
            try:
                made = stage(wanted, snapshot, staging)
            except (Broken, OSError) as reason:
                result["passed_over"].append(f"{snapshot[:8]}: {reason}")
                continue
            result["aside"] = swap(path, made, aside, snapshot)
            result["snapshot"] = snapshot
            result["msg"] = f"restored from snapshot {snapshot[:8]}"
            return
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    raise Trouble(f"no snapshot verifies ({'; '.join(result['passed_over'])}); the folder is as it was")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "repository": {"type": "str", "required": True},
            "password_file": {"type": "path", "required": True, "no_log": False},
            "sums": {"type": "path"},
            "tag": {"type": "str"},
            "cache": {"type": "path"},
            "attempt": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    result: dict = {"changed": False, "snapshot": "", "passed_over": [], "aside": ""}
    try:
        restore(module, result)
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error), passed_over=result["passed_over"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
