"""A process that commits without end and says which commits were acknowledged, until it is killed."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from engine.model.execution import ExecutionState
from engine.records.store import Record
from tests.records.nouns import NOW, alert, change, entry, event, execution, incident


def main(path: str) -> None:
    record = Record(path)
    while True:
        version = record.standing(NOW).version
        state = ExecutionState.RUNNING if version % 2 else ExecutionState.SUCCESSFUL
        stored = record.commit(
            replace(
                change(version, incident=incident(reason=f"{version + 1}"), execution=execution(state=state)),
                alerts=tuple(alert(f"A{i}", value=float(version + 1)) for i in range(20)),
                entries=(entry(f"{version + 1}"), entry("x" * 2_000)),
                locks=frozenset({"web1"}),
                unlock=frozenset({"web1"}),
            )
        )
        assert stored
        os.write(1, b"commit %d\n" % (version + 1))
        record.events("e1", [event(version + 1, "y" * 500)])
        os.write(1, b"event %d\n" % (version + 1))


if __name__ == "__main__":
    main(sys.argv[1])
