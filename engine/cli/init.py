"""`mendbook init`: a project to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from engine.cli.exits import Failure
from engine.cli.output import clean, note

EPILOG = """\b
Examples:
  mendbook init                  in this folder
  mendbook init ops/mendbook     in another one, made where missing
  mendbook init --missing        add what is missing; what exists stays as it is

\b
Nothing is ever overwritten.
"""
SCAFFOLD = Path(__file__).parent / "scaffold"
NAMES = {"gitignore": ".gitignore"}
"""What the scaffold cannot carry under its own name."""


@click.command(epilog=EPILOG)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--missing", is_flag=True, help="Write the pieces that are missing, beside those that exist.")
def command(directory: Path, missing: bool) -> None:
    """Lay out a project that passes lint and audit at once."""
    pieces = laid_out(directory)
    there = [path for path in pieces if path.exists() or path.is_symlink()]
    if there and not missing:
        names = "\n".join(f"  {path}" for path in there)
        raise Failure(f"nothing was written, since these exist:\n{names}\n`--missing` adds what is missing beside them")
    written = []
    for path, text in pieces.items():
        if path not in there:
            write(path, text)
            written.append(path)
    for path in written:
        click.echo(str(path))
    if not written:
        note("nothing is missing")
    follow_up(directory)


def laid_out(directory: Path) -> Mapping[Path, str]:
    """Return every file of a project with its text, in the order in which people read them."""
    sources = sorted(path for path in SCAFFOLD.rglob("*") if path.is_file())
    named = {directory / path.relative_to(SCAFFOLD).parent / NAMES.get(path.name, path.name): path for path in sources}
    first = directory / "mendbook.yml"
    return {path: named[path].read_text() for path in sorted(named, key=lambda each: (each != first, each))}


def write(path: Path, text: str) -> None:
    """Write a new file; one that has appeared meanwhile is left alone, and a Failure."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Failure(clean(f"{path}: {error.strerror or error}")) from error


def follow_up(directory: Path) -> None:
    """Say what comes next."""
    into = "" if directory == Path() else f"cd {directory} && "
    note(
        f"""
Next:
  {into}mendbook lint      check settings, inventory and runbooks
  {into}mendbook audit     collect once and say what is wrong now
  {into}mendbook watch     be the daemon; everything is in shadow until `modes` says otherwise"""
    )
