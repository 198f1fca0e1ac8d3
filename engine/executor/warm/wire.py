"""What the engine and the fork server say to each other: one packet a message, descriptors beside it.

They speak through a pair of sockets that have no name: nobody else can reach the server, and it hears when the engine ends,
however it ends.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

_LARGEST = 1 << 17
_MOST_DESCRIPTORS = 4


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message; raises OSError when the other end is gone, or it is too large."""
    socket.send_fds(channel, [json.dumps(message).encode()], list(descriptors), socket.MSG_NOSIGNAL)


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next message and its descriptors; None when the other end is gone.

    Raises TimeoutError when none comes in the channel's time, and ValueError for what is no message.
    """
    data, descriptors, flags, _ = socket.recv_fds(channel, _LARGEST, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    if flags & socket.MSG_TRUNC:
        raise ValueError("a message was too large")
    return json.loads(data), descriptors
