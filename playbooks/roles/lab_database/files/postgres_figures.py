#!/usr/bin/python3
"""Figures about this host's PostgreSQL for node_exporter, written every two seconds whatever has become of the server or its data.

What tells the troubles apart that look alike from outside: a server that merely stopped (its data is there and sound), data that is
gone, pages that fail their checksums on disk, tables that are missing, a server that was replaced while it was away.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path

import psycopg2
import psycopg2.extensions

SETTINGS = json.loads(
    Path(os.environ.get("POSTGRES_FIGURES", "/etc/mendbook-postgres.json")).read_text(encoding="utf-8")
)
DATA = Path(SETTINGS["data"])
ENABLED = Path("/etc/systemd/system/multi-user.target.wants") / f"{SETTINGS['unit']}.service"
NEEDED = ("PG_VERSION", "global/pg_control", "global/pg_filenode.map", "base/1", "pg_wal", "pg_xact")
LAST = Path("/run/mendbook-postgres-primary")
OPEN: dict[str, psycopg2.extensions.connection] = {}
SCAN_EVERY = 6.0
LOG_TAIL = 1 << 16
UNREADABLE = re.compile(
    r"(?:FATAL|PANIC): .*(?:invalid page|checksum|could not (?:read|open|locate|access)|invalid .*(?:checkpoint|magic))"
)

PART = """
SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'),
  coalesce(extract(epoch FROM now() - pg_last_xact_replay_timestamp()), 0)
"""

# Reads the files themselves, so that a page in memory does not hide what is on disk.
SCAN = """
SELECT relation, file, block, md5(page) FROM (
  SELECT c.oid::regclass::text AS relation, pg_relation_filepath(c.oid) AS file, block,
    pg_read_binary_file(pg_relation_filepath(c.oid), block * 8192::bigint, 8192, true) AS page
  FROM pg_class c, LATERAL (SELECT size FROM pg_stat_file(pg_relation_filepath(c.oid), true)) AS file(size),
    LATERAL generate_series(0, size / 8192 - 1) AS block
  WHERE c.relkind IN ('r', 'i', 't', 'm', 'S') AND c.relpersistence = 'p' AND pg_relation_filepath(c.oid) LIKE 'base/%'
) AS pages
WHERE length(page) = 8192 AND page <> decode(repeat('00', 8192), 'hex')
  AND page_checksum(page, block::int) <> (get_byte(page, 8) + get_byte(page, 9) * 256 - CASE WHEN get_byte(page, 9) > 127 THEN 65536 ELSE 0 END)
LIMIT 1000
"""


class Page:
    """A page in Prometheus's text format."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.named: set[str] = set()

    def add(self, name: str, told: str, value: float, **labels: str) -> None:
        name = f"mendbook_postgres_{name}"
        if name not in self.named:
            self.named.add(name)
            self.lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge"]
        written = ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
        self.lines.append(f"{name}{{{written}}} {value}" if written else f"{name} {value}")


class Scan:
    """What the last look at the files found."""

    def __init__(self) -> None:
        self.due = 0.0
        self.suspected: set[tuple[str, ...]] = set()
        self.damaged: dict[tuple[str, str, str], int] | None = None

    def look(self) -> None:
        """Read every page of the databases; one counts as damaged when it is the same wrong page twice, and so not just being written."""
        if time.monotonic() < self.due:
            return
        found = {(database, *row) for database in SETTINGS["databases"] for row in query(database, SCAN, 30)}
        certain = found & self.suspected
        self.suspected = found
        if found and not certain:
            self.due = time.monotonic() + 0.5
            return
        counts: dict[tuple[str, str, str], int] = {}
        for database, relation, file, *_ in certain:
            counts[database, relation, file] = counts.get((database, relation, file), 0) + 1
        self.damaged = counts
        self.due = time.monotonic() + SCAN_EVERY


def query(database: str, sql: str, seconds: int = 3, **where: str) -> list[tuple[str, ...]]:
    """Return the rows as text; psycopg2.Error when the server does not answer in time.

    A round has one connection for each database of this server: the server starts a process for each that asks.
    """
    key = "" if where else database
    connection = OPEN.pop(key, None) if key else None
    if connection is None:
        host = where or {"host": "/run/postgresql", "port": str(SETTINGS["port"]), "user": "postgres"}
        connection = psycopg2.connect(dbname=database, connect_timeout=2, **host)
    sound = False
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = '{seconds}s'")
            cursor.execute(sql)
            rows = [tuple(str(value) for value in row) for row in cursor.fetchall()]
        sound = True
        return rows
    finally:
        if sound and key:
            OPEN[key] = connection
        else:
            connection.close()


def part() -> None:
    """Leave the server: nothing of a round stays connected, so that nobody who replaces a database has to wait."""
    while OPEN:
        OPEN.popitem()[1].close()


def log_tells_damage() -> str:
    """Return the line with which the server's last start ended because it cannot read its data, or nothing."""
    try:
        with open(SETTINGS["log"], "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - LOG_TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    for line in reversed(text[text.rfind("starting PostgreSQL") :].splitlines()):
        if UNREADABLE.search(line):
            return line
    return ""


def other_primary() -> str:
    """Return the name of another member that takes writes, as it says itself; nothing when none can be reached."""
    with contextlib.suppress(psycopg2.Error):
        return query(
            "postgres", "SELECT current_setting('cluster_name')", host=SETTINGS["peers"], port=str(SETTINGS["port"]),
            user="replicator", target_session_attrs="read-write", passfile="/var/lib/postgresql/.pgpass",
        )[0][0]  # fmt: skip
    return ""


def primary_seen(page: Page) -> str:
    """Tell whether the primary that was seen last can be reached, or another in its place; return its name, or nothing."""
    name = other_primary()
    if name:
        LAST.write_text(name, encoding="utf-8")
    last = name or (LAST.read_text(encoding="utf-8") if LAST.exists() else "")
    if last:
        page.add(
            "primary_seen",
            "Whether the primary that was seen last can be reached from here.",
            int(bool(name)),
            member=last,
        )
    return name


def tables(page: Page) -> None:
    """Whether the tables are there that should be, and whether what must hold does."""
    for database, wanted in SETTINGS["databases"].items():
        for table in wanted["tables"]:
            with contextlib.suppress(psycopg2.Error):
                there = query(database, f"SELECT to_regclass('{table}') IS NOT NULL")[0][0] == "True"
                page.add(
                    "table_present",
                    "Whether a table that should exist does.",
                    int(there),
                    datname=database,
                    table=table,
                )
        try:
            told = query(database, wanted["sql"])[0][0]
        except psycopg2.Error:
            told = "an error"
        page.add(
            "invariant_holds",
            "Whether the application's invariant holds.",
            int(told == wanted["expected"]),
            datname=database,
        )


def members(page: Page) -> None:
    """Which of those that have a slot are connected."""
    names = SETTINGS["members"]
    for slot, active in query(
        "postgres", "SELECT slot_name, active FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary"
    ):
        if slot in names:
            page.add(
                "member_streaming", "Whether a member follows this server.", int(active == "True"), member=names[slot]
            )


def running(page: Page, scan: Scan) -> None:
    """Figures of a server that answers; psycopg2.Error when it does not."""
    recovering, streaming, lag = query("postgres", PART)[0]
    page.add("up", "Whether the server answers.", 1)
    page.add("primary", "Whether the server takes writes.", int(recovering == "False"))
    page.add("replica", "Whether the server is meant to follow another.", int(recovering == "True"))
    page.add("displaced", "Whether the server was replaced while it was away, and would start as a second primary.", 0)
    if recovering == "True":
        primary_seen(page)
        page.add("replica_streaming", "Whether the replica receives from a primary.", int(streaming != "0"))
        page.add("replay_age_seconds", "Age of what the replica replayed last.", float(lag))
    else:
        tables(page)
        members(page)
    try:
        scan.look()
    except psycopg2.Error as error:
        if "invalid page" in str(error):
            scan.damaged = {("", "unknown", ""): 1}
    if scan.damaged is not None:
        page.add("damaged_pages", "Pages on disk that fail their checksums.", sum(scan.damaged.values()))
        for (database, relation, file), count in scan.damaged.items():
            page.add(
                "relation_damaged_pages", "Pages of a relation that fail their checksums.", count,
                datname=database, relation=relation, file=file,
            )  # fmt: skip


def stopped(page: Page, scan: Scan) -> None:
    """Figures of a server that does not answer."""
    scan.damaged, scan.suspected, scan.due = None, set(), 0.0
    page.add("up", "Whether the server answers.", 0)
    page.add("primary", "Whether the server takes writes.", 0)
    signal = (DATA / "standby.signal").exists()
    other = primary_seen(page)
    # Without its files nothing says what it was; where another takes writes, it can only become that one's replica.
    replica = signal or (not present() and bool(other))
    page.add("replica", "Whether the server is meant to follow another.", int(replica))
    if replica:
        page.add("replica_streaming", "Whether the replica receives from a primary.", 0)
    displaced = present() and not signal and bool(other)
    page.add(
        "displaced",
        "Whether the server was replaced while it was away, and would start as a second primary.",
        int(displaced),
    )
    if present() and (line := log_tells_damage()):
        file = re.search(r"base/[0-9]+/[0-9]+", line)
        page.add("damaged_pages", "Pages on disk that fail their checksums.", 1)
        page.add(
            "relation_damaged_pages", "Pages of a relation that fail their checksums.", 1,
            datname="", relation="unknown", file=file[0] if file else "",
        )  # fmt: skip
    elif present():
        page.add("damaged_pages", "Pages on disk that fail their checksums.", 0)


def present() -> bool:
    """Whether the data directory has what no server starts without."""
    return all((DATA / name).exists() for name in NEEDED)


def text(scan: Scan) -> str:
    """Return the page; empty on a host that is no member at the moment."""
    page = Page()
    if not ENABLED.is_symlink():
        return ""
    page.add("data_present", "Whether the data directory has what no server starts without.", int(present()))
    try:
        running(page, scan)
    except psycopg2.Error:
        stopped(page, scan)
    return "\n".join(page.lines) + "\n"


def main() -> None:
    target = Path(SETTINGS["figures"]) / "postgres.prom"
    scan = Scan()
    while True:
        began = time.monotonic()
        draft = target.with_suffix(".draft")
        try:
            page = text(scan)
        finally:
            part()
        draft.write_text(page, encoding="utf-8")
        draft.chmod(0o644)
        draft.replace(target)
        time.sleep(max(0.5, 2 - (time.monotonic() - began)))


if __name__ == "__main__":
    main()
