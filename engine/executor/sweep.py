"""What may still run on other machines after a step was ended: it is looked for there by its mark, and ended there.

Ending ansible-playbook here ends nothing there: a module goes on when its connection is gone, and `async` is made for that. A
machine that cannot be asked, or on which nobody may look into the processes of whom the tasks ran as, is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.executor import inputs, processes, running, worker
from engine.executor.folder import Folder
from engine.executor.inputs import Refused, Step
from engine.executor.order import Order
from engine.executor.running import Running

_PLAYBOOK = Path(__file__).parent / "plugins" / "mendbook_sweep.yml"
_NAME = "see to what may be left on other machines"
_PATIENCE = 45.0
_LOOK = 0.1
_GRACE = 1.0
_LIMIT = 5.0


def unended(
    order: Order, folder: Folder, learn: Callable[[list[str]], None], hear: Callable[[Running], None]
) -> list[str]:
    """End what may still run on other machines, and return those where that is not proved; asks nobody when there is none.

    `hear` is called again and again with what runs, to take in what it tells. The playbook for it is run as any step is.
    """
    hosts = folder.remote()
    if not hosts:
        return []
    private = folder.steps / "sweep"
    try:
        step = Step(
            number=0,
            name=_NAME,
            playbook=_PLAYBOOK,
            limit=inputs.limit(hosts),
            hosts=tuple(hosts),
            variables=inputs.unsafe_yaml({"mendbook_mark": order.id, "mendbook_became": folder.became()}),
            timeout=_PATIENCE,
            always=True,
        )
        private.mkdir(mode=0o700, parents=True)
        plain = replace(order, execution={**order.execution, "check": False, "diff": False})
        run = running.fork(lambda pipe: worker.run(step, plain, private, pipe), learn)
    except (Refused, OSError):
        return hosts
    end = time.monotonic() + _PATIENCE
    while not run.over and time.monotonic() < end:
        run.listen(_LOOK)
        run.reap()
        hear(run)
    processes.end(lambda: run.others(order.id), grace=_GRACE, limit=_LIMIT, meanwhile=run.reap)
    run.kill()
    hear(run)
    return sorted(set(hosts) - proved(run))


def proved(run: Running) -> set[str]:
    """Return the machines that were asked, and said that nothing is left."""
    stats = (run.end or {}).get("stats") or {}
    return {*stats.get("processed", ())} - {*stats.get("failures", ()), *stats.get("dark", ())}
