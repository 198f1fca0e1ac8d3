"""What is forgotten while the engine watches: now and then, a little at a time, beside the loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from engine.records.errors import RecordError

if TYPE_CHECKING:
    from engine.ports import Clock
    from engine.records.retention import Keep
    from engine.records.store import Record

PACE = 60.0
"""Seconds between two looks at what is old."""
BREATH = 0.25
"""Seconds between two small transactions while there is more to forget: whoever waits for the record comes first."""

log = structlog.get_logger("mendbook")


class Housekeeper:
    """Forgets what is older than it is kept, and notes how far the record has come."""

    def __init__(self, record: Record, keep: Keep, clock: Clock) -> None:
        self.record = record
        self.keep = keep
        self.clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="housekeeper")
        self._failing = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; returns after the transaction under way."""
        self._stop.set()
        self._thread.join(timeout=10)

    def once(self) -> bool:
        """Forget a little; return whether there is more. What cannot be done now is logged when it is new, and tried again."""
        from engine.records.retention import prune

        try:
            self.record.note_progress()
            done = prune(self.record, self.keep, self.clock.now())
        except RecordError as error:
            if str(error) != self._failing:
                log.warning("what is old cannot be pruned", error=str(error))
            self._failing = str(error)
            return False
        if done.events or done.alerts:
            log.info("pruned the record", events=done.events, alerts=done.alerts)
        self._failing = ""
        return done.more

    def _run(self) -> None:
        wait = PACE
        while not self._stop.wait(wait):
            wait = BREATH if self.once() else PACE
