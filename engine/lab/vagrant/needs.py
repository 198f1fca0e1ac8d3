"""What a machine needs to bear a lab, what of it is missing, and the one line that installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.lab.vagrant.plan import LabError, Provider

_INSTALL_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Need:
    """A program, or a file, and the Debian package that brings it."""

    package: str
    program: str
    optional: str = ""
    """What is lost without it; "" when nothing works without it."""


_EVERYWHERE = (Need("vagrant", "vagrant"), Need("openssh-client", "ssh-keygen"))
_CONTAINERS = (
    Need("podman", "podman"),
    Need("runc", "runc"),
    Need("netavark", "/usr/lib/podman/netavark"),
    Need("aardvark-dns", "/usr/lib/podman/aardvark-dns"),
    Need("iptables", "iptables"),
    Need("nftables", "nft"),
    Need("iproute2", "ip"),
    Need("mmdebstrap", "mmdebstrap"),
    Need("e2fsprogs", "mkfs.ext4"),
    Need("lxcfs", "lxcfs", "each node's own CPU and memory figures"),
)
_NEEDS = {
    Provider.DOCKER: (*_EVERYWHERE, *_CONTAINERS),
    Provider.VIRTUALBOX: (*_EVERYWHERE, Need("virtualbox", "VBoxManage")),
    Provider.LIBVIRT: (*_EVERYWHERE, Need("vagrant-libvirt", "virsh")),
}


def needs(provider: Provider) -> tuple[Need, ...]:
    """Return what a provider needs."""
    return _NEEDS[provider]


def there(need: Need) -> bool:
    """Return whether a program can be called, also from where only root usually looks."""
    if need.program.startswith("/"):
        return Path(need.program).exists()
    return shutil.which(need.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def missing(provider: Provider, found: Callable[[Need], bool] = there) -> tuple[Need, ...]:
    """Return what is not there of what a provider needs."""
    return tuple(need for need in needs(provider) if not found(need))


def line(lacking: tuple[Need, ...]) -> str:
    """Return the command that installs what is missing."""
    return f"apt-get install --no-install-recommends {' '.join(need.package for need in lacking)}"


def check(provider: Provider) -> None:
    """Raise LabError with the way out when the provider cannot work here."""
    lacking = missing(provider)
    if needed := [need for need in lacking if not need.optional]:
        words = ", ".join(need.package for need in needed)
        raise LabError(f"missing for {provider}: {words}. As root: {line(lacking)}   (or `mendbook lab up --install`)")
    if provider == Provider.DOCKER and os.geteuid() != 0:
        raise LabError("containers that boot systemd, their network and their disks need root: sudo -E mendbook lab up")


def install(provider: Provider, say: Callable[[str], None]) -> None:
    """Install what is missing with apt. Raises LabError, also without root."""
    lacking = missing(provider)
    if not lacking:
        return
    if os.geteuid() != 0:
        raise LabError(f"installing needs root: sudo {line(lacking)}")
    say(line(lacking))
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *(need.package for need in lacking)]):
        done = subprocess.run(
            ["apt-get", "-qq", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
        if done.returncode:
            raise LabError(f"apt-get {words[0]} failed: {done.stderr.strip()[-1000:]}")
