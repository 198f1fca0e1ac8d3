"""The units of this machine's systemd, under node_exporter's names."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.sources.machine import Figure

STATES: Final = ("activating", "active", "deactivating", "failed", "inactive")
KINDS: Final = ("service", "socket", "timer", "target", "mount", "path", "swap")
RUNNING: Final = Path("/run/systemd/system")
"""There exactly where systemd is the first process."""
UNITS: Final = 1000
AGE: Final = 5.0
"""Seconds for which what systemctl said counts, since asking costs a process."""


class SystemdUnits:
    """Reads the states of units where systemd runs, and yields nothing elsewhere.

    `node_systemd_unit_state{name,state}` is 1 for the state a unit is in and 0 for the others. Without `type`, which costs
    one question for each unit.
    """

    def __init__(self, *, program: str = "systemctl", running: Path = RUNNING, wait: float = 2.0) -> None:
        self._program = program
        self._running = running
        self._wait = wait
        self._states: dict[str, str] = {}
        self._failure: str | None = None
        self._asked = time.monotonic() - AGE

    def read(self) -> Iterator[Figure]:
        """Yield each unit's states. Raises RuntimeError when systemctl does not answer, or not in time."""
        if not self._running.is_dir():
            return
        if time.monotonic() - self._asked >= AGE:
            self._states, self._failure = {}, None
            try:
                self._states = self._ask()
            except (OSError, subprocess.SubprocessError) as error:
                self._failure = str(error)
            self._asked = time.monotonic()
        if self._failure is not None:
            raise RuntimeError(self._failure)
        for name, active in self._states.items():
            for state in STATES:
                yield "node_systemd_unit_state", (("name", name), ("state", state)), float(state == active)

    def _ask(self) -> dict[str, str]:
        command = [self._program, "list-units", "--all", "--plain", "--full", "--no-legend", "--no-pager"]
        result = subprocess.run(
            [*command, f"--type={','.join(KINDS)}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=self._wait,
            check=True,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        )
        states: dict[str, str] = {}
        for line in result.stdout.decode("utf-8", "replace").splitlines():
            match line.split(maxsplit=4):
                case [name, "loaded", active, _, *_] if len(states) < UNITS:
                    states[name] = active
        return states
