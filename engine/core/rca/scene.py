"""The scene: how it was, what lasts of how it is, and how far each series is from usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.core.rca.derived import by_node, derived
from engine.core.rca.reference import SHARE, TINY, WIDTH, Reference, reference, sustained
from engine.core.rca.signals import Frame, Topology


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to judge by: how it was (`past`) and what lasts of how it is (`now`), with derived series.

    `shifts` (rows of now, S) are in scales, above 0 where it is worse; `columns` are those of each node; `known` and `moving` (S,) say
    which series had any sample in the past, and which have had more than one value; `furthest` is the
    furthest shift of each; 0 where nothing is known.
    """

    past: Frame
    now: Frame
    topology: Topology
    usual: Reference
    shifts: np.ndarray
    columns: Mapping[str, Sequence[int]]
    known: np.ndarray
    moving: np.ndarray
    furthest: np.ndarray

    def since(self, time: float) -> Scene:
        """Return the scene from that time on."""
        first = min(int(np.searchsorted(self.now.times, time)), max(0, len(self.now.times) - 1))
        shifts = self.shifts[first:]
        return replace(self, now=self.now.from_row(first), shifts=shifts, furthest=furthest(shifts))


def furthest(shifts: np.ndarray) -> np.ndarray:
    """Return the furthest shift (S,) of each series in its worse direction; 0 where nothing is known."""
    if not len(shifts):
        return np.zeros(shifts.shape[1])
    peaks: np.ndarray = np.nan_to_num(np.fmax.reduce(shifts, axis=0), nan=0.0)
    return peaks


def scene(past: Frame, now: Frame, topology: Topology) -> Scene:
    """Return what there is to judge by: the first rows of `now` only say whether the later ones last, where there are enough."""
    past, now, floors = derived(past, now)
    before = sustained(past.values)
    usual = reference(before, floors)
    led = now.from_row(min(WIDTH, len(now.times)) - 1) if len(now.times) else now
    lasting = sustained(now.values)[len(now.times) - len(led.times) :]
    if len(lasting):  # what never moved has no scale of its own: then a tenth of what it is now
        reached = np.nan_to_num(np.fmax.reduce(np.abs(lasting), axis=0), nan=0.0)
        least = np.where(usual.scale <= 2 * TINY, SHARE * reached, 0.0)
        usual = replace(usual, scale=np.maximum(usual.scale, least), below=np.maximum(usual.below, least))
    signs = np.array([signal.sign for signal in now.signals], dtype=now.values.dtype)
    rows = len(before) > 0
    highest = np.fmax.reduce(before, axis=0) if rows else np.full(len(signs), np.nan)
    lowest = np.fmin.reduce(before, axis=0) if rows else highest
    known = np.isfinite(highest)
    if len(lasting):
        highest = np.fmax(highest, np.fmax.reduce(lasting, axis=0))
        lowest = np.fmin(lowest, np.fmin.reduce(lasting, axis=0))
    shifts = usual.shift(lasting) * signs
    return Scene(
        past=past,
        now=Frame(led.times, lasting, now.signals),
        topology=topology,
        usual=usual,
        shifts=shifts,
        columns=by_node(now.signals),
        known=known,
        moving=highest > lowest,
        furthest=furthest(shifts),
    )
