#!/usr/bin/python
"""Holds a systemd unit within a limit on CPU or memory, until the next boot."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: unit_limit
short_description: Limit what a systemd unit may use
description:
  - Sets CPUQuota or MemoryHigh of a unit with C(systemctl set-property --runtime) unless it has that value or a lower one.
  - The limit holds at once, without a restart, and ends with the next boot.
author: [Mendbook contributors]
options:
  unit:
    description: The unit's name.
    type: str
    required: true
  cpu_quota:
    description: The share of one CPU that the unit may use, such as 50% or 200%.
    type: str
  memory_high:
    description: The memory above which the unit is throttled and reclaimed from, such as 512M.
    type: str
attributes:
  check_mode:
    description: Reads the unit's properties only.
    support: full
  diff_mode:
    description: Shows the limits before and after.
    support: full
"""

EXAMPLES = r"""
- name: Hold the unit to half a CPU
  unit_limit:
    unit: report.service
    cpu_quota: 50%
"""

RETURN = r"""
limits:
  description: The limits that were set, or in check mode would be.
  type: dict
  returned: always
"""

import re

from ansible.module_utils.basic import AnsibleModule

SHOWN = {"CPUQuota": "CPUQuotaPerSecUSec", "MemoryHigh": "MemoryHigh"}
SPAN = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
SIZE = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}")


def cpu_wanted(text: str) -> float:
    """Return a quota such as 50% as CPU seconds per second. Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is not a share of a CPU such as 50%")
    return float(match[1]) / 100


def memory_wanted(text: str) -> float:
    """Return a size such as 512M in bytes. Raises ValueError."""
    match = re.fullmatch(r"(\d+)([BKMGT]?)", text)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a size such as 512M")
    return float(int(match[1]) * SIZE[match[2]])


def held(name: str, text: str) -> float:
    """Return the limit that systemctl shows, in the unit of cpu_wanted and memory_wanted; infinity for none."""
    if text in ("infinity", "", "[not set]"):
        return float("inf")
    if name == "MemoryHigh":
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(us|ms|s|min|h)", text)
    return sum(float(number) * SPAN[unit] for number, unit in parts)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "cpu_quota": {"type": "str"},
            "memory_high": {"type": "str"},
        },
        required_one_of=[("cpu_quota", "memory_high")],
        supports_check_mode=True,
    )
    unit = module.params["unit"]
    if UNIT.fullmatch(unit) is None:
        module.fail_json(msg=f"{unit!r} is not the name of a unit")
    wanted = {}
    try:
        if module.params["cpu_quota"]:
            wanted["CPUQuota"] = (module.params["cpu_quota"], cpu_wanted(module.params["cpu_quota"]))
        if module.params["memory_high"]:
            wanted["MemoryHigh"] = (module.params["memory_high"], memory_wanted(module.params["memory_high"]))
    except ValueError as error:
        module.fail_json(msg=str(error))
    systemctl = module.get_bin_path("systemctl", required=True)
    before, due = {}, {}
    for name, (text, value) in wanted.items():
        _, shown, _ = module.run_command(
            [systemctl, "show", f"--property={SHOWN[name]}", "--value", "--", unit], check_rc=True
        )
        before[name] = shown.strip()
        if held(name, before[name]) > value:
            due[name] = text
    if due and not module.check_mode:
        assignments = [f"{name}={text}" for name, text in due.items()]
        module.run_command([systemctl, "set-property", "--runtime", "--", unit, *assignments], check_rc=True)
    diff = {
        "before": "".join(f"{name}={before[name]}\n" for name in due),
        "after": "".join(f"{name}={text}\n" for name, text in due.items()),
    }
    module.exit_json(changed=bool(due), limits=due, diff=diff)


if __name__ == "__main__":
    main()
