"""Detect the faults of public data sets as they stream by, and say how well that went: recall, delay and false alarms together.

    python tests/benchmarks/detect.py DIR [--spread N] [-v]   a folder laid out like ../shared/rca: days with faults, and nab/
    python tests/benchmarks/detect.py --scale                 one look at 100,000 series, beside rolling 3-sigma in numpy

Days: every file of cases.jsonl that has several faults in it and no baseline of its own. Each sample is seen once, in order; what a series measures is
read off its name, in words that exporters share. A fault is found when the alarm of any series *begins* from its injection to its
end; the delay is counted in samples from the injection (the first sample after it is 1). Clean is what is further than one sample before and three
behind any fault that is labelled, so faults whose labels are not in cases.jsonl count as clean: beside all of it stands what is clean for
an hour and more, and what is clean where faults are also taken to be in the gaps of the labels' rhythm: where injections come at even intervals
and one interval is a multiple of the others, labels are missing in it (behind the last label nothing is taken to be). An episode is false when it begins in
clean time. `--spread N` does it N times more with every constant off by up to 30 %.

NAB: its standard profile (`nab_score.py`), for the novelty of the default watch at the threshold that the engine has (fixed) and at the best one for
the corpus (optimised, as NAB does), for its alarms, and for simple detectors. The last line is one JSON object. Needs pyarrow for Parquet:
pip install 'mendbook[parquet]'.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import math
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from nab_score import Stream, at_threshold, optimised

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.core.rca.signals import Kind, Signal
from engine.core.watching.nature import COUNTED, FAILURES, FLOORS, Nature, Natures, Worse
from engine.core.watching.tuning import Tuning
from engine.core.watching.watch import Watch
from engine.sources.recording import read_recording

JITTER = 0.3
RELEASE = 3
"""So many samples behind its end a fault may still be in alarm."""
MULTIPLES = 4
"""An interval between labels that is more than so many times the usual one is no gap in the rhythm, but a pause."""
HOURS = 4.0
"""What the simple rules look back on."""
PERCENT = 1.5
"""A share that is usually above this, on any node, is told in percent."""


@dataclass(frozen=True, slots=True)
class Day:
    """A recording with its faults: `faults` are (injection, end, what)."""

    name: str
    step: float
    times: np.ndarray
    values: np.ndarray
    signals: tuple[Signal, ...]
    faults: tuple[tuple[float, float, str], ...]


def days(place: Path) -> list[Day]:
    """Return the recordings that have several faults in them."""
    cases = defaultdict(list)
    for line in (place / "cases.jsonl").read_text().splitlines():
        case = json.loads(line)
        if not case.get("baseline") and case.get("t_end"):
            cases[case["file"]].append(case)
    found = []
    for name, own in cases.items():
        if len(own) < 2 or not (place / name).is_file():
            continue
        read = read_recording(place / name)
        kept = [number for number in range(len(read.columns)) if np.isfinite(read.values[:, number]).any()]
        found.append(
            Day(
                name,
                float(own[0]["step_s"]),
                read.times,
                read.values[:, kept],
                tuple(Signal.of_column(read.columns[number]) for number in kept),
                tuple((case["t_inject"], case["t_end"], case["truth"]["fault"]) for case in own),
            )
        )
    return found


def natures(day: Day, early: int = 12) -> Natures:
    """Return what the series are, by their kinds; whether a share is in percent shows in the first samples of all of its name."""
    usual = np.nanmax(np.where(np.isfinite(day.values[:early]), day.values[:early], -np.inf), axis=0, initial=-np.inf)
    percent: dict[str, bool] = {}
    for signal, value in zip(day.signals, usual.tolist(), strict=True):
        percent[signal.name] = percent.get(signal.name, False) or value > PERCENT
    return Natures.of(nature(signal, percent=percent[signal.name]) for signal in day.signals)


def nature(signal: Signal, *, percent: bool) -> Nature:
    """Return the nature of a series of this kind."""
    share = FLOORS["percent"] if percent else FLOORS["ratio"]
    usage = signal.name.endswith(("cpu", "mem", "memory"))  # of whatever is named before it
    match Kind.CPU if usage else signal.kind:
        case Kind.LATENCY:
            return Nature(Worse.UP, FLOORS["seconds"])
        case Kind.CPU | Kind.MEMORY:
            return Nature(Worse.UP, share, 100.0 if percent else 1.0)
        case Kind.ERRORS:
            return Nature(Worse.DOWN if signal.sign < 0 else Worse.UP, FAILURES * share, relative=False)
        case Kind.TRAFFIC:
            return Nature(Worse.BOTH, COUNTED)
        case Kind.NETWORK:
            return Nature(Worse.BOTH, FLOORS["bytes"] / 60)
        case _:
            return Nature(Worse.BOTH)


def watched(day: Day, tuning: Tuning) -> np.ndarray:
    """Return which series (T, S) the default watch has in alarm."""
    watch = Watch(natures(day), tuning)
    return np.array([watch.see(row, at).alarm for at, row in zip(day.times.tolist(), day.values, strict=True)])


def sigmas(day: Day, times: float = 3.0) -> np.ndarray:
    """Return which series are more than three standard deviations off their mean of the last four hours."""
    return over_past(day, lambda now, past: np.abs(now - np.nanmean(past, 0)) > times * np.nanstd(past, 0))


def cpu_rule(day: Day) -> np.ndarray:
    """Return which CPU series are above 70 % and 1.3 times their median of the last four hours."""
    columns = np.array([signal.kind is Kind.CPU for signal in day.signals])
    factor = 1.0 if np.nanmax(day.values[:12][:, columns], initial=0) > PERCENT else 100.0
    return columns & over_past(day, lambda now, past: (now * factor > 70) & (now > 1.3 * np.nanmedian(past, 0)))


def over_past(day: Day, rule: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Return what a rule says of each row and those of the hours before it."""
    width = round(HOURS * 3600 / day.step)
    alarms = np.zeros(day.values.shape, dtype=bool)
    with np.errstate(all="ignore"):
        for row in range(2, len(day.values)):
            alarms[row] = rule(day.values[row], day.values[max(0, row - width) : row])
    return alarms


@dataclass(frozen=True, slots=True)
class Seen:
    """What a detector made of a day."""

    found: tuple[tuple[str, int | None], ...]
    """For each fault what it is, and after how many samples an alarm began; None for never."""
    clean: float
    quiet: float
    """The share of time in alarm: of what is clean, and of what is so for an hour and more."""
    false: float
    false_quiet: float
    """False episodes a day of either."""
    rhythm: float
    false_rhythm: float
    """The same two of what is clean where the gaps in the labels' rhythm are no clean time."""
    gaps: tuple[int | None, ...]
    """For each gap in the rhythm, after how many samples an alarm began; None for never within `RELEASE`."""

    def recall(self, of: Iterable[str] | None = None) -> float:
        """Return the share of faults of these kinds (or all) that were found."""
        kinds = None if of is None else set(of)
        own = [delay is not None for what, delay in self.found if kinds is None or what in kinds]
        return statistics.mean(own) if own else math.nan

    def by_kind(self) -> dict[str, list[int | None]]:
        """Return the delays of each kind of fault."""
        kinds: dict[str, list[int | None]] = {}
        for what, delay in self.found:
            kinds.setdefault(what, []).append(delay)
        return kinds


def judge(day: Day, alarms: np.ndarray) -> Seen:
    """Return recall, delays and false alarms of a day, together."""
    begun = alarms & ~np.vstack([np.zeros((1, alarms.shape[1]), dtype=bool), alarms[:-1]])
    clean = np.ones(len(day.times), dtype=bool)
    found: list[tuple[str, int | None]] = []
    for inject, end, what in day.faults:
        clean &= ~((day.times >= inject - day.step) & (day.times <= end + RELEASE * day.step))
        rows = np.flatnonzero((day.times > inject - day.step) & (day.times <= end) & begun.any(axis=1))
        found.append((what, None if not rows.size else max(1, math.ceil((day.times[rows[0]] - inject) / day.step))))
    quiet = clean & (run_lengths(clean) * day.step >= 3600)
    sure, gaps = clean.copy(), []
    for inject, end in missing(day):
        sure &= ~((day.times >= inject - day.step) & (day.times <= end + RELEASE * day.step))
        rows = np.flatnonzero((day.times > inject - day.step) & begun.any(axis=1))
        after = math.ceil((day.times[rows[0]] - inject) / day.step) if rows.size else RELEASE + 1
        gaps.append(max(1, after) if after <= RELEASE else None)
    on = alarms.any(axis=1)
    first = on & ~np.concatenate([[False], on[:-1]])
    kinds = (clean, quiet, sure)
    shares = [float(on[where].mean()) if where.any() else math.nan for where in kinds]
    rates = [float((first & where).sum() / max(where.sum() * day.step / 86400, 1e-9)) for where in kinds]
    return Seen(tuple(found), shares[0], shares[1], rates[0], rates[1], shares[2], rates[2], tuple(gaps))


def missing(day: Day) -> list[tuple[float, float]]:
    """Return where the labels' rhythm has faults without a label: in each interval that is a multiple of the usual one, evenly."""
    begins = sorted(inject for inject, *_ in day.faults)
    usual = float(np.median(np.diff(begins)))
    lasts = float(np.median([end - inject for inject, end, _ in day.faults]))
    found = []
    for one, other in pairwise(begins):
        times = round((other - one) / usual)
        found += [(at, at + lasts) for at in np.linspace(one, other, times + 1)[1:-1].tolist() if times <= MULTIPLES]
    return found


def run_lengths(flags: np.ndarray) -> np.ndarray:
    """Return for each place how long the run of equal flags is that it lies in."""
    starts = np.flatnonzero(np.concatenate([[True], flags[1:] != flags[:-1]]))
    lengths = np.diff(np.append(starts, len(flags)))
    return np.repeat(lengths, lengths)


def jittered(rng: np.random.Generator) -> Tuning:
    """Return the constants, each off by up to 30 %."""
    usual = Tuning()
    changes: dict[str, Any] = {}
    for field in fields(Tuning):
        value = getattr(usual, field.name)
        # a factor on what is there already is its distance from 1
        moved = 1 + (value - 1) * factor(rng) if 1 < value < 2 else value * factor(rng)
        changes[field.name] = max(2, round(moved)) if isinstance(value, int) else moved
    return Tuning(**changes)


def factor(rng: np.random.Generator) -> float:
    """Return a factor near 1."""
    return float(rng.uniform(1 - JITTER, 1 + JITTER))


def tell_days(found: Sequence[Day], spread: int, *, verbose: bool) -> dict[str, Any]:
    """Print and return how the days went."""
    rows = {}
    for day in found:
        begun = time.perf_counter()
        kinds = sorted({what for *_, what in day.faults})
        print(f"\n{day.name}: {len(day.times)} samples of {len(day.signals)} series, {len(day.faults)} faults")
        head = f"{'':28}{'recall':>7}{'delay':>12}{'clean in alarm':>16}{'of quiet':>10}{'false a day':>13}{'of quiet':>10}"
        print(f"{head}  " + "  ".join(kinds))
        detectors = {
            "default watch": watched(day, Tuning()),
            "3 sigma of 4 h": sigmas(day),
            "CPU > 70 %, 1.3 x median": cpu_rule(day),
        }
        for name, alarms in detectors.items():
            seen = judge(day, alarms)
            rows[f"{day.name}: {name}"] = told(name, seen, kinds)
            if verbose and name.startswith("default"):
                detail(day, alarms, seen)
        if spread:
            rng = np.random.default_rng(0)
            many = [judge(day, watched(day, jittered(rng))) for _ in range(spread)]
            for what, of in (
                ("recall", Seen.recall),
                ("cpu and memory recall", lambda seen: seen.recall(usage(what for what, _ in seen.found))),
                ("clean in alarm", lambda seen: seen.clean),
                ("quiet in alarm", lambda seen: seen.quiet),
                ("false a day", lambda seen: seen.false),
                ("false a day of quiet", lambda seen: seen.false_quiet),
                ("in rhythm in alarm", lambda seen: seen.rhythm),
                ("false a day in rhythm", lambda seen: seen.false_rhythm),
            ):
                values = [of(seen) for seen in many]
                print(f"  constants +-30 %, {spread} times: {what:22} {quartiles(values)}")
                rows[f"{day.name}: spread"] = {**rows.get(f"{day.name}: spread", {}), what: sorted(values)}
        print(f"  ({time.perf_counter() - begun:.1f} s)")
    return rows


def usage(kinds: Iterable[str]) -> list[str]:
    """Return the kinds of faults that use up a resource."""
    return [kind for kind in kinds if "cpu" in kind.lower() or "mem" in kind.lower()]


def quartiles(values: Sequence[float]) -> str:
    """Return least, median and most."""
    return f"{min(values):.3f} .. {statistics.median(values):.3f} .. {max(values):.3f}"


def told(name: str, seen: Seen, kinds: Sequence[str]) -> dict[str, Any]:
    """Print a row and return it."""
    delays = [delay for _, delay in seen.found if delay is not None]
    delay = f"{statistics.median(delays):g}, {max(delays)}" if delays else "-"
    by_kind = seen.by_kind()
    counts = {kind: (sum(each is not None for each in by_kind[kind]), len(by_kind[kind])) for kind in kinds}
    cells = "  ".join(f"{f'{hit}/{of}':>{len(kind)}}" for kind, (hit, of) in counts.items())
    row = f"{name:28}{seen.recall():7.3f}{delay:>12}{seen.clean:16.4f}{seen.quiet:10.4f}{seen.false:13.2f}{seen.false_quiet:10.2f}"
    print(f"{row}  {cells}")
    near = sum(each is not None for each in seen.gaps)
    print(
        f"{'':28}without the {len(seen.gaps)} gaps in the labels' rhythm, {near} of which have an alarm within {RELEASE} samples: "
        f"clean in alarm {seen.rhythm:.4f}, false a day {seen.false_rhythm:.2f}"
    )
    worst = max((delay or 10**6 for what, delay in seen.found if what in usage(kinds)), default=None)
    return {
        "recall": seen.recall(),
        "recall_usage": seen.recall(usage(kinds)),
        "worst_delay_usage": worst,
        "median_delay": statistics.median(delays) if delays else None,
        "clean": seen.clean,
        "quiet": seen.quiet,
        "false": seen.false,
        "false_quiet": seen.false_quiet,
        "rhythm": seen.rhythm,
        "false_rhythm": seen.false_rhythm,
        "gaps": seen.gaps,
        "by_kind": by_kind,
    }


def detail(day: Day, alarms: np.ndarray, seen: Seen) -> None:
    """Print the faults that were not found, and the false episodes with the series that were in alarm."""
    for (inject, _, what), (_, delay) in zip(day.faults, seen.found, strict=True):
        print(f"    {what} at {inject:.0f}: " + ("not found" if delay is None else f"after {delay}"))
    on = alarms.any(axis=1)
    for row in np.flatnonzero(on & ~np.concatenate([[False], on[:-1]])).tolist():
        at = float(day.times[row])
        if not any(inject - day.step <= at <= end + RELEASE * day.step for inject, end, _ in day.faults):
            names = [f"{day.signals[n].node} {day.signals[n].name}" for n in np.flatnonzero(alarms[row])]
            print(f"    false at {at:.0f} (sample {row}): {', '.join(names[:6])}")


def streams(place: Path) -> dict[str, Stream]:
    """Return NAB's files."""
    found = {}
    for name, windows in json.loads((place / "windows.json").read_text()).items():
        with gzip.open(place / f"{name}.gz", "rt") as file:
            rows = list(csv.reader(file))[1:]
        spans = tuple((seconds(begin), seconds(end)) for begin, end in windows)
        found[name] = Stream(
            np.array([seconds(row[0]) for row in rows]), np.array([float(row[1]) for row in rows]), spans
        )
    return found


def seconds(text: str) -> float:
    """Return the time that a text says, in seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def novelty_and_alarms(stream: Stream, tuning: Tuning) -> tuple[np.ndarray, np.ndarray]:
    """Return what the default watch says of a stream: novelty, and 1 where an alarm begins."""
    watch = Watch(Natures.of([Nature()]), tuning)
    sights = [watch.see(stream.values[n : n + 1], float(at)) for n, at in enumerate(stream.times)]
    alarm = np.array([float(sight.alarm[0]) for sight in sights])
    return np.array([float(sight.novelty[0]) for sight in sights]), np.maximum(np.diff(alarm, prepend=0.0), 0)


def rolling(stream: Stream, width: int) -> np.ndarray:
    """Return how many standard deviations a sample is off the mean of so many before it."""
    one = np.concatenate([[0.0], np.cumsum(stream.values - stream.values[0])])
    two = np.concatenate([[0.0], np.cumsum((stream.values - stream.values[0]) ** 2)])
    now = np.arange(1, len(stream.values))
    first = np.maximum(0, now - width)
    mean = (one[now] - one[first]) / (now - first)
    spread = np.sqrt(np.maximum((two[now] - two[first]) / (now - first) - mean**2, 1e-12))
    return np.concatenate([[0.0], np.minimum(np.abs(stream.values[now] - stream.values[0] - mean) / spread, 1e6)])


def tell_nab(found: Mapping[str, Stream], spread: int, *, verbose: bool) -> dict[str, Any]:
    """Print and return the scores of NAB."""
    windows = sum(len(stream.windows) for stream in found.values())
    print(f"\nNAB, standard profile: {len(found)} files, {windows} anomalies{'optimised':>16}{'fixed':>10}")
    rows: dict[str, Any] = {}

    def row(name: str, scores: Mapping[str, np.ndarray], fixed: float | None = None, *, best: bool = True) -> None:
        score, threshold = optimised(found, scores) if best else (math.nan, math.nan)
        own = math.nan if fixed is None else at_threshold(found, scores, fixed)
        rows[name] = {"optimised": score, "threshold": threshold, "fixed": own}
        print(f"{name:42}{score:16.1f}{own:10.1f}")

    usual = {name: novelty_and_alarms(stream, Tuning()) for name, stream in found.items()}
    row("default watch: novelty", {name: each[0] for name, each in usual.items()}, Tuning().novel)
    row("default watch: alarms that begin", {name: each[1] for name, each in usual.items()}, 1.0, best=False)
    row("rolling 3 sigma, 288 samples", {name: rolling(stream, 288) for name, stream in found.items()}, 3.0)
    row("windowed Gaussian, 6,400 samples", {name: rolling(stream, 6400) for name, stream in found.items()})
    every = {
        width: at_threshold(found, {n: (np.arange(len(s.times)) % width == 0) * 1.0 for n, s in found.items()}, 1.0)
        for width in (150, 200, 300, 400, 600)
    }
    width = max(every, key=lambda each: every[each])
    print(f"{f'an alarm every {width} samples':42}{'-':>16}{every[width]:10.1f}")
    rows["periodic"] = {"fixed": every[width], "every": width}
    if verbose:
        for name, stream in found.items():
            alone = {name: stream}
            score = at_threshold(alone, {name: usual[name][0]}, Tuning().novel) if stream.windows else math.nan
            count = int((usual[name][0][stream.learning :] >= Tuning().novel).sum())
            print(f"    {name:60} {score:7.1f}  {count} alarms for {len(stream.windows)} anomalies")
    if spread:
        rng, scores = np.random.default_rng(0), []
        for _ in range(spread):
            tuning = jittered(rng)
            novel = {name: novelty_and_alarms(stream, tuning)[0] for name, stream in found.items()}
            scores.append((optimised(found, novel)[0], at_threshold(found, novel, tuning.novel)))
        for place, what in enumerate(("optimised", "fixed")):
            print(f"  constants +-30 %, {spread} times: {what:22} {quartiles([each[place] for each in scores])}")
        rows["spread"] = {"optimised": sorted(each[0] for each in scores), "fixed": sorted(each[1] for each in scores)}
    return rows


def scale(series: int, ticks: int = 80) -> dict[str, float]:
    """Print and return what one look at so many series takes, beside a rolling mean and deviation of an hour in numpy."""
    rng = np.random.default_rng(0)
    level = rng.uniform(1, 100, series)
    samples = [level + rng.normal(size=series) for _ in range(20)]
    watch = Watch(Natures.of([Nature(limit=1000.0)] * series))
    mean, square, ring = np.zeros(series), np.zeros(series), np.zeros((240, series))
    clocks = (time.perf_counter, time.process_time)
    ours: list[list[float]] = [[], []]
    theirs: list[list[float]] = [[], []]
    for tick in range(ticks):
        sample = samples[tick % len(samples)]
        begun = [clock() for clock in clocks]
        watch.see(sample, 1.7e9 + 15 * tick)
        for kept, clock, start in zip(ours, clocks, begun, strict=True):
            kept.append(1000 * (clock() - start))
        begun = [clock() for clock in clocks]
        spread = np.sqrt(np.maximum(square / 240 - (mean / 240) ** 2, 1e-12))
        _ = np.abs(sample - mean / 240) > 3 * spread
        old = ring[tick % 240].copy()
        mean += sample - old
        square += sample * sample - old * old
        ring[tick % 240] = sample
        for kept, clock, start in zip(theirs, clocks, begun, strict=True):
            kept.append(1000 * (clock() - start))
    found = {
        "series": series,
        "watch_ms": statistics.median(ours[0][20:]),
        "watch_least_ms": min(ours[0][20:]),
        "watch_cpu_ms": statistics.median(ours[1][20:]),
        "watch_worst_ms": max(ours[0]),
        "sigma_ms": statistics.median(theirs[0][20:]),
        "sigma_cpu_ms": statistics.median(theirs[1][20:]),
        "bytes_each": float(watch.bytes_each),
        "sigma_bytes_each": 8.0 * 242,
        "goal_ms": 10.0,
    }
    print(f"{series:,} series, milliseconds a tick: median {'':4}least      CPU    worst   bytes a series")
    for name, key, times in (("default watch", "watch", ours), ("rolling 3 sigma, numpy", "sigma", theirs)):
        figures = (
            statistics.median(times[0][20:]),
            min(times[0][20:]),
            statistics.median(times[1][20:]),
            max(times[0]),
        )
        cells = "".join(f"{each:9.1f}" for each in figures)
        size = found["bytes_each" if key == "watch" else "sigma_bytes_each"]
        print(f"  {name:30}{cells}{size:17.0f}")
    return found


def finite(value: Any) -> Any:
    """Return figures as JSON can tell them: what is no number is none."""
    match value:
        case dict():
            return {key: finite(each) for key, each in value.items()}
        case list() | tuple():
            return [finite(each) for each in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--spread", type=int, default=0, metavar="N")
    parser.add_argument("--only", choices=["days", "nab"])
    parser.add_argument("-v", "--verbose", action="store_true")
    asked = parser.parse_args()
    if asked.folder is None and not asked.scale:
        parser.error("name a folder, or ask for --scale")
    figures: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    if asked.scale:
        figures["scale"] = scale(asked.series)
    if asked.folder is not None:
        if asked.only != "nab" and (asked.folder / "cases.jsonl").is_file():
            figures["days"] = tell_days(days(asked.folder), asked.spread, verbose=asked.verbose)
        if asked.only != "days" and (asked.folder / "nab" / "windows.json").is_file():
            figures["nab"] = tell_nab(streams(asked.folder / "nab"), asked.spread, verbose=asked.verbose)
    print(json.dumps(finite(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
