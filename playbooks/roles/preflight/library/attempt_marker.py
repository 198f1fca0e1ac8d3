#!/usr/bin/python
"""Remembers on a host that an act was done for an attempt, so that it is done once."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: attempt_marker
short_description: Remember that an act was done for an attempt
description:
  - Tells whether an act was already done on this host under an attempt's identity, and records that it was.
  - An ordinary marker lies below C(/run/mendbook), or C(~/.cache/mendbook) without root, and is written after the act.
  - A marker with O(reboot) lies where a reboot does not take it and holds the kernel's boot id from before the act; the
    act is done when the boot id has changed, even if the run that ordered it did not live to see that.
author: [Mendbook contributors]
options:
  attempt:
    description: The attempt's identity. Empty means that nothing is remembered and the act is always due.
    type: str
    required: true
  act:
    description: What is done, with all that makes it another act, such as the unit's name.
    type: str
    required: true
  state:
    description: V(read) tells whether the act was done; V(present) records it.
    type: str
    choices: [read, present]
    default: read
  reboot:
    description: Whether the act is a reboot of the host.
    type: bool
    default: false
attributes:
  check_mode:
    description: Nothing is written.
    support: full
"""

EXAMPLES = r"""
- name: Ask whether this attempt restarted the unit already
  attempt_marker:
    attempt: "{{ mendbook_attempt | default('') }}"
    act: "restart {{ service }}"
  register: service_restart_marker
"""

RETURN = r"""
done:
  description: Whether the act was done under this attempt before.
  type: bool
  returned: always
marker:
  description: The marker's path; empty without an attempt.
  type: str
  returned: always
"""

import hashlib
import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def marker_path(attempt: str, act: str, *, reboot: bool) -> Path:
    """Name the marker by a digest: an attempt's id and a unit's name are values, never a path."""
    name = hashlib.sha256(f"{attempt}\0{act}".encode(errors="surrogateescape")).hexdigest()
    if os.geteuid() == 0:
        folder = Path("/var/lib/mendbook/attempts" if reboot else "/run/mendbook")
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mendbook"
    return folder / name


def boot_id() -> str:
    """Return the running kernel's boot id, or '' where there is none."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def is_done(marker: Path, *, reboot: bool) -> bool:
    """Whether the marker says that the act was done."""
    try:
        held = marker.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return False
    return held != boot_id() if reboot else True


def write(marker: Path, text: str) -> None:
    """Write the marker whole or not at all."""
    marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=marker.parent)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).replace(marker)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "attempt": {"type": "str", "required": True},
            "act": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["read", "present"], "default": "read"},
            "reboot": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    attempt, reboot = module.params["attempt"], module.params["reboot"]
    if not attempt:
        module.exit_json(changed=False, done=False, marker="")
    try:
        marker = marker_path(attempt, module.params["act"], reboot=reboot)
        done = is_done(marker, reboot=reboot)
        due = module.params["state"] == "present" and not marker.exists()
        if due and not module.check_mode:
            write(marker, boot_id() if reboot else "done")
    except OSError as error:
        module.fail_json(msg=f"the attempt's marker cannot be kept: {error}")
    module.exit_json(changed=due, done=done, marker=str(marker))


if __name__ == "__main__":
    main()
