"""The constants of the default watch, in one place, so that all of them can be shaken at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    """How soon the watch learns and how much it takes; counts are samples, thresholds are usual spreads."""

    warm: int = 3
    """Samples before anything can be unusual."""
    doubt: float = 12.0
    """So many learned samples make what is known half as good as it gets: before, spreads count as wider."""
    kept: int = 12
    """Samples that are kept of each series: out of them a new level is taken."""
    memory: float = 60.0
    """The level follows what is usual in so many samples."""
    threshold: float = 5.0
    """Beyond this a sample is unusual; two of the last three begin an alarm."""
    release: float = 2.5
    """Three samples in a row below this end it."""
    adopt: int = 60
    """What stayed at another level for so long is the new level."""
    relax: int = 12
    """The same for a level on the side that worries nobody."""
    share: float = 0.05
    """A change by less than this part of the level is nothing special, however still a series was."""
    slack: float = 0.5
    """A sample that deviates by less than this is no drift."""
    drift: float = 40.0
    """The sum of what deviates beyond the slack, from which on it is a drift."""
    headroom: float = 0.2
    """Less than this part of a limit left is saturation."""
    habit: float = 1.2
    """What was unusual before has to be so many times as unusual to be so again, up to what it was,"""
    half_life: float = 3000.0
    """until in so many samples half of that is forgotten; the same holds for records."""
    long: float = 576.0
    """How far a series roams is an average over so many samples."""
    childhood: int = 288
    """Before it has had so many samples, nothing that it does is novel."""
    novel: float = 1.05
    """So many times its record is novel."""
    growth: float = 1.5
    """A record grows by this factor a sample at most."""
    rest: int = 150
    """For so many samples after something novel nothing else is."""
    most: float = 20.0
    """What is further off than so many spreads counts as this far in averages."""
