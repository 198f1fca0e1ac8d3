"""What the modules about PostgreSQL share: running its programs as its user, asking a server, reading a data directory."""

from __future__ import annotations

import os
import re
import struct
import time

SEGMENT_NAME_LENGTH = 24


class Trouble(Exception):
    """What was to be done cannot be done; the message says why, and what was left as it was."""


class Postgres:
    """One data directory of this host and the server that may run on it."""

    def __init__(self, module):
        self.module = module
        self.data = module.params["data"]
        self.bin = module.params["bin"]
        self.port = str(module.params.get("port") or 5432)

    def run(self, *words, user="postgres", check=True, timeout=None, env=None, stdin=None):
        """Return (code, output, errors) of a program run as the server's user; Trouble when it fails and that is not expected."""
        command = ["runuser", "-u", user, "--", *words]
        if timeout:
            command = ["timeout", "-k", "2", str(timeout), *command]
        code, out, err = self.module.run_command(command, cwd="/", environ_update=env, data=stdin)
        if check and code:
            told = (err.strip() or out.strip()).splitlines()[-4:]
            raise Trouble(f"{os.path.basename(words[0])} ended with {code}: {' / '.join(told)}")
        return code, out, err

    def program(self, name, *words, **options):
        """Run one of PostgreSQL's own programs."""
        return self.run(os.path.join(self.bin, name), *words, **options)

    def ask(self, sql, *, where=None, database="postgres", timeout=10):
        """Return the rows of a query as lists of strings; Trouble when the server does not answer it."""
        target = where or f"host=/run/postgresql port={self.port} dbname={database} connect_timeout=3"
        words = ["psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", target]
        _, out, _ = self.run(*words, timeout=timeout, stdin=sql)
        return [line.split("\t") for line in out.splitlines()]

    def answer(self, sql, **options):
        """Return the first row, or None when the server does not answer."""
        try:
            rows = self.ask(sql, **options)
        except Trouble:
            return None
        return rows[0] if rows else None


def data_state(data):
    """Say whether a data directory is V(absent), V(incomplete) or V(present), by the files without which no server starts."""
    if not os.path.isdir(data) or not os.listdir(data):
        return "absent"
    needed = ("PG_VERSION", "global/pg_control", "base/1", "pg_wal", "pg_xact", "global/pg_filenode.map")
    return "present" if all(os.path.exists(os.path.join(data, name)) for name in needed) else "incomplete"


def position(text):
    """Return a WAL position such as 0/3000060 as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn(number):
    """Return a WAL position as PostgreSQL writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"


def segment_place(name, size):
    """Return the timeline and the number of a segment's file."""
    per_log = (1 << 32) // size
    return int(name[:8], 16), int(name[8:16], 16) * per_log + int(name[16:24], 16)


def segment_name(timeline, number, size):
    """Return the file's name of a segment."""
    per_log = (1 << 32) // size
    return f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


def segment_size(path):
    """Return the size that a segment says of itself in its first page's long header; 0 where that is not one."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(40)
        _, info = struct.unpack_from("<HH", head)
        size = struct.unpack_from("<I", head, 32)[0]
    except (OSError, struct.error):
        return 0
    return size if info & 2 and size in {1 << n for n in range(20, 31)} else 0


def branches(text):
    """Return where each older timeline was left, from the text of a timeline history file."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0].isdigit() and "/" in words[1]:
            found[int(words[0])] = position(words[1])
    return found


def until(moment, seconds, pause=0.2):
    """Return what `moment` returns once it is true, or None when the seconds are over."""
    end = time.monotonic() + seconds
    while True:
        found = moment()
        if found:
            return found
        if time.monotonic() >= end:
            return None
        time.sleep(pause)


def stop(server, unit, patience=20):
    """Stop the unit and see that none of its processes is left; true if it ran. Files that are gone cannot hinder it."""
    run = server.module.run_command
    _, state, _ = run(["systemctl", "show", "--property=ActiveState", "--value", "--", unit])
    if state.strip() in {"inactive", "failed"} and not server.answer("SELECT 1", timeout=3):
        return False
    if data_state(server.data) == "present":
        run(["timeout", str(patience), "systemctl", "stop", "--", unit])
    run(["systemctl", "kill", "--signal=KILL", "--", unit])
    run(["timeout", str(patience), "systemctl", "stop", "--", unit])
    run(["systemctl", "reset-failed", "--", unit])
    if server.answer("SELECT 1", timeout=3):
        raise Trouble(
            f"a server still answers on port {server.port} after {unit} was stopped; nothing else was touched"
        )
    return True


UNREADABLE = (
    r"(?:FATAL|PANIC): .*(?:invalid page|checksum|could not (?:read|open|locate|access)|invalid .*(?:checkpoint|magic))"
)


def log_tells_damage(path):
    """Return the line with which the server's last start ended because it cannot read its data, or nothing."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - (1 << 16)))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    lines = text[text.rfind("starting PostgreSQL") :].splitlines()
    return next((line for line in reversed(lines) if re.search(UNREADABLE, line)), "")


# Reads the files themselves, so that a page in memory does not hide what is on disk; needs the extension pageinspect.
SCAN = """
SELECT relation, count(*) FROM (
  SELECT c.oid::regclass::text AS relation, block,
    pg_read_binary_file(pg_relation_filepath(c.oid), block * 8192::bigint, 8192, true) AS page
  FROM pg_class c, LATERAL (SELECT size FROM pg_stat_file(pg_relation_filepath(c.oid), true)) AS file(size),
    LATERAL generate_series(0, size / 8192 - 1) AS block
  WHERE c.relkind IN ('r', 'i', 't', 'm', 'S') AND c.relpersistence = 'p' AND pg_relation_filepath(c.oid) LIKE 'base/%'
) AS pages
WHERE length(page) = 8192 AND page <> decode(repeat('00', 8192), 'hex')
  AND page_checksum(page, block::int) <> (get_byte(page, 8) + get_byte(page, 9) * 256 - CASE WHEN get_byte(page, 9) > 127 THEN 65536 ELSE 0 END)
GROUP BY relation
"""


def application_findings(server, checks, where=None):
    """Return what the application's databases lack of what must hold, in words."""
    found = []
    for database, wanted in checks.items():
        target = f"{where} dbname={database}" if where else None
        for table in wanted.get("tables") or []:
            row = server.answer(f"SELECT to_regclass('{table}') IS NOT NULL", where=target, database=database)
            if row is None or row[0] != "t":
                found.append(f"table {table} of database {database} is missing")
        if wanted.get("sql"):
            row = server.answer(wanted["sql"], where=target, database=database)
            told = "nothing" if row is None else row[0]
            if told != str(wanted.get("expected")):
                found.append(f"database {database} says {told} where it should say {wanted.get('expected')}")
    return found


def page_findings(server, databases):
    """Return which relations have pages on disk that fail their checksums. What is just being written is looked at twice."""
    found = []
    for database in databases:
        if not server.answer("SELECT 1 FROM pg_extension WHERE extname = 'pageinspect'", database=database):
            continue
        first = {row[0] for row in server.ask(SCAN, database=database, timeout=300)}
        if first:
            time.sleep(0.5)
            again = {row[0] for row in server.ask(SCAN, database=database, timeout=300)}
            found += [
                f"pages of {relation} in database {database} fail their checksums" for relation in sorted(first & again)
            ]
    return found
