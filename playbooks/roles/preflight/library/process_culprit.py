#!/usr/bin/python
"""Finds what uses most of a host's memory, CPU, files or process table under a name, and ends it if it is no service."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: process_culprit
short_description: Find the processes behind a name, and end them
description:
  - Of all processes that have the name O(name), as their command, their program or their systemd unit, finds the one that
    uses most of O(measure), and tells whether it belongs to a unit that can be restarted.
  - With O(state=ended) ends it, when it belongs to no such unit, together with what the same program started; each process is
    known by its number and its start, so that a number that was given away meanwhile ends nothing.
  - The first process, the kernel's threads, the run itself and whatever O(spared) names are never touched.
author: [Mendbook contributors]
options:
  name:
    description: The name, such as a group of process-exporter. Empty is allowed for zombies, and means any.
    type: str
    default: ""
  process:
    description: Instead of a name, one process by its number, start and name, as this module tells them.
    type: str
  measure:
    description: What it uses too much of. For V(zombies) the one that is looked for is the parent that does not reap.
    type: str
    choices: [memory, cpu, files, zombies]
    default: memory
  spared:
    description: Shell patterns of the names of processes, programs and units that are neither ended nor restarted.
    type: list
    elements: str
    default: []
  state:
    description: V(found) only tells; V(ended) ends what is no unit; V(poked) sends a parent the signal that it has dead children.
    type: str
    choices: [found, ended, poked]
    default: found
  grace:
    description: Seconds that processes get to end by themselves before they are killed.
    type: int
    default: 5
attributes:
  check_mode:
    description: Tells what would be ended.
    support: full
"""

EXAMPLES = r"""
- name: End a process that ate the memory
  process_culprit:
    name: report-all
    measure: memory
    spared: [sshd, postgres]
    state: ended
"""

RETURN = r"""
kind:
  description: V(unit), V(process), or V(none) when nothing has that name.
  type: str
  returned: always
unit:
  description: The unit that it belongs to and that can be restarted, or ''.
  type: str
  returned: always
processes:
  description: The processes that were ended, or would be, each as its number, its start in ticks since boot, and its name.
  type: list
  elements: str
  returned: always
amount:
  description: What the worst process uses, in bytes, CPUs, open files or zombies.
  type: float
  returned: always
"""

import fnmatch
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

INIT, KTHREADD = 1, 2
SAMPLE = 0.5  # seconds over which CPU time is measured
KILLED = 5.0  # seconds that the kernel gets to take away what was killed
UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254}\.service")


@dataclass(frozen=True)
class Process:
    """One process; number and start together name it for as long as the host is up."""

    pid: int
    start: int
    name: str
    parent: int
    session: int
    state: str
    ticks: int
    program: str
    unit: str

    def __str__(self) -> str:
        return f"{self.pid} {self.start} {self.name}"


def read(pid: int, name: str) -> str:
    """Return a file of the process; '' when it has ended or may not be read."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def unit_of(groups: str) -> str:
    """Return the systemd unit that the process's control groups name, or ''; sessions and scopes are none."""
    for line in groups.splitlines():
        _, controller, path = line.split(":", 2)
        if controller in ("", "name=systemd"):
            parts = [part for part in path.split("/") if part.endswith((".service", ".scope"))]
            if parts and UNIT.fullmatch(parts[-1]):
                return parts[-1]
    return ""


def process(pid: int) -> Process | None:
    """Return what the kernel says of a process, or nothing when it has ended. A name may hold blanks and brackets itself."""
    text = read(pid, "stat")
    if ")" not in text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    try:
        program = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        program = ""
    return Process(
        pid=pid,
        start=int(fields[19]),
        name=text[text.index("(") + 1 : text.rindex(")")],
        parent=int(fields[1]),
        session=int(fields[3]),
        state=fields[0],
        ticks=int(fields[11]) + int(fields[12]),
        program=program,
        unit=unit_of(read(pid, "cgroup")),
    )


def processes() -> dict[int, Process]:
    """Return all processes by number."""
    numbers = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {found.pid: found for found in map(process, numbers) if found is not None}


def line_of(pid: int, known: dict[int, Process]) -> set[int]:
    """Return a process and those that started it."""
    line = set()
    while pid in known and pid not in line:
        line.add(pid)
        pid = known[pid].parent
    return line


class Search:
    """The host's processes, and which of them are not ours to touch."""

    def __init__(self, spared: list[str]) -> None:
        self.known = processes()
        self._spared = spared
        self._ours = line_of(os.getpid(), self.known) | {INIT, KTHREADD}

    def is_spared(self, one: Process) -> bool:
        """Whether it must be left alone."""
        return one.pid in self._ours or one.parent == KTHREADD or self._is_spared_by_name(one)

    def _is_spared_by_name(self, one: Process) -> bool:
        names = (one.name, os.path.basename(one.program))
        return any(fnmatch.fnmatchcase(name, pattern) for name in names if name for pattern in self._spared)

    def named(self, name: str) -> list[Process]:
        """Return the living processes of a name: of a command, a program or a unit."""
        names = {name, f"{name}.service"}
        return [
            one
            for one in self.known.values()
            if one.state != "Z"
            and (one.pid not in self._ours or self._is_spared_by_name(one))
            and (one.name == name[:15] or os.path.basename(one.program) == name or one.unit in names)
        ]

    def parents_of_zombies(self, name: str) -> dict[int, int]:
        """Return how many dead children of that name, or of a parent of that name, each parent has not reaped."""
        counts: dict[int, int] = {}
        for one in self.known.values():
            parent = self.known.get(one.parent)
            if (
                one.state == "Z"
                and parent is not None
                and name in ("", one.name, parent.name, parent.unit.removesuffix(".service"))
            ):
                counts[parent.pid] = counts.get(parent.pid, 0) + 1
        return counts

    def worst(self, name: str, measure: str) -> tuple[Process | None, float]:
        """Return who uses most, and how much."""
        if measure == "zombies":
            amounts = {pid: float(count) for pid, count in self.parents_of_zombies(name).items()}
        else:
            amounts = measured(self.named(name), measure)
        pid = max(amounts, key=lambda pid: amounts[pid], default=0)
        return self.known.get(pid), amounts.get(pid, 0.0)

    def exactly(self, told: str) -> Process | None:
        """Return the process of this number and start, or nothing when it has ended."""
        pid, start, _ = told.split(" ", 2)
        found = self.known.get(int(pid))
        return found if found is not None and found.start == int(start) else None

    def family(self, one: Process) -> list[Process]:
        """Return what the same program started with it, the first of them first, and everything below."""
        while True:
            parent = self.known.get(one.parent)
            if parent is None or self.is_spared(parent):
                break
            if not one.program or parent.program != one.program or parent.session != one.session:
                break
            one = parent
        below = [one]
        for member in below:
            below += [child for child in self.known.values() if child.parent == member.pid and child.state != "Z"]
        return below


def measured(candidates: list[Process], measure: str) -> dict[int, float]:
    """Return what each uses, by number."""
    if measure == "cpu":
        time.sleep(SAMPLE)
        later = {one.pid: process(one.pid) for one in candidates}
        tick = os.sysconf("SC_CLK_TCK")
        return {
            one.pid: (now.ticks - one.ticks) / tick / SAMPLE
            for one in candidates
            if (now := later[one.pid]) is not None and now.start == one.start
        }
    if measure == "files":
        return {one.pid: float(open_files(one.pid)) for one in candidates}
    page = os.sysconf("SC_PAGE_SIZE")
    return {one.pid: float(int((read(one.pid, "statm").split() or ["0", "0"])[1]) * page) for one in candidates}


def open_files(pid: int) -> int:
    """Return how many files a process has open; none when it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def handle(one: Process) -> int | None:
    """Return a descriptor of exactly this process, or nothing when it has ended and its number may be another's."""
    try:
        descriptor = os.pidfd_open(one.pid)
    except OSError:
        return None
    now = process(one.pid)
    if now is None or now.start != one.start or now.state == "Z":
        os.close(descriptor)
        return None
    return descriptor


def send(handles: dict[int, Process], number: int) -> None:
    """Send a signal to all that have not ended."""
    for descriptor in handles:
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            continue


def left(handles: dict[int, Process], seconds: float) -> dict[int, Process]:
    """Wait until all have ended, for at most so long; return those that have not."""
    deadline = time.monotonic() + seconds
    while True:
        alive = {
            descriptor: one
            for descriptor, one in handles.items()
            if (now := process(one.pid)) is not None and now.start == one.start and now.state != "Z"
        }
        if not alive or time.monotonic() >= deadline:
            return alive
        time.sleep(0.05)


def end(family: list[Process], grace: float) -> list[Process]:
    """Ask all to end, kill those that do not, and return those that are still there."""
    handles = {descriptor: one for one in family if (descriptor := handle(one)) is not None}
    send(handles, signal.SIGTERM)
    stubborn = left(handles, grace)
    send(stubborn, signal.SIGKILL)
    remaining = left(stubborn, KILLED)
    for descriptor in handles:
        os.close(descriptor)
    return list(remaining.values())


def restartable(module: AnsibleModule, search: Search, one: Process) -> str:
    """Return its unit if that may be restarted for its sake: one with a file of its own whose main process is not spared.

    A process that someone started by hand lies in the unit of the door that it came by, such as ssh.service, and what was started
    as a transient unit would only begin again.
    """
    if not one.unit:
        return ""
    systemctl = module.get_bin_path("systemctl", required=True)
    command = [systemctl, "show", "--property=MainPID,Transient,LoadState", "--", one.unit]
    _, text, _ = module.run_command(command, check_rc=True)
    shown = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    main_process = search.known.get(int(shown.get("MainPID") or 0))
    if shown.get("LoadState") != "loaded" or shown.get("Transient") == "yes" or main_process is None:
        return ""
    return "" if search.is_spared(main_process) else one.unit


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": ""},
            "process": {"type": "str"},
            "measure": {"type": "str", "choices": ["memory", "cpu", "files", "zombies"], "default": "memory"},
            "spared": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["found", "ended", "poked"], "default": "found"},
            "grace": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    name, measure = wanted["name"], wanted["measure"]
    if not name and not wanted["process"] and measure != "zombies":
        module.fail_json(msg="a name is needed")
    search = Search(wanted["spared"])
    worst, amount = (search.exactly(wanted["process"]), 0.0) if wanted["process"] else search.worst(name, measure)
    nothing = {"kind": "none", "unit": "", "processes": [], "amount": 0.0}
    if worst is None:
        module.exit_json(changed=False, msg=f"nothing that runs here is {wanted['process'] or name!r}", **nothing)
    result = {"kind": "process", "unit": restartable(module, search, worst), "processes": [], "amount": amount}
    if result["unit"] and not any(fnmatch.fnmatchcase(result["unit"], pattern) for pattern in wanted["spared"]):
        result["kind"] = "unit"
        if wanted["state"] == "poked":
            poke(module, worst, result)
        module.exit_json(changed=False, msg=f"{worst.name} ({worst.pid}) belongs to {result['unit']}", **result)
    family = search.family(worst)
    spared = [one for one in family if search.is_spared(one)]
    if spared or result["unit"]:
        who = spared[0] if spared else worst
        module.fail_json(msg=f"{who.name} ({who.pid}) is one that is never ended; nothing was touched", **result)
    result["processes"] = [str(one) for one in family]
    if wanted["state"] == "poked":
        poke(module, worst, result)
    if wanted["state"] == "ended" and not module.check_mode:
        remaining = end(family, wanted["grace"])
        if remaining:
            module.fail_json(msg=f"{remaining[0].name} ({remaining[0].pid}) cannot be ended", **result)
    ends = wanted["state"] == "ended"
    module.exit_json(changed=ends, msg=f"{worst.name} ({worst.pid}) belongs to no service", **result)


def poke(module: AnsibleModule, one: Process, result: dict) -> None:
    """Tell a parent once more that children of it have died; one that listens reaps them all."""
    descriptor = handle(one)
    if descriptor is not None and not module.check_mode:
        send({descriptor: one}, signal.SIGCHLD)
    module.exit_json(
        changed=descriptor is not None, msg=f"{one.name} ({one.pid}) was told of its dead children", **result
    )


if __name__ == "__main__":
    main()
