#!/usr/bin/python
"""Drains a server of HAProxy, or sends traffic to it again, over the runtime socket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: haproxy_server
short_description: Set the administrative state of a server behind HAProxy
description:
  - The state holds until HAProxy is reloaded.
author: [Mendbook contributors]
options:
  socket:
    description: The runtime socket, which must have the level C(admin).
    type: path
    required: true
  backend:
    description: The backend.
    type: str
    required: true
  server:
    description: The server in the backend.
    type: str
    required: true
  state:
    description: V(ready) sends traffic, V(drain) no new sessions.
    type: str
    choices: [ready, drain]
    required: true
  timeout:
    description: Seconds that HAProxy may take to answer.
    type: int
    default: 10
attributes:
  check_mode:
    description: Reads the server's state only.
    support: full
  diff_mode:
    description: Shows the state before and after.
    support: full
"""

EXAMPLES = r"""
- name: Drain a server
  haproxy_server:
    socket: /run/haproxy/admin.sock
    backend: app
    server: app-1
    state: drain
"""

RETURN = r"""
before:
  description: The server's administrative state before, ready, drain or maint.
  type: str
  returned: always
"""

import re
import socket

from ansible.module_utils.basic import AnsibleModule

# A semicolon or a newline would begin another command on the runtime socket, and a slash another backend.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\[\]-]{0,199}")
# Bits of srv_admin_state. The one for "maintenance by configuration", 0x04, stays when a server is made ready: it says nothing.
MAINT, DRAIN = 0x63, 0x18
REPLY_LIMIT = 1 << 20


class HaproxyError(Exception):
    """HAProxy could not be asked, or it refused."""


def ask(path: str, command: str, timeout: float) -> str:
    """Send one command and return all that HAProxy replies before it closes. Raises HaproxyError."""
    received = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(timeout)
            stream.connect(path)
            stream.sendall(command.encode("ascii") + b"\n")
            while len(received) < REPLY_LIMIT:
                piece = stream.recv(65536)
                if not piece:
                    break
                received += piece
    except OSError as error:
        raise HaproxyError(f"HAProxy cannot be asked at {path}: {error.strerror or error}") from error
    return received.decode("utf-8", "replace").strip()


def admin_state(page: str, server: str) -> str:
    """Read `show servers state BACKEND`: a version, a header that begins with '#', a line for each server."""
    lines = page.splitlines()
    header = next((line for line in lines if line.startswith("#")), "").lstrip("# ").split()
    if "srv_name" not in header or "srv_admin_state" not in header:
        raise HaproxyError(f"HAProxy did not list its servers: {page[:200]!r}")
    for line in lines:
        fields = line.split()
        if len(fields) >= len(header) and fields[header.index("srv_name")] == server:
            bits = int(fields[header.index("srv_admin_state")])
            return "maint" if bits & MAINT else "drain" if bits & DRAIN else "ready"
    raise HaproxyError(f"the backend has no server {server!r}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "backend": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["ready", "drain"], "required": True},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    for option in ("backend", "server"):
        if NAME.fullmatch(wanted[option]) is None:
            module.fail_json(msg=f"{wanted[option]!r} is not the name of a {option}")
    path, server = wanted["socket"], f"{wanted['backend']}/{wanted['server']}"
    try:
        listed = ask(path, f"show servers state {wanted['backend']}", wanted["timeout"])
        before = admin_state(listed, wanted["server"])
        changed = before != wanted["state"]
        if changed and not module.check_mode:
            refusal = ask(path, f"set server {server} state {wanted['state']}", wanted["timeout"])
            if refusal:
                raise HaproxyError(f"HAProxy refused: {refusal[:200]}")
    except HaproxyError as error:
        module.fail_json(msg=str(error))
    diff = {"before": f"{server} {before}\n", "after": f"{server} {wanted['state']}\n"}
    module.exit_json(changed=changed, before=before, diff=diff)


if __name__ == "__main__":
    main()
