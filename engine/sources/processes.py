"""The processes of this machine by group, under process-exporter's names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from engine.sources.machine import Figure

GROUPS: Final = 256
"""How many groups are told of at most: those with the most memory."""
TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
COMM: Final = 15
"""Bytes of a name that the kernel keeps."""


@dataclass(slots=True)
class Process:
    """What was last seen of one process."""

    comm: bytes
    group: str
    user: int
    system: int


@dataclass(slots=True)
class Group:
    """What the processes of one name take together. Times count on when one of them ends, in clock ticks."""

    user: int = 0
    system: int = 0
    number: int = 0
    threads: int = 0
    resident: int = 0
    virtual: int = 0
    oldest: int = 0


class ProcessGroups:
    """Follows the processes from reading to reading.

    A group is the processes of one name (kernel threads have none). Its `cpu_seconds_total` starts at 0 with the first reading
    and never falls while the group lives, since what a process took stays counted when it ends. Files under `/proc` are
    read directly: one for each process and reading is what makes this cheap.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._processes: dict[tuple[int, int], Process] = {}
        self._groups: dict[str, Group] = {}
        self._first = True

    def read(self) -> Iterator[Figure]:
        """Yield the figures of every group with a live process."""
        for group in self._groups.values():
            group.number = group.threads = group.resident = group.virtual = group.oldest = 0
        seen: dict[tuple[int, int], Process] = {}
        for name in os.listdir(self._proc):  # noqa: PTH208  # strings are what is needed
            if name.isdecimal():
                self._take(int(name), seen)
        self._processes = seen
        self._first = False
        self._groups = {name: group for name, group in self._groups.items() if group.number}
        largest = sorted(self._groups.items(), key=lambda item: item[1].resident, reverse=True)[:GROUPS]
        booted = psutil.boot_time()
        for name, group in sorted(largest):
            yield from figures(name, group, booted)

    def _take(self, pid: int, seen: dict[tuple[int, int], Process]) -> None:
        """Add one process to its group."""
        try:
            with open(f"{self._proc}/{pid}/stat", "rb") as file:  # noqa: PTH123  # a third of the time of Path.read_bytes
                stat = file.read()
        except OSError:
            return  # it has ended meanwhile
        end = stat.rfind(b")")
        fields = stat[end + 2 :].split()
        virtual = int(fields[20])
        if not virtual:
            return  # a kernel thread, or one that has ended and waits to be noticed
        user, system, started = int(fields[11]), int(fields[12]), int(fields[19])
        process = self._processes.get((pid, started))
        comm = stat[stat.find(b"(") + 1 : end]
        if process is None:
            # What ran before the first reading is not of the time that is told of.
            before = (user, system) if self._first else (0, 0)
            process = Process(comm, self._name(pid, comm), *before)
        elif process.comm != comm:  # it has begun another program
            process.comm, process.group = comm, self._name(pid, comm)
        seen[pid, started] = process
        group = self._groups.setdefault(process.group, Group())
        group.user += user - process.user
        group.system += system - process.system
        process.user, process.system = user, system
        group.oldest = min(group.oldest, started) if group.number else started
        group.number += 1
        group.threads += int(fields[17])
        group.resident += int(fields[21]) * PAGE
        group.virtual += virtual

    def _name(self, pid: int, comm: bytes) -> str:
        """Return the name of a process, whole where the kernel cut it off."""
        if len(comm) == COMM:
            try:
                with open(f"{self._proc}/{pid}/cmdline", "rb") as file:  # noqa: PTH123
                    command = file.read(4096)
            except OSError:
                command = b""
            name = command.partition(b"\0")[0].rpartition(b"/")[2]
            if name.startswith(comm) and len(name) <= 4 * COMM:
                comm = name
        return comm.decode("utf-8", "replace")


def figures(name: str, group: Group, booted: float) -> Iterator[Figure]:
    """Yield the figures of one group; `booted` is when the machine was started."""
    labels = (("groupname", name),)
    yield "namedprocess_namegroup_num_procs", labels, float(group.number)
    yield "namedprocess_namegroup_num_threads", labels, float(group.threads)
    yield "namedprocess_namegroup_oldest_start_time_seconds", labels, booted + group.oldest / TICKS
    for kind, size in (("resident", group.resident), ("virtual", group.virtual)):
        yield "namedprocess_namegroup_memory_bytes", (*labels, ("memtype", kind)), float(size)
    for mode, ticks in (("user", group.user), ("system", group.system)):
        yield "namedprocess_namegroup_cpu_seconds_total", (*labels, ("mode", mode)), ticks / TICKS
