"""`mendbook demo`: the whole cycle on a small cluster of this machine."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.exits import Exit, Failure

if TYPE_CHECKING:
    from engine.lab.demo import Row

NAMES = ("killed", "hung", "leak", "corrupt", "fill", "overload")

EPILOG = """\b
Examples:
  mendbook demo                          all six injections, in about 80 seconds
  mendbook demo --inject killed          only a node that is killed
  mendbook demo --seed 7                 other nodes than last time
  mendbook demo --keep                   leave the cluster running; look around:
    cd .mendbook-demo && mendbook watch
    mendbook lab down                    ends it
"""


@click.command(epilog=EPILOG)
@click.option(
    "--inject", "wanted", type=click.Choice(NAMES), multiple=True, help="Only this injection; may be repeated."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses the nodes and the traffic.")
@click.option("--keep", is_flag=True, help="Leave the cluster running; `mendbook lab down` ends it.")
@click.option(
    "--dir", "directory", type=click.Path(file_okay=False, path_type=Path), default=Path(".mendbook-demo"),
    show_default=True, help="Where everything is written.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Choice(("table", "json")), default="table", help="How the result is printed."
)
def command(wanted: tuple[str, ...], seed: int, *, keep: bool, directory: Path, output: str) -> int:
    """Start a cluster of real processes, break it in six ways, and watch it being healed.

    The engine knows nothing of what is injected: the lab compares afterwards. Everything stays on this machine and below
    one folder. Exit code 0 only when every fault was localized right, healed and verified.
    """
    from engine.cli.logs import configure
    from engine.cli.narrate import Narrator
    from engine.cli.output import console, note
    from engine.cli.project import expected
    from engine.lab.cluster import ClusterError
    from engine.lab.control import ControlError
    from engine.lab.demo import Demo, demo
    from engine.lab.inject import choose

    configure()
    # Ansible makes itself a folder in the home otherwise; the demo writes below its own directory alone
    os.environ.pop("MENDBOOK_DATABASE_URL", None)  # a demo keeps to its folder
    os.environ["ANSIBLE_HOME"] = str(directory.absolute() / ".mendbook" / "ansible")
    chosen = [each for each in choose(seed) if not wanted or each.name in wanted]
    out = console(stderr=output != "table")
    zero = time.time()
    out.print(f"Starting 3 web nodes, 2 stores, a balancer and traffic below {directory} (seed {seed}) …")
    rows: list[Row] = []
    try:
        with expected(), demo(directory, seed=seed, keep=keep, trouble=note) as (cluster, app):
            narrator = Narrator(app.history, out, zero)
            play = Demo(
                cluster, app, narrator.poll, lambda text: narrator.say(time.time(), "injection", text, "bold red")
            )
            play.settle()
            for injection in chosen:
                rows.append(play.play(injection))
                play.settle()
            narrator.poll()
    except (ClusterError, ControlError, TimeoutError) as error:
        with contextlib.suppress(BrokenPipeError):
            report(rows, output)
        raise Failure(f"the demo stopped: {error}") from error
    report(rows, output)
    out.print(f"{time.time() - zero:.0f} s in all.")
    if keep:
        out.print(f"The cluster goes on; `mendbook lab down --dir {directory}` ends it.")
    return Exit.OK if len(rows) == len(chosen) and all(row.good for row in rows) else Exit.ERROR


def report(rows: list[Row], output: str) -> None:
    """Print how each injection was handled."""
    from engine.cli.output import Column, emit, show

    if output == "json":
        emit([as_mapping(row) for row in rows], "json")
        return
    columns = (
        Column("INJECTION", lambda row: row.injection.name),
        Column("NODE", lambda row: row.injection.node),
        Column("DETECTED AFTER", lambda row: span(row.detected), right=True),
        Column("LOCALIZED", lambda row: row.localized),
        Column("RECOVERED AFTER", lambda row: span(row.recovered), right=True),
        Column("RUNBOOK", lambda row: row.runbook),
        Column("REQUESTS LOST", lambda row: row.lost, right=True),
        Column("REMARK", lambda row: row.remark),
    )
    show(rows, columns, "table")


def as_mapping(row: Row) -> dict[str, Any]:
    """Return a row as programs read it; times in seconds."""
    return {
        "injection": str(row.injection.name),
        "node": row.injection.node,
        "resource": row.injection.resource,
        "culprit": row.injection.culprit,
        "detected_after": row.detected,
        "localized": row.localized,
        "localized_after": row.named,
        "recovered_after": row.recovered,
        "runbook": row.runbook,
        "requests_lost": row.lost,
        "good": row.good,
        "remark": row.remark,
    }


def span(seconds: float | None) -> str:
    """Return a time to a tenth of a second."""
    return "-" if seconds is None else f"{seconds:.1f}s"
