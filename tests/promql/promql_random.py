"""Series at random, with everything that real ones have: gaps, resets, NaN, infinities, ends and late beginnings."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import groupby, product

from promql_memory import Memory

from engine.model.labels import Batch, Labels
from engine.promql import STALE

SPAN = 50 * 60
"""Seconds from the first sample to the last: less than the hour within which Prometheus takes samples of any order."""
HOSTS = ("a", "b", "c")
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 0.1, 1e6, -1e-3)


def random_memory(seed: int, begin: int) -> Memory:
    """Return series from `begin` (milliseconds) on, the same ones for the same seed.

    Most values are multiples of 1/4, so that sums do not depend on the order of their parts.
    """
    dice = random.Random(seed)
    memory = Memory()
    for host, mode in product(HOSTS, ("x", "y", "")):
        memory.add(Labels({"__name__": "g", "host": host, "mode": mode}), gauge(dice, begin))
        if dice.random() < 0.8:
            memory.add(Labels({"__name__": "k", "host": host, "mode": mode}), gauge(dice, begin))
    for host in HOSTS:
        memory.add(Labels({"__name__": "c_total", "host": host}), counter(dice, begin))
        memory.add(Labels({"__name__": "up", "host": host}), steady(dice, begin, (0.0, 1.0, 1.0)))
        memory.add(
            Labels({"__name__": "rack", "host": host, "row": f"r{dice.randint(1, 2)}"}), steady(dice, begin, (1.0,))
        )
        histogram(memory, dice, begin, host)
    memory.add(Labels({"__name__": "limit", "mode": "x"}), steady(dice, begin, (7.25,)))
    memory.add(Labels({"__name__": "ended", "host": "a"}), [(begin + 1000, 5.0), (begin + 61_000, STALE)])
    for place, level in enumerate((8e9, 1.79e9 + 0.1, 1e15, 3e-5, 7.3)):
        memory.add(Labels({"__name__": "level", "host": HOSTS[place % 3], "of": f"{place}"}), near(dice, begin, level))
    odd = enumerate((1.0, 2.0, math.nan, 4.0, 5.0, 6.0, 7.0))  # the same for every seed
    memory.add(Labels({"__name__": "odd"}), [(begin + 30_000 * place, value) for place, value in odd])
    return memory


def ticks(dice: random.Random, begin: int) -> list[int]:
    """Return times some 15 or 30 s apart, with holes, from somewhere to somewhere."""
    every = dice.choice((15_000, 30_000, 60_000))
    first = begin + dice.randint(0, every) + (dice.randint(0, 20 * 60_000) if dice.random() < 0.3 else 0)
    last = begin + SPAN * 1000 - (dice.randint(0, 25 * 60_000) if dice.random() < 0.3 else 0)
    jitter = dice.choice((0, 0, 400))
    times = []
    while first <= last:
        times.append(first + dice.randint(0, jitter))
        first += every * (dice.randint(2, 30) if dice.random() < 0.04 else 1)
    return times


def gauge(dice: random.Random, begin: int) -> list[tuple[int, float]]:
    samples = []
    value = dice.randint(-40, 80) / 4
    for time in ticks(dice, begin):
        value += dice.choice((0, 0, 1, 2, -1, -2, 20, -20)) / 4
        chance = dice.random()
        samples.append((time, STALE if chance < 0.03 else dice.choice(SPECIAL) if chance < 0.06 else value))
    return samples


def counter(dice: random.Random, begin: int) -> list[tuple[int, float]]:
    samples = []
    value = dice.randint(0, 400) / 4
    for time in ticks(dice, begin):
        value = 0.0 if dice.random() < 0.05 else value + dice.choice((0, 0, 1, 4, 10, 100)) / 4
        samples.append((time, STALE if dice.random() < 0.01 else value))
    return samples


def steady(dice: random.Random, begin: int, values: tuple[float, ...]) -> list[tuple[int, float]]:
    return [(time, dice.choice(values)) for time in ticks(dice, begin)]


def near(dice: random.Random, begin: int, level: float) -> list[tuple[int, float]]:
    """Return samples that lie close together, for their size, now and then for good."""
    samples, value = [], level
    for place, time in enumerate(ticks(dice, begin)):
        value += dice.choice((1e-9, 1e-7, 1e-5)) * dice.randint(-3, 4) * level * (place // 20 % 3 > 0)
        samples.append((time, value))
    return samples


def histogram(memory: Memory, dice: random.Random, begin: int, host: str) -> None:
    """Add the buckets of one histogram; now and then one is a moment ahead of the others."""
    bounds = ("0.1", "0.5", "1", "2.5", "+Inf")
    counts = [0.0] * len(bounds)
    rows: dict[str, list[tuple[int, float]]] = {bound: [] for bound in bounds}
    for time in ticks(dice, begin):
        for _ in range(dice.randint(0, 6)):
            place = dice.randint(0, len(bounds) - 1)
            counts = [count + (bucket >= place) for bucket, count in enumerate(counts)]
        if dice.random() < 0.02:
            counts = [0.0] * len(bounds)
        for bucket, bound in enumerate(bounds):
            rows[bound].append((time, counts[bucket] + (dice.random() < 0.02)))
    for bound, samples in rows.items():
        memory.add(Labels({"__name__": "h_bucket", "host": host, "le": bound}), samples)


def batches(memory: Memory) -> Iterator[Batch]:
    """Yield the samples as they come: those of one moment together, in the order of the moments."""
    samples = [(at, labels, value) for labels, series in memory.series.items() for at, value in series.items()]
    for at, group in groupby(sorted(samples, key=lambda sample: sample[0]), key=lambda sample: sample[0]):
        _, series, values = zip(*group, strict=True)
        yield Batch(at / 1000, series, values)
