"""Executions on this machine: each has a folder and a supervisor, and the files in the folder say how it goes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import engine
from engine.executor import folder as folders
from engine.executor import order as orders
from engine.executor import processes, worker
from engine.executor.burial import GONE, bury
from engine.executor.folder import Folder
from engine.executor.journal import Reader
from engine.executor.order import Order
from engine.executor.warm.keeper import Keeper
from engine.executor.warm.starts import Cold, Reason
from engine.model.execution import Execution, ExecutionState, Report, TaskEvent

_MOST_EVENTS = 500


def command(folder: Path) -> Sequence[str]:
    """Return what is launched to supervise the execution in a folder."""
    return [sys.executable, "-m", "engine.executor.supervisor", str(folder)]


class LocalExecutor:
    """Starts executions as processes of this machine that live on without it.

    `directory` holds a folder for each; `inventory` is handed to Ansible as it is; playbooks are looked for in `playbooks`,
    in order. `environment` is added to what playbooks get of this process's own. A supervisor that has not begun within
    `grace` seconds of its launch never will.
    """

    def __init__(
        self,
        directory: Path,
        *,
        inventory: tuple[Path, ...],
        playbooks: tuple[Path, ...],
        environment: Mapping[str, str] | None = None,
        keep_output: int = 256 << 10,
        grace: float = 10.0,
    ) -> None:
        self._directory = directory.absolute()
        self._inventory = inventory
        self._playbooks = playbooks
        self._environment = dict(environment or {})
        self._keep_output = keep_output
        self._grace = grace
        self._launched: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: dict[str, Reader] = {}
        self._keeper: Keeper | None = None

    def keep_warm(self) -> Keeper:
        """Begin a fork server, from which executions start quicker as soon as it is ready, until `close`; return at once."""
        if self._keeper is None:
            self._keeper = Keeper(self._directory)
        self._keeper.begin(self._surroundings())
        return self._keeper

    def close(self) -> None:
        """End the fork server; what runs goes on."""
        if self._keeper is not None:
            self._keeper.close()
        self._keeper = None

    def start(self, execution: Execution) -> None:
        """Begin; starting again what was started already does nothing, in whatever process it was started.

        Raises OSError when the folder cannot be made: then nothing was started.
        """
        order = orders.order(
            execution,
            inventory=self._inventory,
            playbooks=self._playbooks,
            environment=self._surroundings(),
            keep_output=self._keep_output,
        )
        intent = {"execution": order.public(), "launched": folders.stamp(), "at": time.time()}
        folder = folders.create(self._directory, execution.id, intent)
        if folder is not None:
            launched = self._launch(folder, order)
            if launched is not None:
                self._launched[execution.id] = launched

    def report(self, execution: str, after: int) -> Report:
        """Return the state of an execution and its events after that number, at most 500 while it runs.

        A folder that does not exist is a pending execution, and so is one whose supervisor has not begun and still may.
        What is neither held nor finished is declared lost: after its lock was taken and a tombstone left, and what was
        left of it was killed.
        """
        self._reap(execution)
        folder = Folder(self._directory / folders.checked(execution))
        if not folder.path.is_dir():
            return Report(execution, ExecutionState.PENDING)
        return (
            self._finished(execution, folder, after)
            or self._unfinished(execution, folder, after)
            or Report(execution, ExecutionState.PENDING)
        )

    def cancel(self, execution: str, reason: str) -> None:
        """Have every process of the execution ended; the report says when none is left.

        What has not been started stays so; what has ended stays as it ended.
        """
        folder = Folder(self._directory / folders.checked(execution))
        if not folder.path.is_dir() or folder.result.exists():
            return
        fresh = folder.path / f".cancel.{os.getpid()}"
        fresh.write_text(reason, encoding="utf-8", errors="replace")
        try:
            os.link(fresh, folder.cancel)
        except FileExistsError:
            pass  # the first reason counts
        finally:
            fresh.unlink()

    def _surroundings(self) -> dict[str, str]:
        found = {**worker.passed(os.environ), **self._environment}
        settings = Path("ansible.cfg")
        if "ANSIBLE_CONFIG" not in found and settings.is_file():
            found["ANSIBLE_CONFIG"] = str(settings.absolute())
        return found

    def _launch(self, folder: Folder, order: Order) -> subprocess.Popen[bytes] | None:
        """Start the supervisor in a session of its own: from the fork server, whose child it is, or else as a program.

        The order, which holds secrets, goes through memory, not a disk.
        """
        surroundings = worker.passed(os.environ)
        with folder.log.open("ab") as log:
            cold = Cold(Reason.OFF)
            if self._keeper is not None:
                with _told(order) as told:
                    why = self._keeper.launch(folder, order.environment, surroundings, told.fileno(), log.fileno())
                if why is None:
                    return None
                cold = why
            with _told(replace(order, cold=(cold.reason, cold.detail))) as told:
                return subprocess.Popen(
                    command(folder.path),
                    stdin=told,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    cwd=Path(engine.__file__).parent.parent,
                    env=surroundings,
                    start_new_session=True,
                )

    def _reap(self, execution: str) -> None:
        launched = self._launched.get(execution)
        if launched is not None and launched.poll() is not None:
            del self._launched[execution]

    def _events(self, execution: str, folder: Folder, after: int, most: int | None) -> tuple[TaskEvent, ...]:
        return self._readers.setdefault(execution, Reader(folder.events)).after(after, most)

    def _finished(self, execution: str, folder: Folder, after: int) -> Report | None:
        result = folders.read(folder.result)
        if result is None:
            return None
        events = self._events(execution, folder, after, None)  # the journal's size is bounded
        self._readers.pop(execution, None)
        return Report(
            execution,
            ExecutionState(result["state"]),
            events,
            str(result["message"]),
            contained=_contained(execution, folder, result["left"]) and not result.get("remote"),
            started_at=float(result["started_at"]),
            ended_at=float(result["ended_at"]),
            unreachable=tuple(result["unreachable"]),
        )

    def _unfinished(self, execution: str, folder: Folder, after: int) -> Report | None:
        with folder.locked(wait=False) as got:
            if not got:
                events = self._events(execution, folder, after, _MOST_EVENTS)
                return Report(execution, ExecutionState.RUNNING, events, contained=False)
            finished = self._finished(execution, folder, after)  # it may have ended since we looked
            if finished is not None or self._may_begin(folder):
                return finished
            return self._lost(execution, folder, after)

    def _may_begin(self, folder: Folder) -> bool:
        if folder.tombstone.exists() or folder.events.exists():
            return False
        intent = folders.read(folder.intent) or {}
        return folders.age(intent.get("launched", {})) < self._grace

    def _lost(self, execution: str, folder: Folder, after: int) -> Report:
        try:
            grave = bury(execution, folder)
        except OSError as error:  # without a tombstone a late supervisor might still begin
            why = f"it is lost, and that cannot be written down: {error.strerror}"
            return Report(execution, ExecutionState.RUNNING, message=why, contained=False)
        return Report(
            execution,
            ExecutionState.LOST,
            self._events(execution, folder, after, None),
            GONE if grave["contained"] else f"{GONE}; {grave['why']}",
            contained=bool(grave["contained"]),
            ended_at=float(grave["at"]),
        )


def _told(order: Order) -> BinaryIO:
    """Return a file in memory with the order, to be read from its start."""
    file = os.fdopen(os.memfd_create("order"), "w+b")
    file.write(order.dump())
    file.seek(0)
    return file


def _contained(execution: str, folder: Folder, left: Sequence[Sequence[int]]) -> bool:
    """Return whether processes that could not be ended have gone by now."""
    if not left:
        return True
    table = processes.running()
    still = [pid for pid, started in left if pid in table and table[pid].started == started]
    return not still and not processes.members(execution, folder.group(), None, table)
