"""A node's power: off, on, and what it is. What is off stays off until it is told to come on."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from engine.lab.vagrant import keeper
from engine.lab.vagrant.commands import Commands
from engine.lab.vagrant.machines import running, vagrant
from engine.lab.vagrant.place import Lab
from engine.lab.vagrant.plan import LabError, Node, Provider

_SECONDS = 120.0
_SETTLE_SECONDS = 30.0


class Power(StrEnum):
    """Whether a node runs."""

    ON = "on"
    OFF = "off"


def status(lab: Lab, name: str) -> Power:
    """Return whether a node has power, as its provider says, not as the network seems. Raises LabError."""
    commands, node = Commands(lab), lab.plan.node(name)
    if lab.provider == Provider.DOCKER:
        form = "{{.State.Running}} {{.State.Pid}}"
        text = commands.run("podman", "container", "inspect", "--format", form, node.container)
        return Power.OFF if text.split() == ["false", "0"] else Power.ON
    return Power.ON if running(commands)[name] == "running" else Power.OFF


def switch(lab: Lab, name: str, wanted: Power) -> bool:
    """Have a node's power on or off, proved by its provider; return whether that changed it. Raises LabError.

    Off is as a pulled plug: nothing on the node is asked. One at a time for each node; who comes second finds it done.
    """
    commands, node = Commands(lab), lab.plan.node(name)
    with alone(lab, node):
        if status(lab, name) == wanted:
            return False
        if wanted == Power.ON and (lab.place.root / f"power-{name}.broken").exists():  # a drill's doing: for good
            raise LabError(f"{name} does not come on: its power supply is broken")
        if lab.provider == Provider.DOCKER:
            words = ("podman", "stop", "--time", "0") if wanted == Power.OFF else (*keeper.words(commands), "start")
            # It gives up on a very busy machine before what it killed is gone: what counts is how it then is
            commands.run(*words, node.container, timeout=_SECONDS, check=False)
        else:
            words = ("halt", "--force", name) if wanted == Power.OFF else ("up", "--no-provision", name)
            vagrant(commands, *words, heard=lambda _: None, timeout=_SECONDS)
        end = time.monotonic() + _SETTLE_SECONDS
        while status(lab, name) != wanted:
            if time.monotonic() > end:
                raise LabError(f"{name} is not {wanted}, though it was told to be; {lab.place.log} says more")
            time.sleep(0.1)
        return True


@contextmanager
def alone(lab: Lab, node: Node) -> Iterator[None]:
    """Wait until nobody else switches this node."""
    with (lab.place.root / f"power-{node.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
