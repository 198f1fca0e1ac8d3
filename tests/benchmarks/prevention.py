"""Check proofs of prevention and forecasts on simulated histories, whose truth is known.

    python tests/benchmarks/prevention.py [--quick]

THIS IS SIMULATION: nothing here ran on a machine. It says how often a verdict is wrong where faults come as they are simulated to.

Proofs: each history has 90 days before a prevention begins and 45 since (but where it says otherwise), one host, 0.5 faults a day;
the verdict is that of `engine.core.learning.prevention`, as `mendbook report` gives it. People act after a bad week: the
prevention begins at the first moment, after a while, at which the last 7 days had more than twice as many faults as is usual (but
where it says that it begins by chance). The truth is the ratio of the rates since and before.

- `naive`, for comparison: all faults until the prevention count as before, as a simple before-and-after would have it.
- `looked at every 3 days`: whether any of 15 looks in the 45 days ever said what is not so.

Forecasts: histories of 48 hours, one sample in 10 minutes, what is left of 100; the truth is what the same simulation does in the
96 hours to come. `told` is the share that may be trusted by its own backtest, `held` the share of those whose interval held the
truth (nine in ten are to), `foretold` of those that run out within 24 hours how many were said to, and `false` of those that
last longer than 36 hours how many were said to run out within 24. Beside it `predict_linear(left[6h], 24h) < 0 and left < 30`.
The last two kinds change as the history ends: nothing can know that, and they count for no goal.

Fails where a verdict is wrong in more than 5 % of the histories of a kind, or where intervals of forecasts that are told hold the
truth in less than 85 %. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from engine.core.learning.chances import rate_interval, ratio_interval
from engine.core.learning.facts import DAY, HOUR, Happened, Past, Tried, Watched
from engine.core.learning.prevention import Effect, proofs
from engine.core.learning.trend import WRONG, Floats, forecast

LOG = Path(__file__).parent / "logs" / "prevention.jsonl"
SEEDS, QUICK = 1000, 100
RATE = 0.5
BEFORE, SINCE = 90.0, 45.0
WEEK = 7.0
LOOKS = 15
WRONG_MOST, HELD_LEAST = 0.05, 0.85
Numbers = np.random.Generator


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of history; times in days."""

    name: str
    ratio: float
    """The truth: the rate since by the rate before."""
    right: tuple[Effect, ...]
    """Verdicts that are not wrong."""
    since: float = SINCE
    chance: bool = False
    """It begins by chance, and not after a bad week."""
    burst: int = 1
    """So many faults come together, over two days."""
    others: int = 0
    everywhere: float = 1.0
    """By how much the rate changes everywhere at that moment."""
    new: float | None = None
    """The fault came into the world so many days before, not earlier."""
    rate: float = RATE


EARLY, NONE, WORKS, HARM = Effect.EARLY, Effect.NONE, Effect.WORKS, Effect.HARMFUL
KINDS = (
    Kind("ends nine of ten", 0.1, (WORKS, EARLY, NONE)),
    Kind("ends four of five", 0.2, (WORKS, EARLY, NONE)),
    Kind("ends four of five, 90 days ago", 0.2, (WORKS, EARLY, NONE), since=90.0),
    Kind("does nothing", 1.0, (NONE, EARLY)),
    Kind("does nothing, begun by chance", 1.0, (NONE, EARLY), chance=True),
    Kind("does nothing, rare faults", 1.0, (NONE, EARLY), rate=0.15),
    Kind("does nothing, faults in threes", 1.0, (NONE, EARLY), burst=3),
    Kind("does nothing, all hosts get better", 1.0, (NONE, EARLY), others=4, everywhere=0.3),
    Kind("does nothing, all hosts get worse", 1.0, (NONE, EARLY), others=4, everywhere=3.0),
    Kind("does nothing, the fault is new", 1.0, (NONE, EARLY), new=6.0),
    Kind("ends a new fault", 0.0, (WORKS, EARLY, NONE), new=6.0, since=60.0),
    Kind("makes it three times worse", 3.0, (HARM, NONE, EARLY)),
    Kind("ends four of five, 3 days ago", 0.2, (EARLY,), since=3.0),
    Kind("does nothing, 3 days ago", 1.0, (EARLY,), since=3.0),
)
NOTHING = next(kind for kind in KINDS if kind.name == "does nothing")
TRUTH = {WORKS: "works", HARM: "harmful", NONE: "nothing", EARLY: "early"}


def arrivals(numbers: Numbers, rate: float, start: float, end: float, burst: int = 1) -> list[float]:
    """Return moments that come by chance alone; in bursts, the first of each does."""
    if rate <= 0.0:
        return []
    count = numbers.poisson(rate / burst * (end - start))
    firsts = numbers.uniform(start, end, count)
    rest = [first + more for first in firsts for more in numbers.uniform(0.0, 2.0, burst - 1)]
    return sorted(each for each in [*firsts.tolist(), *rest] if each < end)


def begun(numbers: Numbers, times: list[float], kind: Kind) -> float | None:
    """Return when people act: after the first bad week from day 45 on, or by chance."""
    if kind.chance:
        return float(numbers.uniform(BEFORE - 10, BEFORE))
    if kind.new is not None:
        return BEFORE
    many = max(3, math.ceil(2 * kind.rate * WEEK))
    for place, at in enumerate(times):
        week = sum(at - WEEK < each <= at for each in times[: place + 1])
        if at > BEFORE / 2 and week >= many:
            return at + 0.02
    return None


def history(numbers: Numbers, kind: Kind) -> tuple[Past, float, list[float]] | None:
    """Return a past, when the prevention began, and the faults of its host; None where nobody acted."""
    first = 0.0 if kind.new is None else BEFORE - kind.new
    rate = kind.rate if kind.new is None else 1.0
    before = arrivals(numbers, rate, first, 4 * BEFORE, kind.burst)
    began = begun(numbers, before, kind)
    if began is None or began > 4 * BEFORE:
        return None
    now = began + kind.since
    own = [each for each in before if each < began]
    own += arrivals(numbers, rate * kind.ratio * kind.everywhere, began, now, kind.burst)
    faults = [fault("host", each) for each in own]
    for number in range(kind.others):
        name = f"other-{number}"
        faults += [fault(name, each) for each in arrivals(numbers, rate, 0.0, began, kind.burst)]
        faults += [fault(name, each) for each in arrivals(numbers, rate * kind.everywhere, began, now, kind.burst)]
    tried = Tried("inc", "prevents", "Prevent", 0, "host", None, began * DAY, began * DAY, "resolved")
    end = now * DAY
    past = Past(
        end, tuple(faults), (tried,), watched=Watched(0.0, end, end), preventing={"prevents": "disk"},
        targets=frozenset({"host"}),
    )  # fmt: skip
    return past, began, own


def fault(target: str, at: float) -> Happened:
    """Return one fault of ten minutes."""
    seconds = at * DAY
    return Happened(f"{target}-{at}", target, "disk", seconds, seconds, ended_at=seconds + 600, outcome="resolved")


def naive(began: float, own: list[float], since: float) -> Effect:
    """Return what a simple before-and-after says."""
    before = sum(each < began for each in own)
    found = ratio_interval(len(own) - before, since, before, began)
    return WORKS if found.high < 1 else HARM if found.low > 1 else NONE


def verdicts(kind: Kind, seeds: int, place: int) -> dict[str, object]:
    """Return how often each verdict was given for one kind of history."""
    said: Counter[Effect] = Counter()
    simple: Counter[Effect] = Counter()
    for seed in range(seeds):
        found = None
        numbers = np.random.default_rng([place, seed])
        while found is None:
            found = history(numbers, kind)
        past, began, own = found
        said[proofs(past)[0].effect] += 1
        simple[naive(began, own, kind.since)] += 1
    wrong = sum(count for effect, count in said.items() if effect not in kind.right) / seeds
    return {
        "kind": kind.name,
        "truth": kind.ratio,
        **{TRUTH[effect]: said[effect] / seeds for effect in (WORKS, NONE, HARM, EARLY)},
        "wrong": wrong,
        "naive_wrong": sum(simple[effect] for effect in (WORKS, HARM) if effect not in kind.right) / seeds,
    }


def ever(seeds: int) -> float:
    """Return how often one that does nothing is ever called one that works or harms, looked at again and again."""
    wrong = 0
    for seed in range(seeds):
        found = None
        numbers = np.random.default_rng([99, seed])
        while found is None:
            found = history(numbers, NOTHING)
        past, began, _ = found
        for look in range(1, LOOKS + 1):
            now = (began + look * SINCE / LOOKS) * DAY
            seen = tuple(each for each in past.happened if each.opened_at < now)
            then = Past(now, seen, past.tried, watched=Watched(0.0, now, now), preventing=past.preventing)
            if proofs(then)[0].effect in (WORKS, HARM):
                wrong += 1
                break
    return wrong / seeds


def covered(seeds: int) -> dict[str, float]:
    """Return how often intervals hold the truth, of rates and of their ratios."""
    numbers = np.random.default_rng(5)
    rates = ratios = 0
    for _ in range(seeds):
        mean, ratio = float(numbers.uniform(0.5, 20)), float(numbers.uniform(0.1, 4))
        before, after = int(numbers.poisson(mean)), int(numbers.poisson(mean * ratio))
        rates += rate_interval(before, 1.0).holds(mean)
        ratios += ratio_interval(after, 1.0, before, 1.0).holds(ratio)
    return {"rate": rates / seeds, "ratio": ratios / seeds}


# Forecasts

STEP = 600.0
PAST, FUTURE = 48 * HOUR, 96 * HOUR
CHANGE = ("falls, and stops falling", "begins to fall 4 hours before")
"""What changes at the end of the history, or after: nothing can know that, and these count for no goal."""
SHAPES: dict[str, Callable[[Numbers, Floats], Floats]] = {}


def shape(name: str) -> Callable[[Callable[[Numbers, Floats], Floats]], Callable[[Numbers, Floats], Floats]]:
    """Name a kind of history."""

    def named(make: Callable[[Numbers, Floats], Floats]) -> Callable[[Numbers, Floats], Floats]:
        SHAPES[name] = make
        return make

    return named


def scatter(numbers: Numbers, hours: Floats, size: float) -> Floats:
    """Return noise."""
    return numbers.normal(0.0, size, len(hours))


@shape("falls steadily")
def falls(numbers: Numbers, hours: Floats) -> Floats:
    """Return a line with noise."""
    return numbers.uniform(40, 95) - numbers.uniform(0.3, 1.2) * hours + scatter(numbers, hours, 0.5)


@shape("falls, and wanders about it")
def wanders(numbers: Numbers, hours: Floats) -> Floats:
    """Return a line with noise that remembers."""
    noise = scatter(numbers, hours, 0.3)
    for place in range(1, len(noise)):
        noise[place] += 0.97 * noise[place - 1]
    line: Floats = numbers.uniform(40, 95) - numbers.uniform(0.3, 1.0) * hours + noise
    return line


@shape("stays")
def stays(numbers: Numbers, hours: Floats) -> Floats:
    """Return noise about a level."""
    return numbers.uniform(10, 60) + scatter(numbers, hours, 1.0)


@shape("wanders without aim")
def aimless(numbers: Numbers, hours: Floats) -> Floats:
    """Return a random walk."""
    walk: Floats = numbers.uniform(15, 60) + np.cumsum(scatter(numbers, hours, 0.4))
    return walk


@shape("saw-tooth: cleared 2 to 4 times a day")
def tooth(numbers: Numbers, hours: Floats) -> Floats:
    """Return what is cleared regularly."""
    period, slope = numbers.uniform(6, 12), numbers.uniform(1, 3)
    top = slope * period + numbers.uniform(5, 30)
    return top - slope * ((hours + numbers.uniform(0, period)) % period) + scatter(numbers, hours, 0.3)


@shape("saw-tooth that falls")
def falling_tooth(numbers: Numbers, hours: Floats) -> Floats:
    """Return what is cleared regularly, and never wholly."""
    return tooth(numbers, hours) + 15 - numbers.uniform(0.3, 0.8) * hours


@shape("by the hour of the day")
def by_day(numbers: Numbers, hours: Floats) -> Floats:
    """Return what comes and goes."""
    size = numbers.uniform(5, 20)
    wave: Floats = size + 10 + size * np.sin(hours / 12 * np.pi + numbers.uniform(0, 6)) + scatter(numbers, hours, 0.5)
    return wave


@shape("steps down by chance")
def steps(numbers: Numbers, hours: Floats) -> Floats:
    """Return what goes down by large files."""
    each = (numbers.random(len(hours)) < 0.01) * numbers.uniform(1, 6, len(hours))
    return numbers.uniform(40, 80) - np.cumsum(each) + scatter(numbers, hours, 0.2)


@shape("falls, and stops falling")
def stops(numbers: Numbers, hours: Floats) -> Floats:
    """Return a line that becomes level after the history's end."""
    slope, end = numbers.uniform(0.5, 1.5), PAST / HOUR + numbers.uniform(0, 6)
    return 5 + slope * 60 - slope * np.minimum(hours, end) + scatter(numbers, hours, 0.4)


@shape("begins to fall 4 hours before")
def begins(numbers: Numbers, hours: Floats) -> Floats:
    """Return a level that becomes a line."""
    late = np.maximum(0.0, hours - PAST / HOUR + 4)
    return numbers.uniform(50, 80) - numbers.uniform(2, 5) * late + scatter(numbers, hours, 0.5)


def foretold(name: str, seeds: int, place: int) -> dict[str, object]:
    """Return how forecasts do on one kind of history."""
    hours: Floats = np.arange(round((PAST + FUTURE) / STEP), dtype=np.float64) * STEP / HOUR
    count = round(PAST / STEP)
    told = held = dead = hits = alive = false = plain_hits = plain_false = made = 0
    for seed in range(seeds):
        values = SHAPES[name](np.random.default_rng([place, seed]), hours)
        if values[:count].min() <= 0.0:
            continue  # it had run out before anybody asked
        made += 1
        times: Floats = hours[:count] * HOUR
        own: Floats = values[:count]
        gone = np.flatnonzero(values[count:] <= 0.0)
        truth = float((gone[0] + 1) * STEP) if len(gone) else math.inf
        found = forecast(times, own)
        told_now = found is not None and found.trusted
        if told_now and found is not None:
            told += 1
            held += min(found.low, FUTURE) - STEP <= min(truth, FUTURE) <= min(found.high, FUTURE) + STEP
        said = told_now and found is not None and found.seconds < 24 * HOUR
        recent = slice(count - 36, count)
        slope = float(np.polyfit(times[recent] - times[-1], own[recent], 1)[0])
        level = float(np.polyfit(times[recent] - times[-1], own[recent], 1)[1])
        plain = level + slope * 24 * HOUR < 0.0 and own[-1] < 30.0  # as disk-fills-soon has it
        if truth < 24 * HOUR:
            dead, hits, plain_hits = dead + 1, hits + said, plain_hits + plain
        elif truth > 36 * HOUR:
            alive, false, plain_false = alive + 1, false + said, plain_false + plain
    return {
        "kind": name,
        "histories": made,
        "told": told / made,
        "held": held / told if told else None,
        "run_out": dead,
        "foretold": hits / dead if dead else None,
        "plain_foretold": plain_hits / dead if dead else None,
        "last": alive,
        "false": false / alive if alive else None,
        "plain_false": plain_false / alive if alive else None,
    }


def percent(value: object) -> str:
    """Return a share for a table."""
    return f"{100 * value:.1f}" if isinstance(value, int | float) else "-"


def main() -> int:
    """Simulate and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Check proofs and forecasts on simulated histories.")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} histories of a kind instead of {SEEDS}")
    parser.add_argument("--log", type=Path, help=f"where the last line is added; without --quick {LOG.name} in logs/")
    given = parser.parse_args()
    seeds = QUICK if given.quick else SEEDS
    began = time.process_time()
    print(f"SIMULATION, {seeds} histories of a kind; figures in percent\n")
    print(
        "| a prevention that | works | no effect | harmful | too early | wrong | naive wrong |\n| --- "
        + "| ---: " * 6
        + "|"
    )
    rows = []
    for place, kind in enumerate(KINDS):
        row = verdicts(kind, seeds, place)
        rows.append(row)
        cells = " | ".join(
            percent(row[name]) for name in ("works", "nothing", "harmful", "early", "wrong", "naive_wrong")
        )
        print(f"| {kind.name} | {cells} |", flush=True)
    again = ever(seeds // 5)
    held = covered(5 * seeds)
    print(f"\nlooked at every 3 days, one that does nothing is ever called another in {percent(again)} of {seeds // 5}")
    print(f"95 % intervals hold the truth: rates {percent(held['rate'])}, ratios {percent(held['ratio'])}\n")
    print(
        "| what is left | told | held | run out | foretold | plain | last | false | plain |\n| --- "
        + "| ---: " * 8
        + "|"
    )
    forecasts = []
    for place, name in enumerate(SHAPES):
        row = foretold(name, seeds, 50 + place)
        forecasts.append(row)
        print(
            f"| {name} | {percent(row['told'])} | {percent(row['held'])} | {row['run_out']} | {percent(row['foretold'])} | "
            f"{percent(row['plain_foretold'])} | {row['last']} | {percent(row['false'])} | {percent(row['plain_false'])} |",
            flush=True,
        )
    spent = time.process_time() - began
    worst = max(float(str(row["wrong"])) for row in rows)
    steady = [row for row in forecasts if row["kind"] not in CHANGE]
    all_told = sum(float(str(row["told"])) * float(str(row["histories"])) for row in steady)
    all_held = sum(
        float(str(row["held"] or 0)) * float(str(row["told"])) * float(str(row["histories"])) for row in forecasts
    )
    met = worst <= WRONG_MOST and all_held / all_told >= HELD_LEAST
    result = {
        "benchmark": "prevention", "simulation": True, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(), "seeds": seeds, "load": round(os.getloadavg()[0], 1), "cpu_seconds": round(spent, 1),
        "verdicts": rows, "ever_wrong": again, "intervals": held, "forecasts": forecasts, "error_limit": WRONG,
        "worst_wrong": worst, "held": round(all_held / all_told, 4), "met": met,
    }  # fmt: skip
    line = json.dumps(result)
    log = given.log or (None if given.quick else LOG)
    if log is not None:
        with log.open("a") as file:
            file.write(line + "\n")
    print(line)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
