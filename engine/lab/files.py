"""The files that the node manager writes for others: each appears whole, or stays as it was."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from engine.lab.process import Identity
from engine.lab.settings import Layout, Role
from engine.lab.units import Node

_GROUPS = {Role.WEB: "web", Role.STORE: "store", Role.LB: "balancer"}


def replace(path: Path, text: str) -> None:
    """Write a file in such a way that a reader sees the old text or the new one, whole."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def write_servers(layout: Layout, nodes: Sequence[Node]) -> None:
    """Tell the balancer which web nodes are attached."""
    layout.servers.parent.mkdir(parents=True, exist_ok=True)
    attached = [
        {"name": node.name, "address": node.address} for node in nodes if node.role is Role.WEB and node.attached
    ]
    replace(layout.servers, json.dumps(attached, indent=1) + "\n")


def write_inventory(layout: Layout, nodes: Sequence[Node]) -> None:
    """Write the Ansible inventory of the cluster."""
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "service_manager": "lab",
        "lab_socket": str(layout.socket),
    }
    groups: dict[str, dict[str, dict[str, object]]] = {group: {} for group in _GROUPS.values()}
    names = {role: [node.name for node in nodes if node.role is role] for role in Role}
    needs = {Role.WEB: names[Role.STORE], Role.LB: names[Role.WEB], Role.STORE: []}
    for node in nodes:
        host: dict[str, object] = {
            "node_directory": str(node.directory),
            "node_service": str(node.role),
            "mendbook_instance": node.name,
            "mendbook_metrics_url": f"http://{node.address}/metrics",
            "mendbook_http_url": f"http://{node.address}/healthz",
            "mendbook_address": node.address,
        }
        if needs[node.role]:
            host["depends_on"] = list(needs[node.role])
        groups[_GROUPS[node.role]][node.name] = host
    children = {group: {"hosts": hosts} for group, hosts in groups.items()}
    text = yaml.safe_dump({"all": {"vars": common, "children": children}}, sort_keys=False)
    replace(
        layout.inventory,
        "# Written by the demo cluster's node manager, anew whenever a node is added or removed.\n" + text,
    )


def write_pids(layout: Layout, processes: Sequence[Identity]) -> None:
    """Write down the cluster's processes, the manager first."""
    replace(layout.pids, json.dumps([asdict(one) for one in processes], indent=1) + "\n")


def read_pids(layout: Layout) -> list[Identity]:
    """Return the processes written down, whether or not they still run; none when there is no readable file."""
    try:
        return [
            Identity(int(one["pid"]), int(one["start_ticks"]), str(one["boot"]))
            for one in json.loads(layout.pids.read_text())
        ]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def cancel_executions(layout: Layout) -> None:
    """Ask the supervisor of every playbook that still runs to end it."""
    for execution in (layout.root / ".mendbook" / "executions").glob("*/"):
        if not (execution / "result.json").exists():
            try:
                (execution / "cancel").touch()
            except OSError:
                continue  # it has been removed meanwhile
