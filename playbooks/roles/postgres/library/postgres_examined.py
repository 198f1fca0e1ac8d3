#!/usr/bin/python
"""Finds out whether a host's PostgreSQL data is sound, without changing anything."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_examined
short_description: Find out whether PostgreSQL's data is sound
description:
  - Tells data that is gone, pages that fail their checksums, tables that are missing and an invariant that does not hold from a
    server that is merely stopped.
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
    description: The server's log, which says why a start failed.
    type: path
    required: true
  checks:
    description: By database, C(tables) that exist and a query C(sql) that says C(expected).
    type: dict
    default: {}
attributes:
  check_mode:
    description: It only reads.
    support: full
"""

EXAMPLES = r"""
- name: Look at the data
  postgres_examined:
    data: /srv/postgresql/15/main
    bin: /usr/lib/postgresql/15/bin
    log: /var/log/postgresql/postgresql-15-main.log
"""

RETURN = r"""
sound:
  description: Whether a server answers and nothing was found.
  type: bool
  returned: always
running:
  description: Whether a server answers.
  type: bool
  returned: always
findings:
  description: What is wrong with the data, in words. A server that is merely stopped has none.
  type: list
  elements: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_tools import (
    Postgres,
    Trouble,
    application_findings,
    data_state,
    log_tells_damage,
    page_findings,
)


def examine(server, log, checks):
    """Return whether a server answers, and what is wrong with its data."""
    state = data_state(server.data)
    if state != "present":
        return False, [f"the data directory {server.data} is {state}"]
    row = server.answer("SELECT pg_is_in_recovery()")
    if row is None:
        line = log_tells_damage(log)
        return False, [line] if line else []
    findings = []
    try:
        findings += page_findings(server, checks)
    except Trouble as trouble:
        findings.append(str(trouble))
    if row[0] == "f":
        findings += application_findings(server, checks)
    return True, findings


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "data": {"type": "path", "required": True},
            "bin": {"type": "path", "required": True},
            "port": {"type": "int", "default": 5432},
            "log": {"type": "path", "required": True},
            "checks": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    running, findings = examine(Postgres(module), module.params["log"], module.params["checks"])
    module.exit_json(changed=False, sound=running and not findings, running=running, findings=findings)


if __name__ == "__main__":
    main()
