#!/usr/bin/python
"""Stops a host's PostgreSQL and sees that it is off, also when its files are gone."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: postgres_stopped
short_description: Stop PostgreSQL, also when its files are gone
description:
  - Stops the unit as it should be; what does not end within O(patience) seconds, or has no data directory any more, is killed.
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
  unit:
    description: The systemd unit.
    type: str
    required: true
  patience:
    description: Seconds that an orderly end may take.
    type: int
    default: 20
attributes:
  check_mode:
    description: Nothing is stopped.
    support: full
"""

EXAMPLES = r"""
- name: Stop the server
  postgres_stopped:
    data: /srv/postgresql/15/main
    bin: /usr/lib/postgresql/15/bin
    unit: postgresql@15-main
"""

RETURN = r"""
ran:
  description: Whether a server ran before.
  type: bool
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postgres_tools import Postgres, Trouble, stop


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "data": {"type": "path", "required": True},
            "bin": {"type": "path", "required": True},
            "port": {"type": "int", "default": 5432},
            "unit": {"type": "str", "required": True},
            "patience": {"type": "int", "default": 20},
        },
        supports_check_mode=True,
    )
    server = Postgres(module)
    if module.check_mode:
        ran = server.answer("SELECT 1") is not None
        module.exit_json(changed=ran, ran=ran)
    try:
        ran = stop(server, module.params["unit"], module.params["patience"])
    except Trouble as trouble:
        module.fail_json(msg=str(trouble))
    module.exit_json(changed=ran, ran=ran)


if __name__ == "__main__":
    main()
