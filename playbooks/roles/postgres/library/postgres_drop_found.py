#!/usr/bin/python
"""Finds the transaction that dropped a table, in the server's log."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_drop_found
short_description: Find the transaction that dropped a table
description:
  - Reads the lines that an event trigger on C(sql_drop) leaves in the server's log,
    C(mendbook: table public.t of database d is dropped by transaction 123), newest first, and takes the newest whose transaction
    was committed.
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
  port:
    description: The server's port.
    type: int
    default: 5432
  log:
    description: The server's log. Older ones that were rotated, C(.1) and so on, are read too.
    type: path
    required: true
  table:
    description: The table's name with its schema.
    type: str
    required: true
  database:
    description: The table's database.
    type: str
    required: true
attributes:
  check_mode:
    description: It only reads.
    support: full
"""

EXAMPLES = r"""
- name: Find out who dropped the table
  postgres_drop_found:
    data: /srv/postgresql/15/main
    bin: /usr/lib/postgresql/15/bin
    log: /var/log/postgresql/postgresql-15-main.log
    table: public.transfers
    database: ledger
"""

RETURN = r"""
transaction:
  description: The transaction's number.
  type: str
  returned: always
at:
  description: When it was, in seconds since 1970.
  type: float
  returned: always
"""

import datetime
import glob
import gzip
import os
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_tools import Postgres

LINE = re.compile(r"^(\S+ \S+) UTC .*mendbook: table (.+) of database (.+) is dropped by transaction ([0-9]+)$")


def told(log, table, database):
    """Return the (time, transaction) of the lines about a table, newest first."""
    found = []
    for path in glob.glob(glob.escape(log) + "*"):
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                match = LINE.match(line.rstrip("\n"))
                if match and (match[2], match[3]) == (table, database):
                    moment = datetime.datetime.fromisoformat(match[1]).replace(tzinfo=datetime.timezone.utc)
                    found.append((moment.timestamp(), match[4]))
    return sorted(found, reverse=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "data": {"type": "path", "required": True},
            "bin": {"type": "path", "required": True},
            "port": {"type": "int", "default": 5432},
            "log": {"type": "path", "required": True},
            "table": {"type": "str", "required": True},
            "database": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    server = Postgres(module)
    table, database = module.params["table"], module.params["database"]
    lines = told(module.params["log"], table, database)
    for at, transaction in lines:
        row = server.answer(f"SELECT pg_xact_status('{transaction}')")
        if row == ["committed"]:
            module.exit_json(changed=False, transaction=transaction, at=at)
    folder = os.path.dirname(module.params["log"])
    module.fail_json(
        msg=f"no committed drop of {table} in database {database} is told of in the logs in {folder} ({len(lines)} lines about it): "
        "the moment before it is not known, and nothing was touched"
    )


if __name__ == "__main__":
    main()
