#!/usr/bin/python3
"""The archive of a PostgreSQL group: its write-ahead log as it is written, base backups, and proof that both can be restored.

    postgres_archive.py receive            keep the log; systemd starts it again whenever it ends
    postgres_archive.py backup             take a base backup, verify it, and forget what is older than those to keep
    postgres_archive.py verify             verify every backup, and restore the newest one on trial
    postgres_archive.py end                tell how far the log reaches
    postgres_archive.py catch-up HOST LSN  take from a replica what it has and the archive has not
    postgres_archive.py choose [TIME]      tell the newest backup that verifies (and was complete before TIME)
    postgres_archive.py needed BACKUP      tell what a restore of it needs of the log
    postgres_archive.py figures            write figures for node_exporter every two seconds

An acknowledged commit is confirmed either by a replica or here, so nothing here is deleted that the history of the group still needs;
what belongs to a history that was left (after a restore to an earlier moment) is moved to `left/`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

SETTINGS = json.loads(
    Path(os.environ.get("POSTGRES_ARCHIVE", "/etc/mendbook-archive.json")).read_text(encoding="utf-8")
)
ROOT = Path(SETTINGS["root"])
os.environ.setdefault("PGPASSFILE", "/var/lib/postgresql/.pgpass")  # the figures are written by root
WAL, BACKUPS, LEFT, TRIAL = ROOT / "wal", ROOT / "backups", ROOT / "left", ROOT / "trial"
LAST = Path("/run/mendbook-archive-primary")
SEGMENT = 16 << 20
SEGMENT_NAME = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")
RECORD = re.compile(r"len \(rec/tot\): +[0-9]+/ *([0-9]+), tx: +[0-9]+, lsn: ([0-9A-F]+/[0-9A-F]+)")
STAMP = "%Y%m%dT%H%M%SZ"
STAMPED = re.compile(r"[0-9]{8}T[0-9]{6}Z")


class Trouble(Exception):
    """It cannot be done; the message says why."""


def program(
    name: str, *words: str, timeout: float | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs; Trouble when it fails and that is not expected."""
    try:
        done = subprocess.run(
            [f"{SETTINGS['bin']}/{name}", *words], capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"{name} did not end within {timeout} s") from error
    if check and done.returncode:
        raise Trouble(f"{name}: {' / '.join((done.stderr or done.stdout).strip().splitlines()[-3:])}")
    return done


def ask(sql: str, where: str) -> list[list[str]]:
    """Return the rows of a query; Trouble when the server does not answer it."""
    done = program("psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", where, "-c", sql, timeout=15)
    return [line.split("\t") for line in done.stdout.splitlines()]


def position(text: str) -> int:
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def place(name: str) -> tuple[int, int]:
    """Return the timeline and the number of a segment."""
    return int(name[:8], 16), (int(name[8:16], 16) << 32) // SEGMENT + int(name[16:24], 16)


def branches(text: str) -> dict[int, int]:
    """Return where each older timeline was left, from a timeline's history file."""
    rows = (line.split() for line in text.splitlines())
    return {int(row[0]): position(row[1]) for row in rows if len(row) > 1 and row[0].isdigit()}


def segments() -> list[str]:
    """Return the names of the segments that are kept, oldest first."""
    return sorted(path.name for path in WAL.iterdir() if SEGMENT_NAME.fullmatch(path.name))


# --- the log ---------------------------------------------------------------------------------------------------------------------


def superfluous(names: list[str], timeline: int, left: dict[int, int]) -> list[str]:
    """Return the segments that lie outside the history that leads to a timeline, so that receiving could not go on after them.

    Where a timeline was left within a segment, a whole segment of it says that somebody wrote beyond that point: the part before it
    comes again from the primary. One that is not whole is received again from its beginning anyway.
    """
    if any(place(name)[0] == timeline for name in names):
        left_alone = [name for name in names if place(name)[0] in left or place(name)[0] == timeline]
        return [name for name in names if name not in left_alone]
    beyond = []
    for name in names:
        of, number = place(name)
        if of not in left:
            beyond.append(name)
        elif number > left[of] // SEGMENT or (number == left[of] // SEGMENT and not name.endswith(".partial")):
            beyond.append(name)
    return beyond


def leave(names: list[str]) -> None:
    """Move segments of a history that was left out of the way."""
    folder = LEFT / time.strftime(STAMP, time.gmtime())
    for name in names:
        folder.mkdir(parents=True, exist_ok=True)
        (WAL / name).rename(folder / name)
        print(f"{name} belongs to a history that was left: moved to {folder}", flush=True)


def receive() -> None:
    """Bring the archive in line with the primary's history, and become pg_receivewal."""
    descriptor = lock()
    primary = f"{SETTINGS['primary']} application_name=archive"
    timeline = int(
        ask(
            "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int",
            f"{primary} dbname=postgres",
        )[0][0]
    )
    left: dict[int, int] = {}
    if timeline > 1:
        path = f"pg_wal/{timeline:08X}.history"
        text = ask(f"SELECT encode(pg_read_binary_file('{path}'), 'hex')", f"{primary} dbname=postgres")[0][0]
        left = branches(bytes.fromhex(text).decode())
        (WAL / f"{timeline:08X}.history").write_bytes(bytes.fromhex(text))
    leave(superfluous(segments(), timeline, left))
    ask(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE slot_name = 'archive' AND NOT active AND wal_status = 'lost'",
        f"{primary} dbname=postgres",
    )
    program(
        "pg_receivewal", "-d", primary, "-D", str(WAL), "--slot=archive", "--create-slot", "--if-not-exists", timeout=20
    )
    os.set_inheritable(descriptor, True)
    words = [
        "pg_receivewal",
        "-d",
        primary,
        "-D",
        str(WAL),
        "--slot=archive",
        "--synchronous",
        "--no-loop",
        "--status-interval=1",
    ]
    os.execv(f"{SETTINGS['bin']}/pg_receivewal", words)


def lock() -> int:
    """Be the only one who writes to the log; Trouble when somebody else does."""
    descriptor = os.open(ROOT / "wal.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Trouble("somebody else writes to the archive's log") from error
    return descriptor


def end() -> dict[str, object]:
    """Return the timeline and a position that only who has the log's last whole record has reached.

    It lies within that record or at its end: who replays stands at ends of records, and is past it or before it.
    """
    names = segments()
    if not names:
        return {"timeline": 0, "end": "0/0"}
    last = max(names, key=lambda name: (place(name)[0], place(name)[1], not name.endswith(".partial")))
    timeline, number = place(last)
    room = Path(os.environ.get("TMPDIR", "/tmp")) / f"archive-end-{os.getpid()}"  # noqa: S108 - a folder of our own process
    room.mkdir(mode=0o700)
    try:
        near = [name for name in names if place(name)[0] == timeline and number - 1 <= place(name)[1] <= number]
        for name in near:
            (room / name[:24]).symlink_to(WAL / name)
        for first in (number, number - 1):
            if any(place(name)[1] == first for name in near) and (reached := last_record(room, timeline, first)):
                return {"timeline": timeline, "end": lsn(reached)}
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return {"timeline": timeline, "end": lsn(number * SEGMENT)}


def last_record(room: Path, timeline: int, first: int) -> int:
    """Return the end of the last whole record from a segment on, not counting headers of pages within it; 0 without one."""
    done = program(
        "pg_waldump", "-p", str(room), "-t", str(timeline), "-s", lsn(first * SEGMENT), timeout=120, check=False
    )
    rows = RECORD.findall(done.stdout[-100_000:])
    return position(rows[-1][1]) + int(rows[-1][0]) if rows else 0


def lsn(number: int) -> str:
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def catch_up(host: str, until: str) -> dict[str, object]:
    """Receive from a replica up to a position. What was confirmed by the replica alone is then here too.

    pg_receivewal ends once it has more than it was asked for, which is one byte less than the replica has.
    """
    reached = end()
    if position(str(reached["end"])) >= position(until):
        return reached
    lock()
    primary = re.sub(r"host=\S+", f"host={host}", SETTINGS["primary"]).replace("target_session_attrs=read-write", "")
    program(
        "pg_receivewal", "-d", f"{primary} application_name=archive_catch_up", "-D", str(WAL), "--no-loop", "--synchronous",
        f"--endpos={lsn(position(until) - 1)}", timeout=120,
    )  # fmt: skip
    return end()


# --- base backups ----------------------------------------------------------------------------------------------------------------


def backups() -> list[Path]:
    """Return the backups, newest first."""
    return sorted((path for path in BACKUPS.iterdir() if path.is_dir() and STAMPED.fullmatch(path.name)), reverse=True)


def note(backup: Path, **known: object) -> dict[str, object]:
    """Read what is known of a backup, and add to it."""
    path = BACKUPS / f"{backup.name}.json"
    with contextlib.suppress(OSError, ValueError):
        known = {**json.loads(path.read_text(encoding="utf-8")), **known}
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(known), encoding="utf-8")
    draft.replace(path)
    return known


def known(backup: Path) -> dict[str, object]:
    try:
        return dict(json.loads((BACKUPS / f"{backup.name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def check(backup: Path) -> str:
    """Verify a backup against its manifest and its own log; return why it fails, or nothing."""
    try:
        program("pg_verifybackup", "--quiet", str(backup), timeout=600)
    except Trouble as trouble:
        note(backup, valid=False, reason=str(trouble), checked=time.time())
        return str(trouble)
    note(backup, valid=True, reason="", checked=time.time(), verified=time.time())
    return ""


def take() -> dict[str, object]:
    """Take a base backup, verify it, and forget the oldest."""
    for unfinished in BACKUPS.glob("*.taking"):
        shutil.rmtree(unfinished)
    taken = time.time()
    backup = BACKUPS / time.strftime(STAMP, time.gmtime(taken))
    taking = backup.with_suffix(".taking")
    primary = f"{SETTINGS['primary']} application_name=backup"
    program("pg_basebackup", "-d", primary, "-D", str(taking), "-X", "stream", "-c", "fast", "--no-slot", timeout=600)
    taking.rename(backup)
    note(backup, taken=taken, done=time.time())
    trouble = check(backup)
    if not trouble:
        forget()
    return {"backup": backup.name, "trouble": trouble}


def forget() -> None:
    """Delete backups older than those to keep, and the log from before the oldest that is left.

    Only backups that verify count as kept; and one that does not is deleted only with its elders.
    """
    valid = [backup for backup in backups() if known(backup).get("valid")]
    if len(valid) < SETTINGS["keep"]:
        return
    oldest = valid[SETTINGS["keep"] - 1]
    for backup in backups():
        if backup.name < oldest.name:
            shutil.rmtree(backup)
            (BACKUPS / f"{backup.name}.json").unlink(missing_ok=True)
    first = ranges(oldest)[0][1] // SEGMENT
    for name in segments():
        if place(name)[1] < first:
            (WAL / name).unlink()
    for folder in LEFT.iterdir() if LEFT.is_dir() else ():
        if folder.name < oldest.name:
            shutil.rmtree(folder)


def ranges(backup: Path) -> list[tuple[int, int, int]]:
    """Return the (timeline, first, last position) that a backup needs, from its manifest."""
    manifest = json.loads((backup / "backup_manifest").read_text(encoding="utf-8"))
    return [(row["Timeline"], position(row["Start-LSN"]), position(row["End-LSN"])) for row in manifest["WAL-Ranges"]]


def history() -> tuple[int, dict[int, int]]:
    """Return the newest timeline of the log, and where the older ones that lead to it were left."""
    newest = max(
        [place(name)[0] for name in segments()] + [int(path.name[:8], 16) for path in WAL.glob("????????.history")],
        default=1,
    )
    path = WAL / f"{newest:08X}.history"
    return newest, branches(path.read_text(encoding="utf-8")) if path.exists() else {}


def unfit(backup: Path, before: float | None) -> str:
    """Say why a backup that may well be whole cannot lead to the moment that is wanted, or nothing."""
    done = known(backup).get("done")
    if before is not None and (not isinstance(done, float) or done >= before):
        return "it was taken after the moment that is wanted"
    newest, left = history()
    try:
        timeline, first, last = ranges(backup)[-1]
    except (OSError, ValueError, KeyError, IndexError):
        return "its manifest cannot be read"
    if timeline != newest and last > left.get(timeline, 0):
        return f"it belongs to a history that was left before {lsn(last)}"
    have = {place(name)[1] for name in segments()}
    wanted = range(last // SEGMENT + 1, max(have, default=0) + 1)
    missing = [number for number in wanted if number not in have]
    return f"the log has a gap after it, from {lsn(missing[0] * SEGMENT)}" if missing else ""


def choose(before: float | None) -> dict[str, object]:
    """Return the newest backup that verifies and can lead to the moment, and what is needed of the log with it."""
    over = []
    for backup in backups():
        reason = unfit(backup, before) or check(backup)
        if not reason:
            return {"backup": backup.name, "passed_over": over, **needed(backup.name)}
        over.append(f"{backup.name}: {reason}")
    raise Trouble(f"no backup can be restored ({'; '.join(over) or 'there is none'}); nothing was touched")


def needed(name: str) -> dict[str, object]:
    """Return what a restore of a backup needs of the log, how many bytes that is, and where the log ends."""
    backup = BACKUPS / name
    first = ranges(backup)[0][1] // SEGMENT
    log = [segment for segment in segments() if place(segment)[1] >= first]
    log += [path.name for path in sorted(WAL.glob("????????.history"))]
    size = sum(path.stat().st_size for path in backup.rglob("*") if path.is_file())
    return {"log": log, "bytes": size + SEGMENT * len(log), **end()}


def verify() -> dict[str, object]:
    """Verify every backup; restore the newest one that verifies on trial, check its pages and tables, and throw the trial away."""
    found = {backup.name: check(backup) for backup in reversed(backups())}
    newest = next((backup for backup in backups() if not found[backup.name]), None)
    if newest is None:
        raise Trouble("no backup verifies")
    trial(newest)
    note(newest, restored=time.time())
    return {"backups": found, "restored": newest.name}


def trial(backup: Path) -> None:
    """Restore a backup and all of the log in a folder of its own, without a way in from the network, and check what comes out."""
    shutil.rmtree(TRIAL, ignore_errors=True)
    data = TRIAL / "data"
    TRIAL.mkdir(mode=0o700)
    shutil.copytree(backup, data, symlinks=True)
    data.chmod(0o700)
    settings = f"""
restore_command = 'cp {WAL}/%f %p 2>/dev/null || cp {WAL}/%f.partial %p 2>/dev/null'
recovery_target_timeline = 'latest'
listen_addresses = ''
port = 5499
unix_socket_directories = '{TRIAL}'
hba_file = '{TRIAL}/hba'
shared_buffers = '2MB'
max_connections = 60
max_wal_senders = 10
synchronous_standby_names = ''
fsync = off
"""
    (TRIAL / "hba").write_text("local all postgres peer\n", encoding="utf-8")
    (data / "postgresql.conf").write_text(settings, encoding="utf-8")
    (data / "postgresql.auto.conf").write_text("", encoding="utf-8")
    (data / "recovery.signal").touch()
    try:
        program("pg_ctl", "-D", str(data), "-l", str(TRIAL / "log"), "-w", "-t", "300", "start", timeout=320)
        where = f"host={TRIAL} port=5499 user=postgres dbname="
        wait_for_writes(where)
        program("pg_amcheck", "-h", str(TRIAL), "-p", "5499", "--all", "--install-missing", timeout=300)
        for database, expected in SETTINGS["checks"].items():
            told = ask(expected["sql"], where + database)[0][0]
            if told != expected["expected"]:
                raise Trouble(f"restored on trial, {database} says {told} and not {expected['expected']}")
    except Trouble as trouble:
        note(backup, valid=False, reason=f"restored on trial: {trouble}", checked=time.time())
        raise
    finally:
        program("pg_ctl", "-D", str(data), "-m", "immediate", "stop", timeout=30, check=False)
        shutil.rmtree(TRIAL, ignore_errors=True)


def wait_for_writes(where: str) -> None:
    """Wait until the trial has come to the end of the log."""
    deadline = time.monotonic() + 300
    while ask("SELECT pg_is_in_recovery()", where + "postgres")[0][0] != "f":
        if time.monotonic() > deadline:
            raise Trouble("the trial did not come to the end of the log within 300 s")
        time.sleep(0.5)


# --- figures ---------------------------------------------------------------------------------------------------------------------


def page() -> str:
    """Return the figures in Prometheus's text format."""
    rows = {
        "mendbook_backup_taken_timestamp_seconds": ("When the newest backup was taken.", newest_of("taken")),
        "mendbook_backup_verified_timestamp_seconds": ("When a backup was last found to verify.", newest_of("verified")),
        "mendbook_backup_restored_timestamp_seconds": ("When a backup was last restored on trial.", newest_of("restored")),
        "mendbook_backup_valid": (
            "Whether the newest backup verified when it was last looked at.", float(bool(backups()) and bool(known(backups()[0]).get("valid"))),
        ),
        "mendbook_backup_valid_backups": ("Backups that verified.", float(sum(bool(known(backup).get("valid")) for backup in backups()))),
    }  # fmt: skip
    text = "".join(
        f'# HELP {name} {told}\n# TYPE {name} gauge\n{name}{{kind="postgres"}} {value}\n'
        for name, (told, value) in rows.items()
    )
    streaming, lag, name = 0, None, ""
    with contextlib.suppress(Trouble, IndexError):
        primary = SETTINGS["primary"].replace("connect_timeout=3", "connect_timeout=2 tcp_user_timeout=3000")
        row = ask(
            "SELECT count(*) FILTER (WHERE state = 'streaming'), coalesce(max(pg_current_wal_flush_lsn() - flush_lsn), 0),"
            " current_setting('cluster_name') FROM pg_stat_replication WHERE application_name = 'archive'",
            f"{primary} dbname=postgres",
        )[0]
        streaming, lag, name = int(row[0] != "0"), row[1], row[2]
        LAST.write_text(name, encoding="utf-8")
    text += gauge(
        "mendbook_postgres_archive_streaming", "Whether the archive receives the log from a primary.", streaming
    )
    text += gauge(
        "mendbook_postgres_primary_reachable",
        "Whether a server that takes writes can be reached from this host.",
        int(bool(name)),
    )
    last = name or (LAST.read_text(encoding="utf-8") if LAST.exists() else "")
    if last:
        told = "Whether the primary that was seen last can be reached from here."
        text += gauge("mendbook_postgres_archive_primary_seen", told, int(bool(name)), f'{{member="{last}"}}')
    if lag is not None:
        text += gauge("mendbook_postgres_archive_lag_bytes", "How far the archive is behind the primary.", lag)
    return text


def gauge(name: str, told: str, value: object, labels: str = "") -> str:
    return f"# HELP {name} {told}\n# TYPE {name} gauge\n{name}{labels} {value}\n"


def newest_of(key: str) -> float:
    return max((float(str(known(backup).get(key) or 0)) for backup in backups()), default=0.0)


def figures() -> None:
    """Write the figures every two seconds, whole or not at all."""
    target = Path(SETTINGS["figures"]) / "postgres-archive.prom"
    while True:
        draft = target.with_suffix(".draft")
        draft.write_text(page(), encoding="utf-8")
        draft.chmod(0o644)
        draft.replace(target)
        time.sleep(2)


def main() -> None:
    commands = {
        "receive": lambda: receive(),
        "backup": lambda: take(),
        "verify": lambda: verify(),
        "end": lambda: end(),
        "catch-up": lambda: catch_up(*sys.argv[2:4]),
        "choose": lambda: choose(float(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else None),
        "needed": lambda: needed(sys.argv[2]),
        "figures": lambda: figures(),
    }
    try:
        told = commands[sys.argv[1]]()
    except (KeyError, IndexError):
        sys.exit(__doc__)
    except Trouble as trouble:
        sys.exit(str(trouble))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
