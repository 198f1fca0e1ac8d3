"""The fork server: `python -m engine.executor.warm.server FOLDER`, which holds everything imported that an execution needs.

For each execution it forks a supervisor, the same as would otherwise be started as a program: a session of its own, the
lock, its orphans. The server itself owns nothing and knows nothing of what becomes of it. It ends when the engine does.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import engine
from engine.executor import folder as folders
from engine.executor import groups, supervisor, worker
from engine.executor import order as orders
from engine.executor.folder import Folder
from engine.executor.order import Order
from engine.executor.warm import disguise, preload, stage, wire
from engine.executor.warm.payloads import Payloads
from engine.executor.warm.stage import Stage, Unfit

_UNPLAYED = "the rehearsal failed"
_NOBODY = "nobody waits for it"
_LOOK = 0.02


def main() -> None:
    """Prepare, say whether that went well, then fork whenever asked until nobody is there to ask."""
    folder, channel = Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
    disguise.rename([sys.executable, "-m", "engine.executor.warm.server", str(folder)])
    os.umask(0o077)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a supervisor ended: its folder says it
    order = orders.load(sys.stdin.buffer.read())
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the engine ended first
        try:
            ready = _prepare(folder, order, channel)
        except (Unfit, OSError) as error:
            wire.send(channel, {"unfit": str(error)})
        else:
            wire.send(channel, {"ready": os.getpid()})
            _serve(channel, ready)


def _serve(channel: socket.socket, ready: Stage) -> None:
    while (request := wire.receive(channel)) is not None:
        content, (told, log) = request
        stale = ready.stale()
        pid = 0
        if stale is None:
            _prime()
            pid = os.fork()
            if pid == 0:
                channel.close()
                _become_supervisor(content, told, log, ready)
        os.close(told)
        os.close(log)
        wire.send(channel, {"pid": pid, "changed": stale.detail if stale else ""})


def _prime() -> None:
    """Have the kernel get ready to move a process into a control group: the first move waits, others soon after do not.

    So it waits now, while the supervisor begins, and not when that moves its playbook. What is moved stays where it is.
    """
    if os.fork() == 0:
        with contextlib.suppress(OSError):
            for place in groups.places():
                (place / "cgroup.procs").write_text("0")
        os._exit(0)


def _prepare(folder: Path, order: Order, channel: socket.socket) -> Stage:
    """Import what a run needs, and find out by a rehearsal whether it can be played, and what else it imports."""
    step = order.steps()[0]
    place = Folder(folder / order.id)
    private = place.step(step.number)
    environment, cwd = worker.rehearsed(step, order, private)
    program = shutil.which("ansible-playbook", path=environment["PATH"])
    if program is None:
        raise Unfit("there is no ansible-playbook")
    built = stage.build(Path(program), environment, Path(cwd))
    shutil.rmtree(place.path)
    place.path.mkdir(mode=0o700)
    built.lessons = folder / "lessons"
    Payloads(folder / "payloads").install()
    _rehearse(place, order, built, channel)
    preload.load(built.lessons.read_text(encoding="utf-8").split())
    built.memory.take(built.lessons.with_suffix(".memory").read_bytes())
    built.lessons = None
    os.chdir("/")
    shutil.rmtree(place.path, ignore_errors=True)
    built.watch()
    gc.collect()
    gc.freeze()  # so that a collection in a forked process does not touch, and thereby copy, all of this
    return built


def _rehearse(place: Folder, order: Order, built: Stage, channel: socket.socket) -> None:
    """Run the rehearsal like any order; cancel it when nobody waits for it any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    left = select.poll()
    left.register(channel, select.POLLRDHUP)
    if left.poll(0):
        raise Unfit(_NOBODY)
    pid = os.fork()
    if pid == 0:
        channel.close()
        _supervise(place, order, built)
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if left.poll(0) and not place.cancel.exists():
            place.cancel.write_text(_NOBODY)
        time.sleep(_LOOK)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    result = folders.read(place.result) or {"state": "lost", "message": "no result"}
    if result["state"] != "successful" or built.lessons is None or not built.lessons.exists():
        raise Unfit(f"{_UNPLAYED}: {result['state']} {result['message']}")


def _become_supervisor(request: dict[str, Any], told: int, log: int, ready: Stage) -> NoReturn:
    """Be the supervisor that would otherwise have been started: in a session of its own, on the folder that was asked for."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number, descriptor in enumerate((nothing, nothing, log)):
        os.dup2(descriptor, number)
    with os.fdopen(told, "rb") as file:
        text = file.read()
    for descriptor in (nothing, log):
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    disguise.rename([sys.executable, "-m", "engine.executor.supervisor", request["folder"]])
    _supervise(Folder(Path(request["folder"])), orders.load(text), ready)


def _supervise(folder: Folder, order: Order, ready: Stage) -> NoReturn:
    status = 1
    try:
        os.setsid()
        os.chdir(Path(engine.__file__).parent.parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gc.enable()
        supervisor.supervise(folder, order, ready)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as if it were the server
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
