"""What a store tells of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What a store holds and what it refused since it was opened."""

    series: int
    samples: int
    segments: int
    disk_bytes: int
    memory_bytes: int
    out_of_order: int
    duplicates: int
    cut_off_bytes: int
    set_aside: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment in the life of a store: how many batches had come, and how often samples had been dropped."""

    arrived: int
    dropped: int
