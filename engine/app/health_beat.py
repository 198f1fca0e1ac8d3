"""The heartbeat: an address that is called while the engine is well. Whoever listens there raises the alarm when it is not."""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from urllib.parse import urlsplit

import structlog

from engine.config.settings import Heartbeat

MOST = 4
"""Calls that may hang at a time."""
ENDLESS = "its answer has no end"

log = structlog.get_logger("mendbook")


class Beat:
    """Calls the address from a thread of its own, at most once in `every` seconds, and only after a tick that succeeded.

    A call that hangs delays the next call, never a tick.
    """

    def __init__(self, settings: Heartbeat) -> None:
        self.settings = settings
        self.counts: Counter[str] = Counter()
        self._due = threading.Event()
        self._stop = threading.Event()
        self._failing = ""
        self._calls: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def start(self) -> None:
        """Be ready to call."""
        self._thread.start()

    def ticked(self) -> None:
        """Say that a tick succeeded; returns at once."""
        self._due.set()

    def stop(self) -> None:
        """Call no more; returns at once."""
        self._stop.set()
        self._due.set()

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._stop.is_set():
                return
            self._due.clear()
            begun = time.monotonic()
            self._try()
            if self._stop.wait(max(0.0, begun + self.settings.every - time.monotonic())):
                return

    def _try(self) -> None:
        """Call, and wait for the end twice as long as one answer may take: who drips never runs into a time limit of its own."""
        self._calls = [each for each in self._calls if each.is_alive()]
        if len(self._calls) >= MOST:
            self._failed(ENDLESS)
            return
        call = threading.Thread(target=self._call, daemon=True, name="heartbeat-call")
        call.start()
        call.join(2 * self.settings.timeout)
        if call.is_alive():
            self._calls.append(call)
            self._failed(ENDLESS)

    def _call(self) -> None:
        method = "POST" if self.settings.post else "GET"
        data = b"" if self.settings.post else None
        request = urllib.request.Request(self.settings.url, data=data, method=method)  # noqa: S310  http or https: settings
        try:
            with urllib.request.urlopen(request, timeout=self.settings.timeout) as answer:  # noqa: S310  likewise
                answer.read(1024)
        except urllib.error.HTTPError as error:
            error.close()
            self._failed(f"it answered {error.code}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None)
            self._failed(str(getattr(reason, "strerror", None) or type(reason or error).__name__))
        else:
            self.counts["ok"] += 1
            if self._failing:
                log.info("the heartbeat is heard again", at=host(self.settings.url))
            self._failing = ""

    def _failed(self, why: str) -> None:
        """Count it, and log it when it is new; the address is a secret but for its host."""
        self.counts["failed"] += 1
        if why != self._failing:
            log.warning("the heartbeat is not heard", at=host(self.settings.url), why=why)
        self._failing = why


def host(url: str) -> str:
    """Return what may be said of an address."""
    return urlsplit(url).hostname or "an address"
