"""The lab's own network: nodes reach each other and nothing else, and nothing meant for them ever leaves this machine."""

from __future__ import annotations

import json
from ipaddress import IPv4Network, ip_network
from typing import Any

from engine.lab.vagrant.commands import Commands
from engine.lab.vagrant.plan import LabError, Plan

METRIC = "5000"
PROTOCOL = "189"
"""The mark of the routes that labs made: any number that nobody else uses."""
LABEL = "mendbook.lab"


def claim(commands: Commands) -> None:
    """Raise LabError when the lab's addresses are somebody else's."""
    if known(commands) is None and (other := taken(commands)):
        subnet = commands.lab.plan.subnet
        raise LabError(f"{subnet} is taken by {other}; `mendbook lab up --index N` makes the lab with other addresses")


def make(commands: Commands) -> None:
    """Make the network, behind what keeps it closed. Safe to repeat. Raises LabError."""
    lab, subnet = commands.lab, str(commands.lab.plan.subnet)
    # First the walls, then the house: at no moment is there a way out
    commands.run("nft", "-f", "-", text=rules(lab.plan))
    commands.run(
        "ip", "route", "add", "unreachable", subnet, "metric", METRIC, "protocol", PROTOCOL, check=False
    )  # it fails where there is such a route already, which is as good
    if known(commands) is None:
        commands.run(
            *("podman", "network", "create", "--disable-dns", "--subnet", subnet),
            *("--label", f"{LABEL}={lab.mark}", "--label", f"mendbook.folder={lab.place.root}", lab.plan.name),
        )


def rules(plan: Plan) -> str:
    """Return the packet filter's table: nodes answer whom this machine calls, call each other, and nobody else.

    The empty declaration makes sure that there is a table to delete, so that the text can be loaded again.
    """
    subnet = plan.subnet
    table = f"inet {plan.name}"
    return (
        f"table {table}\n"
        f"delete table {table}\n"
        f"table {table} {{\n"
        f"  chain forward {{\n"
        f"    type filter hook forward priority -10; policy accept;\n"
        f"    ip saddr {subnet} ip daddr != {subnet} counter reject with icmpx type admin-prohibited\n"
        f"    ip daddr {subnet} ip saddr != {subnet} counter reject with icmpx type admin-prohibited\n"
        f"  }}\n"
        f"  chain input {{\n"
        f"    type filter hook input priority -10; policy accept;\n"
        f"    ip saddr {subnet} iifname != lo ct state new counter reject with icmpx type admin-prohibited\n"
        f"  }}\n"
        f"}}\n"
    )


def check(commands: Commands) -> None:
    """Raise LabError unless what is meant for a node goes over the lab's own bridge."""
    mine = known(commands)
    bridge = str(mine.get("network_interface")) if mine else "?"
    for node in commands.lab.plan.nodes[:1]:
        way = commands.run("ip", "-o", "route", "get", node.address, check=False)
        if f" dev {bridge} " not in f" {way} ":
            raise LabError(f"the way to {node.name} is not the lab's bridge {bridge}: {way.strip() or 'there is none'}")


def known(commands: Commands) -> dict[str, Any] | None:
    """Return what podman knows of this lab's network; None when there is none. Raises LabError when it is another lab's."""
    name = commands.lab.plan.name
    text = commands.run("podman", "network", "inspect", name, check=False)
    found = json.loads(text or "[]")
    if not found:
        return None
    network: dict[str, Any] = found[0]
    labels = network.get("labels") or {}
    if labels.get(LABEL) != commands.lab.mark:
        where = labels.get("mendbook.folder", "another folder")
        raise LabError(
            f"index {commands.lab.plan.index} belongs to the lab in {where}; "
            f"`mendbook lab up --index N` makes one beside it, `mendbook lab down --dir {where}` ends it"
        )
    return network


def taken(commands: Commands) -> str:
    """Return what uses addresses of this lab already; "" when nothing does."""
    routes = json.loads(commands.run("ip", "-j", "route") or "[]")
    networks = json.loads(commands.run("podman", "network", "inspect", *podman_networks(commands)) or "[]")
    return occupant(commands.lab.plan.subnet, routes, networks)


def podman_networks(commands: Commands) -> list[str]:
    """Return the names of podman's networks: there is always one."""
    return commands.run("podman", "network", "ls", "--format", "{{.Name}}").split()


def occupant(subnet: IPv4Network, routes: list[dict[str, Any]], networks: list[dict[str, Any]]) -> str:
    """Return who has addresses of `subnet`, by a reading of routes and networks; "" for nobody."""
    for network in networks:
        for each in network.get("subnets") or ():
            if subnet.overlaps(_network(each["subnet"])):
                return f"podman's network {network['name']}"
    for route in routes:
        if route["dst"] == "default" or route.get("type") == "unreachable":
            continue
        if subnet.overlaps(_network(route["dst"])):
            return f"a route over {route.get('dev', '?')}"
    return ""


def remove(commands: Commands) -> None:
    """Take the network away, and then what kept it closed. Safe to repeat; what another lab made is left alone."""
    lab = commands.lab
    try:
        mine = known(commands)
    except LabError:  # another lab has this index now: nothing of it is ours
        return
    if mine is not None:
        commands.run("podman", "network", "rm", lab.plan.name)
    route = ("route", "del", "unreachable", str(lab.plan.subnet), "metric", METRIC, "protocol", PROTOCOL)
    commands.run("ip", *route, check=False)
    commands.run("nft", "delete", "table", "inet", lab.plan.name, check=False)


def _network(text: str) -> IPv4Network:
    found = ip_network(text, strict=False)
    return found if isinstance(found, IPv4Network) else IPv4Network("255.255.255.255/32")
