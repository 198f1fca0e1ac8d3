"""Hosts of one group, compared: what most of them do at the same time comes from what they share, what one does alone from itself."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from engine.core.rca.rank import NOTABLE, Ranked
from engine.core.rca.scene import Scene

SHARED: Final = 0.8
"""How much a suspect counts whose peers do the same: it carries what all of them do."""
ALIKE: Final = 0.5
"""A peer whose series went at least this part as far as the suspect's does the same."""
ENOUGH: Final = 2
"""With figures of fewer peers there is nothing to say."""


def compared(suspects: Sequence[Ranked], seen: Scene, peers: Mapping[str, Sequence[str]]) -> list[Ranked]:
    """Return the suspects, each with what its peers do: counted less where most of them do the same. In the order given."""
    if not peers:
        return list(suspects)
    return [_beside(each, seen, peers.get(each.node, ())) for each in suspects]


def _beside(suspect: Ranked, seen: Scene, others: Sequence[str]) -> Ranked:
    """Return a suspect with what its peers do, where that is known and it is far off itself."""
    if suspect.column is None or (own := float(seen.furthest[suspect.column])) < NOTABLE:
        return suspect
    shifts = list(theirs(suspect.column, seen, others))
    if len(shifts) < ENOUGH:
        return suspect
    alike = sum(shift >= max(NOTABLE, ALIKE * own) for shift in shifts)
    if 2 * alike > len(shifts):
        text = f"{alike} of its {len(shifts)} peers do the same at the same time: what they share is more likely than this node"
        return replace(suspect, strength=SHARED * suspect.strength, evidence=(*suspect.evidence, text))
    middle = statistics.median(shifts)
    text = f"{alike or 'none'} of its {len(shifts)} peers does the same: off by {middle:.2g} times their usual spread (median), it by {own:.3g}"
    return replace(suspect, evidence=(*suspect.evidence, text))


def theirs(column: int, seen: Scene, others: Sequence[str]) -> Iterator[float]:
    """Yield how far the same series of each of the others went."""
    own = seen.now.signals[column]
    for node in others:
        same = [
            float(seen.furthest[each])
            for each in seen.columns.get(node, ())
            if (signal := seen.now.signals[each]).name == own.name and signal.peer == own.peer and seen.known[each]
        ]
        if same:
            yield max(same)
