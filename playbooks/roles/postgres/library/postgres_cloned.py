#!/usr/bin/python
"""Makes this host's data directory a copy of a running primary, and keeps what was there."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_cloned
short_description: Make the data directory a copy of a running primary
description:
  - Takes a base backup over the replication protocol beside the data directory, checks it against its manifest, and only then
    moves the old directory to O(aside) and the copy in its place. Nothing is deleted.
  - Makes the replication slot on the primary where it is missing, and anew where the server has given up on it.
  - Where there is no room for the copy beside the old data, it refuses and says so. A copy that fails leaves nothing behind.
  - The server on this host must not be running.
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
  primary:
    description: A connection string for the primary, without a database.
    type: str
    required: true
  slot:
    description: The replication slot's name.
    type: str
    required: true
  aside:
    description: The folder that the old directory is moved to. It must not exist.
    type: path
    required: true
attributes:
  check_mode:
    description: The primary is asked whether it answers; whether the copy succeeds it cannot tell.
    support: full
"""

EXAMPLES = r"""
- name: Copy the primary
  postgres_cloned:
    data: /srv/postgresql/15/main
    bin: /usr/lib/postgresql/15/bin
    primary: host=db1,db2 user=replicator target_session_attrs=read-write
    slot: db2
    aside: /srv/postgresql/15/aside/20260101T000000Z
"""

RETURN = r"""
aside:
  description: Where the old directory is now; empty when there was none.
  type: str
  returned: always
seconds:
  description: How long the copy took.
  type: float
  returned: when copied
"""

import os
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_tools import Postgres, Trouble, data_state

SLOT = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
  WHERE slot_name = '{slot}' AND NOT active AND wal_status IN ('lost', 'unreserved');
SELECT pg_create_physical_replication_slot('{slot}', true)
  WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}');
"""
SIZE = "SELECT sum(pg_database_size(oid)) FROM pg_database"
LOG = 100_000_000
"""Bytes that are kept free for the log that comes with the copy, and for what is written meanwhile."""


def refuse_without_room(server, primary):
    """Raise Trouble where the primary's data does not fit beside the data that is there."""
    needed = int(int(server.ask(SIZE, where=f"{primary} dbname=postgres")[0][0]) * 1.2) + LOG
    folder = os.path.dirname(server.data)
    there = folder
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    free = os.statvfs(there)
    room = free.f_bavail * free.f_frsize
    if room < needed:
        raise Trouble(
            f"a copy of the primary needs {needed // 1_000_000} MB below {folder} and there are {room // 1_000_000} MB; "
            f"old data in {folder}/aside is for a person to remove. The data here was not touched"
        )


def copy(server, primary, slot, fresh):
    """Take a verified copy into a fresh folder that the server's user owns."""
    os.makedirs(os.path.dirname(fresh), exist_ok=True)
    shutil.chown(os.path.dirname(fresh), "postgres", "postgres")
    server.program("pg_basebackup", "-D", fresh, "-d", primary, "-X", "stream", "-S", slot, "-c", "fast", "--no-sync")
    server.program("pg_verifybackup", "-q", fresh)
    open(os.path.join(fresh, "standby.signal"), "w").close()
    shutil.chown(os.path.join(fresh, "standby.signal"), "postgres", "postgres")
    server.run("sync", "-f", fresh)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "data": {"type": "path", "required": True},
            "bin": {"type": "path", "required": True},
            "primary": {"type": "str", "required": True},
            "slot": {"type": "str", "required": True},
            "aside": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    server = Postgres(module)
    primary, slot, aside = (module.params[name] for name in ("primary", "slot", "aside"))
    began = time.monotonic()
    try:
        if os.path.exists(os.path.join(server.data, "postmaster.pid")) and server.answer("SELECT 1"):
            raise Trouble("a server runs on the data directory; stop it first. Nothing was changed")
        server.ask("SELECT 1", where=f"{primary} dbname=postgres")
        fresh = f"{server.data}.copying"
        if not module.check_mode:
            shutil.rmtree(fresh, ignore_errors=True)
        refuse_without_room(server, primary)
        if module.check_mode:
            module.exit_json(
                changed=True, aside="", msg="the primary answers; whether the copy succeeds, check mode cannot tell"
            )
        server.ask(SLOT.format(slot=slot), where=f"{primary} dbname=postgres")
        try:
            copy(server, primary, slot, fresh)
        except (Trouble, OSError):
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        moved = ""
        if data_state(server.data) != "absent":
            os.makedirs(os.path.dirname(aside), exist_ok=True)
            os.rename(server.data, aside)
            moved = aside
        elif os.path.isdir(server.data):
            os.rmdir(server.data)
        os.rename(fresh, server.data)
    except (Trouble, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, aside=moved, seconds=round(time.monotonic() - began, 1))


if __name__ == "__main__":
    main()
