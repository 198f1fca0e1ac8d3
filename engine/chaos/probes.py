"""What the drill sees from outside, without the engine: banners, pages, and lines of shell on nodes."""

from __future__ import annotations

import http.client
import shlex
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from engine.chaos.place import Node

SECONDS = 3.0
"""What does not answer within them is down."""
LONGEST_ANSWER = 1 << 20


def answers_ssh(node: Node) -> bool:
    """Return whether the node's SSH server greets: that a port accepts proves nothing, since the controller forwards it."""
    try:
        with socket.create_connection((node.address, node.port), SECONDS) as connection:
            connection.settimeout(SECONDS)
            return connection.recv(64).startswith(b"SSH-")
    except OSError:
        return False


def page(node: Node, port: int, path: str) -> tuple[int, str]:
    """Return status and text of a page of the node; status 0 when it does not answer."""
    connection = http.client.HTTPConnection(node.address, port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(LONGEST_ANSWER).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs lines of shell on nodes over one kept SSH connection each; its sockets are in `folder`, whose path must be short."""

    folder: Path

    def run(
        self, node: Node, line: str, seconds: float = 10.0, given: str = ""
    ) -> subprocess.CompletedProcess[str] | None:
        """Return how the line ended on the node, with `given` as its input; None when the node does not answer in time."""
        try:
            return subprocess.run(
                [*self.words(node), node.address, line],
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return None

    def holds(self, node: Node, line: str) -> bool:
        """Return whether the line succeeds on the node."""
        done = self.run(node, line)
        return done is not None and done.returncode == 0

    def words(self, node: Node) -> list[str]:
        """Return the beginning of the command that reaches a node."""
        variables = node.variables
        words = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "-p", str(node.port)]
        words += ["-o", "ControlMaster=auto", "-o", "ControlPersist=30", "-o", f"ControlPath={self.folder}/%n-%p"]
        words += ["-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=2"]
        if "ansible_ssh_private_key_file" in variables:
            words += ["-i", str(variables["ansible_ssh_private_key_file"])]
        if "ansible_user" in variables:
            words += ["-l", str(variables["ansible_user"])]
        return words + shlex.split(str(variables.get("ansible_ssh_common_args", "")))
