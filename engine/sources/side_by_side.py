"""Runs what waits for others side by side, in an event loop of its own, each within its own time."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
import time
import zlib
from collections.abc import Callable, Coroutine, Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import aiohttp

SLACK: Final = 2.0
"""Seconds beyond the longest time allowed after which a round ends whatever a job does."""
REASON_LENGTH: Final = 300
NO_END: Final = "not even a timeout in time"

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")


class Refused(Exception):  # noqa: N818  # what the other side gave was; the message says why
    """The other side answered, and not with what was asked for."""


@dataclass(frozen=True, slots=True)
class Job(Generic[R]):
    """What to await, and how many seconds it may take."""

    begin: Callable[[], Coroutine[Any, Any, R]]
    wait: float


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What came of a job: its result, or one line that says why there is none; and the seconds that took."""

    result: R | None
    error: str | None
    seconds: float


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which each name is looked up in a thread of its own.

    The usual few threads are soon taken by names whose servers do not answer, and then hold up every other name, and the end of
    the process too.
    """

    async def getaddrinfo(  # type: ignore[override]  # the stub says bytes, which nobody has here
        self,
        host: str | None,
        port: str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Return what socket.getaddrinfo returns."""
        found: asyncio.Future[list[Any]] = self.create_future()

        def settle(error: BaseException | None, addresses: list[Any]) -> None:
            if found.done():
                return  # nobody waits any more
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(addresses)

        def look_up() -> None:
            error: BaseException | None = None
            addresses: list[Any] = []
            try:
                addresses = socket.getaddrinfo(host, port, family, type, proto, flags)
            except (OSError, ValueError) as wrong:
                error = wrong
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                self.call_soon_threadsafe(settle, error, addresses)

        threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
        return await found


class SideBySide:
    """An event loop in a thread of its own. What is done with outcomes happens in the caller's thread and delays no job."""

    def __init__(self, name: str) -> None:
        self._loop = Loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Return what `coroutine` returns when it is run in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """End the loop and its thread, and whatever still runs in it."""
        self.call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        left = tuple(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def round(self, jobs: Mapping[K, Job[R]]) -> Iterator[tuple[K, Outcome[R]]]:
        """Yield the outcome of each job, in the order in which they end; all are begun at once."""
        outcomes: queue.SimpleQueue[tuple[K, Outcome[R]]] = queue.SimpleQueue()
        begun = time.monotonic()
        latest = begun + max((job.wait for job in jobs.values()), default=0.0) + SLACK
        self.begin(jobs, outcomes)
        pending = set(jobs)
        while pending:
            try:
                key, outcome = outcomes.get(timeout=max(latest - time.monotonic(), 0.0))
            except queue.Empty:
                break
            pending.discard(key)
            yield key, outcome
        for key in pending:
            yield key, Outcome(None, NO_END, time.monotonic() - begun)

    def begin(self, jobs: Mapping[K, Job[R]], outcomes: queue.SimpleQueue[tuple[K, Outcome[R]]]) -> None:
        """Begin jobs; the outcome of each is put into `outcomes` when it ends."""
        self._loop.call_soon_threadsafe(self._begin, jobs, outcomes)

    def _begin(self, jobs: Mapping[K, Job[R]], outcomes: queue.SimpleQueue[tuple[K, Outcome[R]]]) -> None:
        begun = self._loop.time()
        for key, job in jobs.items():

            def done(task: asyncio.Task[Outcome[R]], key: K = key) -> None:
                self._tasks.discard(task)
                error = None if task.cancelled() else task.exception()
                if task.cancelled() or error is not None:  # nothing foreseen, and still no reason to wait any longer
                    outcomes.put((key, Outcome(None, reason(error), self._loop.time() - begun)))
                else:
                    outcomes.put((key, task.result()))

            task = self._loop.create_task(self._run(job))
            self._tasks.add(task)
            task.add_done_callback(done)

    async def _run(self, job: Job[R]) -> Outcome[R]:
        begun = self._loop.time()
        result, error = None, None
        try:
            async with asyncio.timeout(job.wait):
                result = await job.begin()
        except TimeoutError:
            error = f"no whole answer within {job.wait:g} s"
        except (Refused, aiohttp.ClientError, OSError, EOFError, ValueError, zlib.error) as problem:
            error = reason(problem)
        return Outcome(result, error, self._loop.time() - begun)


def reason(error: BaseException | None) -> str:
    """Say in one line of bounded length what went wrong."""
    text = " ".join(str(error or "").split())
    name = type(error).__name__ if error is not None else "canceled"
    return (text if isinstance(error, Refused) else f"{name}: {text}" if text else name)[:REASON_LENGTH]
