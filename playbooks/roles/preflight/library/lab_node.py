#!/usr/bin/python
"""Brings one node of the demo cluster to a state, by asking the cluster's manager over its control socket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: lab_node
short_description: Bring a node of the demo cluster to a state
description:
  - Asks the manager of the demo cluster, which owns the node processes as systemd owns services on an ordinary host.
  - The process that results belongs to the manager and outlives the run that ordered it; the manager replies to a start,
    a restart or an addition once the node answers HTTP, and refuses when it does not.
author: [Mendbook contributors]
options:
  socket:
    description: The manager's control socket.
    type: path
    required: true
  state:
    description:
      - The state to reach. V(restarted) and V(added) are acts and take place once per O(once).
      - V(attached) and V(detached) say whether the balancer sends traffic to the node.
    type: str
    required: true
    choices: [started, stopped, restarted, absent, attached, detached, added]
  node:
    description: The node's name; every state but V(added) needs it.
    type: str
  role:
    description: What kind of node V(added) adds.
    type: str
    default: web
  once:
    description: An identity; an act that was already done under it is not done again. Empty means always.
    type: str
    default: ""
  timeout:
    description: Seconds that the whole module may take; the manager replies when the node answers, or not at all.
    type: int
    default: 20
attributes:
  check_mode:
    description: The manager is asked for its status only.
    support: full
  diff_mode:
    description: Shows the node's state before and after.
    support: full
"""

EXAMPLES = r"""
- name: Restart a node, once for this attempt
  lab_node:
    socket: "{{ lab_socket }}"
    node: web-1
    state: restarted
    once: "{{ mendbook_attempt | default('') }}"
"""

RETURN = r"""
node:
  description: The node's name; empty when check mode cannot know it.
  type: str
  returned: always
port:
  description: The loopback port of the node.
  type: int
  returned: when the manager knows it
"""

import hashlib
import json
import os
import socket
import time

from ansible.module_utils.basic import AnsibleModule

COMMANDS = {
    "started": "start",
    "stopped": "stop",
    "restarted": "restart",
    "absent": "remove",
    "attached": "attach",
    "detached": "detach",
    "added": "add",
}
ONCE_LIMIT = 200  # what the manager takes
REPLY_LIMIT = 1 << 20


class ManagerError(Exception):
    """The manager could not be asked, or it refused."""


def ask(path: str, request: dict, deadline: float) -> dict:
    """Send one request and return the manager's reply; ManagerError when there is none or it is a refusal."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.settimeout(remaining(deadline))
            connect(stream, path)
            stream.sendall(json.dumps(request).encode() + b"\n")
            line = read_line(stream, deadline)
    except TimeoutError as error:
        raise ManagerError(f"the manager at {path} did not answer in time") from error
    except OSError as error:
        raise ManagerError(
            f"the manager at {path} cannot be reached ({error.strerror or error}): is the cluster up?"
        ) from error
    try:
        reply = json.loads(line)
    except ValueError as error:
        raise ManagerError(f"the manager answered what is not JSON: {line[:80]!r}") from error
    if not isinstance(reply, dict):
        raise ManagerError(f"the manager answered what is not an object: {line[:80]!r}")
    if not reply.get("ok"):
        raise ManagerError(str(reply.get("error", "the manager refused and gave no reason")))
    return reply


def connect(stream: socket.socket, path: str) -> None:
    """Connect by way of the folder's descriptor, because a socket's address holds 107 bytes and a project may lie deeper."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = f"/proc/self/fd/{folder}/{os.path.basename(path)}"
        stream.connect(short if os.path.isdir("/proc/self/fd") else path)
    finally:
        os.close(folder)


def read_line(stream: socket.socket, deadline: float) -> bytes:
    """Return the reply's line; ManagerError when it has no end, TimeoutError when it takes too long."""
    received = bytearray()
    while b"\n" not in received:
        stream.settimeout(remaining(deadline))
        piece = stream.recv(65536)
        if not piece:
            break
        received += piece
        if len(received) > REPLY_LIMIT:
            raise ManagerError("the manager's reply has no end")
    return bytes(received)


def remaining(deadline: float) -> float:
    """Seconds left, never zero: a socket takes zero for 'do not wait'."""
    return max(deadline - time.monotonic(), 0.001)


def describe(node: dict | None) -> str:
    """One line about a node for a diff."""
    if node is None:
        return "absent\n"
    attached = "" if node.get("attached") is None else f" attached={node['attached']}"
    return f"{node.get('state', 'unknown')}{attached}\n"


def predict(state: str, node: dict | None) -> tuple[bool, str]:
    """Say whether reaching the state would change the node, and how it would look."""
    now = describe(node)
    if state == "added":
        return True, "running attached=False\n"
    if state == "restarted":
        return True, f"{now.strip()}, restarted\n"
    if state == "absent":
        return node is not None, describe(None)
    if node is None:
        raise ManagerError("the manager knows no such node")
    wanted = {
        "started": {"state": "running"},
        "stopped": {"state": "stopped"},
        "attached": {"attached": True},
        "detached": {"attached": False},
    }[state]
    changed = any(node.get(key) != value for key, value in wanted.items())
    if state == "stopped":
        changed = node.get("state") == "running"
    return changed, describe({**node, **wanted})


def act(module: AnsibleModule, deadline: float) -> dict:
    """Do the act, or in check mode predict it; return the module's result."""
    wanted = module.params
    name, state = wanted["node"] or "", wanted["state"]
    nodes = ask(wanted["socket"], {"command": "status"}, deadline).get("nodes", {})
    before = nodes.get(name)
    if state not in ("added", "absent") and before is None:
        known = ", ".join(sorted(nodes)) or "none"
        raise ManagerError(f"the manager knows no node {name!r}; it has {known}")
    result = {"node": name, "changed": False}
    would_change, after = predict(state, before)
    if module.check_mode:
        result["changed"] = would_change
    else:
        reply = ask(wanted["socket"], request_for(wanted), deadline)
        result["changed"] = bool(reply.get("changed"))
        result["node"] = reply.get("node", name)
        port = reply.get("port") or (before or {}).get("port")
        if port:
            result["port"] = port
    if module._diff and result["changed"]:  # noqa: SLF001 - how Ansible tells a module that --diff was given
        result["diff"] = {"before": describe(before), "after": after, "before_header": name, "after_header": name}
    return result


def request_for(wanted: dict) -> dict:
    """Return the manager's request for the state; the manager keeps identities apart by command and node."""
    state, once = wanted["state"], wanted["once"]
    request = {"command": COMMANDS[state]}
    if state == "added":
        request["role"] = wanted["role"]
    else:
        request["node"] = wanted["node"]
    if once and state in ("restarted", "added"):
        request["once"] = once if len(once) <= ONCE_LIMIT else hashlib.sha256(once.encode()).hexdigest()
    return request


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "socket": {"type": "path", "required": True},
            "state": {"type": "str", "required": True, "choices": list(COMMANDS)},
            "node": {"type": "str"},
            "role": {"type": "str", "default": "web"},
            "once": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 20},
        },
        required_if=[("state", state, ("node",)) for state in COMMANDS if state != "added"],
        supports_check_mode=True,
    )
    wanted = module.params
    deadline = time.monotonic() + wanted["timeout"]
    try:
        result = act(module, deadline)
    except ManagerError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
