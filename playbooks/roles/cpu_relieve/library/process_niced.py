#!/usr/bin/python
"""Lets the processes of a name run only when nothing else wants the CPU as much."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: process_niced
short_description: Raise the niceness of processes by name
description:
  - Processes whose niceness is as high already are left alone; nobody's priority is ever raised.
  - The kernel's threads, the first process and the run itself are never touched.
author: [Mendbook contributors]
options:
  pattern:
    description: A shell pattern of the process's name as C(ps -o comm) shows it, at most fifteen characters.
    type: str
  processes:
    description: Instead of a pattern, processes as C(process_culprit) names them, by number, start and name.
    type: list
    elements: str
  nice:
    description: The niceness, 1 to 19.
    type: int
    default: 10
attributes:
  check_mode:
    description: Tells which processes would be changed.
    support: full
"""

EXAMPLES = r"""
- name: Let the reports wait for everything else
  process_niced:
    pattern: report-*
"""

RETURN = r"""
processes:
  description: The processes that were changed, or in check mode would be, each as its number and name.
  type: list
  elements: str
  returned: always
matched:
  description: How many processes have such a name, or are still there.
  type: int
  returned: always
"""

import fnmatch
import os
import re

from ansible.module_utils.basic import AnsibleModule

KTHREADD = 2


def stat_of(pid: int) -> tuple[str, int, str]:
    """Return a process's name, parent and start; ('', 0, '') when it has ended. A name may hold blanks and brackets itself."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return "", 0, ""
    fields = text[text.rindex(")") + 1 :].split()
    return text[text.index("(") + 1 : text.rindex(")")], int(fields[1]), fields[19]


def own_line() -> set[int]:
    """Return this process and those that started it, which must not wait for the process they are to tame."""
    line, pid = set(), os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        pid = stat_of(pid)[1]
    return line


def matching(pattern: str) -> list[tuple[int, str]]:
    """Return the processes whose name matches, by number."""
    spared = own_line() | {1, KTHREADD}
    found = []
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        name, parent, _ = stat_of(pid)
        if name and pid not in spared and parent != KTHREADD and fnmatch.fnmatchcase(name, pattern):
            found.append((pid, name))
    return found


def still_there(processes: list[str]) -> list[tuple[int, str]]:
    """Return those of the named processes that have not ended; a number with another start is another's."""
    told = [one.split(" ", 2) for one in processes]
    return [(int(pid), name) for pid, start, name in told if stat_of(int(pid))[2] == start]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "pattern": {"type": "str"},
            "processes": {"type": "list", "elements": "str"},
            "nice": {"type": "int", "default": 10},
        },
        required_one_of=[("pattern", "processes")],
        mutually_exclusive=[("pattern", "processes")],
        supports_check_mode=True,
    )
    pattern, nice = module.params["pattern"], module.params["nice"]
    if not 1 <= nice <= 19:  # noqa: PLR2004 - the kernel's range, without the half that raises a priority
        module.fail_json(msg=f"a niceness is 1 to 19, not {nice}")
    if pattern is not None and re.search(r"[^*?\[\]!-]", pattern) is None:
        module.fail_json(msg=f"{pattern!r} names no process in particular")
    changed = []
    found = still_there(module.params["processes"]) if pattern is None else matching(pattern)
    for pid, name in found:
        try:
            if os.getpriority(os.PRIO_PROCESS, pid) < nice:
                if not module.check_mode:
                    os.setpriority(os.PRIO_PROCESS, pid, nice)
                changed.append(f"{pid} {name}")
        except ProcessLookupError:
            continue
        except OSError as error:
            module.fail_json(msg=f"process {pid} ({name}) cannot be changed: {error.strerror}", processes=changed)
    module.exit_json(changed=bool(changed), processes=changed, matched=len(found))


if __name__ == "__main__":
    main()
