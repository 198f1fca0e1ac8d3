"""How playbooks began, as figures beside the engine's health."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from engine.app.health import Figure
from engine.executor.warm.starts import Reason, counted


def of_starts(executions: Path) -> Callable[[], Iterator[Figure]]:
    """Return what yields how many runs of ansible-playbook began warm below that folder, and how many cold and why."""

    def figures() -> Iterator[Figure]:
        starts = counted(executions)
        yield Figure("mendbook_warm_starts_total", starts.warm)
        for reason in Reason:
            yield Figure("mendbook_cold_starts_total", starts.cold.get(reason, 0), {"reason": str(reason)})

    return figures
