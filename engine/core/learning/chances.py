"""Exact intervals and tests for few events: what can be said of three faults, and what cannot.

Every interval holds its confidence for whatever the truth is; with few events it is wider than needed, never narrower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

CONFIDENCE = 0.95
TINY = 1e-300
CLOSE = 1e-15
HALVINGS = 60
TERMS = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the truth lies, as far as can be told; `high` may be infinite."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Return whether a value is within."""
        return self.low <= value <= self.high


# Distributions


def beta_share(x: float, a: float, b: float) -> float:
    """Return the probability that a Beta(a, b) variable is at most x.

    By the continued fraction of NIST's Digital Library of Mathematical Functions, 8.17.22, from the side where it converges fast.
    """
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_share(1.0 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x) - math.log(a)
    )

    def coefficient(step: int) -> float:
        half = step // 2
        if step % 2:
            return -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        return half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))

    return min(1.0, front / fraction(coefficient))


def fraction(coefficient: Callable[[int], float]) -> float:
    """Return 1 + c1/(1 + c2/(1 + …)) by Lentz's method."""
    value = upper = 1.0
    lower = 0.0
    for step in range(1, TERMS):
        each = coefficient(step)
        lower = 1.0 / (1.0 + each * lower or TINY)
        upper = 1.0 + each / upper or TINY
        value *= upper * lower
        if abs(upper * lower - 1.0) < CLOSE:
            break
    return value


def gamma_share(shape: float, x: float) -> float:
    """Return the probability that a Gamma(shape) variable of scale 1 is at most x, by its power series (DLMF 8.11.4) or continued fraction (8.9.2)."""
    if x <= 0.0:
        return 0.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1.0:
        term = total = 1.0 / shape
        for step in range(1, TERMS):
            term *= x / (shape + step)
            total += term
            if term < total * CLOSE:
                break
        return min(1.0, front * total)
    lower = 1.0 / (x + 1.0 - shape)
    upper, value = 1.0 / TINY, lower
    for step in range(1, TERMS):
        each = -step * (step - shape)
        width = x + 2.0 * step + 1.0 - shape
        lower = 1.0 / (each * lower + width or TINY)
        upper = width + each / upper or TINY
        value *= lower * upper
        if abs(lower * upper - 1.0) < CLOSE:
            break
    return max(0.0, 1.0 - front * value)


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that does not fall crosses zero between two points."""
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        if function(middle) < 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def beta_quantile(share: float, a: float, b: float) -> float:
    """Return the value that a Beta(a, b) variable is below with this probability."""
    return root(lambda x: beta_share(x, a, b) - share, 0.0, 1.0)


def gamma_quantile(share: float, shape: float) -> float:
    """Return the value that a Gamma(shape) variable is below with this probability."""
    return root(lambda x: gamma_share(shape, x) - share, 0.0, shape + 20.0 * math.sqrt(shape) + 50.0)


def binomial_tail(successes: int, trials: int, chance: float) -> float:
    """Return the probability of at least so many successes."""
    return (
        1.0 if successes <= 0 else 0.0 if successes > trials else beta_share(chance, successes, trials - successes + 1)
    )


def poisson_share(count: int, mean: float) -> float:
    """Return the probability of at most so many events."""
    return 0.0 if count < 0 else 1.0 - gamma_share(count + 1, mean)


# Intervals


def share_interval(successes: float, trials: float, confidence: float = CONFIDENCE) -> Interval:
    """Return where a probability lies after so many successes (Clopper and Pearson, Biometrika 26, 1934)."""
    rest = (1.0 - confidence) / 2.0
    low = 0.0 if successes <= 0 else beta_quantile(rest, successes, trials - successes + 1)
    high = 1.0 if successes >= trials else beta_quantile(1.0 - rest, successes + 1, trials - successes)
    return Interval(low, high)


@lru_cache(maxsize=4096)
def mean_interval(count: int, confidence: float) -> Interval:
    """Return where the mean of a Poisson variable lies that was seen once."""
    rest = (1.0 - confidence) / 2.0
    return Interval(0.0 if count == 0 else gamma_quantile(rest, count), gamma_quantile(1.0 - rest, count + 1))


def rate_interval(count: int, exposure: float, confidence: float = CONFIDENCE) -> Interval:
    """Return where a rate lies after `count` events in `exposure` (Garwood, Biometrika 28, 1936); in events per unit of exposure."""
    if exposure <= 0.0:
        return Interval(0.0, math.inf)
    mean = mean_interval(count, confidence)
    return Interval(mean.low / exposure, mean.high / exposure)


def ratio_interval(
    after: int, after_exposure: float, before: int, before_exposure: float, confidence: float = CONFIDENCE
) -> Interval:
    """Return where the rate after divided by the rate before lies.

    Of all events, those after are binomial whatever the rates themselves are, so that the interval is exact (Przyborowski and
    Wilenski, Biometrika 31, 1940).
    """
    if before + after == 0 or before_exposure <= 0.0 or after_exposure <= 0.0:
        return Interval(0.0, math.inf)
    found = share_interval(after, before + after, confidence)
    scale = before_exposure / after_exposure
    return Interval(odds(found.low) * scale, odds(found.high) * scale)


def odds(chance: float) -> float:
    """Return a probability as odds."""
    return math.inf if chance >= 1.0 else chance / (1.0 - chance)


@dataclass(frozen=True, slots=True)
class Counts:
    """Events before and after something, and for how long each was looked at."""

    before: int
    before_exposure: float
    after: int
    after_exposure: float

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.before + other.before,
            self.before_exposure + other.before_exposure,
            self.after + other.after,
            self.after_exposure + other.after_exposure,
        )

    @property
    def ratio(self) -> float | None:
        """Return the rate after divided by the rate before; None without events before or time on either side."""
        if not self.before or self.before_exposure <= 0.0 or self.after_exposure <= 0.0:
            return None
        return (self.after / self.after_exposure) / (self.before / self.before_exposure)


def pooled_interval(strata: Sequence[Counts], confidence: float = CONFIDENCE) -> Interval:
    """Return where a rate ratio lies that all strata have in common, whatever the rate of each is.

    Given how many events each stratum has, those after are a sum of binomials; its exact distribution is worked out, so that
    strata of different lengths mislead nobody (Breslow and Day, Statistical Methods in Cancer Research II, 1987).
    """
    told = [
        each for each in strata if each.before + each.after and each.before_exposure > 0 and each.after_exposure > 0
    ]
    if not told:
        return Interval(0.0, math.inf)
    if len(told) == 1:
        only = told[0]
        return ratio_interval(only.after, only.after_exposure, only.before, only.before_exposure, confidence)
    seen = sum(each.after for each in told)
    total = sum(each.before + each.after for each in told)
    rest = (1.0 - confidence) / 2.0

    def masses(logarithm: float) -> npt.NDArray[np.float64]:
        mass = np.ones(1)
        for each in told:
            odd = math.exp(logarithm) * each.after_exposure / each.before_exposure
            mass = np.convolve(mass, binomial(each.before + each.after, odd / (1.0 + odd)))
        return mass

    low = 0.0 if seen == 0 else math.exp(root(lambda x: float(masses(x)[seen:].sum()) - rest, -15.0, 15.0))
    high = (
        math.inf if seen == total else math.exp(root(lambda x: rest - float(masses(x)[: seen + 1].sum()), -15.0, 15.0))
    )
    return Interval(low, high)


def binomial(trials: int, chance: float) -> npt.NDArray[np.float64]:
    """Return the probability of each number of successes."""
    chance = min(max(chance, TINY), 1.0 - CLOSE)
    logs = [
        log_choose(trials, k) + k * math.log(chance) + (trials - k) * math.log1p(-chance) for k in range(trials + 1)
    ]
    masses: npt.NDArray[np.float64] = np.exp(np.array(logs))
    return masses


def against_others(own: Counts, others: Counts, confidence: float = CONFIDENCE) -> Interval:
    """Return where the own rate ratio divided by that of others lies: what changed for everybody falls out.

    Given both sums the events after are noncentral hypergeometric (Fisher, 1935; Cornfield, 1956): exact, and never
    narrower than by the own counts alone.
    """
    if min(own.before_exposure, own.after_exposure, others.before_exposure, others.after_exposure) <= 0.0:
        return Interval(0.0, math.inf)
    offset = (own.after_exposure / own.before_exposure) / (others.after_exposure / others.before_exposure)
    all_own, all_after, total = own.before + own.after, own.after + others.after, 0
    all_others = others.before + others.after
    least, most = max(0, all_after - all_others), min(all_own, all_after)
    total = most - least
    if total == 0:
        return Interval(0.0, math.inf)
    places = range(least, most + 1)
    logs = [log_choose(all_own, k) + log_choose(all_others, all_after - k) for k in places]
    rest = (1.0 - confidence) / 2.0
    at = own.after - least

    def masses(logarithm: float) -> list[float]:
        weights = [each + k * logarithm for each, k in zip(logs, places, strict=True)]
        top = max(weights)
        raw = [math.exp(each - top) for each in weights]
        whole = sum(raw)
        return [each / whole for each in raw]

    low = 0.0 if at == 0 else math.exp(root(lambda x: sum(masses(x)[at:]) - rest, -15.0, 15.0)) / offset
    high = math.inf if at == total else math.exp(root(lambda x: rest - sum(masses(x)[: at + 1]), -15.0, 15.0)) / offset
    return Interval(low, high)


def log_choose(whole: int, part: int) -> float:
    """Return the logarithm of the number of ways to choose."""
    return math.lgamma(whole + 1) - math.lgamma(part + 1) - math.lgamma(whole - part + 1)


# Many tests


def holm(chances: Sequence[float]) -> tuple[float, ...]:
    """Return p-values made good for their number, in their order (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    adjusted = [1.0] * len(chances)
    worst = 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, chances[place] * (len(chances) - rank)))
        adjusted[place] = worst
    return tuple(adjusted)


def rayleigh(angles: Sequence[float]) -> tuple[float, float]:
    """Return the mean angle (radians), and how probable it is that angles without a preferred one lie as close to theirs.

    Rayleigh's test; the approximation of its p-value is Greenwood and Durand's (Annals of Mathematical Statistics 26, 1955), as
    Zar's Biostatistical Analysis gives it, good from five angles on.
    """
    count = len(angles)
    if not count:
        return 0.0, 1.0
    cosine, sine = sum(map(math.cos, angles)), sum(map(math.sin, angles))
    length = math.hypot(cosine, sine)
    chance = math.exp(math.sqrt(1.0 + 4.0 * count + 4.0 * (count**2 - length**2)) - (1.0 + 2.0 * count))
    return math.atan2(sine, cosine) % (2.0 * math.pi), min(1.0, chance)
