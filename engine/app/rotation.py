"""What executions leave on the disk, kept within age and size while the engine watches: now and then, beside the loop."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from engine.records.errors import RecordError

if TYPE_CHECKING:
    from engine.records.history import History

FIRST = 60.0
PACE = 600.0
"""Seconds between two looks at what is old or too much."""

log = structlog.get_logger("mendbook")


class Rotation:
    """Removes the folders of executions whose end the record has taken in, once they are too old, or too many bytes."""

    def __init__(self, directory: Path, history: History, keep: float, most: int) -> None:
        self.directory = directory
        self.history = history
        self.keep = keep
        self.most = most
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="rotation")
        self._failing = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is being removed may still be there, under a name that the next look finds."""
        self._stop.set()
        self._thread.join(timeout=5)

    def once(self) -> tuple[str, ...]:
        """Look once; return what was removed. What cannot be done now is logged when it is new, and tried again."""
        from engine.executor.prune import prune

        try:
            removed = prune(self.directory, self.closed, older_than=self.keep, most_bytes=self.most)
        except (OSError, RecordError) as error:
            if str(error) != self._failing:
                log.warning("what executions left cannot be removed", error=str(error))
            self._failing = str(error)
            return ()
        self._failing = ""
        if removed:
            log.info("removed what executions left", executions=len(removed), oldest=removed[0])
        return removed

    def closed(self, execution: str) -> bool:
        """Return whether the record has taken in the end of an execution."""
        known = self.history.execution(execution)
        return known is not None and known.id == execution and not known.state.active

    def _run(self) -> None:
        wait = FIRST
        while not self._stop.wait(wait):
            self.once()
            wait = PACE
