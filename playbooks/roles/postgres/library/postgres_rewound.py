#!/usr/bin/python
"""Brings a stopped server whose history parted from the primary's back onto it, by pg_rewind."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_rewound
short_description: Bring a server that has gone another way back to the primary's history
description:
  - What was written here after the histories parted was confirmed by nobody, and goes.
  - Where C(pg_rewind) cannot, the data is not to be used any more, and the result says why. It is not a failure, for a copy of the
    primary can still be made.
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
  primary:
    description: A connection string for the primary, without a database.
    type: str
    required: true
  slot:
    description: The replication slot's name.
    type: str
    required: true
attributes:
  check_mode:
    description: Nothing is done. Whether it can be rewound, check mode cannot tell.
    support: full
"""

EXAMPLES = r"""
- name: Rewind
  postgres_rewound:
    data: /srv/postgresql/15/main
    bin: /usr/lib/postgresql/15/bin
    configuration: /etc/postgresql/15/main/postgresql.conf
    primary: host=db1,db2 user=replicator target_session_attrs=read-write
    slot: db1
"""

RETURN = r"""
rewound:
  description: Whether the data follows the primary's history now.
  type: bool
  returned: always
reason:
  description: Why it could not be rewound.
  type: str
  returned: always
"""

import os
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_tools import Postgres, Trouble

SLOT = """
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
  WHERE slot_name = '{slot}' AND NOT active AND wal_status IN ('lost', 'unreserved');
SELECT pg_create_physical_replication_slot('{slot}', true)
  WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}');
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "data": {"type": "path", "required": True},
            "bin": {"type": "path", "required": True},
            "configuration": {"type": "path", "required": True},
            "primary": {"type": "str", "required": True},
            "slot": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True, rewound=False, reason="check mode cannot tell")
    server = Postgres(module)
    primary, slot = module.params["primary"], module.params["slot"]
    configuration = f"--config-file={module.params['configuration']}"
    try:
        server.ask(SLOT.format(slot=slot), where=f"{primary} dbname=postgres")
        server.program(
            "pg_rewind", "-D", server.data, configuration, f"--source-server={primary} dbname=postgres", timeout=1800
        )
        signal = os.path.join(server.data, "standby.signal")
        open(signal, "w").close()
        shutil.chown(signal, "postgres", "postgres")
    except (Trouble, OSError) as error:
        module.exit_json(changed=True, rewound=False, reason=str(error))
    module.exit_json(changed=True, rewound=True, reason="")


if __name__ == "__main__":
    main()
