#!/usr/bin/python
"""Waits until the network between this host and another has lost next to nothing for a while."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: network_settled
short_description: Wait until the network to a host is stable
description:
  - Sends two packets a second to an address and looks at those of the last O(stable) seconds. Returns once no more than O(loss) of
    them were lost, and fails when that has not come to pass after O(limit).
  - Changes nothing.
author: [Mendbook contributors]
options:
  address:
    description: The other host's IP address or name.
    type: str
    required: true
  stable:
    description: For how many seconds the network must have been good.
    type: int
    default: 60
  loss:
    description: The share of packets that may be lost all the same.
    type: float
    default: 0.02
  limit:
    description: Seconds after which it is given up.
    type: int
    default: 900
attributes:
  check_mode:
    description: Asks once whether the address answers, and does not wait.
    support: partial
    details: How long it would wait, only the act tells.
"""

EXAMPLES = r"""
- name: Wait until the node can be trusted with traffic again
  network_settled:
    address: 192.0.2.7
    stable: 120
"""

RETURN = r"""
lost:
  description: The share of the last packets that was lost.
  type: float
  returned: always
waited:
  description: Seconds that it took.
  type: float
  returned: always
"""

import re
import time
from collections import deque

from ansible.module_utils.basic import AnsibleModule

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,253}")
EACH = 5  # packets asked about at a time, within two and a half seconds
PACE = 0.5
NUMBERS = re.compile(r"(\d+) packets transmitted, (\d+) received")


def ask(module: AnsibleModule, program: str, address: str) -> int:
    """Return how many of a few packets were lost."""
    command = [program, "-n", "-q", "-c", str(EACH), "-i", str(PACE), "-W", "1", "--", address]
    _, output, _ = module.run_command(command)
    numbers = NUMBERS.search(output)
    return EACH if numbers is None else EACH - int(numbers[2])


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "stable": {"type": "int", "default": 60},
            "loss": {"type": "float", "default": 0.02},
            "limit": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    if NAME.fullmatch(wanted["address"]) is None:
        module.fail_json(msg=f"{wanted['address']!r} is no address")
    program = module.get_bin_path("ping", required=True)
    rounds = max(1, round(wanted["stable"] / (EACH * PACE)))
    lost: deque[int] = deque(maxlen=rounds)
    began = time.monotonic()
    while True:
        lost.append(ask(module, program, wanted["address"]))
        share, waited = sum(lost) / (len(lost) * EACH), time.monotonic() - began
        if module.check_mode or (len(lost) == rounds and share <= wanted["loss"]):
            module.exit_json(changed=False, lost=share, waited=waited)
        if waited >= wanted["limit"]:
            module.fail_json(
                msg=f"{wanted['address']} has still lost {share:.0%} of the last packets after {waited:.0f} s", lost=share, waited=waited
            )


if __name__ == "__main__":
    main()
