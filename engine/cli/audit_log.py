"""`mendbook audit-log`: the chain of decisions, executions and acts, and the proof that it is what was written."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from engine.cli.exits import Exit, Failure
from engine.cli.groups import ListingGroup
from engine.cli.output import Column, clean, emit, note, output_option, show
from engine.cli.project import opened
from engine.cli.times import since_option
from engine.cli.words import line, when

if TYPE_CHECKING:
    from engine.records.audit import Broken, Head, Whole

T = TypeVar("T")

EPILOG = """\b
Examples:
  mendbook audit-log                                   the newest entries
  mendbook audit-log verify                            was any entry changed, deleted or moved?
  mendbook audit-log verify --expect "$(cat head)"     does it still contain what was noted?
  mendbook audit-log export --since 30d > audit.jsonl  take it elsewhere
  mendbook audit-log verify --file audit.jsonl         verify it there, without a record

\b
Every entry carries the hash of the one before. Whoever may write the record could write a new chain, too: keep the head that
`verify` prints somewhere else, now and then, and hand it back with --expect.
"""


@click.group("audit-log", cls=ListingGroup, epilog=EPILOG)
def command() -> None:
    """Show, export and verify the chain of what was decided and done."""


@command.command("list")
@since_option
@click.option("--host", metavar="NAME", help="Only what is about this host.")
@click.option("--incident", metavar="ID", help="Only what is about this incident.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="The newest so many."
)
@output_option
def list_(since: float | None, host: str | None, incident: str | None, limit: int, output: str) -> None:
    """List the newest entries."""
    with opened(looking=True) as app:
        history = app.history
        found = history.incident(incident) if incident else None
        if incident and found is None:
            raise Failure(clean(f"there is no incident '{line(incident)}'"), Exit.USAGE)
        name = found.id if found else None
        rows = history.entries(since=since, target=host, incident=name, limit=limit)
        show(rows, columns(), output, empty="nothing was recorded")


@command.command()
@click.option("--expect", metavar="HASH@NUMBER", help="A head that was noted earlier: the chain must contain it.")
@click.option("--file", "file", type=click.Path(dir_okay=False), help="Verify an exported log; - for stdin.")
@output_option
def verify(expect: str | None, file: str | None, output: str) -> None:
    """Say whether every entry is what was written.

    Exit code 0 when it is, 3 when it is not; the first entry that is wrong is named.
    """
    noted = head(expect)
    if file is not None:
        found = in_file(file, noted)
    else:
        with opened(looking=True) as app:
            found = app.history.verify(noted)
    report(found, output)


@command.command()
@since_option
@click.option("-o", "--output", "file", type=click.Path(dir_okay=False), help="Write into this file, not to stdout.")
def export(since: float | None, file: str | None) -> None:
    """Write the entries as lines of JSON, which can be verified alone."""
    with opened(looking=True) as app:
        lines = app.history.export(since)
        if file in (None, "-"):
            for each in lines:
                click.echo(each)
            return
        count = write(Path(str(file)), lines)
    note(f"wrote {entries(count - 1)} to {file}")


def head(text: str | None) -> Head | None:
    """Return the head that was noted."""
    from engine.records.audit import Head

    try:
        return None if text is None else Head.parse(text)
    except ValueError as error:
        raise click.BadParameter(clean(str(error)), param_hint="--expect") from error


def in_file(file: str, noted: Head | None) -> Whole | Broken:
    """Return what is found in an exported log."""
    from engine.records.audit import verify_lines

    def follow(lines: Iterable[str]) -> Whole | Broken:
        try:
            return verify_lines(lines, noted)
        except ValueError as error:  # UnicodeDecodeError too
            raise Failure(clean(f"{file}: {error}")) from error

    if file == "-":
        return follow(sys.stdin)
    return reading(file, follow)


def reading(file: str, follow: Callable[[Iterable[str]], T]) -> T:
    """Return what is made of a file's lines."""
    try:
        with Path(file).open(encoding="utf-8", newline="\n") as lines:
            return follow(lines)
    except OSError as error:
        raise Failure(clean(f"{file}: {error.strerror}")) from error


def write(path: Path, lines: Iterable[str]) -> int:
    """Write lines into a file that is there whole or not at all, its owner's alone; return how many."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    count = 0
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as out:
            for each in lines:
                out.write(each + "\n")
                count += 1
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except OSError as error:
        raise Failure(clean(f"{path}: {error.strerror}")) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return count


def report(found: Whole | Broken, output: str) -> None:
    """Print what was found; a chain that is broken is a Failure."""
    from engine.records.audit import Broken

    if output != "table":
        whole = not isinstance(found, Broken)
        emit(
            {"whole": whole, **({"head": str(found.head)} if not isinstance(found, Broken) else {}), "found": found},
            output,
        )
        if not whole:
            raise click.exceptions.Exit(int(Exit.FINDINGS))
        return
    if isinstance(found, Broken):
        detail = f" ({found.detail})" if found.detail else ""
        raise Failure(clean(f"the chain is broken: {found.reason}{detail}"), Exit.FINDINGS)
    begins = f", from entry {found.first} on" if found.first > 1 else ""
    pruned = f", {found.pruned} pruned by retention" if found.pruned else ""
    note(f"the chain holds: {entries(found.kept)}{begins}{pruned}; keep its head elsewhere:")
    click.echo(str(found.head))


def entries(count: int) -> str:
    """Return `1 entry`, `2 entries`."""
    return "1 entry" if count == 1 else f"{count} entries"


def columns() -> tuple[Column, ...]:
    """Return what is shown of an entry."""
    return (
        Column("#", lambda each: each.number, right=True, whole=True),
        Column("WHEN", lambda each: when(each.at), style="dim", whole=True),
        Column("KIND", lambda each: each.entry.kind, style="bold", whole=True),
        Column("HOST", lambda each: line(each.entry.target or "-")),
        Column("WHAT", lambda each: line(each.entry.sentence), beneath=True),
        Column("HASH", lambda each: each.hash[:12], style="dim", whole=True),
    )
