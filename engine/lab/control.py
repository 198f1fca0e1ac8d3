"""The client of the node manager's sockets: one JSON object per line, one per line as reply."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.lab.settings import Layout

LINE = 16 * 1024
_LONGEST = 100  # a Unix socket's address holds 108 bytes


class ControlError(Exception):
    """The manager refused a command, or could not be reached; the message says which and why."""


def ask(path: Path, request: Mapping[str, object], timeout: float = 15.0) -> dict[str, Any]:
    """Send one request to a manager's socket and return its reply. Raises ControlError."""
    try:
        with _connect(path, timeout) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                reply = json.loads(lines.readline() or b"{}")
    except (OSError, ValueError) as error:
        raise ControlError(f"no answer from {path}: {error}") from error
    if not isinstance(reply, dict) or reply.get("ok") is not True:
        why = reply.get("error") if isinstance(reply, dict) else None
        raise ControlError(str(why or f"no answer from {path}: the connection ended"))
    return reply


def status(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the nodes of the cluster below `directory` by name: role, state, pid, port, directory, attached."""
    nodes = ask(Layout(directory).socket, {"command": "status"}, timeout=5.0)["nodes"]
    assert isinstance(nodes, dict)  # noqa: S101  # the manager is ours; this tells the type checker
    return nodes


def command(directory: Path, name: str, timeout: float = 15.0, **arguments: str) -> dict[str, Any]:
    """Give the manager of the cluster below `directory` a command and return its reply. Raises ControlError."""
    return ask(Layout(directory).socket, {"command": name, **arguments}, timeout)


def inject(directory: Path, name: str, timeout: float = 15.0, **arguments: str) -> dict[str, Any]:
    """Give a command on the manager's private socket, which is the lab's alone. Raises ControlError."""
    return ask(Layout(directory).private_socket, {"command": name, **arguments}, timeout)


def _connect(path: Path, timeout: float) -> socket.socket:
    """Connect, also to a socket whose path is longer than an address may be."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    folder = -1
    try:
        address = str(path)
        if len(os.fsencode(path)) > _LONGEST:
            folder = os.open(path.parent, os.O_PATH)
            address = f"/proc/self/fd/{folder}/{path.name}"
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    finally:
        if folder >= 0:
            os.close(folder)
    return connection
