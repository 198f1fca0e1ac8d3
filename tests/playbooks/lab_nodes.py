"""Real nodes for the playbooks' tests: what an inventory names, and commands on them that bring trouble and look at it."""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playbook_run import Run, play

INVENTORY = "MENDBOOK_LAB_INVENTORY"
_MISSING = (
    f"no real nodes: set {INVENTORY} to the inventory of a lab that is up (`mendbook lab up` prints it); "
    "the tests break things on its nodes and mend them again"
)


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the lab that may be broken."""

    name: str
    inventory: Path

    def run(self, name: str, *arguments: str, **variables: object) -> Run:
        """Run a shipped playbook on this node alone."""
        return play(name, self.inventory, "--limit", self.name, *arguments, variables=variables)

    def sh(self, script: str, *, check: bool = True) -> str:
        """Return what a shell script on the node prints."""
        done = subprocess.run(
            [*_door(self.inventory, self.name), script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def run_thrice(self, name: str, **variables: object) -> tuple[Run, Run, Run]:
        """Run a playbook with `--check`, then really, then again for the same attempt."""
        known = {**variables, "mendbook_attempt": str(uuid.uuid4())}
        return self.run(name, "--check", "--diff", **known), self.run(name, **known), self.run(name, **known)


@functools.cache
def _door(inventory: Path, name: str) -> tuple[str, ...]:
    """Return the command that runs a script on a node over SSH, as its inventory tells Ansible."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(inventory), "--host", name]
    known = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    options = shlex.split(known.get("ansible_ssh_common_args", ""))
    key = ["-i", known["ansible_ssh_private_key_file"]] if "ansible_ssh_private_key_file" in known else []
    share = ["-o", "ControlMaster=auto", "-o", "ControlPersist=20", "-o", "ControlPath=~/.ansible/cp/%C"]
    where = ["-p", str(known.get("ansible_port", 22)), f"{known.get('ansible_user', 'root')}@{known['ansible_host']}"]
    return ("ssh", "-T", *options, *key, *share, *where)


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something holds, and fail when it does not come to pass."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come to pass in {seconds:.0f} s"
        time.sleep(0.2)


def lab_inventory() -> Path:
    """Return the inventory that the environment names, or skip."""
    told = os.environ.get(INVENTORY)
    if not told:
        pytest.skip(_MISSING)
    return Path(told).resolve()


def nodes(*names: str) -> Iterator[Node]:
    """Yield the nodes of these names."""
    inventory = lab_inventory()
    for name in names:
        yield Node(name, inventory)
