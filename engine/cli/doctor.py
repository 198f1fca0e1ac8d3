"""`mendbook doctor`: whether this machine and this project have what they need, with a fix for what they lack."""

from __future__ import annotations

import click

from engine.cli.exits import Exit
from engine.cli.output import clean, emit, note, output_option

EPILOG = """\b
Examples:
  mendbook doctor              every check, with a fix for what is amiss
  mendbook doctor -o json      for programs

\b
Exit codes: 0 nothing failed (there may be warnings), 1 something failed.
"""
MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}
WIDTH = 14


@click.command(epilog=EPILOG)
@output_option
def command(output: str) -> int:
    """Check what this machine and this project need to work."""
    from engine.cli import logs
    from engine.cli.health import examine
    from engine.cli.health_check import Level
    from engine.cli.project import here

    logs.configure()
    checks = examine(here())
    if output == "table":
        for check in checks:
            mark, color = MARKS[check.level]
            click.echo(f"{click.style(mark, fg=color)} {check.name:<{WIDTH}} {clean(check.sentence)}")
            if check.fix:
                click.echo(f"  {'':<{WIDTH}} {click.style(f'→ {clean(check.fix)}', fg=color)}")
    else:
        emit(checks, output)
    failed = sum(check.level is Level.FAIL for check in checks)
    warned = sum(check.level is Level.WARN for check in checks)
    note(f"{len(checks)} checks: {failed} failed, {warned} to look at")
    return Exit.ERROR if failed else Exit.OK
