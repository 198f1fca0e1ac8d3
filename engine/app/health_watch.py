"""What accompanies the loop: figures, their page, the heartbeat, systemd and those who tell people. None can delay it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from engine.app.health import Figure, Health
from engine.app.health_beat import Beat
from engine.app.health_systemd import Systemd
from engine.config.settings import Settings
from engine.controller import Tick
from engine.notify import Line, Outbox
from engine.ports import Clock
from engine.records.errors import RecordError
from engine.records.past import Counts, Past

if TYPE_CHECKING:
    from engine.app.health_page import Page

P = ParamSpec("P")
T = TypeVar("T")


class Company:
    """Everything that goes along with the loop, from `start` to `stop`.

    Raises ValueError or OSError, with a sentence for people, for what is asked for and cannot be had.
    """

    def __init__(self, settings: Settings, clock: Clock, past: Past, instance: str, listen: str | None = None) -> None:
        self.settings = settings
        self.past = past
        self.health = Health(clock, settings.interval, instance, self.counts)
        self.systemd = Systemd()
        self.beat = Beat(settings.heartbeat) if settings.heartbeat is not None else None
        self.outboxes = tuple(self.tellers())
        self.page = self.paged(listen or settings.listen)
        self.health.more += [self.beats, self.notices]

    def start(self) -> None:
        """Begin; systemd is told that everything has."""
        for outbox in self.outboxes:
            outbox.start()
        if self.beat is not None:
            self.beat.start()
        if self.page is not None:
            self.page.start()
        self.systemd.check(self.settings.interval)
        self.systemd.ready(f"watching every {self.settings.interval:g}s")

    def ticked(self, tick: Tick) -> None:
        """Take note of a tick that succeeded; returns at once."""
        self.health.ticked(tick)
        if self.beat is not None:
            self.beat.ticked()
        if tick.changes:
            for outbox in self.outboxes:
                outbox.wake()
        firing = sum(alert.state == "firing" for alert in tick.alerts)
        self.systemd.ticked(f"{firing or 'no'} alert{'' if firing == 1 else 's'} firing")

    def failed(self, error: Exception) -> None:
        """Take note of a tick that failed: the watchdog goes hungry."""
        self.health.failed(error)
        self.systemd.status(f"a tick failed: {type(error).__name__}")

    def stop(self) -> None:
        """Stop; what could not be told in two seconds is told after the next start."""
        self.systemd.stopping()
        if self.beat is not None:
            self.beat.stop()
        if self.page is not None:
            self.page.stop()
        stopping = [threading.Thread(target=outbox.stop, daemon=True) for outbox in self.outboxes]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def counts(self, now: float) -> Counts | None:
        """Return what stands in the record; None while it cannot be read."""
        try:
            return self.past.counts(now)
        except RecordError:
            return None

    def beats(self) -> Iterator[Figure]:
        """Yield how often the heartbeat's address was called."""
        if self.beat is not None:
            for result in ("ok", "failed"):
                yield Figure("mendbook_heartbeats_total", self.beat.counts[result], {"result": result})

    def notices(self) -> Iterator[Figure]:
        """Yield how many notices were told, tried in vain and given up."""
        for outbox in self.outboxes:
            for result in ("told", "failed", "dropped"):
                yield Figure("mendbook_notices_total", outbox.counts[result], {"by": outbox.name, "result": result})

    def paged(self, listen: str | None) -> Page | None:
        """Return the page, where one is wanted."""
        if listen is None:
            return None
        from engine.app.health_page import Page

        try:
            return Page(self.health, listen)
        except OSError as error:
            raise OSError(f"cannot listen on {listen}: {error.strerror or error}") from error

    def tellers(self) -> Iterator[Outbox]:
        """Yield one who tells for every address, each at its own place in the record."""
        wanted = self.settings.notify
        if wanted is None:
            return
        from engine.notify.through_apprise import HINT, AppriseNotifier, installed, scheme

        if not installed():
            raise ValueError(f"notify needs Apprise, which is not installed: {HINT}")
        for number, url in enumerate(addresses(self.settings), 1):
            try:
                notifier = AppriseNotifier(url)
            except ValueError as error:
                raise ValueError(f"address {number} of notify: {error}") from error
            place = hashlib.sha256(url.encode()).hexdigest()[:16]
            yield Outbox(
                notifier,
                f"{number}-{scheme(url)}",
                read=readable(self.lines),
                newest=readable(self.past.newest),
                cursor=self.settings.state / "notify" / place,
                of=wanted.of,
                environment=self.settings.environment,
            )

    def lines(self, after: int, limit: int) -> Sequence[Line]:
        """Return the first entries with a higher number."""
        found = self.past.entries_after(after, limit)
        return tuple(Line(each.number, each.at, each.entry, each.decision) for each in found)


def addresses(settings: Settings) -> tuple[str, ...]:
    """Return whom to tell: those in the settings, then those in the file, one a line. Raises OSError."""
    wanted = settings.notify
    if wanted is None:
        return ()
    lines = wanted.file.read_text("utf-8").splitlines() if wanted.file is not None else []
    written = (line.strip() for line in lines)
    return tuple(dict.fromkeys((*wanted.urls, *(line for line in written if line and not line.startswith("#")))))


def readable(read: Callable[P, T]) -> Callable[P, T]:
    """Return the function with what the record raises turned into OSError, which those who tell expect."""

    def reading(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return read(*arguments, **named)
        except RecordError as error:
            raise OSError(str(error)) from error

    return reading
