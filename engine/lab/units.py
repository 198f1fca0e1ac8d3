"""The processes that the node manager owns: each is started, ended and reaped here, and nowhere else."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from engine.lab import process
from engine.lab.settings import Layout, NodeSettings, Role

_GRACE = 1.0
_ANSWER_SECONDS = 10.0
_ENVIRONMENT_NOT_PASSED_ON = frozenset({"MENDBOOK_EXECUTION"})  # a node belongs to no run, whoever started the manager


class State(StrEnum):
    """A node's state, as its manager knows it: a process that hangs still runs."""

    RUNNING = "running"
    STOPPED = "stopped"
    DEAD = "dead"


class Unit:
    """A child process of this one that dies with it."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self._command = [sys.executable, "-P", "-m", module, *arguments, str(os.getpid())]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process's number while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def spawn(self) -> None:
        """Start the process; the last one must have ended."""
        self._ended = asyncio.Event()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name not in _ENVIRONMENT_NOT_PASSED_ON}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd="/"
            )

    def reap(self) -> None:
        """Take notice of the process's end; called on SIGCHLD."""
        if self.pid is None:
            self._ended.set()

    def kill(self) -> None:
        """Send SIGKILL, if there is something to send it to."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    async def end(self) -> None:
        """End the process: SIGTERM, then SIGKILL after a grace, at once if it is held by SIGSTOP."""
        pid = self.pid
        if self._process is None or pid is None:
            return
        if not process.stopped(pid):
            self._process.terminate()
            try:
                async with asyncio.timeout(_GRACE):
                    await self._ended.wait()
            except TimeoutError:
                pass
        self.kill()
        await self._ended.wait()


class Node(Unit):
    """A node of the cluster with its port, which stays its own while the node is down."""

    def __init__(self, layout: Layout, name: str, role: Role, seed: int) -> None:
        self.role = role
        self.directory = layout.node(name)
        self.attached = role is Role.WEB
        self.leaving = False
        self.lock = asyncio.Lock()  # one command at a time
        self.death = ""
        self._wanted = False
        self._seed = seed
        # A bound socket that never listens: connections are refused, and nobody else gets the port.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self.port: int = self._reservation.getsockname()[1]
        settings = layout.private / f"{name}.json"
        self._settings_file = settings
        super().__init__(name, "engine.lab.node", [str(settings)], layout.private / f"{name}.log")

    @property
    def address(self) -> str:
        """Where the node listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def state(self) -> State:
        """Running, ended by command, or ended by itself or another."""
        if self.pid is not None:
            return State.RUNNING
        return State.DEAD if self._wanted else State.STOPPED

    def configure(self, stores: tuple[str, ...]) -> None:
        """Write what the process is told when it starts."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = NodeSettings(self.name, self.role, self.port, self.directory, self._seed, stores)
        self._settings_file.write_text(settings.dump())

    def spawn(self) -> None:
        """Start the process and remember that it is meant to run."""
        self._wanted = True
        self.death = ""
        super().spawn()

    async def start(self) -> bool:
        """Start the node unless it runs, and wait until it answers; return whether it had to be started.

        Raises TimeoutError when it does not answer in time.
        """
        if self.state is State.RUNNING:
            return False
        self.spawn()
        await self.answering()
        return True

    async def stop(self) -> bool:
        """End the node; return whether it ran."""
        self._wanted = False
        if self.pid is None:
            return False
        await self.end()
        return True

    async def answering(self) -> None:
        """Return when the node answers /healthz. Raises TimeoutError, also when it has ended."""
        async with asyncio.timeout(_ANSWER_SECONDS):
            while not await self._answers():
                if self.state is not State.RUNNING:
                    raise TimeoutError
                await asyncio.sleep(0.03)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    def punish(self, limit: int) -> None:
        """Kill the process when it holds more memory than its limit, as the kernel's out-of-memory killer would."""
        pid = self.pid
        if pid is not None and process.resident_bytes(pid) > limit:
            self.death = "out of memory"
            os.kill(pid, signal.SIGKILL)

    def release(self) -> None:
        """Give the node's port back."""
        self._reservation.close()
        self._settings_file.unlink(missing_ok=True)
