#!/usr/bin/python
"""Gives a systemd unit limits that last, in a drop-in of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: unit_limited
short_description: Limit a systemd unit for good
description:
  - Writes the limits into C(/etc/systemd/system/UNIT.d/60-mendbook.conf) and has systemd read them anew. Those that the file has
    already and that are not named stay.
  - A limit on open files is given to the unit's processes that run as well, and never lowered.
author: [Mendbook contributors]
options:
  unit:
    description: The unit's name.
    type: str
    required: true
  limits:
    description: Settings of the section Service, each with its value.
    type: dict
    required: true
attributes:
  check_mode:
    description: Tells whether the file would change.
    support: full
  diff_mode:
    description: Shows the file before and after.
    support: full
"""

EXAMPLES = r"""
- name: Hold a service below half of the memory
  unit_limited:
    unit: report.service
    limits: {MemoryHigh: 50%}
"""

RETURN = r"""
path:
  description: The drop-in.
  type: str
  returned: always
"""

import re
import resource
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}")
HEAD = "# Written by the playbook unit_limits.yml of Mendbook, which overwrites changes.\n[Service]\n"
SIZE = re.compile(r"\d+[KMGT]?|\d{1,3}%|infinity")
VALUES = {
    "MemoryHigh": SIZE,
    "MemoryMax": SIZE,
    "CPUQuota": re.compile(r"[1-9]\d{0,4}%"),
    "CPUWeight": re.compile(r"[1-9]\d{0,3}|10000"),
    "Nice": re.compile(r"1?\d"),
    "LimitNOFILE": re.compile(r"[1-9]\d{1,8}"),
    "TasksMax": re.compile(r"[1-9]\d{0,6}"),
    "Restart": re.compile(r"no|on-failure|on-abnormal|always"),
}


def settings(text: str) -> dict[str, str]:
    """Return the settings of a drop-in."""
    lines = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in lines}


def raise_files(module: AnsibleModule, systemctl: str, unit: str, limit: int) -> list[int]:
    """Give the unit's main process a higher limit on open files; return the processes that got it.

    Beyond the limit's own limit the kernel lets nobody go without CAP_SYS_RESOURCE, which a container may lack: then up to there.
    """
    _, shown, _ = module.run_command([systemctl, "show", "--property=MainPID", "--value", "--", unit], check_rc=True)
    pid = int(shown.strip() or 0)
    if not pid:
        return []
    try:
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY or soft >= limit:
            return []
        for wanted in ((limit, max(limit, hard)), (min(limit, hard), hard)):
            if wanted[0] > soft and (module.check_mode or is_given(pid, wanted)):
                return [pid]
    except ProcessLookupError:
        pass
    return []


def is_given(pid: int, limits: tuple[int, int]) -> bool:
    """Set a process's limits on open files; tell whether the kernel let it be."""
    try:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    except (PermissionError, ValueError):
        return False
    return True


def main() -> None:
    module = AnsibleModule(
        argument_spec={"unit": {"type": "str", "required": True}, "limits": {"type": "dict", "required": True}},
        supports_check_mode=True,
    )
    unit = module.params["unit"]
    limits = {name: str(value) for name, value in module.params["limits"].items()}
    if UNIT.fullmatch(unit) is None:
        module.fail_json(msg=f"{unit!r} is not the name of a unit")
    for name, value in limits.items():
        if name not in VALUES or VALUES[name].fullmatch(value) is None:
            module.fail_json(msg=f"{name}={value} is no limit of a unit")
    if not limits:
        module.fail_json(msg="no limit is named")
    systemctl = module.get_bin_path("systemctl", required=True)
    _, shown, _ = module.run_command([systemctl, "show", "--property=LoadState", "--value", "--", unit], check_rc=True)
    if shown.strip() != "loaded":
        module.fail_json(msg=f"there is no unit {unit}")
    full = unit if re.search(r"\.(service|socket|slice|scope)$", unit) else f"{unit}.service"
    path = Path(f"/etc/systemd/system/{full}.d/60-mendbook.conf")
    before = path.read_text() if path.exists() else ""
    known = settings(before)
    merged = {**known, **limits}
    if "LimitNOFILE" in limits:
        merged["LimitNOFILE"] = str(max(int(limits["LimitNOFILE"]), int(known.get("LimitNOFILE", "0"))))
    after = HEAD + "".join(f"{name}={value}\n" for name, value in sorted(merged.items()))
    changed = before != after
    if changed and not module.check_mode:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(after)
        fresh.chmod(0o644)
        fresh.replace(path)
        module.run_command([systemctl, "daemon-reload"], check_rc=True)
    raised = raise_files(module, systemctl, unit, int(merged["LimitNOFILE"])) if "LimitNOFILE" in merged else []
    module.exit_json(
        changed=changed or bool(raised), path=str(path), raised=raised, diff={"before": before, "after": after}
    )


if __name__ == "__main__":
    main()
