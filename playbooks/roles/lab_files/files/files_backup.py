#!/usr/bin/python3
"""Keeps verified copies of a folder in a restic repository, and tells when the folder is not what it was.

    files-backup backup | verify | figures [--every SECONDS] | sums FOLDER

The checksums of all files go into each snapshot. A snapshot is verified by being restored beside the folder and held against them.
A folder that has lost half of its files is not backed up: the newest snapshot is then what it is needed for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SETTINGS = Path("/etc/mendbook/files-backup.json")
STATE = Path("/var/lib/mendbook/files")
SUMS, KNOWN, TRIAL = STATE / "SHA256SUMS", STATE / "known.json", STATE / "trial"
PAGE = Path("/var/lib/prometheus/node-exporter/files.prom")


class Trouble(Exception):
    """Something that was asked for could not be done; the message says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What stands in the settings."""

    folder: Path
    repository: str
    password_file: str
    keep: int


@cache
def settings() -> Settings:
    """Return the settings of this node."""
    told = json.loads(SETTINGS.read_text(encoding="utf-8"))
    return Settings(Path(told["folder"]), told["repository"], told["password_file"], int(told["keep"]))


def restic(*words: str) -> str:
    """Return what restic printed. Raises Trouble."""
    environment = os.environ | {
        "RESTIC_REPOSITORY": settings().repository,
        "RESTIC_PASSWORD_FILE": settings().password_file,
        "RESTIC_CACHE_DIR": "/var/cache/mendbook/restic",
        "GOMAXPROCS": "1",
    }
    try:
        done = subprocess.run(
            ["restic", "--quiet", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Trouble(f"restic {words[0]}: {error}") from error
    if done.returncode:
        raise Trouble(f"restic {words[0]}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def sums_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each regular file below the folder, by its path in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with contextlib.suppress(FileNotFoundError):
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def read_sums(path: Path) -> dict[str, str]:
    """Return the checksums in a file as sha256sum writes it; none if there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def write(path: Path, text: str) -> None:
    """Replace the file at once; everybody may read it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")  # more than one process may tell the figures
    draft.write_text(text, encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(path)


def known() -> dict[str, float]:
    """Return when what was done last, and how it went."""
    try:
        told: dict[str, float] = json.loads(KNOWN.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return told


def note(**news: float) -> None:
    """Keep news for the figures."""
    write(KNOWN, json.dumps(known() | news))


def refusal(before: dict[str, str], found: dict[str, str]) -> str:
    """Return why the folder must not be backed up, or nothing."""
    lost = sum(name not in found for name in before)
    if not found:
        return "holds no files"
    if lost * 2 > len(before):
        return f"has lost {lost} of {len(before)} files: what the last snapshot holds must not be pushed out by what is left"
    return ""


def backup() -> None:
    """Take a snapshot of the folder and its checksums. Raises Trouble, also when the folder has lost half of its files."""
    before, found = read_sums(SUMS), sums_of(settings().folder)
    if reason := refusal(before, found):
        note(refused=1)
        raise Trouble(f"{settings().folder} {reason}")
    try:
        restic("cat", "config")
    except Trouble:
        restic("init")
    draft = STATE / "taken"
    draft.mkdir(exist_ok=True)
    write(draft / SUMS.name, "".join(f"{digest}  {name}\n" for name, digest in found.items()))
    restic("backup", "--tag", "mendbook", str(settings().folder), str(draft / SUMS.name))
    restic("forget", "--tag", "mendbook", "--group-by", "host", "--keep-last", str(settings().keep))
    os.replace(draft / SUMS.name, SUMS)
    note(taken=time.time(), refused=0)


def snapshots() -> list[str]:
    """Return the snapshots' numbers, the newest first. Raises Trouble."""
    told = json.loads(restic("snapshots", "--json", "--tag", "mendbook"))
    return [one["short_id"] for one in sorted(told, key=lambda one: one["time"], reverse=True)]


def try_out(snapshot: str) -> None:
    """Restore the snapshot beside the folder and hold it against its checksums. Raises Trouble."""
    shutil.rmtree(TRIAL, ignore_errors=True)
    TRIAL.mkdir(mode=0o700)
    try:
        restic("restore", snapshot, "--target", str(TRIAL))
        expected = read_sums(TRIAL / str(STATE / "taken" / SUMS.name).lstrip("/"))
        found = sums_of(TRIAL / str(settings().folder).lstrip("/"))
        if not expected or found != expected:
            wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
            raise Trouble(f"snapshot {snapshot} differs from its checksums in {', '.join(wrong[:5]) or 'having none'}")
    finally:
        shutil.rmtree(TRIAL, ignore_errors=True)


def verify() -> None:
    """Restore the newest snapshot on trial; if it is broken, say so and try the ones before. Raises Trouble."""
    broken: list[str] = []
    for snapshot in snapshots():
        try:
            try_out(snapshot)
        except Trouble as trouble:
            broken.append(str(trouble))
            continue
        note(verified=time.time(), restored=time.time(), valid=float(not broken))
        if broken:
            raise Trouble(f"only snapshot {snapshot} verifies; {'; '.join(broken)}")
        restic("prune")
        return
    note(valid=0)
    raise Trouble("; ".join(broken) or "there is no snapshot")


def figures() -> None:
    """Write the page for node_exporter."""
    expected, found, told = read_sums(SUMS), sums_of(settings().folder), known()
    where = f'path="{settings().folder}"'
    rows = [
        ("mendbook_files_expected", where, "Files that the newest snapshot holds.", len(expected)),
        ("mendbook_files_missing", where, "Files of the newest snapshot that are gone.", sum(name not in found for name in expected)),
        (
            "mendbook_files_changed", where, "Files that differ from the newest snapshot.",
            sum(name in found and found[name] != digest for name, digest in expected.items()),
        ),
        ("mendbook_backup_refused", 'kind="files"', "Whether the last backup was refused, since files were lost.", told.get("refused", 0)),
        ("mendbook_backup_taken_timestamp_seconds", 'kind="files"', "When the newest backup was taken.", told.get("taken", 0)),
        ("mendbook_backup_verified_timestamp_seconds", 'kind="files"', "When a backup was last found to verify.", told.get("verified", 0)),
        ("mendbook_backup_restored_timestamp_seconds", 'kind="files"', "When a backup was last restored on trial.", told.get("restored", 0)),
        ("mendbook_backup_valid", 'kind="files"', "Whether the newest backup verified when it was last looked at.", told.get("valid", 0)),
    ]  # fmt: skip
    write(PAGE, "".join(f"# HELP {name} {told}\n# TYPE {name} gauge\n{name}{{{labels}}} {value}\n" for name, labels, told, value in rows))


def main() -> int:
    """Return the exit status: 1 for trouble, which is told."""
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    match sys.argv[1:]:
        case ["sums", folder]:
            sys.stdout.writelines(f"{digest}  {name}\n" for name, digest in sums_of(Path(folder)).items())
            return 0
        case ["figures"]:
            figures()
            return 0
        case ["figures", "--every", seconds]:
            while True:
                figures()
                time.sleep(float(seconds))
        case ["backup"]:
            act = backup
        case ["verify"]:
            act = verify
        case _:
            print(__doc__, file=sys.stderr)
            return 64
    with (STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a backup and its verification take turns
        try:
            act()
        except Trouble as trouble:
            print(trouble, file=sys.stderr)
            return 1
        finally:
            figures()
    return 0


if __name__ == "__main__":
    sys.exit(main())
