"""The engine's end of warm starts: begins the fork server, asks it for supervisors, and does without it whenever it must."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import engine
from engine.executor import order as orders
from engine.executor import worker
from engine.executor.folder import Folder
from engine.executor.order import Order
from engine.executor.warm import disguise, stage, wire
from engine.executor.warm.starts import Cold, Reason
from engine.model.execution import Execution, PlannedStep

_PATIENCE = 2.0
_FAREWELL = 5.0
_REHEARSAL = 60.0
_PAUSE = 30.0
"""A server is not begun more often than that."""
_HOST = "rehearsal"
_PLAYBOOK = "rehearsal.yml"
_INVENTORY = "rehearsal.json"


class Keeper:
    """Keeps a fork server for the executions below `directory`; what it cannot do is answered with why, never with an error."""

    def __init__(self, directory: Path) -> None:
        self._place = directory / ".warm"
        self._server: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._environment: dict[str, str] = {}
        self._begun = -_PAUSE
        self._state = Cold(Reason.STARTING)
        self._ready = False

    @property
    def server(self) -> int | None:
        """Return the server's process number; None when none runs."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    def begin(self, environment: Mapping[str, str]) -> None:
        """Begin a server for playbooks in this environment, and return at once; does nothing while there is one for it."""
        if self.server is not None and environment == self._environment:
            return
        self.close()
        self._environment = dict(environment)
        self._begun = time.monotonic()
        self._ready = False
        self._state = Cold(Reason.STARTING)
        try:
            self._server, self._channel = self._begin(dict(environment))
        except (stage.Unfit, OSError) as error:
            self._state = Cold(Reason.UNFIT, str(error))

    def launch(
        self, folder: Folder, environment: Mapping[str, str], surroundings: Mapping[str, str], told: int, log: int
    ) -> Cold | None:
        """Have a supervisor forked for a folder, and return None; or return why it is to be started as a program.

        `environment` is the order's, `surroundings` the supervisor's own; it reads the order from `told` and complains to `log`.
        After an answer that is not None no supervisor will be forked for the folder.
        """
        if environment != self._environment:
            changed = {*environment.items()} ^ {*self._environment.items()}
            self._again(environment)
            return Cold(Reason.ENVIRONMENT, f"{min(name for name, _ in changed)} is not what it was")
        why = self.trouble()
        if why is not None:
            if why.reason is Reason.GONE:
                self._again(environment)
            return why
        return self._ask({"folder": str(folder.path), "environment": dict(surroundings)}, told, log)

    def trouble(self) -> Cold | None:
        """Return why nothing can begin warm now; None when it can."""
        if self._channel is not None and not self._ready:
            self._listen(0.0)
        if self._channel is not None and self._ready and self.server is None:
            self.close()
            self._state = Cold(Reason.GONE, "the fork server has ended")
        return None if self._ready else self._state

    def wait(self, seconds: float) -> Cold | None:
        """Wait until the server is ready, or cannot be, or so many seconds have passed; return as `trouble` does."""
        if self._channel is not None and not self._ready:
            self._listen(seconds)
        return self.trouble()

    def close(self) -> None:
        """End the server, and wait until it has ended; what it has forked goes on."""
        if self._channel is not None:
            self._channel.close()
        if self._server is not None:
            try:
                self._server.wait(_FAREWELL)
            except subprocess.TimeoutExpired:
                for rehearsal in self._place.glob(f"{_HOST}-*/"):
                    Folder(rehearsal).cancel.touch()
                self._server.kill()
                self._server.wait()
        self._server = self._channel = None
        self._ready = False

    def _again(self, environment: Mapping[str, str]) -> None:
        """Begin anew, for the runs after this one."""
        if time.monotonic() - self._begun >= _PAUSE:
            self.begin(environment)

    def _begin(self, environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
        path = worker.search_path(environment.get("PATH", ""))
        program = shutil.which("ansible-playbook", path=path)
        if program is None:
            raise stage.Unfit("there is no ansible-playbook")
        interpreter = stage.interpreter(Path(program))
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(mode=0o700, parents=True)
        order = self._order(environment)
        step = order.steps()[0]
        surroundings = worker.environment(step, order, Folder(self._place / order.id).step(step.number))
        ours, theirs = wire.pair()
        words = [str(interpreter), "-m", "engine.executor.warm.server", str(self._place), str(theirs.fileno())]
        with theirs, (self._place / "log").open("ab") as log, os.fdopen(os.memfd_create("order"), "w+b") as told:
            told.write(order.dump())
            told.seek(0)
            server = subprocess.Popen(
                [*words, disguise.BLANK],
                stdin=told,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=Path(engine.__file__).parent.parent,
                env={**surroundings, **disguise.room()},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        return server, ours

    def _order(self, environment: Mapping[str, str]) -> Order:
        """Return an order like any other, for a playbook that needs nothing."""
        playbook = self._place / _PLAYBOOK
        shutil.copyfile(Path(__file__).parent / _PLAYBOOK, playbook)
        inventory = self._place / _INVENTORY
        inventory.write_text(f'{{"all": {{"hosts": {{"{_HOST}": {{"ansible_connection": "local"}}}}}}}}')
        name = f"{_HOST}-{os.getpid()}"
        step = PlannedStep(_PLAYBOOK, (_HOST,), timeout=_REHEARSAL)
        execution = Execution(name, _HOST, _HOST, _HOST, _HOST, _HOST, _HOST, (step,), check=True)
        return orders.order(
            execution, inventory=(inventory,), playbooks=(self._place,), environment=environment, keep_output=0
        )

    def _ask(self, request: dict[str, Any], told: int, log: int) -> Cold | None:
        assert self._channel is not None  # noqa: S101 - it is ready
        try:
            self._channel.settimeout(_PATIENCE)
            wire.send(self._channel, request, (told, log))
            answer = wire.receive(self._channel)
        except (OSError, ValueError) as error:
            return self._end(f"the fork server did not answer: {error}")
        if answer is None:
            return self._end("the fork server ended before it answered")
        content, _ = answer
        if content["changed"]:
            self.close()
            self._begun = -_PAUSE
            self.begin(self._environment)
            return Cold(Reason.CHANGED, str(content["changed"]))
        return None

    def _end(self, why: str) -> Cold:
        """End a server that cannot be trusted, at once: what it had not heard yet it must not hear later."""
        if self._server is not None:
            self._server.kill()
        self.close()
        self._state = Cold(Reason.GONE, why)
        self._again(self._environment)
        return Cold(Reason.GONE, why)

    def _listen(self, seconds: float) -> None:
        """Take in what the server says of itself when it has prepared."""
        assert self._channel is not None  # noqa: S101 - it has begun
        self._channel.settimeout(seconds)
        content: dict[str, Any] = {"unfit": "the fork server ended while it prepared"}
        try:
            said = wire.receive(self._channel)
        except (BlockingIOError, TimeoutError):
            return
        except (OSError, ValueError):
            said = None
        if said is not None:
            content, _ = said
        if "ready" in content:
            self._ready = True
            return
        self._state = Cold(Reason.UNFIT, str(content["unfit"]))
        with contextlib.suppress(OSError):
            self._channel.close()
        self._channel = None
