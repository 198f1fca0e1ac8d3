"""The chain of entries: each carries the hash of the one before, so that what was written cannot be changed unseen.

`hash = sha256(previous hash + canonical JSON of the row)`, over every column that is not null but the hash itself; the first
`previous` is 64 zeros. How many entries there are, and the last hash, stand in `meta`, so that a missing end shows as well.
Reading it back is in `audit`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from engine.model.decision import Decision, Entry, Escalate, Hold, Run, Verdict
from engine.records.rows import canonical, encode, to_row
from engine.records.schema import entries, meta

GENESIS = "0" * 64
PRUNED = "pruned"
"""The code of an entry that vouches for what retention took out."""
COLUMNS = tuple(entries.columns.keys())


def append(
    connection: Connection, at: float, version: int, lines: Sequence[Entry], decision: Decision | None = None
) -> None:
    """Append entries in the order given; those of kind `decision` keep what each guard said.

    The caller's transaction has written to `meta` before, so that no one else appends meanwhile.
    """
    if not lines:
        return
    number, previous = connection.execute(select(meta.c.entries, meta.c.chain)).one()
    rows = []
    for line in lines:
        number += 1
        row = {
            "number": number,
            "at": float(at),
            "version": version,
            **to_row(line, COLUMNS),
            **judged(decision if line.kind == "decision" else None),
            "previous": previous,
        }
        previous = digest(row)
        rows.append({**row, "hash": previous})
    connection.execute(insert(entries), rows)
    connection.execute(update(meta).values(entries=number, chain=previous))


def judged(decision: Decision | None) -> dict[str, Any]:
    """Return the columns that hold a decision."""
    match decision:
        case None:
            return {"decision": None, "verdicts": None}
        case Run(verdicts=verdicts):
            kind = "run"
        case Hold(verdicts=verdicts):
            kind = "hold"
        case Escalate(verdicts=verdicts):
            kind = "escalate"
    return {"decision": kind, "verdicts": written(verdicts)}


def written(verdicts: Iterable[Verdict]) -> list[Any]:
    """Return verdicts as plain JSON."""
    return [encode(verdict) for verdict in verdicts]


def digest(row: Mapping[str, Any]) -> str:
    """Return the hash of a row over the one before it; a column that is null adds nothing, so that columns can be added."""
    plain = {name: value for name, value in row.items() if value is not None and name not in ("previous", "hash")}
    return hashlib.sha256((row["previous"] + canonical(plain)).encode()).hexdigest()
