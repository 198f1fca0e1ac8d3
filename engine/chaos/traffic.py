"""Traffic through the balancer: transfers with ids of their own, and a list on disk of those that were acknowledged.

What was acknowledged must be there afterwards, whatever happened in between; so each id is written down as soon as its answer is here.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aiohttp

ACCOUNTS = 10_000
SECONDS = 5.0
"""A request that takes longer has failed."""
MOST_OPEN = 200
"""So many requests wait for an answer at most; beyond, what would be sent counts as failed."""
OK = 200
CREATED = 201


@dataclass(slots=True)
class Tally:
    """What became of the requests, second by second (since the epoch)."""

    good: Counter[int] = field(default_factory=Counter)
    bad: Counter[int] = field(default_factory=Counter)

    def between(self, since: float, until: float) -> tuple[int, int]:
        """Return how many requests were answered and how many failed in that time."""
        seconds = range(int(since), int(until) + 1)
        return sum(self.good[at] for at in seconds), sum(self.bad[at] for at in seconds)

    def series(self, since: float, until: float, zero: float) -> tuple[tuple[float, int, int], ...]:
        """Return seconds from `zero`, answered, failed, for each second of that time."""
        seconds = range(int(since), int(until) + 1)
        return tuple((round(at - zero, 3), self.good[at], self.bad[at]) for at in seconds)


class Traffic:
    """Sends `rate` transfers a second to a URL until it is stopped; the rate may be changed meanwhile."""

    def __init__(self, url: str, acknowledged: Path, *, rate: float = 20.0, seed: int = 0) -> None:
        self.url = url
        self.acknowledged = acknowledged
        self.rate = rate
        self.tally = Tally()
        self._dice = random.Random(seed)  # noqa: S311  dice, not secrets
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, once every request has its answer or has failed."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        self.acknowledged.parent.mkdir(parents=True, exist_ok=True)
        with self.acknowledged.open("a", buffering=1) as file:
            asyncio.run(self._send(file))

    async def _send(self, file: IO[str]) -> None:
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        connector = aiohttp.TCPConnector(
            limit=MOST_OPEN, force_close=True
        )  # each request finds its own way, as callers do
        open_: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session:
            due = time.monotonic()
            while not self._stop.is_set():
                if len(open_) < MOST_OPEN:
                    task = asyncio.create_task(self._transfer(session, file))
                    open_.add(task)
                    task.add_done_callback(open_.discard)
                else:
                    self.tally.bad[int(time.time())] += 1
                due = max(due + 1 / max(self.rate, 0.1), time.monotonic() - 1)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            if open_:
                await asyncio.gather(*open_)

    async def _transfer(self, session: aiohttp.ClientSession, file: IO[str]) -> None:
        """Send one transfer; an id that was acknowledged is written down before anything else happens."""
        source, destination = self._dice.sample(range(1, ACCOUNTS + 1), 2)
        number = str(uuid.UUID(int=self._dice.getrandbits(128) ^ uuid.uuid4().int, version=4))
        body = {"id": number, "source": source, "destination": destination, "amount": self._dice.randint(1, 5)}
        at = int(time.time())
        try:
            async with session.post(f"{self.url}/transfer", json=body) as answer:
                await answer.read()
                good = answer.status in (OK, CREATED)
        except (aiohttp.ClientError, TimeoutError, OSError):
            good = False
        if good:
            file.write(f"{number}\n")
        self.tally.good[at] += good
        self.tally.bad[at] += not good


def acknowledged_since(path: Path, offset: int) -> list[str]:
    """Return the ids that were acknowledged after so many bytes of the file; a line that is not whole is none."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return [line.decode("ascii", "replace") for line in lines if line]
