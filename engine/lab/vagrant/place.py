"""A lab's folder: where things lie in it, and what is written down of the lab before anything is made."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.lab.vagrant.plan import LabError, Plan, Provider, plan

USUAL = ".mendbook-lab"
STATE = "lab.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where things lie below a lab's folder."""

    root: Path

    @property
    def state(self) -> Path:
        """What the lab is, for Mendbook and for the Vagrantfile."""
        return self.root / STATE

    @property
    def log(self) -> Path:
        """What the programs said that were called."""
        return self.root / "lab.log"

    @property
    def key(self) -> Path:
        """The private key that opens the nodes."""
        return self.root / "id"

    @property
    def inventory(self) -> Path:
        """The Ansible inventory."""
        return self.root / "inventory" / "hosts.yml"

    @property
    def settings(self) -> Path:
        """The settings of the project that watches the lab."""
        return self.root / "mendbook.yml"

    @property
    def programs(self) -> Path:
        """A folder whose `docker` is podman."""
        return self.root / "bin"

    @property
    def containers_conf(self) -> Path:
        """Podman's settings for the lab."""
        return self.root / "containers.conf"

    @property
    def disks(self) -> Path:
        """The nodes' file systems."""
        return self.root / "disks"

    @property
    def figures(self) -> Path:
        """Where lxcfs shows each node its own figures."""
        return self.root / "lxcfs"

    @property
    def figures_pid(self) -> Path:
        """The number of the lxcfs of this lab."""
        return self.root / "lxcfs.pid"

    @property
    def figures_log(self) -> Path:
        """What lxcfs complains of."""
        return self.root / "lxcfs.log"

    @property
    def building(self) -> Path:
        """Where it stands in which folder an image is put together."""
        return self.root / "building"

    @property
    def dotfolder(self) -> Path:
        """What Vagrant remembers of the machines."""
        return self.root / "vagrant"

    def exists(self) -> bool:
        """Return whether a lab was begun here."""
        return self.state.is_file()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one who makes or ends this lab. Raises LabError while another does."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise LabError(
                    f"process {file.read().strip() or '?'} is at work on the lab in {self.root}: wait, or interrupt it"
                ) from error
            file.seek(0)
            file.truncate()
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab: its folder, its plan, its provider, and a mark by which all that was made for it is known again."""

    place: Place
    plan: Plan
    provider: Provider
    mark: str
    image: str = ""
    own_figures: bool = False
    """Whether the nodes' CPU and memory figures are their own: in containers that takes lxcfs."""


def new(root: Path, index: int, provider: Provider, wanted: tuple[str, ...]) -> Lab:
    """Return a lab that does not exist yet."""
    return Lab(
        Place(root), plan(index, wanted), provider, secrets.token_hex(8), own_figures=provider != Provider.DOCKER
    )


def read(root: Path) -> Lab:
    """Return the lab that was begun in a folder. Raises LabError when none was."""
    place = Place(root)
    try:
        raw = json.loads(place.state.read_text())
        wanted = tuple(each["name"] for each in raw["nodes"])
        return Lab(
            place, plan(raw["index"], wanted), Provider(raw["provider"]), raw["mark"], raw["image"], raw["own_figures"]
        )
    except FileNotFoundError as error:
        raise LabError(f"no lab in {root}; `mendbook lab up` makes one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{place.state} cannot be read: {error}") from error
