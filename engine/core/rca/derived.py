"""Series that nobody measures and that follow from those that are: the way to a node, and its latency as its callers' calls took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from engine.core.rca.signals import Frame, Kind, Side, Signal

WAY = "wait on the way"
ANSWER = "latency of its answers"


def derived(past: Frame, recent: Frame) -> tuple[Frame, Frame, np.ndarray]:
    """Return both with the derived series added, and what floor (S,) the scale of each series has.

    The way to a node is as unsteady as what is measured on both of its ends: a tenth of what callers wait is nothing special.
    """
    floors = np.fromiter((signal.floor for signal in past.signals), dtype=float, count=len(past.signals))
    signals: list[Signal] = []
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    more: list[float] = []
    for signal, waits, answers in ways(past.signals):
        signals.append(signal)
        columns.append((_gap(past, waits, answers), _gap(recent, waits, answers)))
        known = past.values[:, waits][np.isfinite(past.values[:, waits])]
        more.append(0.1 * float(np.median(known)) if len(known) else 0.0)
    for signal, parts in answers_of(recent.signals, past):
        signals.append(signal)
        columns.append((_mean(past, parts), _mean(recent, parts)))
        more.append(0.0)
    if not signals:
        return past, recent, floors
    before, after = (np.column_stack(each) for each in zip(*columns, strict=True))
    return (
        past.with_columns(signals, before),
        recent.with_columns(signals, after),
        np.concatenate([floors, np.array(more)]),
    )


def pair(signal: Signal) -> bool:
    """Return whether a series is the latency of one caller's calls."""
    return signal.kind is Kind.LATENCY and signal.peer is not None


def ways(signals: tuple[Signal, ...]) -> Iterator[tuple[Signal, int, int]]:
    """Yield each way of which both ends are measured, with the columns of its two ends."""
    ends: dict[tuple[str, str | None, str], dict[Side, int]] = {}
    for column, signal in enumerate(signals):
        if pair(signal):
            ends.setdefault((signal.node, signal.peer, signal.name), {})[signal.side] = column
    for (node, peer, _), found in ends.items():
        if len(found) == len(Side):
            yield Signal(node, WAY, Kind.NETWORK, peer, Side.CLIENT), found[Side.CLIENT], found[Side.SERVER]


def answers_of(signals: tuple[Signal, ...], past: Frame) -> Iterator[tuple[Signal, list[int]]]:
    """Yield the nodes of which only the calls of single callers are measured, with the columns of those."""
    parts: dict[str, list[int]] = {}
    for column, signal in enumerate(signals):
        if pair(signal) and signal.side is Side.SERVER:
            parts.setdefault(signal.node, []).append(column)
    if not parts:
        return
    own = {
        signal.node
        for column, signal in enumerate(signals)
        if signal.node in parts
        and signal.kind is Kind.LATENCY
        and signal.peer is None
        and signal.side is Side.SERVER
        and np.isfinite(past.values[:, column]).any()
    }
    for node, columns in parts.items():
        if node not in own:
            yield Signal(node, ANSWER, Kind.LATENCY), columns


def by_node(signals: tuple[Signal, ...]) -> Mapping[str, list[int]]:
    """Return the columns of each node."""
    found: dict[str, list[int]] = {}
    for column, signal in enumerate(signals):
        found.setdefault(signal.node, []).append(column)
    return found


def _gap(frame: Frame, waits: int, answers: int) -> np.ndarray:
    gap: np.ndarray = frame.values[:, waits] - frame.values[:, answers]
    return gap


def _mean(frame: Frame, columns: list[int]) -> np.ndarray:
    """Return the mean of some columns in each row, over those that have a sample."""
    chosen = frame.values[:, columns]
    known = np.isfinite(chosen)
    count = known.sum(axis=1)
    mean: np.ndarray = np.where(count > 0, np.where(known, chosen, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)
    return mean
