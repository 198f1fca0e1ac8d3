"""The entry of a node process: `python -m engine.lab.node SETTINGS PARENT`."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.lab import process, settings


def main() -> None:
    """Serve as the node that the settings file describes, until SIGTERM or the end of the parent process."""
    process.die_with_parent(int(sys.argv[2]))
    told = settings.load(Path(sys.argv[1]))
    # The servers' library takes its time to import: only now, when nothing can orphan us.
    import asyncio  # noqa: PLC0415

    match told.role:
        case settings.Role.WEB:
            from engine.lab.web import Web  # noqa: PLC0415

            asyncio.run(Web(told).serve())
        case settings.Role.STORE:
            from engine.lab.store import Store  # noqa: PLC0415

            asyncio.run(Store(told).serve())
        case settings.Role.LB:
            from engine.lab.balancer import Balancer  # noqa: PLC0415

            asyncio.run(Balancer(told).serve())


if __name__ == "__main__":
    main()
