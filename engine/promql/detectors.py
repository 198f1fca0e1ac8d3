"""Detectors as functions: how unusual the newest sample in a window is, and whether and when the window changed.

They are ours and no Prometheus server knows them; their names begin as those of all our series do. Each compares robustly: levels are
medians, spreads are median absolute deviations (times 1.4826, which makes them standard deviations where samples are normally distributed;
Hampel 1974), no smaller than the optional last argument, in the series' own unit. NaN samples count as missing. Where a window holds too
little to judge, the result is NaN, which no comparison admits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.promql.block import Values
from engine.promql.frame import Frame, Function, Reduction
from engine.promql.segments import Segments, Stretches, quantile
from engine.promql.syntax import Call, Type
from engine.promql.values import Grid, Indexes, Mask

NORMAL = 1.4826
LEAST = 4
"""Fewer samples than this have no level and spread to compare with."""
SIDE = 3
"""So many samples a level needs at least, before and behind a change."""
DAY = 86_400_000
NEAR = 1_800_000
"""So many milliseconds earlier or later is the same time of day."""
SATURDAY = 2
"""The first day since the epoch (a Thursday) that is a Saturday."""
MOST = 10.0
"""In a sum, one sample counts for so many spreads at most."""
EQUAL = 1e-8
"""What differs by no more may differ by rounding alone: of one, and of what is greater a share."""
FAR = 3.0
"""A sample counts for so many spreads at most where a change is looked for."""

Detector = Callable[[Stretches, Values], Values]


@dataclass(frozen=True, slots=True)
class Parts:
    """What is left of windows when some samples are taken away: `rows` are the windows that still have any."""

    segments: Segments
    rows: Indexes

    def median(self) -> Values:
        """Return the median of each that is left."""
        return quantile(self.segments, np.full(self.rows.size, 0.5))


def _only(part: Segments, chosen: Mask) -> Parts:
    """Return the windows with those samples alone."""
    counts = np.add.reduceat(chosen, part.begins, dtype=np.int64) if part.begins.size else np.zeros(0, np.int64)
    rows = np.flatnonzero(counts)
    lengths = counts[rows]
    return Parts(Segments(part.values[chosen], np.cumsum(lengths) - lengths, lengths), rows)


def _usual(part: Segments, chosen: Mask, least: Values) -> tuple[Values, Values]:
    """Return level and spread of those samples of each window; NaN where there are fewer than `LEAST`."""
    level, spread = np.full(part.begins.size, np.nan), np.full(part.begins.size, np.nan)
    some = _only(part, chosen)
    if some.rows.size == 0:
        return level, spread
    enough = some.segments.lengths >= LEAST
    middle = some.median()
    away = np.abs(some.segments.values - some.segments.spread(middle))
    deviation = NORMAL * Parts(some.segments.replace(away), some.rows).median()
    level[some.rows] = np.where(enough, middle, np.nan)
    spread[some.rows] = np.where(enough, np.maximum(deviation, least[some.rows]), np.nan)
    return level, spread


def _off(away: Values, spread: Values) -> Values:
    """Return `away` in spreads: 0 for nothing, infinite where a series that never moved did."""
    return np.where(away == 0, 0.0, away / spread)


def _places(part: Segments) -> Indexes:
    """Return the place of each sample in its window."""
    places: Indexes = np.arange(part.values.size) - np.repeat(part.begins, part.lengths)
    return places


def zscore(part: Stretches, least: Values) -> Values:
    """Return how many spreads the newest sample is above (below: negative) the level of the others."""
    newest = _places(part) == np.repeat(part.lengths - 1, part.lengths)
    level, spread = _usual(part, ~newest & ~np.isnan(part.values), least)
    return _off(part.last() - level, spread)


def seasonal(part: Stretches, least: Values) -> Values:
    """Return how many spreads the newest sample is above the level at this time of day (UTC, half an hour either way) on earlier days.

    Only working days are compared with a working day and only weekends with a weekend, where the window holds two of those.
    """
    last = np.repeat(part.times[part.begins + part.lengths - 1], part.lengths)
    phase = (last - part.times + NEAR) % DAY
    same_time = (phase <= 2 * NEAR) & (last - part.times > NEAR) & ~np.isnan(part.values)
    alike = same_time & (_weekend(part.times) == _weekend(last))
    days = (last - part.times + NEAR) // DAY
    enough = _distinct(part, alike, days) >= 2  # noqa: PLR2004 - one day is no custom
    chosen = np.where(np.repeat(enough, part.lengths), alike, same_time)
    level, spread = _usual(part, chosen, least)
    level[_distinct(part, chosen, days) < 2] = np.nan  # noqa: PLR2004
    return _off(part.last() - level, spread)


def _weekend(times: Indexes) -> Mask:
    weekend: Mask = (times // DAY - SATURDAY) % 7 < 2  # noqa: PLR2004 - Saturday and Sunday
    return weekend


def _distinct(part: Stretches, chosen: Mask, days: Indexes) -> Indexes:
    """Return on how many different days each window has samples that are chosen."""
    places = np.flatnonzero(chosen)
    owners = np.repeat(np.arange(part.begins.size), part.lengths)[places]
    fresh = np.ones(places.size, dtype=np.bool_)
    fresh[1:] = (np.diff(days[places]) != 0) | (np.diff(owners) != 0)
    counts: Indexes = np.bincount(owners[fresh], minlength=part.begins.size)
    return counts


def drift(part: Stretches, least: Values) -> Values:
    """Return the cumulative sum (Page 1954) of how far the newer half is beyond half a spread from the level of the older half.

    Positive where it drifts up, negative down: the larger of both. A sample counts for ten spreads at most.
    """
    older = _places(part) < np.repeat(part.lengths // 2, part.lengths)
    known = ~np.isnan(part.values)
    level, spread = _usual(part, older & known, least)
    away = np.clip(_off(part.values - part.spread(level), part.spread(spread)), -MOST, MOST)
    away[older | ~known] = np.nan
    rise, fall = np.zeros(part.begins.size), np.zeros(part.begins.size)
    for running, step in _in_step(part, away):
        counts = np.where(np.isnan(step), 0.5, step)
        rise[running] = np.maximum(0, rise[running] + counts - 0.5)
        counts = np.where(np.isnan(step), -0.5, step)
        fall[running] = np.maximum(0, fall[running] - counts - 0.5)
    return np.where(np.isnan(level), np.nan, np.where(rise >= fall, rise, -fall))


def _in_step(part: Segments, values: Values) -> list[tuple[Indexes, Values]]:
    """Return, place by place, the windows that reach so far and what they have there."""
    order = np.argsort(-part.lengths, kind="stable")
    still = np.searchsorted(-part.lengths[order], -np.arange(1, int(part.lengths.max(initial=0)) + 1), side="right")
    return [
        (order[:running], values[part.begins[order[:running]] + place]) for place, running in enumerate(still.tolist())
    ]


def split(part: Stretches) -> Indexes:
    """Return the place of the first sample behind the likeliest change of level, which leaves `SIDE` samples on either side; 0 for too few.

    Looked for twice: with each sample bounded to `FAR` spreads of the window, so that no outlier is taken for a change, and then to as many
    of the two sides around the levels that were found, so that noise of the larger side is not taken for the smaller one.
    """
    known = ~np.isnan(part.values)
    level, spread = _usual(part, known, np.zeros(part.begins.size))
    far = FAR * np.where(spread > 0, spread, _mean_away(part, known, level))
    first = _likeliest(part, known, level - far, level + far)
    sides = _sides(part, known, first, np.zeros(part.begins.size))
    low, high = np.fmin(sides.before, sides.behind), np.fmax(sides.before, sides.behind)
    again = _likeliest(part, known, low - FAR * sides.spread, high + FAR * sides.spread)
    return np.where((first > 0) & (again > 0), again, first)


def _mean_away(part: Segments, known: Mask, level: Values) -> Values:
    """Return how far samples are from the level in the mean, the finite ones; 1 where none is away."""
    away = np.abs(part.values - part.spread(level))
    counts = known & np.isfinite(away)
    mean = part.total(np.where(counts, away, 0.0)) / np.maximum(part.total(counts.astype(np.float64)), 1)
    return np.where(mean > 0, mean, 1.0)


def _likeliest(part: Stretches, known: Mask, low: Values, high: Values) -> Indexes:
    """Return the likeliest change, as `split` does, of samples that are bounded to so much.

    That is where the means before and behind differ most for as many samples as they are of: the maximum of the likelihood of one step
    (Hinkley 1970); of places that are as likely, the first.
    """
    bottom, width = part.spread(low), part.spread(high - low)
    bounded = (np.clip(part.values, bottom, part.spread(high)) - bottom) / width
    bounded = np.where(known & np.isfinite(bounded), bounded, 0.0)
    count = part.total(known.astype(np.float64))
    mean = part.total(bounded) / np.maximum(count, 1)
    size = part.begins.size
    total, seen, best, place = np.zeros(size), np.zeros(size), np.full(size, -1.0), np.zeros(size, np.int64)
    for index, (running, step) in enumerate(_in_step(part, np.where(known, bounded, np.nan))):
        here = ~np.isnan(step)
        seen[running] += here
        total[running] += np.where(here, step - mean[running], 0.0)
        before, behind = seen[running], (count - seen)[running]
        unlike = np.abs(total[running]) / np.sqrt(np.maximum(before * behind, 1))
        better = here & (before >= SIDE) & (behind >= SIDE) & (unlike > best[running] * (1 + EQUAL) + EQUAL)
        best[running] = np.where(better, unlike, best[running])
        place[running] = np.where(better, index + 1, place[running])
    return place


@dataclass(frozen=True, slots=True)
class Sides:
    """The levels before and behind a change of each window, and the spread around each sample's own; NaN for a side without samples."""

    before: Values
    behind: Values
    spread: Values


def _sides(part: Stretches, known: Mask, place: Indexes, least: Values) -> Sides:
    """Return the two sides of each window whose second begins at `place`."""
    first = _places(part) < np.repeat(place, part.lengths)
    levels = []
    for side in (first & known, ~first & known):
        some = _only(part, side)
        level = np.full(part.begins.size, np.nan)
        level[some.rows] = some.median() if some.rows.size else np.nan
        levels.append(level)
    own = np.where(first, part.spread(levels[0]), part.spread(levels[1]))
    _, spread = _usual(part.replace(part.values - own), known, least)
    return Sides(levels[0], levels[1], spread)


def shift(part: Stretches, least: Values) -> Values:
    """Return by how many spreads the level behind the likeliest change is above the one before it."""
    sides = _sides(part, ~np.isnan(part.values), split(part), least)
    return _off(sides.behind - sides.before, sides.spread)


def moment(part: Stretches, least: Values) -> Values:  # noqa: ARG001 - a moment has no spread
    """Return the time, in seconds, of the first sample behind the likeliest change of level."""
    place = split(part)
    seconds: Values = part.times[part.begins + place] / 1000.0
    return np.where(place > 0, seconds, np.nan)


def _function(detector: Detector, *, floor: bool = True) -> Function:
    def compute(frame: Frame, node: Call) -> Grid:
        given = frame.scalar(node.arguments[1]) if len(node.arguments) > 1 else np.zeros(frame.times.size)
        reduction = Reduction(lambda part: detector(part, given[part.columns]))
        return frame.reduced(node.arguments[0], reduction).nameless(node.span)

    takes = (Type.RANGE, Type.SCALAR) if floor else (Type.RANGE,)
    return Function(takes, Type.VECTOR, compute, optional=int(floor), own=True)


FUNCTIONS: Mapping[str, Function] = {
    "mendbook_zscore_over_time": _function(zscore),
    "mendbook_season_over_time": _function(seasonal),
    "mendbook_drift_over_time": _function(drift),
    "mendbook_shift_over_time": _function(shift),
    "mendbook_ts_of_shift_over_time": _function(moment, floor=False),
}
