"""systemd: that the engine is ready, that it is alive, how it is, and that it stops. Nothing where systemd did not ask."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

import structlog

log = structlog.get_logger("mendbook")


class Systemd:
    """Speaks to the service manager that started this process, if one did; it never fails and never waits.

    What systemd put into the environment is taken out of it: playbooks and supervisors must not speak in our name.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self.address = environment.pop("NOTIFY_SOCKET", "")
        usec = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        ours = pid in ("", str(os.getpid()))
        self.watchdog = int(usec) / 1e6 if usec.isdecimal() and ours else None
        """Within so many seconds it wants to hear of us."""
        self._said = ""
        self._fed: float | None = None

    def ready(self, status: str) -> None:
        """Say that everything has begun."""
        self.send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def check(self, interval: float) -> None:
        """Complain of a watchdog that would bite an engine that is well."""
        if self.watchdog is not None and self.watchdog / 2 < interval:
            log.warning(
                "systemd's watchdog is too short for the interval: raise WatchdogSec",
                watchdog=self.watchdog,
                interval=interval,
            )

    def ticked(self, status: str) -> None:
        """Say that a tick has succeeded, at most twice as often as the watchdog asks for; and how it is, when that is new."""
        now = time.monotonic()
        lines = []
        if self.watchdog is not None and (self._fed is None or now - self._fed >= min(1.0, self.watchdog / 4)):
            lines.append("WATCHDOG=1")
            self._fed = now
        if status != self._said:
            lines.append(f"STATUS={status}")
            self._said = status
        if lines:
            self.send("\n".join(lines))

    def status(self, status: str) -> None:
        """Say how it is, without a sign of life."""
        if status != self._said:
            self._said = status
            self.send(f"STATUS={status}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self.send("STOPPING=1\nSTATUS=stopping; what runs goes on")

    def send(self, text: str) -> None:
        """Send a datagram; who does not listen misses it."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(text.encode(), address)
