#!/usr/bin/python
"""Tells what a host's PostgreSQL is at the moment: its data, whether it runs, and its part in the replication."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_state
short_description: Tell what PostgreSQL is on this host at the moment
description:
  - Reads only. The part that a server has (primary or replica) is what the server says, never what a name says.
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
attributes:
  check_mode:
    description: It only reads.
    support: full
"""

EXAMPLES = r"""
- name: Find out what the server is
  postgres_state:
    data: /srv/postgresql/15/main
    bin: /usr/lib/postgresql/15/bin
"""

RETURN = r"""
data:
  description: Whether the data directory is V(absent), V(incomplete) or V(present).
  type: str
  returned: always
running:
  description: Whether a server answers.
  type: bool
  returned: always
part:
  description: V(primary), V(replica), or V(none) when no server answers.
  type: str
  returned: always
meant:
  description: What the files say that it would start as, V(primary), V(replica) or V(none).
  type: str
  returned: always
streaming:
  description: Whether a replica receives from a primary.
  type: bool
  returned: always
received:
  description: How far a replica's WAL reaches, a primary's too; empty when no server answers.
  type: str
  returned: always
timeline:
  description: The timeline, 0 when it cannot be told.
  type: int
  returned: always
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_tools import Postgres, data_state

QUESTION = """
SELECT pg_is_in_recovery(),
  (SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'),
  CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_flush_lsn() END,
  CASE WHEN pg_is_in_recovery()
    THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "data": {"type": "path", "required": True},
            "bin": {"type": "path", "required": True},
            "port": {"type": "int", "default": 5432},
        },
        supports_check_mode=True,
    )
    server = Postgres(module)
    data = data_state(server.data)
    meant = "none" if data != "present" else "primary"
    if os.path.exists(os.path.join(server.data, "standby.signal")):
        meant = "replica"
    row = server.answer(QUESTION)
    if row is None:
        module.exit_json(
            changed=False, data=data, running=False, part="none", meant=meant, streaming=False, received="", timeline=0
        )
    recovering = row[0] == "t"
    module.exit_json(
        changed=False,
        data=data,
        running=True,
        part="replica" if recovering else "primary",
        meant=meant,
        streaming=row[1] != "0",
        received=row[2],
        timeline=int(row[3] or 0),
    )


if __name__ == "__main__":
    main()
