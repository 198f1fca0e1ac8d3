"""What windows that end together add up to, each sample being looked at once however many windows there are.

A fold has an anchor: a place in each series. Behind it stand the sums from certain places up to the anchor, before it the sums
from the anchor to the newest sample; a window is the one and the other put together. So a sample that comes costs one step,
and one that leaves costs nothing: nothing is ever taken off a sum, which would leave rounding, infinities and NaN behind.
When the anchor has left a window, a new one is set, once in as many steps as the window has samples or half as many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.promql.block import Times, Values
from engine.promql.track import WILD, Tail, Track
from engine.promql.values import Indexes, Mask

STRIDE: Final = 4
"""Behind the anchor every so many-th sum is kept; what is between is added up when asked for."""
BACK: Final = 8
"""So many of the newest sums can be gone back to, when samples come late."""

State = tuple[Values, ...]
"""What is known of a stretch of samples, a number or more for each series."""
EVERY: Final = np.array([True])


@dataclass(frozen=True, slots=True)
class Total:
    """The sum, and what rounding lost of it (Knuth's exact addition of two numbers)."""

    def nothing(self, size: int) -> State:
        """Return what no samples add up to."""
        return np.zeros(size), np.zeros(size)

    def add(self, state: State, sample: State, _: Indexes) -> State:
        """Return what some samples and one more add up to."""
        (total, lost), value = state, sample[0]
        after = total + value
        part = after - total
        # (total - (after - part)) + (value - part), in few new arrays
        residue = after - part
        np.subtract(total, residue, out=residue)
        np.subtract(value, part, out=part)
        residue += part
        residue += lost
        return after, residue

    def join(self, one: State, other: State, _: tuple[Indexes, Indexes]) -> State:
        """Return what two stretches of samples add up to."""
        total, lost = self.add(one, other, EVERY)
        return total, lost + other[1]


@dataclass(frozen=True, slots=True)
class Extreme:
    """The least or the greatest; NaN only where there is nothing else."""

    of: np.ufunc

    def nothing(self, size: int) -> State:
        """Return what no samples add up to."""
        return (np.full(size, np.nan),)

    def add(self, state: State, sample: State, _: Indexes) -> State:
        """Return what some samples and one more add up to."""
        return (self.of(state[0], sample[0]),)

    def join(self, one: State, other: State, _: tuple[Indexes, Indexes]) -> State:
        """Return what two stretches of samples add up to."""
        return (self.of(one[0], other[0]),)


@dataclass(frozen=True, slots=True)
class Steps:
    """The sum of what happens from each sample to the next."""

    happens: Callable[[Values, Values], Values]

    def nothing(self, size: int) -> State:
        """Return what no samples add up to."""
        return (np.zeros(size),)

    def add(self, state: State, sample: State, _: Indexes) -> State:
        """Return what some steps and one more add up to."""
        return (state[0] + sample[0],)

    def join(self, one: State, other: State, _: tuple[Indexes, Indexes]) -> State:
        """Return what two stretches of steps add up to."""
        return (one[0] + other[0],)


@dataclass(frozen=True, slots=True)
class Moments:
    """The mean, and the sum of squares of what samples are away from it (Welford 1962, joined as by Chan et al. 1979)."""

    def nothing(self, size: int) -> State:
        """Return what no samples add up to."""
        return np.zeros(size), np.zeros(size)

    def add(self, state: State, sample: State, count: Indexes) -> State:
        """Return what `count` samples and one more add up to."""
        mean, squares = state
        away = sample[0] - mean
        after = away / (count + 1)
        after += mean
        away *= sample[0] - after
        away += squares
        return after, away

    def join(self, one: State, other: State, counts: tuple[Indexes, Indexes]) -> State:
        """Return what two stretches of so many samples add up to."""
        whole = np.maximum(counts[0] + counts[1], 1)
        apart = other[0] - one[0]
        squares = one[1] + other[1] + apart * apart * (counts[0] * counts[1] / whole)
        return one[0] + apart * (counts[1] / whole), squares


@dataclass(frozen=True, slots=True)
class Line:
    """The mean time and value, and the sums of squares and of products of what samples are away from those.

    Times are seconds since the anchor.
    """

    def nothing(self, size: int) -> State:
        """Return what no samples add up to."""
        return tuple(np.zeros(size) for _ in range(5))

    def add(self, state: State, sample: State, count: Indexes) -> State:
        """Return what `count` samples and one more add up to."""
        middle, level, times, values, products = state
        later, higher = sample[0] - middle, sample[1] - level
        middle = middle + later / (count + 1)
        level = level + higher / (count + 1)
        above = sample[1] - level
        return (
            middle,
            level,
            times + later * (sample[0] - middle),
            values + higher * above,
            products + later * above,
        )

    def join(self, one: State, other: State, counts: tuple[Indexes, Indexes]) -> State:
        """Return what two stretches of so many samples add up to."""
        whole = np.maximum(counts[0] + counts[1], 1)
        share, weight = counts[1] / whole, counts[0] * counts[1] / whole
        later, higher = other[0] - one[0], other[1] - one[1]
        return (
            one[0] + later * share,
            one[1] + higher * share,
            one[2] + other[2] + later * later * weight,
            one[3] + other[3] + higher * higher * weight,
            one[4] + other[4] + later * higher * weight,
        )


Kind = Total | Extreme | Steps | Moments | Line
"""A way of adding up samples that does not ask for their order: what none add up to, adding one, joining two stretches."""


class Fold:
    """One kind of sum over the windows of a track that are at most `span` milliseconds long.

    `level` and `origin` are the value and the time of each series at the anchor: what some kinds measure from.
    """

    def __init__(self, track: Track, kind: Kind, span: int) -> None:
        self._track, self._kind, self._span = track, kind, span
        self.level: Values = np.zeros(0)
        self.origin: Times = np.zeros(0, np.int64)
        self._lost = True
        self._anchor = self._until = self._peak = track.count
        self._base = 0
        self._behind: State = ()
        self._ahead: State = ()

    @property
    def cells(self) -> int:
        """How many numbers this holds."""
        return sum(table.size for table in (*self._behind, *self._ahead))

    def forget(self, back: Indexes) -> None:
        """Take back what was added from these places on: the samples there are going to be replaced."""
        self._until = np.minimum(self._until, back)
        self._lost = self._lost or bool((self._until < np.maximum(self._anchor, self._peak - BACK + 1)).any())

    def over(self, tail: Tail) -> State:
        """Return what the samples in each window add up to; anything where a window is empty."""
        low = tail.low + 1 if isinstance(self._kind, Steps) else tail.low
        if self._lost or ((low > self._anchor) & (low < tail.high)).any():
            self._set_anchor()
        self._extend()
        older, count = self._older(low)
        ahead = self._until - self._anchor
        if not ahead.any():
            return older
        whole = self._kind.join(older, self._newer(ahead), (count, ahead))
        # where a window begins with its last step already behind it, none of the steps from the anchor on are its own
        return _chosen(low <= self._anchor, whole, older)

    def _older(self, low: Indexes) -> tuple[State, Indexes]:
        """Return what the samples from place `low` to the anchor add up to, and how many they are."""
        kind, anchor = self._kind, self._anchor
        low = np.minimum(low, anchor)
        above = np.minimum(-(-low // STRIDE) * STRIDE, anchor)
        kept = np.minimum(-(-low // STRIDE) - self._base, len(self._behind[0]) - 1)
        state = tuple(self._track.pick(table, kept) for table in self._behind)
        for step in range(1, int((above - low).max(initial=0)) + 1):
            place = above - step
            state = _chosen(
                place >= low, kind.add(state, self._sample(np.maximum(place, 0)), anchor - 1 - place), state
            )
        return state, anchor - low

    def _newer(self, ahead: Indexes) -> State:
        """Return what the samples from the anchor on add up to, of which there are so many."""
        state = tuple(self._track.pick(table, (ahead - 1) % BACK) for table in self._ahead)
        return _chosen(ahead > 0, state, self._kind.nothing(self._track.size))

    def _set_anchor(self) -> None:
        """Set the anchor behind the newest sample, and add up what is behind it."""
        track, kind = self._track, self._kind
        self._anchor = self._until = self._peak = track.count
        self._lost = False
        first = track.tail(max(track.start, track.end - self._span)).low
        self._base = int(first.min(initial=0)) // STRIDE
        top = int(self._anchor.max(initial=0))
        if isinstance(kind, Moments | Line):
            newest = np.maximum(self._anchor - 1, 0)
            level = track.pick(track.values, newest)
            self.level = np.where(np.abs(level) < WILD, level, 0.0)
            # a series without samples has yet to say where it is; times that are near are told apart from anywhere near
            self.origin = np.where(self._anchor > 0, track.pick_times(newest), track.end)
        rooms = -(-top // STRIDE) - self._base + 1
        state = kind.nothing(track.size)
        self._behind = tuple(np.empty((rooms, track.size)) for _ in state)
        self._ahead = tuple(np.empty((BACK, track.size)) for _ in state)
        for table, part in zip(self._behind, state, strict=True):
            table[-1] = part
        even = bool((self._anchor == top).all())
        for place in range(top - 1, self._base * STRIDE - 1, -1):
            count = np.maximum(self._anchor - 1 - place, 0)
            after = kind.add(state, self._sample(np.array([place])), count)
            state = after if even else _chosen(place < self._anchor, after, state)
            if place % STRIDE == 0:
                for table, part in zip(self._behind, state, strict=True):
                    table[place // STRIDE - self._base] = part

    def _extend(self) -> None:
        """Add the samples that have come since."""
        track, kind = self._track, self._kind
        if track.count.size > self._until.size:  # series have come to differ in how many samples they have
            self._anchor, self._until, self._peak = (
                np.repeat(each, track.size) for each in (self._anchor, self._until, self._peak)
            )
        while (more := self._until < track.count).any():
            ahead = self._until - self._anchor
            place = np.minimum(self._until, len(track.values) - 1)
            after = kind.add(self._newer(ahead), self._sample(place), ahead)
            if more.size == 1:
                for table, part in zip(self._ahead, after, strict=True):
                    table[int(ahead[0]) % BACK] = part
            else:
                rows = np.flatnonzero(more)
                for table, part in zip(self._ahead, after, strict=True):
                    table[ahead[rows] % BACK, rows] = part[rows]
            self._until = self._until + more
            self._peak = np.maximum(self._peak, self._until)

    def _sample(self, place: Indexes) -> State:
        """Return what counts of the samples at these places."""
        track = self._track
        value = track.pick(track.values, place)
        match self._kind:
            case Steps(happens=happens):
                return (happens(track.pick(track.values, np.maximum(place - 1, 0)), value),)
            case Moments():
                return (value - self.level,)
            case Line():
                return (track.pick_times(place) - self.origin) / 1000.0, value - self.level
            case _:
                return (value,)


def _chosen(holds: Mask, one: State, other: State) -> State:
    """Return the one state for the series where it holds, and the other for the rest."""
    if holds.size == 1:
        return one if holds[0] else other
    if holds.all():
        return one
    return tuple(np.where(holds, this, that) for this, that in zip(one, other, strict=True))


def folded(tail: Tail, kind: Kind) -> State:
    """Return what the samples in each window add up to."""
    return fold_of(tail, kind).over(tail)


def fold_of(tail: Tail, kind: Kind) -> Fold:
    """Return the fold that windows as long as a tail's share."""
    track = tail.track
    level = (track.end - tail.start).bit_length()
    fold = track.folds.get((kind, level))
    if not isinstance(fold, Fold):
        fold = track.folds[kind, level] = Fold(track, kind, 1 << level)
    return fold
