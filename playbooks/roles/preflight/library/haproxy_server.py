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
  missing_ok:
    description: Whether a backend that has no such server is left alone instead of being an error.
    type: bool
    default: false
  wait:
    description:
      - Seconds to wait for what the state is set for. With V(ready) the server's checks must find it up by then, or the
        module fails; with V(drain) its sessions may end until then, and those that have not are counted.
      - With 0 nothing is waited for.
    type: int
    default: 0
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
  description: The server's administrative state before, ready, drain or maint; absent when there is no such server.
  type: str
  returned: always
sessions:
  description: How many sessions the server still has.
  type: int
  returned: when sessions were waited for
"""

import csv
import re
import socket
import time

from ansible.module_utils.basic import AnsibleModule

# A semicolon or a newline would begin another command on the runtime socket, and a slash another backend.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\[\]-]{0,199}")
# Bits of srv_admin_state. The one for "maintenance by configuration", 0x04, stays when a server is made ready: it says nothing.
MAINT, DRAIN = 0x63, 0x18
RUNNING = 2  # of srv_op_state: neither stopped, starting nor stopping
LOOK = 0.25
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


class Missing(HaproxyError):
    """The backend has no such server."""


def row_of(page: str, server: str) -> dict[str, str]:
    """Read `show servers state BACKEND`: a version, a header that begins with '#', a line for each server."""
    lines = page.splitlines()
    header = next((line for line in lines if line.startswith("#")), "").lstrip("# ").split()
    if "srv_name" not in header or "srv_admin_state" not in header:
        raise HaproxyError(f"HAProxy did not list its servers: {page[:200]!r}")
    for line in lines:
        fields = line.split()
        if len(fields) >= len(header) and fields[header.index("srv_name")] == server:
            return dict(zip(header, fields, strict=False))
    raise Missing(f"the backend has no server {server!r}")


def admin_state(row: dict[str, str]) -> str:
    """Return what people want of the server."""
    bits = int(row["srv_admin_state"])
    return "maint" if bits & MAINT else "drain" if bits & DRAIN else "ready"


def sessions_of(page: str, backend: str, server: str) -> int:
    """Read `show stat`, which is CSV behind a '#': how many sessions a server has."""
    for row in csv.DictReader(page.lstrip("# ").splitlines()):
        if (row.get("pxname"), row.get("svname")) == (backend, server):
            return int(row.get("scur") or 0)
    raise Missing(f"the backend has no server {server!r}")


def wait_up(wanted: dict) -> None:
    """Return once the server's checks find it up; HaproxyError when they do not in time."""
    deadline = time.monotonic() + wanted["wait"]
    while True:
        row = row_of(
            ask(wanted["socket"], f"show servers state {wanted['backend']}", wanted["timeout"]), wanted["server"]
        )
        if int(row.get("srv_op_state", RUNNING)) == RUNNING:
            return
        if time.monotonic() >= deadline:
            raise HaproxyError(f"{wanted['server']} is to get traffic, and was not found up within {wanted['wait']} s")
        time.sleep(LOOK)


def wait_idle(wanted: dict) -> int:
    """Return how many sessions the server has once that is none, or the time is over."""
    deadline = time.monotonic() + wanted["wait"]
    while True:
        left = sessions_of(ask(wanted["socket"], "show stat", wanted["timeout"]), wanted["backend"], wanted["server"])
        if left == 0 or time.monotonic() >= deadline:
            return left
        time.sleep(LOOK)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "backend": {"type": "str", "required": True},
            "server": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["ready", "drain"], "required": True},
            "missing_ok": {"type": "bool", "default": False},
            "wait": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    for option in ("backend", "server"):
        if NAME.fullmatch(wanted[option]) is None:
            module.fail_json(msg=f"{wanted[option]!r} is not the name of a {option}")
    path, server = wanted["socket"], f"{wanted['backend']}/{wanted['server']}"
    result = {}
    try:
        listed = ask(path, f"show servers state {wanted['backend']}", wanted["timeout"])
        before = admin_state(row_of(listed, wanted["server"]))
        changed = before != wanted["state"]
        if changed and not module.check_mode:
            refusal = ask(path, f"set server {server} state {wanted['state']}", wanted["timeout"])
            if refusal:
                raise HaproxyError(f"HAProxy refused: {refusal[:200]}")
        if wanted["wait"] and not module.check_mode:
            if wanted["state"] == "ready":
                wait_up(wanted)
            else:
                result["sessions"] = wait_idle(wanted)
    except Missing as error:
        if wanted["missing_ok"]:
            module.exit_json(changed=False, before="absent", msg=f"{error}: nothing to do")
        module.fail_json(msg=str(error))
    except HaproxyError as error:
        module.fail_json(msg=str(error))
    diff = {"before": f"{server} {before}\n", "after": f"{server} {wanted['state']}\n"}
    module.exit_json(changed=changed, before=before, diff=diff, **result)


if __name__ == "__main__":
    main()
