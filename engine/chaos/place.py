"""Where drills work: the lab's hosts, how each is reached, and the refusal of any other host.

A drill breaks things. So a host is only ever hit when the inventory has it in the group `lab` and its address is one of the lab's
own loopback addresses, behind which nothing but a node of the lab can be.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.config.inventory import Inventory, load_inventory
from engine.config.settings import Settings, find_settings, load_settings
from engine.model.runbook import Value

GROUP = "lab"
LOOPBACK = ipaddress.ip_network("127.89.0.0/16")
"""Where the controller reaches nodes of the lab: ports of this machine that lead to nodes and nowhere else."""
CARRIED = frozenset(
    [
        "ansible_host",
        "ansible_port",
        "ansible_user",
        "ansible_ssh_private_key_file",
        "ansible_ssh_common_args",
        "ansible_ssh_extra_args",
        "ansible_python_interpreter",
        "lab_address",
        "lab_network",
        "fence_off_command",
        "fence_on_command",
        "fence_status_command",
    ]
)
"""Variables that a drill needs of a host; no other leaves the inventory."""


class DrillError(Exception):
    """A drill cannot go on; the message says why and what helps."""


class RefusedError(DrillError):
    """A host that no drill may touch."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the lab."""

    name: str
    groups: frozenset[str]
    variables: Mapping[str, Value]

    @property
    def address(self) -> str:
        """The address at which the controller reaches it."""
        return str(self.variables["ansible_host"])

    @property
    def port(self) -> int:
        """The port of its SSH server there."""
        return int(str(self.variables.get("ansible_port", 22)))

    def command(self, name: str) -> tuple[str, ...]:
        """Return one of its fence commands, which run on the controller; none when the inventory has none."""
        value = self.variables.get(name)
        if isinstance(value, str):
            return tuple(shlex.split(value))
        return tuple(str(word) for word in value) if isinstance(value, (tuple, list)) else ()  # a list in the journal


@dataclass(frozen=True, slots=True)
class Place:
    """A lab: its project, and every node that a drill may touch."""

    directory: Path
    settings: Settings
    nodes: Mapping[str, Node]

    def group(self, name: str) -> tuple[Node, ...]:
        """Return the nodes of a group."""
        return tuple(node for node in self.nodes.values() if name in node.groups)

    def node(self, name: str) -> Node:
        """Return a node. Raises RefusedError for a host that is none of the lab's."""
        if name not in self.nodes:
            raise RefusedError(
                f"{name} is no node of the lab: drills touch hosts of the inventory's group '{GROUP}' alone"
            )
        return self.nodes[name]


def open_place(directory: Path) -> Place:
    """Return the lab whose project is in a folder. Raises DrillError, ConfigError and InventoryError."""
    file = find_settings(directory)
    if file is None or file.parent != directory.absolute():
        raise DrillError(f"{directory} is no project of a lab; `mendbook lab up` makes one")
    settings = load_settings(file, directory)
    return Place(directory.absolute(), settings, nodes_of(load_inventory(settings.inventory)))


def nodes_of(inventory: Inventory) -> dict[str, Node]:
    """Return the nodes of the group `lab`. Raises RefusedError when there is none, or one that is not the lab's own."""
    nodes = {}
    for target in inventory.fleet.group(GROUP):
        variables = {name: value for name, value in inventory.hosts[target.name].items() if name in CARRIED}
        every = inventory.hosts[target.name]
        refuse(target.name, every)
        nodes[target.name] = Node(target.name, target.groups, variables)
    if not nodes:
        raise RefusedError(
            f"the inventory has no group '{GROUP}' with hosts: drills run in the lab alone (`mendbook lab up`)"
        )
    return nodes


def refuse(name: str, variables: Mapping[str, Value]) -> None:
    """Raise RefusedError unless a host is reached at one of the lab's loopback addresses, by SSH, and by no detour."""
    address = variables.get("ansible_host")
    try:
        own = ipaddress.ip_address(str(address)) in LOOPBACK
    except ValueError:
        own = False
    if not own:
        message = f"{name} is reached at {address or name}, which is not one of the lab's addresses ({LOOPBACK})"
        raise RefusedError(f"{message}: nothing is injected")
    if variables.get("ansible_connection", "ssh") != "ssh":
        raise RefusedError(
            f"{name} is not reached by SSH but by {variables.get('ansible_connection')}: nothing is injected"
        )
    arguments = " ".join(str(variables.get(each, "")) for each in ("ansible_ssh_common_args", "ansible_ssh_extra_args"))
    if any(word in arguments.lower() for word in ("proxyjump", "proxycommand", "hostname", "-j")):
        raise RefusedError(f"{name} is reached by way of another host ({arguments.strip()}): nothing is injected")


def frozen_inventory(nodes: Sequence[Node]) -> str:
    """Return an inventory of these nodes alone, as it is now: what is undone later is undone where it was done."""
    hosts = {node.name: dict(node.variables) for node in nodes}
    return json.dumps({GROUP: {"hosts": hosts}}, indent=1, default=list)
