"""What a lab is made of: its nodes with their addresses, ports and disks, as plain values."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
INDEXES = range(10)
"""The labs that fit side by side on one machine."""


class LabError(Exception):
    """The lab cannot be made, reached or ended; the message says why, and what helps."""


class Provider(StrEnum):
    """What Vagrant makes the nodes with."""

    DOCKER = "docker"
    """Containers that boot systemd, by podman."""
    VIRTUALBOX = "virtualbox"
    LIBVIRT = "libvirt"


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system of a node's own."""

    place: str
    size: str
    inodes: int

    @property
    def name(self) -> str:
        """The name of its folder and of the file behind it."""
        return self.place.strip("/").replace("/", "-")


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the lab: for the others at `address`, for the controller at `loopback` alone."""

    name: str
    groups: tuple[str, ...]
    address: str
    loopback: str
    container: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The lab number `index`, with those of its nodes that are wanted."""

    index: int
    nodes: tuple[Node, ...]
    subnet: IPv4Network

    @property
    def name(self) -> str:
        """The name of its network and of its table of packet filter rules, and what its containers' names begin with."""
        return f"mendbook-lab-{self.index}"

    def node(self, name: str) -> Node:
        """Return a node by its name. Raises LabError for one that is not there."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"no node {name!r}; there are {', '.join(node.name for node in self.nodes)}")


@cache
def contract() -> dict[str, Any]:
    """Return what Vagrantfile and Mendbook both go by: numbers, ports, sizes."""
    read: dict[str, Any] = json.loads((HERE / "nodes.json").read_text())
    return read


def names() -> tuple[str, ...]:
    """Return the names of all nodes in the order in which they are made."""
    return tuple(contract()["nodes"])


def disks() -> tuple[Disk, ...]:
    """Return the file systems that each node has to itself."""
    return tuple(Disk(place, facts["size"], facts["inodes"]) for place, facts in contract()["disks"].items())


def ports() -> dict[str, tuple[int, int]]:
    """Return the ports by what answers there: on the loopback address, and on the node."""
    return {name: (outer, inner) for name, (outer, inner) in contract()["ports"].items()}


def plan(index: int, wanted: tuple[str, ...] = ()) -> Plan:
    """Return the lab of an index with the nodes that are wanted, or all. Raises LabError for what does not exist."""
    if index not in INDEXES:
        raise LabError(f"index {index}: a lab's index is one of {INDEXES.start} to {INDEXES.stop - 1}")
    if unknown := [name for name in wanted if name not in names()]:
        raise LabError(f"no node {unknown[0]!r}; there are {', '.join(names())}")
    facts, third = contract(), contract()["first"] + index
    nodes = tuple(
        Node(
            name,
            tuple(each["groups"]),
            f"{facts['network']}.{third}.{each['number']}",
            f"{facts['loopback']}.{third}.{each['number']}",
            f"mendbook-lab-{index}-{name}",
        )
        for name, each in facts["nodes"].items()
        if not wanted or name in wanted
    )
    return Plan(index, nodes, IPv4Network(f"{facts['network']}.{third}.0/24"))
