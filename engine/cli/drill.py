"""`mendbook drill`: break the lab on purpose, and keep score of how it was handled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.exits import Exit
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, emit, note, output_option, plain, show
from engine.cli.project import expected, here
from engine.cli.times import SPAN_TYPE
from engine.cli.words import counted, lasting, line, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.chaos.place import Place
    from engine.chaos.result import Result
    from engine.chaos.scorecard import Card

EPILOG = """\b
Examples:
  mendbook drill list                          what there is, and when it was last proved
  mendbook drill run service-killed            one fault in the lab, handled and scored
  mendbook drill run --all --repeat 5          all of them, five times; go on later where it stopped
  mendbook drill run ./my-fault.yml            an experiment of your own
  mendbook drill quiet --for 1h                nothing is injected, so nothing may be started
  mendbook drill report --html report.html     the score, as a page to look at

\b
Faults are injected into the nodes of `mendbook lab up` and nowhere else. Whatever happens, they are taken back: also at the next
start, when a drill was killed.
"""
LAB, DRILLS = Path(".mendbook-lab"), Path(".mendbook-drills")
lab_option = click.option(
    "--lab", "lab", type=click.Path(file_okay=False, path_type=Path), default=LAB, show_default=True,
    help="The lab's project.",
)  # fmt: skip
folder_option = click.option(
    "--dir", "folder", type=click.Path(file_okay=False, path_type=Path), default=DRILLS, show_default=True,
    help="Where the undo journal and the scorecard are; not in the lab's project, which the engine reads.",
)  # fmt: skip


@click.group(cls=ListingGroup, epilog=EPILOG)
def command() -> None:
    """Break the lab on purpose, and keep score of how it was handled."""


@command.command("list")
@folder_option
@output_option
def list_(folder: Path, output: str) -> None:
    """List the experiments, and when each was last proved."""
    with expected():
        from engine.chaos.shelf import shelf

        experiments, card = shelf(), card_of(folder)
    rows = []
    for experiment in experiments:
        ran = [each for each in card.results if each.experiment == experiment.name]
        same = [each for each in ran if each.digest == experiment.digest]
        proved = max((each.at for each in same if each.passed), default=None)
        rows.append(
            {
                "experiment": experiment.name,
                "injects": [each.action for each in experiment.injections],
                "expect": [str(truth.expect) for truth in experiment.truths],
                "runbooks": sorted({name for truth in experiment.truths for name in truth.runbooks}),
                "limit": experiment.limit,
                "ran": len(same),
                "passed": sum(each.passed for each in same),
                "proved": proved,
                "summary": experiment.summary,
            }
        )
    columns = (
        Column("EXPERIMENT", lambda row: row["experiment"], style="bold", whole=True),
        Column("INJECTS", lambda row: ", ".join(dict.fromkeys(row["injects"]))),
        Column("EXPECTED", lambda row: ", ".join(dict.fromkeys(row["expect"])), whole=True),
        Column("PASSED", lambda row: share(row["passed"], row["ran"]), right=True, whole=True),
        Column("LAST PROVED", lambda row: "-" if row["proved"] is None else time.strftime("%Y-%m-%d", time.localtime(row["proved"])), whole=True),
        Column("SUMMARY", lambda row: line(row["summary"]), beneath=True),
    )  # fmt: skip
    show(rows, columns, output)


@command.command()
@click.argument("experiments", nargs=-1, metavar="NAME|FILE...")
@click.option("--all", "every", is_flag=True, help="All that come with the product.")
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="How often each is to have run, in all.",
)
@click.option("--fresh", is_flag=True, help="Do not count what the scorecard has already.")
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses the order, the nodes and the traffic.")
@click.option("--rate", type=click.FloatRange(0.1, 500), default=20.0, show_default=True, help="Transfers a second.")
@click.option(
    "--keep-record", is_flag=True, help="Leave the engine its record between drills, with cooldowns and attempts."
)
@click.option("--keep-engine", is_flag=True, help="Leave the engine running at the end.")
@lab_option
@folder_option
@output_option
def run(
    experiments: tuple[str, ...], *, every: bool, repeat: int, fresh: bool, seed: int, rate: float, keep_record: bool,
    keep_engine: bool, lab: Path, folder: Path, output: str,
) -> int:  # fmt: skip
    """Inject faults, let the engine handle them, take them back, and score it.

    Exit code 0 when every drill passed, 12 when one did not, 20 when the host is none of the lab's.
    """
    if bool(experiments) == every:
        raise click.UsageError("name experiments, or say --all")
    with expected():
        from engine.chaos.scorecard import CARD, left
        from engine.chaos.shelf import find, shelf
        from engine.chaos.sitting import PAGE, drills, sitting, version

        chosen = shelf() if every else tuple(find(word) for word in experiments)
        card = card_of(folder, shipped=False)
        turns = left(chosen, repeat, () if fresh else card.results, version())
        total = len(chosen) * repeat
        if len(turns) < total:
            note(f"{total - len(turns)} of {counted(total, 'drill')} are in {folder / CARD} already")
        results: list[Result] = []
        if turns:
            with sitting(place_of(lab), here() / folder, told, rate=rate) as bench:
                try:
                    results = drills(bench, turns, seed, afresh=not keep_record, done=tell)
                finally:
                    if not keep_engine:
                        bench.engine.stop()
        write_page(card_of(folder, shipped=False), folder / PAGE)
        wanted = {each.name for each in chosen}
        shown = (
            results if fresh else [each for each in card_of(folder, shipped=False).results if each.experiment in wanted]
        )
    report_of(shown, output)
    note(f"{folder / PAGE} shows them")
    return Exit.OK if all(each.passed for each in shown) else Exit.FAULT_REMAINS


def report_of(results: list[Result], output: str) -> None:
    """Print drills one by one."""
    columns = (
        Column("EXPERIMENT", lambda row: row.experiment, style="bold", whole=True),
        Column("#", lambda row: row.repeat, right=True),
        Column("NODE", lambda row: ", ".join(dict.fromkeys(each.node for each in row.found))),
        Column("ENDED", lambda row: ", ".join(dict.fromkeys(str(each.ending) for each in row.found))),
        Column("DETECTED", lambda row: worst(each.detected for each in row.found), right=True),
        Column("LOCALIZED", lambda row: ", ".join(dict.fromkeys("first" if each.first else "of three" if each.third else "wrong" for each in row.found))),
        Column("RECOVERED", lambda row: worst(each.recovered for each in row.found), right=True),
        Column("VERIFIED", lambda row: worst(each.verified for each in row.found), right=True),
        Column("FAILED", lambda row: row.harm.failed, right=True),
        Column("LOST", lambda row: "?" if row.harm.lost is None else row.harm.lost, right=True),
        Column("PASSED", lambda row: "yes" if row.passed else "NO"),
        Column("REMARKS", lambda row: line("; ".join(row.failures)), beneath=True),
    )  # fmt: skip
    if output == "table":
        show(results, columns, output, empty="no drill has run yet")
    else:
        emit([{**plain(each), "passed": each.passed, "failures": list(each.failures)} for each in results], output)


def summary_of(results: Sequence[Result], output: str) -> None:
    """Print what the drills of each experiment come to, and all together."""
    from engine.chaos.figures import Times, figures, on_each

    def both(times: Times) -> str:
        return (
            "-" if times.median is None or times.worst is None else f"{lasting(times.median)} / {lasting(times.worst)}"
        )

    rows = [*on_each(results).items(), *([("all", figures(results))] if results else [])]
    columns = (
        Column("EXPERIMENT", lambda row: row[0], style="bold", whole=True),
        Column("PASSED", lambda row: f"{row[1].passed}/{row[1].drills}", right=True),
        Column("FIRST", lambda row: f"{row[1].first}/{row[1].named}", right=True),
        Column("DETECTED", lambda row: both(row[1].detected), right=True),
        Column("RECOVERED", lambda row: both(row[1].recovered), right=True),
        Column("VERIFIED", lambda row: both(row[1].verified), right=True),
        Column("FAILED", lambda row: row[1].failed, right=True),
        Column("LOST", lambda row: f"{row[1].lost}{'+?' if row[1].unknown else ''}", right=True),
        Column("WRONG", lambda row: row[1].acts, right=True),
    )
    if output == "table":
        show(rows, columns, output, empty="no drill has run yet")
        note("times are the median / the worst")
    else:
        emit([{"experiment": name, **plain(each)} for name, each in rows], output)


def worst(times: Iterator[float | None]) -> str:
    """Return the longest of some times; "-" when one is missing."""
    known = list(times)
    return "-" if not known or None in known else lasting(max(each for each in known if each is not None))


@command.command()
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to look at, too.")
@click.option("--shipped", is_flag=True, help="Show the scorecards that come with the product.")
@click.option("--summary", is_flag=True, help="Show each experiment once: how often, medians and the worst.")
@folder_option
@output_option
def report(page: Path | None, *, shipped: bool, summary: bool, folder: Path, output: str) -> int:
    """Show the score of the drills that have run."""
    with expected():
        card = card_of(folder, shipped=shipped, own=not shipped)
        if page is not None:
            write_page(card, page)
            note(f"{page} shows them")
    if summary:
        summary_of(card.results, output)
    else:
        report_of(list(card.results), output)
    return Exit.OK


@command.command()
@click.option("--for", "length", type=SPAN_TYPE, default="1h", show_default=True, help="How long, such as 10m or 1h.")
@click.option(
    "--rate", type=click.FloatRange(0.1, 500), default=20.0, show_default=True, help="Normal transfers a second."
)
@lab_option
@folder_option
@output_option
def quiet(*, length: float, rate: float, lab: Path, folder: Path, output: str) -> int:
    """Inject nothing, under normal and changing load; nothing may be started.

    Exit code 0 when no remedy was started and nothing was lost, 12 otherwise.
    """
    with expected():
        from engine.chaos.quiet import quiet as let_pass
        from engine.chaos.scorecard import CARD, append, heal
        from engine.chaos.sitting import PAGE, commit, sitting, version

        with sitting(place_of(lab), here() / folder, told, rate=rate) as bench:
            try:
                result = let_pass(bench, length, version(), commit())
            finally:
                bench.engine.stop()
        heal(here() / folder / CARD)
        append(here() / folder / CARD, result)
        write_page(card_of(folder, shipped=False), folder / PAGE)
    columns = (
        Column("LENGTH", lambda row: lasting(row.seconds), right=True),
        Column("REQUESTS", lambda row: row.requests, right=True),
        Column("FAILED", lambda row: row.failed, right=True),
        Column("LOST", lambda row: "?" if row.lost is None else row.lost, right=True),
        Column("INCIDENTS", lambda row: line(", ".join(row.incidents)) or "none"),
        Column("REMEDIES STARTED", lambda row: line(", ".join(row.started)) or "none"),
    )
    show([result], columns, output)
    return Exit.OK if result.passed else Exit.FAULT_REMAINS


@command.command()
@lab_option
@folder_option
def undo(lab: Path, folder: Path) -> int:
    """Take back whatever a drill left in the lab; every drill does that first, too."""
    with expected():
        from engine.chaos.sitting import sitting

        with sitting(place_of(lab), here() / folder, told):
            note("nothing is left in the lab")
    return Exit.OK


def told(text: str) -> None:
    """Show progress."""
    note(f"{time.strftime('%H:%M:%S')} {text}")


def tell(result: Result) -> None:
    """Say how one drill went."""
    verdict = "passed" if result.passed else "FAILED: " + "; ".join(result.failures)
    found = worst(each.detected for each in result.found), worst(each.recovered for each in result.found)
    told(
        f"{result.experiment} {result.repeat} {verdict} (detected {found[0]}, recovered {found[1]}, {result.harm.failed} requests failed)"
    )


def place_of(lab: Path) -> Place:
    """Return the lab."""
    from engine.chaos.place import open_place

    return open_place(here() / lab)


def card_of(folder: Path, *, shipped: bool = True, own: bool = True) -> Card:
    """Return the scorecard of this folder, and those that come with the product."""
    from engine.chaos.scorecard import CARD, SHIPPED, read

    paths = sorted(SHIPPED.glob("*.jsonl")) if shipped else []
    return read([*paths, here() / folder / CARD] if own else paths)


def write_page(card: Card, path: Path) -> None:
    """Write the page."""
    from engine.chaos.page import page

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(card))
