"""Advice: which prevention fits a fault that keeps coming back, and what it may be worth. Nothing is enabled by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.core.learning.chances import Interval, share_interval
from engine.core.learning.facts import DAY, HOUR, Past, Warned, fits, median
from engine.core.learning.prevention import Effect, Proof
from engine.core.learning.recurrence import Recurring

OFTEN = 3
"""What happened three times must not happen a fourth."""
AHEAD = 2 * DAY
"""A warning so long before a fault is a warning of it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A prevention that there is: what it is about, and how far it goes today (None: the project has none of that name)."""

    runbook: str
    resource: str
    summary: str
    mode: str | None


@dataclass(frozen=True, slots=True)
class Advice:
    """What could be done about one recurring fault.

    `spares` are faults in 30 days that it may keep away; `known` says from what that is told: proof, warnings, or nothing.
    """

    target: str
    resource: str
    runbook: str
    summary: str
    mode: str | None
    count: int
    rate: float
    spares: Interval
    hours: float
    """Hours for which the fault lasted, all times together."""
    known: str
    sentence: str
    warned: int = 0
    lead: float | None = None
    """The median time from its warning to the fault, in seconds."""


def advice(
    past: Past, rows: Sequence[Recurring], proofs: Sequence[Proof], offers: Sequence[Offer]
) -> tuple[Advice, ...]:
    """Return what could be done about each recurring fault, the most faults first; what is in force there already is left out."""
    known = {each.runbook: each for each in proofs if not each.part}
    here = {(each.runbook, host): each for each in proofs for host in each.hosts}
    warnings: dict[tuple[str, str], list[Warned]] = {}
    for each in past.warned_of:
        warnings.setdefault((each.runbook, each.target), []).append(each)
    found = [
        advise(row, offer, known, warnings.get((offer.runbook, row.target), ()))
        for row in rows
        if row.count >= OFTEN
        for offer in offers
        if fits(offer.resource, row.resource)
        and (offer.runbook, row.target) not in here
        and (offer.runbook not in known or known[offer.runbook].effect is not Effect.HARMFUL)
    ]
    return tuple(sorted(found, key=lambda each: (-each.spares.high, each.target, each.resource, each.runbook)))


def advise(row: Recurring, offer: Offer, proofs: Mapping[str, Proof], warnings: Sequence[Warned]) -> Advice:
    """Return what one prevention may be worth against one fault: by what it did elsewhere, or by what it would have seen here."""
    leads = [lead for at in row.times if (lead := lead_of(at, warnings)) is not None]
    rate, proof = row.rate, proofs.get(offer.runbook)
    if proof is not None and proof.effect is Effect.WORKS and proof.ratio is not None:
        share = Interval(max(0.0, 1.0 - proof.interval.high), 1.0 - proof.interval.low)
        known, why = "proof", f"it spared {100 * (1 - proof.ratio):.0f} % elsewhere"
    elif leads:
        share = Interval(0.0, share_interval(len(leads), row.count).high)
        hours = (median(leads) or 0.0) / HOUR
        known, why = (
            "warnings",
            f"its trigger fired before {len(leads)} of {row.count}, {hours:.1f} h ahead in the middle",
        )
    else:
        share = Interval(0.0, 1.0)
        known, why = "nothing", "what it spares is not known before it was tried"
    spares = Interval(rate * share.low, rate * share.high)
    gain = f"{spares.low:.1f} to {spares.high:.1f}" if spares.low > 0.0 else f"up to {spares.high:.1f}"
    failed = "; it showed no effect elsewhere" if proof is not None and proof.effect is Effect.NONE else ""
    return Advice(
        row.target,
        row.resource,
        offer.runbook,
        offer.summary,
        offer.mode,
        row.count,
        rate,
        spares,
        row.down / HOUR,
        known,
        f"may spare {gain} of {rate:.1f} faults in 30 days: {why}{failed}",
        len(leads),
        median(leads),
    )


def lead_of(at: float, warnings: Sequence[Warned]) -> float | None:
    """Return how long before a fault it was warned of; None when it was not."""
    leads = [at - each.at for each in warnings if 0.0 <= at - each.at <= AHEAD]
    return max(leads, default=None)
