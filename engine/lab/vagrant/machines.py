"""The machines themselves, by Vagrant, and when they answer."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.lab.vagrant import disks, figures
from engine.lab.vagrant.commands import Commands
from engine.lab.vagrant.place import Lab, Place
from engine.lab.vagrant.plan import LabError, Node, Plan, Provider, contract, ports
from engine.lab.vagrant.plan import disks as wanted_disks

CAPABILITIES = ("SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_BOOT", "SYS_PTRACE", "AUDIT_WRITE", "MKNOD")
_UP_SECONDS = 900.0
_PROVISION_SECONDS = 900.0
_ANSWER_SECONDS = 60.0
_GONE_SECONDS = 60.0
_CONTAINERS_CONF = """\
# Podman's settings for the lab's containers: what works without CAP_SYS_RESOURCE, and with every arrangement of cgroups.
[containers]
base_hosts_file = "none"
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"

[network]
network_backend = "netavark"
"""


def vagrantfile() -> Path:
    """Return the Vagrantfile: of the repository, or as it comes with the installed package."""
    package = Path(__file__).parent.parent.parent
    carried = package / "shipped" / "Vagrantfile"
    return carried if carried.is_file() else package.parent / "Vagrantfile"


def podman_options(lab: Lab, node: Node) -> list[str]:
    """Return the options of `podman run` that make a container a node."""
    facts = contract()
    options = [
        "--systemd=always",
        "--restart=always",
        "--network",
        lab.plan.name,
        "--ip",
        node.address,
        "--mac-address",  # the same at every start: who talked to the node before would send to the old one for half a minute
        "02:00:" + ":".join(f"{int(part):02x}" for part in node.address.split(".")),
        "--dns",
        "none",
    ]
    options += ["--memory", f"{facts['memory']}m", "--cpus", str(facts["cpus"]), "--cap-add", ",".join(CAPABILITIES)]
    options += ["--label", f"mendbook.lab={lab.mark}"]
    for other in lab.plan.nodes:
        options += ["--add-host", f"{other.name}:{other.address}"]
    for outer, inner in ports().values():
        options += ["-p", f"{node.loopback}:{outer}:{inner}"]
    options += ["-v", f"{lab.place.key}.pub:/root/.ssh/authorized_keys:ro"]
    for disk in wanted_disks():
        options += ["-v", f"{disks.folder(lab.place, node, disk)}:{disk.place}"]
    if lab.own_figures:
        for name in figures.FILES:
            options += ["-v", f"{lab.place.figures}/proc/{name}:/proc/{name}"]
    return options


def prepare(place: Place) -> None:
    """Write what Vagrant's docker provider needs to find podman, with settings under which it works."""
    place.programs.mkdir(parents=True, exist_ok=True)
    place.containers_conf.write_text(_CONTAINERS_CONF)
    docker = place.programs / "docker"
    docker.unlink(missing_ok=True)
    docker.symlink_to(shutil.which("podman") or "/usr/bin/podman")


def vagrant(
    commands: Commands, *words: str, heard: Callable[[str], None], timeout: float, extra: dict[str, str] | None = None
) -> None:
    """Call Vagrant on the lab's machines. Raises LabError."""
    commands.follow("vagrant", *words, heard=heard, timeout=timeout, extra=variables(commands.lab) | (extra or {}))


def variables(lab: Lab) -> dict[str, str]:
    """Return the environment in which Vagrant finds the lab, and leaves nothing outside of its folder that nobody asked for."""
    found = {
        "VAGRANT_CWD": str(vagrantfile().parent),
        "VAGRANT_DOTFILE_PATH": str(lab.place.dotfolder),
        "VAGRANT_DEFAULT_PROVIDER": lab.provider,
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }
    if lab.provider == Provider.DOCKER:  # boxes of the others are worth keeping, and plugins are theirs
        found |= {"VAGRANT_HOME": str(lab.place.root / "vagrant-home"), "VAGRANT_NO_PLUGINS": "1"}
    return found


def up(commands: Commands, heard: Callable[[str], None]) -> None:
    """Have every machine run. Raises LabError."""
    lab = commands.lab
    names = [node.name for node in lab.plan.nodes]
    vagrant(commands, "up", f"--provider={lab.provider}", "--no-provision", *names, heard=heard, timeout=_UP_SECONDS)


def provision(commands: Commands, heard: Callable[[str], None]) -> None:
    """Fill all machines by the site's playbook, once: Vagrant calls it for the last. Raises LabError."""
    last = commands.lab.plan.nodes[-1].name
    words = ("provision", last, "--provision-with", "site")
    vagrant(commands, *words, heard=heard, timeout=_PROVISION_SECONDS, extra={"ANSIBLE_FORCE_COLOR": "0"})


def destroy(commands: Commands) -> None:
    """End every machine of this lab. Safe to repeat. Raises LabError."""
    lab = commands.lab
    if lab.provider != Provider.DOCKER:
        if lab.place.dotfolder.is_dir():
            vagrant(commands, "destroy", "--force", heard=lambda _: None, timeout=_UP_SECONDS)
        return
    # Straight to podman: it is quick, and knows also what Vagrant was killed before it could remember. On a machine that is very
    # busy it gives up before what it killed is gone: then it is asked again.
    end = time.monotonic() + _GONE_SECONDS
    while found := containers(commands):
        last = time.monotonic() > end
        commands.run("podman", "rm", "--force", "--ignore", "--time", "0", *found, timeout=120, check=last)


def containers(commands: Commands) -> list[str]:
    """Return the identities of this lab's containers, by their mark."""
    label = f"label=mendbook.lab={commands.lab.mark}"
    return commands.run("podman", "ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()


def running(commands: Commands) -> dict[str, str]:
    """Return what state each node's machine is in, as its provider says: `running`, `exited`, …, or `absent`."""
    lab = commands.lab
    if lab.provider == Provider.DOCKER:
        label = f"label=mendbook.lab={lab.mark}"
        text = commands.run("podman", "ps", "--all", "--filter", label, "--format", "json")
        found = {each["Names"][0]: str(each["State"]) for each in json.loads(text or "[]")}
        return {node.name: found.get(node.container, "absent") for node in lab.plan.nodes}
    lines: list[str] = []
    vagrant(commands, "status", "--machine-readable", heard=lines.append, timeout=120)
    cells = [line.split(",") for line in lines]
    found = {each[1]: each[3] for each in cells if len(each) > 3 and each[2] == "state"}  # noqa: PLR2004  # its four cells
    return {node.name: found.get(node.name, "absent") for node in lab.plan.nodes}


def answering(plan: Plan, timeout: float = _ANSWER_SECONDS) -> dict[str, bool]:
    """Return which nodes show the banner of their SSH server within `timeout` seconds: a connection alone proves nothing."""
    with ThreadPoolExecutor(max_workers=len(plan.nodes)) as pool:
        return dict(pool.map(lambda node: (node.name, answers(node, timeout)), plan.nodes))


def answers(node: Node, timeout: float) -> bool:
    """Return whether a node shows its banner within `timeout` seconds."""
    end, port = time.monotonic() + timeout, ports()["ssh"][0]
    while True:
        try:
            with socket.create_connection((node.loopback, port), timeout=1.0) as connection:
                if connection.recv(4) == b"SSH-":
                    return True
        except OSError:
            pass
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)


def ready(plan: Plan) -> None:
    """Return when every node answers. Raises LabError that names those that do not."""
    found = answering(plan)
    if silent := [name for name, well in found.items() if not well]:
        raise LabError(f"no answer from {', '.join(silent)} in {_ANSWER_SECONDS:.0f} s")


def ansible_playbook() -> str:
    """Return the `ansible-playbook` beside this interpreter, whatever PATH says."""
    beside = Path(sys.executable).with_name("ansible-playbook")
    return str(beside) if beside.exists() else "ansible-playbook"
