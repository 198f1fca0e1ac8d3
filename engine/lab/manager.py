"""The node manager, the demo cluster's systemd: it owns the node processes and obeys its control socket.

It never restarts a dead node by itself: that is a runbook's business. `python -m engine.lab.manager DIRECTORY --seed N`,
with `--owner PID --lifeline FD` when the cluster shall end with the process that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from engine.lab import files, process
from engine.lab.desk import Desk
from engine.lab.fleet import Fleet
from engine.lab.settings import Layout


async def manage(layout: Layout, seed: int, owner: int, lifeline: int) -> None:
    """Run the cluster until a shutdown is ordered, SIGTERM comes, or its owner dies; leave no process behind."""
    loop = asyncio.get_running_loop()
    fleet = Fleet(layout, seed)

    def owner_died() -> None:
        if lifeline >= 0:
            loop.remove_reader(lifeline)
        files.cancel_executions(layout)
        fleet.kill()
        fleet.ended.set()

    def hint() -> None:
        if os.getppid() != owner:  # it may have been but the thread that started us
            owner_died()

    loop.add_signal_handler(signal.SIGCHLD, fleet.reap)
    loop.add_signal_handler(signal.SIGTERM, fleet.ended.set)
    if lifeline >= 0:
        loop.add_reader(lifeline, owner_died)  # nobody ever writes: readable means that the other end is closed
        loop.add_signal_handler(signal.SIGUSR1, hint)
        process.die_with_parent(owner, signal.SIGUSR1)
    ended = asyncio.create_task(fleet.ended.wait())
    memory = asyncio.create_task(fleet.watch_memory())
    try:
        begun = asyncio.create_task(fleet.begin())
        await asyncio.wait({begun, ended}, return_when=asyncio.FIRST_COMPLETED)
        if begun.done():
            begun.result()
            await Desk(fleet.obey).listen(str(layout.socket.relative_to(layout.root)))
            await Desk(fleet.obey_lab).listen(str(layout.private_socket.relative_to(layout.root)))
            await asyncio.wait({ended, memory}, return_when=asyncio.FIRST_COMPLETED)
            if memory.done():
                memory.result()
    finally:
        fleet.closing = True
        fleet.kill()
        await asyncio.gather(*(unit.end() for unit in fleet.units))
        for leftover in (layout.socket, layout.private_socket, layout.pids):
            leftover.unlink(missing_ok=True)


def main() -> None:
    """Read the arguments and manage."""
    parser = argparse.ArgumentParser(prog="engine.lab.manager")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--owner", type=int, default=-1)
    parser.add_argument("--lifeline", type=int, default=-1)
    told = parser.parse_args()
    layout = Layout(told.directory.absolute())
    os.chdir(layout.root)
    asyncio.run(manage(layout, told.seed, told.owner, told.lifeline))


if __name__ == "__main__":
    main()
