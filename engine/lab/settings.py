"""The size of the demo cluster: what a node may hold, how fast it works, and where its things lie."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MEBIBYTE = 1024 * 1024
MEMORY_LIMIT = 160 * MEBIBYTE
DIRECTORY_LIMIT = 32 * MEBIBYTE

# A web node serves at most WORKERS / PACE = 32 requests a second, so three carry 96 and four 128. The normal rate is
# a quarter of what three carry; the overload lies between what three and what four carry, with room for a machine so
# busy that a request takes 40 ms more.
WORKERS = 8
PACE = 0.25
NORMAL_RATE = 25.0
OVERLOAD_RATE = 110.0

WEB_NODES = 3
STORE_NODES = 2
MAX_WEB_NODES = 8

LEAK_BYTES_PER_SECOND = MEMORY_LIMIT * 6 // 100
FILL_BYTES_PER_SECOND = DIRECTORY_LIMIT * 8 // 100


class Role(StrEnum):
    """What a node is for."""

    WEB = "web"
    STORE = "store"
    LB = "lb"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What one node process is told when it starts; `stores` are the addresses that a web node reads from."""

    name: str
    role: Role
    port: int
    directory: Path
    seed: int
    stores: tuple[str, ...] = ()
    memory_limit: int = MEMORY_LIMIT
    directory_limit: int = DIRECTORY_LIMIT

    def dump(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(
            {
                "name": self.name,
                "role": self.role,
                "port": self.port,
                "directory": str(self.directory),
                "seed": self.seed,
                "stores": list(self.stores),
                "memory_limit": self.memory_limit,
                "directory_limit": self.directory_limit,
            },
            indent=1,
        )


def load(path: Path) -> NodeSettings:
    """Return the settings that `NodeSettings.dump` wrote."""
    raw = json.loads(path.read_text())
    return NodeSettings(
        name=raw["name"],
        role=Role(raw["role"]),
        port=raw["port"],
        directory=Path(raw["directory"]),
        seed=raw["seed"],
        stores=tuple(raw["stores"]),
        memory_limit=raw["memory_limit"],
        directory_limit=raw["directory_limit"],
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie below a cluster's directory."""

    root: Path

    @property
    def socket(self) -> Path:
        """The node manager's control socket, which playbooks talk to."""
        return self.root / "manager.sock"

    @property
    def private(self) -> Path:
        """The lab's own folder: what only injections use, and what no inventory names."""
        return self.root / "lab"

    @property
    def private_socket(self) -> Path:
        """The node manager's second socket, for injections."""
        return self.private / "lab.sock"

    @property
    def rate(self) -> Path:
        """The file that tells the load generator its rate."""
        return self.private / "rate"

    @property
    def pids(self) -> Path:
        """The processes of the cluster, for `down` when the socket does not answer."""
        return self.root / "manager.pid"

    @property
    def log(self) -> Path:
        """What the node manager and the load generator have to complain of."""
        return self.root / "manager.log"

    @property
    def inventory(self) -> Path:
        """The Ansible inventory of the cluster."""
        return self.root / "inventory.yml"

    @property
    def traffic(self) -> Path:
        """The load generator's account, a JSON line per 100 ms."""
        return self.root / "traffic.jsonl"

    @property
    def nodes(self) -> Path:
        """The folder of the nodes' directories."""
        return self.root / "nodes"

    @property
    def servers(self) -> Path:
        """The web nodes attached to the balancer, written by the manager and read by the balancer."""
        return self.nodes / "lb" / "servers.json"

    def node(self, name: str) -> Path:
        """Return the directory of one node."""
        return self.nodes / name
