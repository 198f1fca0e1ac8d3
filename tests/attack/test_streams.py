"""Whatever becomes of stdin, stdout and stderr, commands do their work and the engine goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; from engine.cli.main import main; sys.argv[0] = 'mendbook'; main()"


def mendbook(folder: Path, arguments: str, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a shell with a redirection."""
    line = f'"$0" -c "$1" {arguments} {redirection}'
    return subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, PROGRAM],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("closed", [">&-", "<&- 2>&-"])
def test_a_command_works_without_a_stream(closed: str, tmp_path: Path) -> None:
    (tmp_path / "mendbook.yml").write_text("sources: {host: false}\n")
    done = mendbook(tmp_path, "pause --reason 'no streams'", closed)
    assert (done.returncode, done.stdout) == (0, "")
    status = mendbook(tmp_path, "status", "")
    assert (status.returncode, "no streams" in status.stdout) == (0, True)


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    program = (
        "import structlog; from engine.cli.logs import configure; configure()\n"
        "structlog.get_logger('mendbook').error('the disk is full'); print('went on')"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" 2>/dev/full', sys.executable, program],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "went on\n")
