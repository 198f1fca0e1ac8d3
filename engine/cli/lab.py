"""`mendbook lab`: the cluster that a demo left running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.exits import Failure
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, note, output_option, show
from engine.cli.project import expected, here
from engine.cli.words import line

EPILOG = """\b
Examples:
  mendbook lab status       the nodes of the cluster that `mendbook demo --keep` left running here
  mendbook lab down         end it, every process of it
"""
USUAL = Path(".mendbook-demo")
directory_option = click.option(
    "--dir", "directory", type=click.Path(file_okay=False, path_type=Path), default=USUAL, show_default=True,
    help="Where the demo was told to work.",
)  # fmt: skip


def place_of(directory: Path) -> Path:
    """Return the cluster's folder: also the one we are in, or below, when none is named and it is called as usual."""
    start = here()
    if directory == USUAL and not (start / directory).exists():
        return next((each for each in (start, *start.parents) if each.name == USUAL.name), start / directory)
    return start / directory


class LabGroup(ListingGroup):
    """A group that shows the status by default."""

    default = "status"


@click.group(cls=LabGroup, epilog=EPILOG)
def command() -> None:
    """Look at or end the cluster that a demo left running."""


@command.command()
@directory_option
@output_option
def status(directory: Path, output: str) -> None:
    """Show the nodes of the cluster."""
    with expected():
        from engine.lab.cluster import Cluster

        nodes = Cluster.attach(place_of(directory)).status()
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
def down(directory: Path) -> None:
    """End the cluster and every process of it; its files stay."""
    place = place_of(directory)
    with expected():
        from engine.lab.cluster import down as end

        found = end(place)
    if not found:
        raise Failure(f"no demo cluster runs below {place}")
    note(f"the demo cluster below {place} has ended")
