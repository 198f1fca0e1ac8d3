"""`mendbook lab`: real machines to break and to watch being healed, and the cluster that a demo left running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit, Failure
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, note, output_option, show
from engine.cli.project import expected, here
from engine.cli.words import line

if TYPE_CHECKING:
    from engine.lab.vagrant.place import Lab

EPILOG = """\b
Examples:
  mendbook lab up           six machines with Vagrant: balancer, web, databases, a spare; below .mendbook-lab
  mendbook lab ssh web1     a shell on one of them: break something
  cd .mendbook-lab && mendbook watch     … and see it heal
  mendbook lab status       the machines, or the nodes that `mendbook demo --keep` left running here
  mendbook lab down         end them, every trace of them
"""
UP_EPILOG = """\b
Examples:
  mendbook lab up                        containers that boot systemd, by podman; needs root
  mendbook lab up --install              the same, after installing what is missing with apt
  mendbook lab up --provider virtualbox
  mendbook lab up --nodes lb,web1,web2   some of the nodes
  mendbook lab up --dir other --index 1  a second lab beside the first
"""
POWER_EPILOG = """\b
Examples:
  mendbook lab power web1 off      as a pulled plug; it stays off
  mendbook lab power web1          on or off, as the provider says
  mendbook lab power web1 on
"""
MACHINES = ".mendbook-lab"
USUAL = Path(".mendbook-demo")
"""Where a demo works when it is not told otherwise."""
directory_option = click.option(
    "--dir", "directory", type=click.Path(file_okay=False, path_type=Path),
    help=f"The lab's folder.  [default: {MACHINES}, or a demo's {USUAL}; here, or the one we are in]",
)  # fmt: skip
machines_option = click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"The lab's folder.  [default: {MACHINES}]",
)


class LabGroup(ListingGroup):
    """A group that shows the status by default."""

    default = "status"


@click.group(cls=LabGroup, epilog=EPILOG)
def command() -> None:
    """Make, look at or end a lab: real machines, or the cluster that a demo left running."""


def place_of(directory: Path) -> Path:
    """Return a lab's folder: also the one we are in, or below, when none is named and it is called as usual."""
    start = here()
    if str(directory) in (str(USUAL), MACHINES) and not (start / directory).exists():
        return next((each for each in (start, *start.parents) if each.name == directory.name), start / directory)
    return start / directory


def of_machines(directory: Path | None) -> Path:
    """Return the folder of a lab of machines, whether it was begun or not."""
    return place_of(directory or Path(MACHINES)).resolve()


def places(directory: Path | None) -> tuple[Path | None, Path | None]:
    """Return the folders of a lab of machines and of a demo's cluster that are meant; a Failure when there is neither."""
    from engine.lab.vagrant.place import Place

    machines = of_machines(directory)
    begun = Place(machines).exists()
    demo = None if begun and directory is not None else place_of(directory or USUAL)
    if directory is None and demo is not None and not demo.is_dir():
        demo = None
    if not begun and demo is None:
        raise Failure(
            f"no lab in {here()}: `mendbook lab up` makes machines, `mendbook demo --keep` leaves a cluster running"
        )
    return machines if begun else None, demo


def lab_of(directory: Path | None) -> Lab:
    """Return the lab of machines in a folder; a Failure when none was begun there."""
    from engine.lab.vagrant.place import read

    with expected():
        return read(of_machines(directory))


def progress() -> Callable[[str], None]:
    """Return what says how far something has come, each line with the seconds since the beginning."""
    import time

    began = time.monotonic()
    return lambda text: note(f"[{time.monotonic() - began:6.1f} s] {text}")


provider_option = click.option(
    "--provider", type=click.Choice(("docker", "libvirt", "virtualbox")), envvar="VAGRANT_DEFAULT_PROVIDER",
    help="What Vagrant makes the machines with; docker is podman here.  [default: docker]",
)  # fmt: skip
nodes_option = click.option("--nodes", default="", help="Only these nodes, with commas between them.")
index_option = click.option("--index", type=int, help="Which addresses: 0 to 9, one lab each.  [default: 0]")
install_option = click.option("--install", is_flag=True, help="As root, install what is missing with apt.")


def begin(directory: Path | None, provider: str | None, nodes: str, index: int | None) -> Lab:
    """Return the lab that is to be made, or to be made whole."""
    from engine.lab.vagrant.life import begun
    from engine.lab.vagrant.plan import Provider

    wanted = tuple(name for name in nodes.replace(" ", ",").split(",") if name)
    return begun(of_machines(directory), index, Provider(provider) if provider else None, wanted)


@command.command(epilog=UP_EPILOG)
@machines_option
@provider_option
@nodes_option
@index_option
@install_option
@click.option("--no-provision", is_flag=True, help="Leave the machines as they boot.")
def up(
    directory: Path | None, provider: str | None, nodes: str, index: int | None, *, install: bool, no_provision: bool
) -> None:
    """Have the machines run and serve; safe to repeat, also after a crash.

    They come from Debian's packages and this package's playbooks, and are reached on this machine's loopback addresses only.
    """
    say = progress()
    with expected():
        from engine.lab.vagrant import life, needs

        lab = begin(directory, provider, nodes, index)
        if install:
            needs.install(lab.provider, say)
        try:
            with lab.place.locked():
                lab = life.up(lab, say, provision=not no_provision)
        except KeyboardInterrupt:
            note("interrupted: `mendbook lab up` goes on from here, `mendbook lab down` takes away what was made")
            raise
    say("the lab runs")
    note(
        f"  mendbook -C {lab.place.root} watch    heals it; `mendbook lab ssh {lab.plan.nodes[0].name}` lets you break it"
    )


@command.command()
@machines_option
@provider_option
@nodes_option
@index_option
@install_option
def prepare(directory: Path | None, provider: str | None, nodes: str, index: int | None, *, install: bool) -> None:
    """Make what the machines need, for `vagrant up --provider=docker` by hand: image, network, disks, inventory."""
    say = progress()
    with expected():
        from engine.lab.vagrant import life, needs

        lab = begin(directory, provider, nodes, index)
        if install:
            needs.install(lab.provider, say)
        with lab.place.locked():
            lab = life.prepare(lab, say)
    say(f"prepared: `MENDBOOK_LAB={lab.place.state} vagrant up --provider={lab.provider}` makes the machines")


@command.command()
@provider_option
@output_option
def needs(provider: str | None, output: str) -> int:
    """Show what this machine needs to bear a lab, and how to install what is missing."""
    from engine.lab.vagrant.needs import line as install_line
    from engine.lab.vagrant.needs import missing
    from engine.lab.vagrant.needs import needs as needed
    from engine.lab.vagrant.plan import Provider

    wanted = Provider(provider or Provider.DOCKER)
    lacking = missing(wanted)
    columns = (
        Column("PACKAGE", lambda each: each["package"], style="bold"),
        Column("THERE", lambda each: "yes" if each["there"] else "no"),
        Column("FOR", lambda each: each["optional"] or "everything"),
    )
    rows = [
        {"package": each.package, "there": each not in lacking, "optional": each.optional} for each in needed(wanted)
    ]
    show(rows, columns, output)
    if lacking:
        note(f"As root: {install_line(lacking)}")
    return Exit.ERROR if any(not each.optional for each in lacking) else Exit.OK


@command.command()
@directory_option
@output_option
def status(directory: Path | None, output: str) -> None:
    """Show the machines, or the nodes of a demo's cluster."""
    machines, demo = places(directory)
    if machines is not None:
        show_machines(machines, output)
    if demo is not None and machines is None:
        show_demo(demo, output)
    elif demo is not None:
        note(f"there is a demo's folder too: `mendbook lab status --dir {demo}`")


def show_machines(root: Path, output: str) -> None:
    """Show the machines of a lab."""
    with expected():
        from engine.lab.vagrant import machines
        from engine.lab.vagrant.commands import Commands
        from engine.lab.vagrant.place import read

        lab = read(root)
        states = machines.running(Commands(lab))
        answering = machines.answering(lab.plan, timeout=0.0)
    rows = [
        {
            "node": node.name,
            "groups": list(node.groups),
            "state": states[node.name],
            "ssh": answering[node.name],
            "address": node.address,
            "loopback": node.loopback,
        }
        for node in lab.plan.nodes
    ]
    columns = (
        Column("NODE", lambda row: row["node"], style="bold"),
        Column("GROUPS", lambda row: ", ".join(row["groups"])),
        Column("STATE", lambda row: line(row["state"])),
        Column("SSH", lambda row: "answers" if row["ssh"] else "silent"),
        Column("AMONG NODES", lambda row: row["address"]),
        Column("FROM HERE", lambda row: row["loopback"]),
    )
    show(rows, columns, output)


def show_demo(root: Path, output: str) -> None:
    """Show the nodes of a demo's cluster."""
    with expected():
        from engine.lab.cluster import Cluster

        nodes = Cluster.attach(root).status()
    rows: list[dict[str, Any]] = [{"node": name, **facts} for name, facts in nodes.items()]
    columns = (
        Column("NODE", lambda row: line(row["node"]), style="bold"),
        Column("ROLE", lambda row: line(row["role"])),
        Column("STATE", lambda row: line(row["state"])),
        Column("PID", lambda row: row["pid"] or "-", right=True),
        Column("PORT", lambda row: row["port"], right=True),
        Column("BEHIND THE BALANCER", lambda row: {True: "yes", False: "no"}.get(row["attached"], "-")),
        Column("DIRECTORY", lambda row: line(row["directory"])),
    )
    show(rows, columns, output)


@command.command()
@directory_option
def down(directory: Path | None) -> None:
    """End the lab: machines, networks, disks and processes; of a demo's cluster its processes, its files stay."""
    machines, demo = places(directory)
    if machines is not None and demo is not None and directory is None and runs(demo):
        raise Failure(
            f"there are machines and a demo's cluster here: name one, --dir {machines} or --dir {demo}", Exit.USAGE
        )
    if machines is not None:
        with expected():
            from engine.lab.vagrant import life

            life.down(machines, progress())
        note(f"the lab below {machines} has ended")
    elif demo is not None:
        with expected():
            from engine.lab.cluster import down as end

            ended = end(demo)
        if not ended:
            raise Failure(f"no demo cluster runs below {demo}")
        note(f"the demo cluster below {demo} has ended")


def runs(demo: Path) -> bool:
    """Return whether a demo's cluster runs below a folder."""
    from engine.lab.cluster import Cluster, ClusterError

    try:
        Cluster.attach(demo)
    except ClusterError:
        return False
    return True


@command.command(context_settings={"ignore_unknown_options": True})
@machines_option
@click.argument("node")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def ssh(directory: Path | None, node: str, words: tuple[str, ...]) -> None:
    """Open a shell on a machine as root, or run a command there."""
    import os

    lab = lab_of(directory)
    with expected():
        from engine.lab.vagrant.inventory import ssh_command

        command_line = ssh_command(lab, lab.plan.node(node), words)
        os.execvp(command_line[0], command_line)  # noqa: S606  # the words are an argument list, and ssh is the command asked for


@command.command(epilog=POWER_EPILOG)
@machines_option
@click.argument("node")
@click.argument("wanted", type=click.Choice(("on", "off", "status")), default="status")
def power(directory: Path | None, node: str, wanted: str) -> None:
    """Cut a machine's power, give it back, or tell which; proved by its provider."""
    lab = lab_of(directory)
    with expected():
        from engine.lab.vagrant.power import Power, switch
        from engine.lab.vagrant.power import status as power_of

        if wanted == "status":
            click.echo(power_of(lab, node))
            return
        changed = switch(lab, node, Power(wanted))
    click.echo(f"{wanted}" if changed else f"{wanted} already")
