"""What a drill cost: counted before, counted again once the lab is steady, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.chaos.place import Place
from engine.chaos.probes import Shell
from engine.chaos.result import Harm
from engine.chaos.steady import ledger, roles_of
from engine.chaos.traffic import Tally, acknowledged_since

MISSING = """\
\\set ON_ERROR_STOP on
CREATE TEMP TABLE acknowledged (id uuid);
COPY acknowledged FROM STDIN;
{ids}
\\.
SELECT count(*) FROM acknowledged WHERE NOT EXISTS (SELECT FROM transfers WHERE transfers.id = acknowledged.id);
"""
LONGEST = 60.0


@dataclass(frozen=True, slots=True)
class Before:
    """What was the case before: the size of the list of acknowledged transfers, and what the ledger counted."""

    offset: int
    total: int | None
    transfers: int | None


def before(place: Place, acknowledged: Path) -> Before:
    """Count before anything is injected; nothing may be on its way meanwhile, or it is counted twice."""
    counted = ledger(place)
    offset = acknowledged.stat().st_size if acknowledged.exists() else 0
    return Before(offset, counted[1] if counted else None, counted[2] if counted else None)


def missing(place: Place, shell: Shell, ids: Sequence[str]) -> int | None:
    """Return how many of these transfers the primary does not have; None where it cannot be asked."""
    if not ids:
        return 0
    primary = next((name for name, role in roles_of(place, shell).items() if role == "primary"), None)
    if primary is None:
        return None
    command = "runuser -u postgres -- psql -X -A -t -q -d ledger -f -"
    done = shell.run(place.node(primary), command, LONGEST, MISSING.format(ids="\n".join(ids)))
    if done is None or done.returncode != 0 or not done.stdout.strip().isdecimal():
        return None
    return int(done.stdout.strip())


def harm(
    place: Place,
    shell: Shell,
    acknowledged: Path,
    then: Before,
    tally: Tally,
    span: tuple[float, float],
    acts: tuple[str, ...],
) -> Harm:
    """Return what it cost, traffic having been stopped."""
    good, bad = tally.between(*span)
    ids = acknowledged_since(acknowledged, then.offset)
    gone = missing(place, shell, ids) if place.group("db") else None
    counted = ledger(place)
    if counted is not None and then.transfers is not None and gone is not None:
        gone = max(gone, then.transfers + len(ids) - counted[2], 0)  # rows of earlier drills count, too
    wrong = None if counted is None or then.total is None else counted[1] != then.total
    return Harm(requests=good + bad, failed=bad, acknowledged=len(ids), lost=gone, wrong_total=wrong, acts=acts)
