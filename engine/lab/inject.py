"""What the demo does to its cluster: each injection is real, has an undo, and knows the ground truth.

Nothing here is told to the engine; the demo compares what was localized with the injection afterwards.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from engine.lab import control, data, fill, process, traffic
from engine.lab.cluster import Cluster, ClusterError
from engine.lab.settings import NORMAL_RATE, OVERLOAD_RATE, STORE_NODES, WEB_NODES, Role

_EFFECT_SECONDS = 5.0
_LOOK_EVERY = 0.02
_FLIPPED_BLOCKS = 12


class Name(StrEnum):
    """The kinds of injection, in the demo's order."""

    KILLED = "killed"
    HUNG = "hung"
    LEAK = "leak"
    CORRUPT = "corrupt"
    FILL = "fill"
    OVERLOAD = "overload"


@dataclass(frozen=True, slots=True)
class Injection:
    """What is done and to which node, and the resource and culprit that localization ought to name."""

    name: Name
    node: str
    resource: str
    culprit: str


def choose(seed: int) -> tuple[Injection, ...]:
    """Return one injection of each kind on nodes chosen by the seed; no two of killed, hung and leak on one node."""
    dice = random.Random(seed)
    killed, hung, leaking = dice.sample([f"web-{number}" for number in range(1, WEB_NODES + 1)], 3)
    corrupt = f"store-{dice.randint(1, STORE_NODES)}"
    full = f"web-{dice.randint(1, WEB_NODES)}"
    return (
        Injection(Name.KILLED, killed, "node", "web"),
        Injection(Name.HUNG, hung, "service", "web"),
        Injection(Name.LEAK, leaking, "memory", "web"),
        Injection(Name.CORRUPT, corrupt, "data", "data.bin"),
        Injection(Name.FILL, full, "disk", "cache"),
        Injection(Name.OVERLOAD, "lb", "capacity", "web"),
    )


def inject(cluster: Cluster, injection: Injection) -> float:
    """Do it and return when it took effect, in seconds since the epoch.

    Raises ClusterError when it takes no effect, ControlError when the cluster does not answer.
    """
    node = injection.node
    match injection.name:
        case Name.KILLED:
            pid = _signal(cluster, node, signal.SIGKILL)
            return _when(lambda: process.identify(pid) is None, injection)
        case Name.HUNG:
            pid = _signal(cluster, node, signal.SIGSTOP)
            return _when(lambda: process.stopped(pid), injection)
        case Name.LEAK:
            before = process.resident_bytes(_pid(cluster, node))
            pid = _signal(cluster, node, signal.SIGUSR1)
            return _when(lambda: process.resident_bytes(pid) > before, injection)
        case Name.CORRUPT:
            return _flip(_directory(cluster, node))
        case Name.FILL:
            control.inject(cluster.directory, "fill", node=node)
            cache = _directory(cluster, node) / "cache"
            return _when(lambda: any(cache.glob(f"{fill.PREFIX}*")), injection)
        case Name.OVERLOAD:
            traffic.set_rate(cluster.directory, OVERLOAD_RATE)
            return _when(lambda: traffic.rate(cluster.directory) == OVERLOAD_RATE, injection)


def undo(cluster: Cluster, injection: Injection) -> None:
    """Take back what is left of an injection, healed or not; safe to repeat. Raises ControlError."""
    node = injection.node
    match injection.name:
        case Name.KILLED:
            control.command(cluster.directory, "start", node=node)
        case Name.HUNG:
            if cluster.node(node)["pid"] is not None:
                _signal(cluster, node, signal.SIGCONT)
            control.command(cluster.directory, "start", node=node)
        case Name.LEAK:
            control.command(cluster.directory, "start", node=node)
            _signal(cluster, node, signal.SIGUSR2)
        case Name.CORRUPT:
            directory = _directory(cluster, node)
            if data.failing(directory):
                data.restore(directory)
        case Name.FILL:
            control.inject(cluster.directory, "end_fill", node=node)
            for junk in (_directory(cluster, node) / "cache").glob(f"{fill.PREFIX}*"):
                junk.unlink(missing_ok=True)
        case Name.OVERLOAD:
            traffic.set_rate(cluster.directory, NORMAL_RATE)
            for name, known in cluster.status().items():
                if known["role"] == Role.WEB and int(name.removeprefix("web-")) > WEB_NODES:
                    control.command(cluster.directory, "remove", node=name)


def _pid(cluster: Cluster, node: str) -> int:
    pid = cluster.node(node)["pid"]
    if not isinstance(pid, int):
        raise ClusterError(f"{node} does not run")
    return pid


def _signal(cluster: Cluster, node: str, number: signal.Signals) -> int:
    pid = _pid(cluster, node)
    os.kill(pid, number)
    return pid


def _directory(cluster: Cluster, node: str) -> Path:
    return Path(cluster.node(node)["directory"])


def _flip(directory: Path) -> float:
    """Flip one bit in each of some blocks, spread evenly, behind the store's back; return when it was done."""
    with (directory / "data.bin").open("r+b", buffering=0) as file:
        for number in range(_FLIPPED_BLOCKS):
            place = number * (data.BLOCKS // _FLIPPED_BLOCKS) * data.BLOCK + data.BLOCK // 3
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 0x10]))
    return time.time()


def _when(effect: Callable[[], bool], injection: Injection) -> float:
    deadline = time.monotonic() + _EFFECT_SECONDS
    while time.monotonic() < deadline:
        if effect():
            return time.time()
        time.sleep(_LOOK_EVERY)
    raise ClusterError(f"{injection.name} on {injection.node} takes no effect")
