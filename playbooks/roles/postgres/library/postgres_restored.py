#!/usr/bin/python
"""Restores a data directory from a base backup and the archived log beside the old one, proves it, and then exchanges them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_restored
short_description: Restore a PostgreSQL data directory, prove it, and exchange it with the old one
description:
  - Copies the backup and the log that it needs beside the data directory, and verifies the copy against the backup's manifest.
  - Recovers with a way in for nobody but itself (no network, a private socket), up to the end of the log or to the moment before a
    transaction.
  - What comes out must pass C(pg_amcheck), the application's O(checks), and C(pg_checksums) once it is stopped again.
  - Only then the old directory is moved to O(aside), where nothing is overwritten, and the new one in its place. If anything fails
    before, the old one is untouched.
  - One restore runs at a time. A second waits for it, and where it finds that the same O(aside) was restored meanwhile, tells what that one
    told. So an attempt that is repeated, since it was not known how it ended, restores once.
  - The server on this host must not be running; it is not started.
author: [Mendbook contributors]
options:
  data:
    description: The data directory.
    type: path
    required: true
  bin:
    description: The folder of PostgreSQL's programs.
    type: path
    required: true
  configuration:
    description: The server's configuration file.
    type: path
    required: true
  source:
    description: The archive's address as rsync takes it, without a slash at the end.
    type: str
    required: true
  password_file:
    description: A file with rsync's password.
    type: path
  backup:
    description: The backup's name.
    type: str
    required: true
  log:
    description: The names of the segments and history files that are needed with it.
    type: list
    elements: str
    required: true
  before_transaction:
    description: The transaction before which recovery ends; without it, it goes to the end of the log.
    type: str
  slots:
    description: Replication slots to make.
    type: list
    elements: str
    default: []
  checks:
    description: By database, C(tables) that must exist and a query C(sql) that must say C(expected).
    type: dict
    default: {}
  aside:
    description: The folder that the old directory is moved to. It must not exist.
    type: path
    required: true
  timeout:
    description: Seconds that recovery may take.
    type: int
    default: 1800
attributes:
  check_mode:
    description: Nothing is copied. Whether what would come out passes its checks, check mode cannot tell.
    support: full
"""

EXAMPLES = r"""
- name: Restore
  postgres_restored:
    data: /srv/postgresql/15/main
    bin: /usr/lib/postgresql/15/bin
    configuration: /etc/postgresql/15/main/postgresql.conf
    source: rsync://archive@10.0.0.16/archive
    password_file: /var/lib/postgresql/.archive-password
    backup: 20260101T000000Z
    log: [000000010000000000000003]
    aside: /srv/postgresql/15/aside/one
"""

RETURN = r"""
aside:
  description: Where the old directory is now; empty when there was none.
  type: str
  returned: when restored
reached:
  description: The position that recovery reached.
  type: str
  returned: when restored
last_transaction:
  description: When the last transaction was committed that it holds, as the server's log says it.
  type: str
  returned: when restored
timeline:
  description: The new timeline.
  type: int
  returned: when restored
seconds:
  description: How long each part took.
  type: dict
  returned: when restored
"""

import fcntl
import json
import os
import re
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_tools import Postgres, Trouble, application_findings, data_state, until

ARGUMENTS = {
    "data": {"type": "path", "required": True},
    "bin": {"type": "path", "required": True},
    "configuration": {"type": "path", "required": True},
    "source": {"type": "str", "required": True},
    "password_file": {"type": "path", "no_log": False},
    "backup": {"type": "str", "required": True},
    "log": {"type": "list", "elements": "str", "required": True},
    "before_transaction": {"type": "str"},
    "slots": {"type": "list", "elements": "str", "default": []},
    "checks": {"type": "dict", "default": {}},
    "aside": {"type": "path", "required": True},
    "timeout": {"type": "int", "default": 1800},
}
SETTINGS = """\
include '{configuration}'
data_directory = '{fresh}'
hba_file = '{room}/hba'
ident_file = '{room}/ident'
external_pid_file = ''
listen_addresses = ''
unix_socket_directories = '{room}'
synchronous_standby_names = ''
primary_conninfo = ''
restore_command = 'cp {room}/log/%f %p'
recovery_target_timeline = 'latest'
recovery_target_action = 'promote'
"""


class Restore:
    """One restore: the fresh directory, and a room beside it for what it needs meanwhile."""

    def __init__(self, module):
        self.server = Postgres(module)
        self.wanted = module.params
        self.fresh = f"{self.server.data}.restoring"
        self.room = f"{self.server.data}.restore"
        self.where = f"host={self.room} port={self.server.port}"
        self.seconds = {}

    def alone(self):
        """Wait until no other restore of this data runs, and keep others from it until this process ends."""
        os.makedirs(os.path.dirname(self.fresh), exist_ok=True)
        self.lock = open(f"{self.server.data}.restore-lock", "w", encoding="utf-8")
        end = time.monotonic() + self.wanted["timeout"]
        while True:
            try:
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if time.monotonic() > end:
                    raise Trouble("another restore of this data goes on") from error
                time.sleep(0.2)

    def told(self):
        """Return what the restore to the same place aside told whose data is in its place, or nothing."""
        try:
            with open(f"{self.server.data}.restored.json", encoding="utf-8") as stream:
                note = json.load(stream)
            mine = (self.wanted["aside"], os.stat(self.server.data).st_ino)
        except (OSError, ValueError):
            return None
        return note["told"] if (note["aside"], note["inode"]) == mine else None

    def tell(self, found):
        """Keep what this restore tells, before its data is in its place."""
        note = {"aside": self.wanted["aside"], "inode": os.stat(self.fresh).st_ino, "told": found}
        draft = f"{self.server.data}.restored.draft"
        with open(draft, "w", encoding="utf-8") as stream:
            json.dump(note, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, f"{self.server.data}.restored.json")

    def clear(self):
        """Take away what a restore left behind that was broken off."""
        self.server.program("pg_ctl", "-D", self.fresh, "-m", "immediate", "stop", check=False, timeout=30)
        for path in (self.fresh, self.room):
            shutil.rmtree(path, ignore_errors=True)

    def fetch(self):
        """Copy the backup and its log, and verify the copy."""
        os.makedirs(os.path.dirname(self.fresh), exist_ok=True)
        for path in (self.fresh, self.room, f"{self.room}/log"):
            os.mkdir(path, 0o700)
            shutil.chown(path, "postgres", "postgres")
        words = ["rsync", "--archive", "--contimeout=10", "--timeout=60"]
        if self.wanted["password_file"]:
            words.append(f"--password-file={self.wanted['password_file']}")
        self.server.run(*words, f"{self.wanted['source']}/backups/{self.wanted['backup']}/", f"{self.fresh}/")
        names = "".join(f"+ /{name}\n" for name in self.wanted["log"])
        self.server.run(
            *words, "--filter=merge -", f"{self.wanted['source']}/wal/", f"{self.room}/log/", stdin=f"{names}- *\n"
        )
        if missing := set(self.wanted["log"]) - set(os.listdir(f"{self.room}/log")):
            raise Trouble(f"{', '.join(sorted(missing))} of the archive's log did not come")
        self.server.program("pg_verifybackup", "--quiet", self.fresh)
        for name in self.wanted["log"]:
            whole = name.removesuffix(".partial")
            if name != whole and whole not in self.wanted["log"]:
                os.rename(f"{self.room}/log/{name}", f"{self.room}/log/{whole}")

    def prepare(self):
        """Write what makes the fresh directory recover for itself alone."""
        settings = SETTINGS.format(configuration=self.wanted["configuration"], fresh=self.fresh, room=self.room)
        if self.wanted["before_transaction"]:
            number = int(self.wanted["before_transaction"])
            settings += f"recovery_target_xid = '{number}'\nrecovery_target_inclusive = off\n"
        for path, text in {
            f"{self.room}/postgresql.conf": settings,
            f"{self.room}/hba": "local all postgres peer\n",
            f"{self.room}/ident": "",
            f"{self.fresh}/recovery.signal": "",
        }.items():
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
            shutil.chown(path, "postgres", "postgres")
        if os.path.exists(f"{self.fresh}/standby.signal"):
            os.unlink(f"{self.fresh}/standby.signal")

    def log(self):
        try:
            with open(f"{self.room}/server.log", encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:
            return ""

    def recover(self):
        """Start, wait for the end of recovery, prove what came out, and stop again. Returns what is known of it."""
        timeout = self.wanted["timeout"]
        options = f"-c config_file={self.room}/postgresql.conf"
        try:
            self.server.program(
                "pg_ctl",
                "-D",
                self.fresh,
                "-o",
                options,
                "-l",
                f"{self.room}/server.log",
                "-w",
                "-t",
                str(timeout),
                "start",
            )
            done = until(
                lambda: (
                    (self.server.answer("SELECT pg_is_in_recovery()", where=f"{self.where} dbname=postgres") or [""])[0]
                    == "f"
                ),
                timeout,
            )
            if not done:
                raise Trouble(f"recovery did not end within {timeout} s")
        except Trouble as trouble:
            said = " / ".join(line for line in self.log().splitlines() if re.search("FATAL|PANIC|ERROR", line))[-600:]
            raise Trouble(f"the backup {self.wanted['backup']} does not recover: {trouble}; {said}") from trouble
        row = self.server.ask(
            "SELECT pg_current_wal_lsn(), timeline_id FROM pg_control_checkpoint()",
            where=f"{self.where} dbname=postgres",
        )[0]
        return {
            "reached": row[0],
            "timeline": int(row[1]),
            "last_transaction": (re.findall(r"last completed transaction was at log time (.+)", self.log()) or [""])[
                -1
            ],
        }

    def prove(self):
        """Hold what came out against its pages, tables and the application's invariant."""
        self.server.program("pg_amcheck", "-h", self.room, "-p", self.server.port, "--all", "--install-missing")
        findings = application_findings(self.server, self.wanted["checks"], where=self.where)
        if findings:
            raise Trouble(f"what was restored does not hold what it should: {'; '.join(findings)}")
        for slot in self.wanted["slots"]:
            self.server.ask(
                f"SELECT pg_create_physical_replication_slot('{slot}', true)", where=f"{self.where} dbname=postgres"
            )
        self.server.program("pg_ctl", "-D", self.fresh, "-m", "fast", "-w", "stop")
        self.server.program("pg_checksums", "--check", "-D", self.fresh)

    def exchange(self, found):
        """Move the old directory aside and the new one in its place; return what is known, and where the old one is."""
        aside, data = self.wanted["aside"], self.server.data
        there = data_state(data) != "absent"
        if there and os.path.lexists(aside):
            raise Trouble(f"{aside} exists already; the old data is left in its place")
        found = {**found, "aside": aside if there else "", "seconds": self.seconds}
        self.tell(found)
        if there:
            os.makedirs(os.path.dirname(aside), exist_ok=True)
            os.rename(data, aside)
        elif os.path.isdir(data):
            os.rmdir(data)
        os.rename(self.fresh, data)
        return found

    def whole(self):
        """Do all of it in order; Trouble leaves the old data in its place."""
        found = {}
        for part in (self.clear, self.fetch, self.prepare, self.recover, self.prove):
            began = time.monotonic()
            found.update(part() or {})
            self.seconds[part.__name__] = round(time.monotonic() - began, 1)
        found = self.exchange(found)
        shutil.rmtree(self.room, ignore_errors=True)
        return found


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    restore = Restore(module)
    if not re.fullmatch(r"[0-9TZ]+", module.params["backup"]):
        module.fail_json(msg="that is no backup's name")
    if module.check_mode:
        module.exit_json(changed=True, msg="whether what would be restored passes its checks, check mode cannot tell")
    try:
        restore.alone()
        if known := restore.told():
            module.exit_json(changed=True, **known)
        if restore.server.answer("SELECT 1"):
            raise Trouble("a server runs on the data directory; stop it first. Nothing was changed")
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error))
    try:
        found = restore.whole()
    except (Trouble, OSError) as error:
        restore.clear()
        module.fail_json(msg=f"{error}; the old data is in its place")
    module.exit_json(changed=True, **found)


if __name__ == "__main__":
    main()
