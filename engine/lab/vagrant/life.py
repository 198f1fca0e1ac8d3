"""A lab's life: made step by step from what is written down, and taken away to the last trace, wherever it stopped."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.lab.vagrant import disks, figures, image, keeper, machines, needs, network, place, record
from engine.lab.vagrant.commands import Commands, end_strays, settle
from engine.lab.vagrant.place import Lab
from engine.lab.vagrant.plan import LabError, Provider

Say = Callable[[str], None]


def begun(root: Path, index: int | None, provider: Provider | None, wanted: tuple[str, ...]) -> Lab:
    """Return the lab of a folder as it is written down, or a new one. Raises LabError when another was begun there."""
    if not place.Place(root).exists():
        return place.new(root, index or 0, provider or Provider.DOCKER, wanted)
    lab = place.read(root)
    nodes = {node.name for node in lab.plan.nodes}
    if (
        (index is not None and index != lab.plan.index)
        or (provider is not None and provider != lab.provider)
        or (wanted and set(wanted) != nodes)
    ):
        raise LabError(
            f"another lab was begun in {root} ({lab.provider}, index {lab.plan.index}, {', '.join(sorted(nodes))}): "
            "`mendbook lab down` ends it"
        )
    return lab


def prepare(lab: Lab, say: Say) -> Lab:
    """Make what the machines need: image, network, disks, figures, keys, inventory. Safe to repeat. Raises LabError."""
    needs.check(lab.provider)
    commands = Commands(lab)
    if lab.provider == Provider.DOCKER:
        machines.prepare(lab.place)
        claim(commands)
    record.write(lab)  # before anything is made: from here on `down` finds it
    if lab.provider == Provider.DOCKER:
        network.make(commands)
        lab = dataclasses.replace(lab, image=image.have(commands, say))
        if trouble := disks.make(commands):
            say(trouble)
        trouble = figures.start(commands)
        lab = dataclasses.replace(lab, own_figures=not trouble)
        for each in filter(None, (trouble, keeper.start(commands))):
            say(each)
    record.write(lab)
    record.lay_out(Commands(lab))
    return lab


def claim(commands: Commands) -> None:
    """Raise LabError when the lab's addresses are another's; a lab that was not begun then leaves nothing behind."""
    try:
        network.claim(commands)
    except LabError:
        if not commands.lab.place.exists():
            clear(commands.lab)
        raise


def up(lab: Lab, say: Say, *, provision: bool = True) -> Lab:
    """Have every node run, answer and be provisioned. Safe to repeat, also after a crash. Raises LabError."""
    lab = prepare(lab, say)
    commands = Commands(lab)
    names = ", ".join(node.name for node in lab.plan.nodes)
    say(f"starting {names} with Vagrant ({lab.provider})")
    machines.up(commands, heard=lambda line: say(f"  {line}") if "==> " in line and "rror" in line else None)
    if lab.provider == Provider.DOCKER:
        network.check(commands)
    machines.ready(lab.plan)
    say(f"{len(lab.plan.nodes)} nodes answer")
    if provision:
        site(lab, say)
    return lab


def site(lab: Lab, say: Say) -> None:
    """Fill the nodes by the site's playbook. Raises LabError."""
    if not record.playbook().is_file():
        raise LabError(f"{record.playbook()} is missing; `--no-provision` leaves the nodes empty")
    say("provisioning with Ansible: exporters, databases, application, balancer")
    began = time.monotonic()

    def heard(line: str) -> None:
        if line.startswith("PLAY [") and "]" in line:
            say(f"  {line[6 : line.rindex(']')]}")

    machines.provision(Commands(lab), heard)
    say(f"provisioned in {time.monotonic() - began:.0f} s")


def down(root: Path, say: Say) -> bool:
    """Take away everything that was made for the lab of a folder, and only that; return whether there was one.

    Safe to repeat, and after a crash at any moment: what is to go is found by the lab's mark and folder, not by what an
    earlier command came to write down. The image stays in its cache. Raises LabError.
    """
    where = place.Place(root)
    if not where.exists():
        return False
    with where.locked():
        lab = place.read(root)
        commands = Commands(lab)
        keeper.stop(where)
        if ended := end_strays(lab):
            say(f"ended {ended} processes that an interrupted command had left")
        if lab.provider == Provider.DOCKER:
            if where.containers_conf.exists():
                machines.destroy(commands)
                network.remove(commands)
            figures.stop(commands)
            disks.remove(commands)
            image.clear(commands)
        else:
            machines.destroy(commands)
        settle(lab)
        clear(lab)
    return True


def clear(lab: Lab) -> None:
    """Delete what the lab wrote into its folder; the engine's record, and what people put there, stay. The state goes last."""
    where = lab.place
    for folder in (where.programs, where.dotfolder, where.root / "vagrant-home", where.inventory.parent):
        shutil.rmtree(folder, ignore_errors=True)
    names = ["id", "id.pub", "known_hosts", "containers.conf", "ansible.cfg", "lab.part"]
    names += [f"power-{node.name}.lock" for node in lab.plan.nodes]
    for name in names:
        (where.root / name).unlink(missing_ok=True)
    if where.settings.exists() and where.settings.read_bytes() == record.TEMPLATE.read_bytes():
        where.settings.unlink()
    where.figures_log.unlink(missing_ok=True)
    where.log.unlink(missing_ok=True)
    where.state.unlink(missing_ok=True)
    (where.root / "lock").unlink(missing_ok=True)
    with suppress(OSError):  # not empty: what is left is the engine's record, or people's own
        where.root.rmdir()
