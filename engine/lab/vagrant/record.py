"""Writes down what a lab is before anything of it is made, and lays out the project that watches it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from engine.config.settings import shipped
from engine.lab.vagrant import inventory, machines
from engine.lab.vagrant.commands import Commands
from engine.lab.vagrant.image import packages
from engine.lab.vagrant.place import Lab
from engine.lab.vagrant.plan import HERE, Provider

TEMPLATE = HERE / "project" / "mendbook.yml"


def write(lab: Lab) -> None:
    """Write down what the lab is, for Mendbook and for the Vagrantfile; the file is there whole, or not at all."""
    lab.place.root.mkdir(parents=True, exist_ok=True)
    part = lab.place.state.with_suffix(".part")
    part.write_text(json.dumps(described(lab), indent=1))
    part.rename(lab.place.state)


def described(lab: Lab) -> dict[str, Any]:
    """Return what is written down of a lab."""
    place = lab.place
    docker = lab.provider == Provider.DOCKER
    return {
        "index": lab.plan.index,
        "provider": str(lab.provider),
        "mark": lab.mark,
        "image": lab.image,
        "own_figures": lab.own_figures,
        "nodes": [
            {
                "name": node.name,
                "address": node.address,
                "loopback": node.loopback,
                "container": node.container,
                "options": machines.podman_options(lab, node) if docker else [],
            }
            for node in lab.plan.nodes
        ],
        "packages": list(packages()),
        "key": str(place.key),
        "programs": str(place.programs),
        "containers_conf": str(place.containers_conf),
        "inventory": str(place.inventory),
        "playbook": str(shipped("playbooks") / "lab.yml"),
        "ansible_playbook": machines.ansible_playbook(),
    }


def lay_out(commands: Commands) -> None:
    """Have the key, the inventory and the project's settings there. What people changed of the settings stays."""
    lab = commands.lab
    if not lab.place.key.exists():
        commands.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", lab.plan.name, "-f", lab.place.key)
    inventory.write(lab)
    if not lab.place.settings.exists():
        shutil.copyfile(TEMPLATE, lab.place.settings)
    (lab.place.root / "ansible.cfg").write_text(ANSIBLE)


def playbook() -> Path:
    """Return the site's playbook."""
    return shipped("playbooks") / "lab.yml"


ANSIBLE = """\
# For `ansible-playbook` by hand in this folder, and for Vagrant's provisioner.
[defaults]
inventory = inventory
host_key_checking = False
forks = 6
interpreter_python = /usr/bin/python3
retry_files_enabled = False

[ssh_connection]
pipelining = True
ssh_args = -o ControlMaster=auto -o ControlPersist=60s
"""
