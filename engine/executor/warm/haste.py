"""Keeps a new ssh connection from waiting for acknowledgements that the kernel holds back.

While a connection is made, ssh sends small pieces one after the other. The sender's kernel keeps the second back until the first is
acknowledged, and the receiver's waits 40 ms with that, in case there is something to send along: once as the keys are exchanged,
once as the first session begins. ssh has no setting for it. Its socket has: so whoever starts `ssh` borrows the socket of
its own child for as long as that connects, and says that nothing is to be held back. What is sent stays the same, byte for byte.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PLUGIN = "ansible.plugins.connection.ssh"
_PROGRAM = b"ssh"
_SHARED = re.compile(rb'ControlPath="?([^"%]+)"?')
_BORROW = 438
"""pidfd_getfd, under the same number on every architecture; the kernel lets parents call it on their children."""
_LOOK = 0.003
_PATIENCE = 2.0
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class _Closed(Exception):  # noqa: N818 - an answer, not a mishap
    """The child has closed it since we looked."""


class _Starting:
    """The module `subprocess` as Ansible's ssh sees it: what it starts connects without delay, everything else is what it was."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: Sequence[bytes], *given: Any, **named: Any) -> subprocess.Popen[bytes]:  # noqa: N802 - as it is called
        """Start a program; one that is to make a connection is hastened until it has."""
        process = subprocess.Popen(command, *given, **named)
        if connects(command):
            hasten(process.pid)
        return process


def install() -> None:
    """Have Ansible's own ssh connections hastened in this process, and in what is forked off it."""
    plugin = sys.modules.get(PLUGIN)
    if plugin is not None:
        plugin.subprocess = _Starting()  # type: ignore[attr-defined]


def connects(command: Sequence[bytes]) -> bool:
    """Return whether a command is an ssh that makes a connection, rather than sharing one that is there."""
    if not isinstance(command, list) or command[:1] != [_PROGRAM]:
        return False
    paths = [found[1] for word in command if (found := _SHARED.fullmatch(word)) is not None]
    return not any(os.path.lexists(path) for path in paths)


def hasten(pid: int, seconds: float = _PATIENCE) -> threading.Thread | None:
    """Hasten what a child connects to, from a thread that ends with the child, or after so many seconds; None where that cannot be."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return None
    thread = threading.Thread(target=_hasten, args=(pid, process, time.monotonic() + seconds), daemon=True)
    try:
        thread.start()
    except RuntimeError:  # there is no room for one more
        os.close(process)
        return None
    return thread


def _hasten(pid: int, process: int, end: float) -> None:
    connection = None
    try:
        while time.monotonic() < end and not select.select([process], [], [], _LOOK)[0]:
            if connection is None:
                connection = _borrow(pid, process)
            if connection is not None:
                connection.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1
                )  # it does not last: the kernel takes it as a hint
    except OSError:
        pass  # not permitted here, or the connection has broken: ssh goes on as ever
    finally:
        os.close(process)
        if connection is not None:
            connection.close()


def _borrow(pid: int, process: int) -> socket.socket | None:
    """Return a connection of a child's that is established, as a descriptor of our own, with nothing held back; None when it has none yet.

    Raises OSError where borrowing is not permitted.
    """
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError, _Closed):
            if entry.readlink().name.startswith("socket:"):
                found = socket.socket(fileno=_descriptor(process, int(entry.name)))
                if found.family in _FAMILIES and found.type == socket.SOCK_STREAM and _established(found):
                    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return found
                found.close()
    return None


def _descriptor(process: int, number: int) -> int:
    borrowed = ctypes.CDLL(None, use_errno=True).syscall(_BORROW, process, number, 0)
    if borrowed < 0:
        error = ctypes.get_errno()
        raise _Closed if error == errno.EBADF else OSError(error, os.strerror(error))
    return int(borrowed)


def _established(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
