"""The lab's Ansible inventory: how the controller reaches each node, what it is there for, and how its power is cut."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from engine.lab.vagrant.place import Lab
from engine.lab.vagrant.plan import Node, Plan, ports

HEAD = """\
# Written by `mendbook lab`. The controller reaches nodes on this machine's loopback addresses only; among themselves they use
# `lab_address`. `fence_*_command` are run on the controller: off, on, and `status`, which prints `on` or `off`.
---
"""
_GROUP_VARIABLES: dict[str, dict[str, Any]] = {
    "balancers": {
        "service": "haproxy.service",
        "balancer_backend": "web",
        "balancer_socket": "/run/haproxy/admin.sock",
        "certificate_command": ["/usr/local/sbin/lab-certificate"],
        "node_services": ["haproxy.service"],
    },
    "web": {
        "service": "ledger.service",
        "node_services": ["nginx.service", "ledger.service"],
        "service_configs": {
            "ledger.service": {
                "path": "/etc/ledger/ledger.conf",
                "good": "/var/lib/ledger/last-good.conf",
                "check": ["python3", "/usr/local/lib/ledger/ledger.py", "--check", "--config", "%s"],
            }
        },
        "config_interval": 2,
        "files_repository": "sftp:lab-files:/srv/backup/files/{{ inventory_hostname }}",
        "files_password_file": "/etc/lab/files/password",
        "files_sums": "/var/lib/mendbook/files/taken/SHA256SUMS",
        "files_tag": "mendbook",
        "files_cache": "/var/cache/mendbook/restic",
    },
    "db": {"service": "postgresql@15-main.service", "data_directory": "/srv/postgresql/15/main"},
    "spare": {
        "replica_services": ["ledger.service", "nginx.service"],
        "replica_role": "lab_ledger",
        "replica_health_url": "http://127.0.0.1:8080/healthz",
    },
}
"""What the members of a group have in common."""

_PAGES: dict[str, dict[str, tuple[str, str]]] = {
    "": {"mendbook_metrics_url": ("node", "/metrics"), "mendbook_process_url": ("process", "/metrics")},
    "balancers": {"mendbook_balancer_url": ("balancer", "/metrics"), "mendbook_http_url": ("http", "/healthz")},
    "web": {"mendbook_ledger_url": ("http", "/metrics"), "mendbook_http_url": ("http", "/healthz")},
    "db": {"mendbook_postgres_url": ("postgres", "/metrics")},
}
"""The pages of every node, and of the members of groups: a variable, the port's name, the path."""

_CHECKS = {
    "ledger": {
        "tables": ["public.accounts", "public.transfers"],
        "sql": "SELECT sum(balance) FROM accounts",
        "expected": "10000000",
    }
}
"""What must hold of the database before traffic returns to it: money moves, and is never made or lost."""

_CLEANED: dict[str, Any] = {
    "space_paths": ["/var/log"],
    "space_min_age": "0",
    "space_journal_size": "32M",
    "log_paths": ["/var/log", "/var/log/ledger"],
    "inode_paths": ["/var/log"],
}
"""What may be cleaned when a disk is full. Elsewhere logs have a day's grace; what fills these disks is minutes old."""

_DEPENDS = {"lb": ("web1", "web2"), "web1": ("db1", "db2"), "web2": ("db1", "db2")}
"""Whose fault explains a node's alerts. The databases change places, so that neither depends on the other for good."""


def inventory(lab: Lab, mendbook: Path) -> dict[str, Any]:
    """Return the inventory of a lab; `mendbook` is the program that cuts power."""
    place, plan = lab.place, lab.plan
    common = {
        "ansible_user": "root",
        "ansible_port": ports()["ssh"][0],
        "ansible_ssh_private_key_file": str(place.key),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": " ".join(ssh_options(place.root)),
        "service_manager": "systemd",
        "lab_index": plan.index,
        "lab_network": str(plan.subnet),
        "postgres_checks": _CHECKS,
        **_CLEANED,
        "watch_peers": "lab",
        "watch_address": "lab_address",
    }
    groups = {
        group: _drop_empty({"hosts": {node.name: {} for node in plan.nodes if group in node.groups}, "vars": variables})
        for group, variables in _GROUP_VARIABLES.items()
    }
    hosts = {node.name: host(lab, node, mendbook) for node in plan.nodes}
    return {"lab": {"vars": common, "hosts": hosts, "children": groups}}


def host(lab: Lab, node: Node, mendbook: Path) -> dict[str, Any]:
    """Return one host's variables."""
    power = [str(mendbook), "lab", "power", "--dir", str(lab.place.root), node.name]
    there = {each.name for each in lab.plan.nodes}
    found: dict[str, Any] = {
        "ansible_host": node.loopback,
        "lab_address": node.address,
        "mendbook_address": f"{node.loopback}:{ports()['ssh'][0]}",
        "depends_on": [name for name in _DEPENDS.get(node.name, ()) if name in there],
        "fence_off_command": [*power, "off"],
        "fence_status_command": [*power, "status"],
        "fence_on_command": [*power, "on"],
    }
    for group in ("", *node.groups):
        for name, (port, path) in _PAGES.get(group, {}).items():
            found[name] = f"http://{node.loopback}:{ports()[port][0]}{path}"
    return _drop_empty(found)


def ssh_options(root: Path) -> list[str]:
    """Return the options of ssh for nodes whose host keys come and go with the lab."""
    known = root / "known_hosts"
    return ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={known}", "-o", "LogLevel=ERROR"]


def ssh_command(lab: Lab, node: Node, words: tuple[str, ...]) -> list[str]:
    """Return the command that opens a shell on a node, or runs `words` there."""
    options = [*ssh_options(lab.place.root), "-i", str(lab.place.key), "-p", str(ports()["ssh"][0])]
    return ["ssh", *options, f"root@{node.loopback}", *words]


def write(lab: Lab) -> None:
    """Write the inventory's file."""
    program = Path(sys.executable).with_name("mendbook")
    lab.place.inventory.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(inventory(lab, program), sort_keys=False, width=140, default_flow_style=None)
    lab.place.inventory.write_text(HEAD + text)


def groups_of(plan: Plan) -> dict[str, list[str]]:
    """Return the members of each group."""
    return {group: [node.name for node in plan.nodes if group in node.groups] for group in _GROUP_VARIABLES}


def _drop_empty(mapping: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if value not in ([], {})}
