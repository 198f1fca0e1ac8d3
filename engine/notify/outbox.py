"""From the record to people: the record is the queue, and a thread for each way of telling works it off.

Nothing is handed over in memory, so the loop cannot be delayed, whatever becomes of a notice; how far a thread has come
stands in a file of its own. So a notice is told at least once across restarts, as long as it is not older than an hour:
one that was told just before a kill may be told twice.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from engine.model.decision import Entry
from engine.model.notice import Notice, NoticeKind
from engine.notify.words import compose, together
from engine.ports import Notifier

AT_ONCE = 200
"""Entries read in one go."""
FLOOD = 8
"""More notices than this at once are told as one."""
LOOK_EVERY = 5.0
LONGEST_WAIT = 300.0

log = structlog.get_logger("mendbook")


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of the record with its number; `decision` is run, hold or escalate."""

    number: int
    at: float
    entry: Entry
    decision: str | None = None


class Outbox:
    """Tells one notifier of what the record says, in order, from a thread of its own.

    `read(after, limit)` returns the first entries with a higher number, `newest()` the highest number; both may raise
    OSError, and then it is tried again. What cannot be told is tried again after `retry` seconds, then ever more slowly,
    and given up when it is `keep` seconds old.
    """

    def __init__(
        self,
        notifier: Notifier,
        name: str,
        *,
        read: Callable[[int, int], Sequence[Line]],
        newest: Callable[[], int],
        cursor: Path,
        of: frozenset[NoticeKind] = frozenset(NoticeKind),
        environment: str = "",
        retry: float = 5.0,
        keep: float = 3600.0,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self.notifier = notifier
        self.name = name
        self.counts: Counter[str] = Counter()
        self._read = read
        self._newest = newest
        self._file = cursor
        self._of = of
        self._environment = environment
        self._retry = retry
        self._keep = keep
        self._look_every = look_every
        self._cursor: int | None = None
        self._failing = ""
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"notify-{name}")

    def start(self) -> None:
        """Begin to tell; returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there may be something new; returns at once."""
        self._wake.set()

    def stop(self, patience: float = 2.0) -> None:
        """Tell what there is, if that is done within `patience` seconds; what is not is told after the next start."""
        self._stop.set()
        self._wake.set()
        self._thread.join(patience)

    def _run(self) -> None:
        while True:
            ending = self._stop.is_set()
            self._wake.clear()
            try:
                self._round()
            except OSError as error:
                self._complain(f"the record cannot be read: {error}")
            if ending:
                return
            self._wake.wait(self._look_every)

    def _round(self) -> None:
        if self._cursor is None:
            self._cursor = self._begin()
        while lines := self._read(self._cursor, AT_ONCE):
            notices = [(line.number, notice) for line in lines if (notice := self._notice(line)) is not None]
            groups = [notices] if len(notices) > FLOOD else [[each] for each in notices]
            for group in groups:
                if not self._tell(together([each for _, each in group]) if len(group) > 1 else group[0][1]):
                    return  # stopped: it is told after the next start
                self._advance(group[-1][0])
            self._advance(lines[-1].number)

    def _notice(self, line: Line) -> Notice | None:
        notice = compose(line.entry, line.decision, line.at, self._environment)
        return notice if notice is not None and notice.kind in self._of else None

    def _tell(self, notice: Notice) -> bool:
        """Tell until it is told or too old; return False when the end came first."""
        wait = self._retry
        while True:
            if time.time() - notice.at > self._keep:
                self.counts["dropped"] += 1
                log.warning("a notice was given up", by=self.name, notice=notice.title, why="older than people need")
                return True
            trouble = self.notifier.tell(notice)
            if trouble is None:
                self.counts["told"] += 1
                self._recovered()
                return True
            self.counts["failed"] += 1
            self._complain(trouble)
            if self._stop.wait(wait):
                return False
            wait = min(2 * wait, LONGEST_WAIT)

    def _complain(self, trouble: str) -> None:
        if trouble != self._failing:
            log.warning("people cannot be told", by=self.name, why=trouble)
        self._failing = trouble

    def _recovered(self) -> None:
        if self._failing:
            log.info("people can be told again", by=self.name)
        self._failing = ""

    def _begin(self) -> int:
        """Return where to go on: at the end of the record for one who was never told, or whose record went back."""
        newest = self._newest()
        try:
            return min(int(self._file.read_text("ascii")), newest)
        except (OSError, ValueError):
            self._write(newest)
            return newest

    def _advance(self, number: int) -> None:
        if number != self._cursor:
            self._cursor = number
            self._write(number)

    def _write(self, number: int) -> None:
        fresh = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # on a full disk a notice may be told twice: better than not at all
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_text(f"{number}\n", "ascii")
            fresh.replace(self._file)
