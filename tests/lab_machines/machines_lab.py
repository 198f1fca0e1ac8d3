"""Calls `mendbook lab` as people do, and looks for what a lab may leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.lab.vagrant import needs
from engine.lab.vagrant.plan import Plan, Provider, plan

MENDBOOK = Path(sys.executable).with_name("mendbook")
SLOW = 600.0
"""Seconds for what boots machines, on a machine that does much else."""


def missing() -> str:
    """Return what keeps a lab from being made here, and how to install it; empty when nothing does."""
    if not MENDBOOK.exists():
        return f"{MENDBOOK} is missing: pip install -e ."
    if os.geteuid() != 0:
        return "a lab of containers needs root"
    lacking = needs.missing(Provider.DOCKER)
    return f"missing for the lab: {needs.line(lacking)}" if lacking else ""


@dataclass(frozen=True, slots=True)
class Machines:
    """A lab in a folder of its own."""

    folder: Path
    index: int
    names: tuple[str, ...]

    @property
    def plan(self) -> Plan:
        """The lab's nodes."""
        return plan(self.index, self.names)

    def words(self, command: str, *words: str) -> list[str]:
        """Return a command on this lab."""
        return [str(MENDBOOK), "lab", command, "--dir", str(self.folder), *words]

    def call(self, command: str, *words: str, timeout: float = SLOW) -> subprocess.CompletedProcess[str]:
        """Call a command on this lab."""
        return subprocess.run(self.words(command, *words), capture_output=True, text=True, timeout=timeout, check=False)

    def making(self, command: str = "up") -> list[str]:
        """Return the command that makes this lab, without provisioning."""
        words = ["--nodes", ",".join(self.names), "--index", str(self.index)]
        return self.words(command, *words, *(["--no-provision"] if command == "up" else []))

    def make(self) -> None:
        """Make the lab, without provisioning."""
        done = subprocess.run(self.making(), capture_output=True, text=True, timeout=SLOW, check=False)
        assert done.returncode == 0, done.stderr

    def ssh(self, node: str, command: str, timeout: float = 60.0) -> str:
        """Return what a command prints on a node."""
        done = self.call("ssh", node, command, timeout=timeout)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def number(self, node: str, command: str) -> float:
        """Return the number that a command prints on a node."""
        return float(self.ssh(node, command))

    def power(self, node: str, wanted: str = "status") -> str:
        """Switch a node's power, or ask for it."""
        done = self.call("power", node, wanted)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def traces(self) -> dict[str, str]:
        """Return what there still is of this lab on the machine, by kind; empty when nothing is left."""
        name, subnet, folder = self.plan.name, str(self.plan.subnet), str(self.folder.resolve())
        found = {
            "containers": output("podman", "ps", "--all", "--external", "--filter", f"name={name}-", "--quiet"),
            "network": output("podman", "network", "ls", "--filter", f"name={name}", "--quiet"),
            "routes": "\n".join(line for line in output("ip", "route").splitlines() if subnet in line),
            "walls": "\n".join(line for line in output("nft", "list", "tables").splitlines() if name in line),
            "mounts": lines_with(folder, Path("/proc/self/mountinfo").read_text()),
            "loops": lines_with(folder, output("losetup", "-n", "-O", "BACK-FILE")),
            "processes": processes(folder),
            "files": "\n".join(str(each) for each in self.folder.rglob("*")) if self.folder.exists() else "",
        }
        return {kind: text for kind, text in found.items() if text.strip()}


def output(*words: str) -> str:
    """Return what a program prints."""
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def lines_with(needle: str, text: str) -> str:
    """Return the lines that hold a text."""
    return "\n".join(line for line in text.splitlines() if needle in line)


def processes(folder: str) -> str:
    """Return the processes that were started for a lab: its folder stands in their arguments or their environment."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            told = (each / "cmdline").read_bytes() + (each / "environ").read_bytes()
            if f"{folder}/".encode() in told and int(each.name) != os.getpid():
                found.append(f"{each.name} {(each / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    return "\n".join(found)


def inspected(name: str) -> dict[str, object]:
    """Return what podman knows of a container."""
    found: dict[str, object] = json.loads(output("podman", "container", "inspect", name))[0]
    return found


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return once something is true. Fails when it is not in time."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
