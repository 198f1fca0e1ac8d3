"""What background jobs (`async`) on this machine leave behind: Ansible keeps a file of each, with all that it said.

It removes those of the jobs that it has waited for, but not when they ran under `no_log`: then the one place where the output
still stands is that file. So the jobs of an execution have a folder of their own, and it goes with the execution.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

VARIABLE = "MENDBOOK_JOBS"
_PLACE = ".ansible_async"
_SETTLED = frozenset({"ANSIBLE_ASYNC_DIR", "async_dir"})


def surroundings(execution: str, settled: Collection[str]) -> Mapping[str, str]:
    """Return the variable that tells our callback where jobs on this machine are kept; none where the user has settled it."""
    return {} if _SETTLED.intersection(settled) else {VARIABLE: f"~/{_PLACE}/{_name(execution)}"}


def forget(execution: str) -> None:
    """Remove the files of an execution's jobs, whichever user of this machine they ran as."""
    for home in dict.fromkeys(_homes()):
        shutil.rmtree(home / _PLACE / _name(execution), ignore_errors=True)


def _name(execution: str) -> str:
    return f"mendbook-{execution}"


def _homes() -> Iterator[Path]:
    yield Path("~").expanduser()
    if os.geteuid() == 0:  # nobody else may remove what another user has written
        for user in pwd.getpwall():
            if user.pw_dir.startswith("/") and user.pw_dir != "/":
                yield Path(user.pw_dir)
