"""Who watches the supervisor: a process that does nothing but wait for its end, and clean up when it came too early."""

from __future__ import annotations

import os
import signal
from types import FrameType

from engine.executor import processes
from engine.executor.burial import bury
from engine.executor.folder import Folder
from engine.executor.order import Order
from engine.executor.sweep import unended

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def guarded(order: Order, folder: Folder) -> bool:
    """Split in two, the lock being held by both, and return True in the one that is to supervise, `SIGNALS` still blocked.

    The other returns False after that one has ended, killed or not. Every orphan of a supervisor that was killed comes to it, so
    that it can end them all, and prove it. Each goes on without the other; only who kills both at once leaves the matter to
    the engine.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    processes.adopt_orphans()
    supervisor = os.fork()
    if supervisor == 0:
        processes.adopt_orphans()
        return True

    def pass_on(number: int, _: FrameType | None) -> None:
        os.kill(supervisor, number)  # not reaped before signals are blocked again, so that the number is still its own

    for number in SIGNALS:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) is not None and ended.si_pid != supervisor:
        os.waitpid(ended.si_pid, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.waitpid(supervisor, 0)
    if not folder.result.exists() and not folder.tombstone.exists():
        bury(order.id, folder, family=True, elsewhere=lambda: unended(order, folder, _unheard, _unheard))
    return False


def _unheard(_: object) -> None:
    """Let nobody hear it: the journal is closed."""
