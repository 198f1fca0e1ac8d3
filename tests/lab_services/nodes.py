"""The lab's nodes as tests reach them: commands over SSH, pages over HTTP, both at loopback addresses."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Reply:
    """What a page answered."""

    status: int
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Node:
    """One node, with the variables that Ansible has of it."""

    name: str
    variables: dict[str, Any]

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the node, as root."""
        told = self.variables
        ssh = ["ssh", "-p", str(told["ansible_port"]), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
        if key := told.get("ansible_ssh_private_key_file"):
            ssh += ["-i", str(key)]
        ssh += shlex.split(str(told.get("ansible_ssh_common_args", "")))
        where = f"{told.get('ansible_user', 'root')}@{told['ansible_host']}"
        done = subprocess.run([*ssh, where, command], capture_output=True, text=True, check=False, timeout=120)
        assert not check or done.returncode == 0, (
            f"{self.name}: {command}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done

    def ask(self, path: str, *, port: int = 8080, body: object = None, timeout: float = 20) -> Reply:
        """Ask for a page; with a body, post it."""
        connection = http.client.HTTPConnection(str(self.variables["ansible_host"]), port, timeout=timeout)
        try:
            connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return Reply(answer.status, answer.read().decode())
        finally:
            connection.close()

    def samples(self, metric: str, port: int, **labels: str) -> dict[str, float]:
        """Return the samples of one metric that have these labels, by the rest of their labels as text."""
        found = {}
        for line in self.ask("/metrics", port=port).body.splitlines():
            match = _SAMPLE.match(line)
            if match is None or match[1] != metric:
                continue
            told = dict(_LABEL.findall(match[2] or ""))
            if labels.items() <= told.items():
                rest = ",".join(f"{key}={value}" for key, value in sorted(told.items()) if key not in labels)
                found[rest] = float(match[3])
        return found

    def value(self, metric: str, port: int, **labels: str) -> float | None:
        """Return the one sample that has these labels, or nothing."""
        found = self.samples(metric, port, **labels)
        assert len(found) <= 1, found
        return next(iter(found.values()), None)


def read_nodes(inventory: Path) -> dict[str, Node]:
    """Return the lab's nodes by their names, from an inventory in YAML as the lab writes it."""
    lab = yaml.safe_load(inventory.read_text(encoding="utf-8"))["lab"]
    return {name: Node(name, lab.get("vars", {}) | (told or {})) for name, told in lab["hosts"].items()}


def until(claim: Callable[[], object], seconds: float = 30) -> None:
    """Return once the claim is true; what it says when the time is up is the failure."""
    end = time.monotonic() + seconds
    while not (told := claim()):
        assert time.monotonic() < end, f"not so after {seconds} s: {told!r}"
        time.sleep(0.2)
