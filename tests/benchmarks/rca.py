"""Localize the faults of public data sets, and say how well that went.

    python tests/benchmarks/rca.py DIR > predictions.jsonl     any folder with a cases.jsonl laid out like ../shared/rca
    python tests/benchmarks/rca.py DIR --spread                the same asked earlier and later, with series missing, and with other constants
    python tests/benchmarks/rca.py --scale                     100,000 series ranked, three runs

A prediction is a line {"case", "ranking": [{"node", "metric"}], "detected_at"}. Of the truth in a case nothing is used to find it: the
time of the injection says only when the question is asked (`--after` samples later, at the recording's end at the latest), and the scores on
stderr are worked out after all is answered. Node names and data set names mean nothing to any rule. What failed, and what the ranking saw
instead, stands on stderr. Needs pyarrow for Parquet: pip install 'mendbook[parquet]'.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from engine.core.rca import burden, inquiry, rank, reference
from engine.core.rca.inquiry import ENOUGH, Finding, inquire, when_well
from engine.core.rca.rank import Alarm
from engine.core.rca.signals import Frame, Kind, Signal, Topology, meaning
from engine.sources.recording import Recording, RecordingError, read_edges, read_recording

AFTER = 5
"""So many samples after the injection the question is asked."""
CONSTANTS = (
    (rank, "NOTABLE"), (rank, "SYMPTOM"), (rank, "SMALL"), (rank, "HINT"), (reference, "SHARE"), (reference, "EPISODE"), (reference, "RARE"),
    (reference, "TAIL"), (inquiry, "HISTORY"), (burden, "FAILING"),
)  # fmt: skip
JITTER = 0.3


@dataclass(frozen=True, slots=True)
class Question:
    """One case as it is asked: what is known, at what time, and which step its samples have."""

    case: str
    frame: Frame
    baseline: Frame | None
    topology: Topology
    alarm: Alarm | None
    at: float
    step: float


class Folder:
    """A folder of cases; each file is read once."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.cases: list[dict[str, Any]] = [json.loads(line) for line in (place / "cases.jsonl").open() if line.strip()]
        self._recordings: dict[str, tuple[Recording, Frame]] = {}

    def read(self, name: str) -> tuple[Recording, Frame]:
        """Return a recording, and its series as signals."""
        if name not in self._recordings:
            read = read_recording(self.place / name)
            signals = tuple(Signal.of_column(column) for column in read.columns)
            self._recordings[name] = read, Frame(read.times, read.values, signals)
        return self._recordings[name]

    def question(self, case: Mapping[str, Any], after: float = AFTER) -> Question:
        """Return a case as it is asked `after` samples from the injection. Raises RecordingError."""
        read, frame = self.read(case["file"])
        alarm = case.get("alert")
        about = None if not alarm else Alarm(alarm["node"], meaning(alarm["metric"]).kind)
        topology = Topology(read_edges(self.place / case["edges"]) if self.has(case, "edges") else ())
        frame, others = own_rows(read, frame, case["case"])
        baseline = None
        if self.has(case, "baseline"):
            _, known = self.read(case["baseline"])
            frame, baseline = common(frame, known)
        elif others is not None and len(frame.times) < ENOUGH:
            earlier = others.rows(-np.inf, float(frame.times[0]) - 1)
            baseline = when_well(earlier if len(earlier.times) >= ENOUGH else others, about)
        at = float(case["t_inject"]) + after * float(case["step_s"])
        at = min(at, float(case.get("t_end") or at), float(frame.times[-1]))
        return Question(case["case"], frame, baseline, topology, about, at, float(case["step_s"]))

    def has(self, case: Mapping[str, Any], name: str) -> bool:
        """Return whether a case names a file that is there."""
        return bool(case.get(name)) and (self.place / case[name]).is_file()


def own_rows(read: Recording, frame: Frame, case: str) -> tuple[Frame, Frame | None]:
    """Return the rows of one case, and those of the others; all rows and None where a file is about one stretch of time."""
    labels = next(iter(read.labels.values()), None)
    if labels is None:
        return frame, None
    own = labels == case
    return (
        Frame(frame.times[own], frame.values[own], frame.signals),
        Frame(frame.times[~own], frame.values[~own], frame.signals),
    )


def common(frame: Frame, baseline: Frame) -> tuple[Frame, Frame]:
    """Return both with the series that both have."""
    places = {signal: column for column, signal in enumerate(baseline.signals)}
    kept = [column for column, signal in enumerate(frame.signals) if signal in places]
    signals = tuple(frame.signals[column] for column in kept)
    return (
        Frame(frame.times, frame.values[:, kept], signals),
        Frame(baseline.times, baseline.values[:, [places[signal] for signal in signals]], signals),
    )


def ask(question: Question) -> Finding:
    """Return the answer to a question."""
    return inquire(question.frame, question.topology, question.at, question.alarm, question.baseline)


def prediction(question: Question, found: Finding) -> dict[str, Any]:
    """Return an answer as it is scored. A sample tells of the step after its time: it is there only then."""
    ranking = [{"node": each.node, "metric": each.resource} for each in found.suspects]
    detected = None if found.detected_at is None else found.detected_at + question.step
    return {"case": question.case, "ranking": ranking, "detected_at": detected}


def place_of(case: Mapping[str, Any], found: Finding | None) -> int:
    """Return the place of the true node among the nodes of a ranking, from 1; 1,000,000 where it is not among them."""
    nodes = list(dict.fromkeys(each.node for each in found.suspects)) if found else []
    return nodes.index(case["truth"]["node"]) + 1 if case["truth"]["node"] in nodes else 10**6


def answers(
    folder: Folder, after: float = AFTER, change: Callable[[Question], Question] = lambda question: question
) -> list[Finding | None]:
    """Return the answer to each case; None where its files cannot be used, which is said on stderr."""
    found: list[Finding | None] = []
    for case in folder.cases:
        if "truth" not in case or "file" not in case:
            found.append(None)
            continue
        try:
            found.append(ask(change(folder.question(case, after))))
        except (RecordingError, ValueError, KeyError) as error:
            say(f"{case.get('case')}: {type(error).__name__}: {error}")
            found.append(None)
    return found


def predict(folder: Folder) -> int:
    """Print the predictions, and on stderr how good they are."""
    began = time.perf_counter()
    found = answers(folder)
    took = time.perf_counter() - began
    for case, each in zip(folder.cases, found, strict=True):
        if each is not None:
            print(json.dumps(prediction(folder.question(case), each)))
    say(f"{len(found)} cases in {took:.1f} s, files read once; asked {AFTER} samples after the injection")
    summary(folder, found)
    return 0 if all(each is not None for each in found) else 1


def summary(folder: Folder, found: list[Finding | None]) -> None:
    """Say how good answers are, how good their times, what their margins are worth, and what failed."""
    places = [place_of(case, each) for case, each in zip(folder.cases, found, strict=True)]
    for name in dict.fromkeys(case["dataset"] for case in folder.cases):
        chosen = [number for number, case in enumerate(folder.cases) if case["dataset"] == name]
        say(f"{name:<10} {shares([places[number] for number in chosen])}")
        late = [
            each.onset - folder.cases[number]["t_inject"]
            for number in chosen
            if places[number] == 1 and (each := found[number]) is not None and each.onset is not None
        ]
        if late:
            within = statistics.mean(abs(each) <= 2 * folder.cases[chosen[0]]["step_s"] for each in late)
            say(
                f"{'':<10} onset of the right ones: {statistics.median(late):+.0f} s (median), {within:.0%} within two steps, n={len(late)}"
            )
    for text, low, high in (("below", 0.0, inquiry.SURE), ("from", inquiry.SURE, 2.0)):
        ranks = [place for place, each in zip(places, found, strict=True) if each and low <= each.margin < high]
        if ranks:
            say(
                f"margin {text} {inquiry.SURE}: the first suspect is right in {sum(p == 1 for p in ranks)} of {len(ranks)}"
            )
    for case, each, place in zip(folder.cases, found, places, strict=True):
        if place > 1 and each is not None:
            truth = case["truth"]
            where = f"at place {place}" if place < 10**6 else "not among the suspects"
            say(
                f"wrong: {case['case']}: {truth['node']} ({truth['fault'][:40]}) is {where}; instead, margin {each.margin:.2f}:"
            )
            for suspect in each.suspects[:2]:
                say(f"    {suspect.node}, {suspect.resource}, {suspect.score:.2f}: {suspect.evidence[0]}")
            for remark in each.remarks:
                say(f"    {remark}")


def shares(places: list[int]) -> str:
    """Return in how many cases the truth is among the first, as text."""
    count = max(1, len(places))
    first = "  ".join(f"top-{k} {sum(place <= k for place in places) / count:.3f}" for k in (1, 3, 5))
    return f"n={len(places):<3} {first}"


def spread(folder: Folder) -> int:
    """Print how much the shares depend on what is chosen: the moment, the series that are there, the constants."""
    rows: list[dict[str, Any]] = []

    def measure(kind: str, what: str, found: list[Finding | None]) -> None:
        for name in dict.fromkeys(case["dataset"] for case in folder.cases):
            ranks = [place_of(c, f) for c, f in zip(folder.cases, found, strict=True) if c["dataset"] == name]
            tops = {f"top{k}": round(sum(rank_ <= k for rank_ in ranks) / len(ranks), 4) for k in (1, 3)}
            rows.append({"kind": kind, "what": what, "dataset": name, **tops})
            say(f"{kind:<9} {what:<22} {name:<10} {shares(ranks)}")

    for after in (3, 4, 5, 6):
        measure("asked", f"{after} samples after", answers(folder, after))
    for share in (0.1, 0.2):
        for seed in range(3):
            measure("missing", f"{share:.0%} of series, {seed}", answers(folder, AFTER, without(share, seed)))
    measure("missing", "all about calls", answers(folder, AFTER, without_calls))
    for module, name in CONSTANTS:
        for factor in (1 - JITTER, 1 + JITTER):
            with changed(module, name, factor):
                measure("constant", f"{name} x {factor:.1f}", answers(folder))
    for kind in dict.fromkeys(row["kind"] for row in rows):
        for name in dict.fromkeys(row["dataset"] for row in rows):
            own = [row for row in rows if row["kind"] == kind and row["dataset"] == name]
            tops = "  ".join(
                f"{top} {min(r[top] for r in own):.3f} to {max(r[top] for r in own):.3f}" for top in ("top1", "top3")
            )
            print(f"{kind:<9} {name:<10} {len(own):>3} variations: {tops}")
    print(json.dumps({"benchmark": "rca-spread", "load": round(os.getloadavg()[0], 1), "rows": rows}))
    return 0


def without(share: float, seed: int) -> Callable[[Question], Question]:
    """Return what leaves out some series at random, the same in each case."""

    def changed_(question: Question) -> Question:
        kept = np.random.default_rng(seed).random(len(question.frame.signals)) >= share
        return of_columns(question, kept)

    return changed_


def without_calls(question: Question) -> Question:
    """Return a question without who calls whom and without what is known of single callers' calls."""
    kept = np.array([signal.peer is None for signal in question.frame.signals])
    bare = of_columns(question, kept)
    return Question(bare.case, bare.frame, bare.baseline, Topology(()), bare.alarm, bare.at, bare.step)


def of_columns(question: Question, kept: np.ndarray) -> Question:
    """Return a question with some of its series."""
    signals = tuple(signal for signal, stays in zip(question.frame.signals, kept, strict=True) if stays)
    frame = Frame(question.frame.times, question.frame.values[:, kept], signals)
    known = question.baseline
    baseline = None if known is None else Frame(known.times, known.values[:, kept], signals)
    return Question(question.case, frame, baseline, question.topology, question.alarm, question.at, question.step)


@contextmanager
def changed(module: Any, name: str, factor: float) -> Iterator[None]:
    """Have a constant another value for a while."""
    value = getattr(module, name)
    setattr(module, name, type(value)(value * factor))
    try:
        yield
    finally:
        setattr(module, name, value)


def scale(count: int, times: int) -> int:
    """Rank many series with one fault among them; print how long that takes.

    Beside others on the same cores the CPU's time says more of the ranking than the clock does.
    """
    rng = np.random.default_rng(1)
    names = (
        "cpu_usage",
        "memory_rss_bytes",
        "disk_io_time",
        "requests",
        "latency_mean",
        "errors",
        "net_receive",
        "net_transmit",
        "load1",
        "files_open",
    )
    nodes = [f"node-{number}" for number in range(count // len(names))]
    rows = inquiry.HISTORY // 2 + inquiry.RECENT
    values = rng.normal(100, 5, (rows, len(nodes) * len(names))).astype(np.float32)
    edges = [(nodes[number // 4], nodes[number]) for number in range(1, len(nodes))]
    broken = len(nodes) // 2
    values[-4:, broken * len(names)] = 900
    began = time.perf_counter()
    signals = tuple(Signal.named(node, name) for node in nodes for name in names)
    named, taken, busy, found = time.perf_counter() - began, [], [], None
    frame, topology = Frame(60.0 * np.arange(rows), values, signals), Topology(edges)
    for _ in range(times):
        began, worked = time.perf_counter(), time.process_time()
        found = inquire(frame, topology)
        taken.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    right = found is not None and (found.suspects[0].node, found.suspects[0].resource) == (nodes[broken], Kind.CPU)
    print(
        f"{len(signals):,} series of {rows} samples, {len(nodes):,} nodes, {len(edges):,} calls: ranked in {min(taken):.2f} s at best, {max(taken):.2f} s at worst of {times}; {min(busy):.2f} to {max(busy):.2f} s of CPU"
    )
    print(f"giving the series their meaning took {named:.2f} s once; the fault was {'found' if right else 'NOT found'}")
    load = round(os.getloadavg()[0], 1)
    print(
        json.dumps(
            {
                "benchmark": "rca-scale",
                "series": len(signals),
                "rows": rows,
                "seconds": taken,
                "cpu_seconds": busy,
                "named": named,
                "right": right,
                "load": load,
            }
        )
    )
    return 0 if right and min(busy) < 1.0 else 1


def say(text: str) -> None:
    """Say something that is not a prediction."""
    print(text, file=sys.stderr)


def main() -> int:
    """Do what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(description="Localize the faults of public data sets.")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--spread", action="store_true", help="how much the result depends on what is chosen")
    parser.add_argument("--scale", action="store_true", help="100,000 series ranked")
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    if given.scale:
        return scale(given.series, given.times)
    if given.folder is None or not (given.folder / "cases.jsonl").is_file():
        parser.error("name a folder with a cases.jsonl")
    folder = Folder(given.folder)
    return spread(folder) if given.spread else predict(folder)


if __name__ == "__main__":
    sys.exit(main())
