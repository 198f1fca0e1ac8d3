"""Exit codes, the same for every command."""

from __future__ import annotations

from enum import IntEnum
from typing import IO, Any

import click


class Exit(IntEnum):
    """What a command's exit code says."""

    OK = 0
    ERROR = 1
    FAULTS = 2
    """Faults or a non-empty plan, with `--detailed-exitcode`."""
    FINDINGS = 3
    """Lint or test findings."""
    UNJUDGED = 4
    """Some rules could not be judged, with `--detailed-exitcode`."""
    PLAYBOOK_FAILED = 10
    UNREACHABLE = 11
    FAULT_REMAINS = 12
    """Applied, but the fault remains."""
    REFUSED = 20
    """A guard refused."""
    DENIED = 21
    USAGE = 64
    UNAVAILABLE = 75
    """A source is unavailable."""
    TIMEOUT = 124
    INTERRUPTED = 130


class Failure(click.ClickException):
    """An expected failure: a message for people, written to stderr, and an exit code."""

    def __init__(self, message: str, code: Exit = Exit.ERROR) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click declares it for the class, and reads it from the error

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message to stderr; one that names its kind already is left as it is."""
        prefix = "" if self.message.startswith(("[ERROR]", "[WARNING]")) else "mendbook: "
        click.echo(f"{prefix}{self.message}", file=file, err=file is None)
