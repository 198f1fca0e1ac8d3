"""What there is to localize by: the samples of the engine, or a recording in files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.core.rca.inquiry import HISTORY, LOOKBACK, RECENT
from engine.core.rca.live import live_frame
from engine.core.rca.relations import peers_of, topology_of
from engine.core.rca.signals import Frame, Signal, Topology
from engine.core.rca.watched import Watched, watched
from engine.model.target import Fleet
from engine.promql import Storage
from engine.sources.recording import read_edges, read_recording

ROWS = HISTORY + LOOKBACK + RECENT


@dataclass(frozen=True, slots=True)
class Evidence:
    """Series, who calls whom and what the default watch was alarmed by, and the peers of each node; `step` is how far apart the rows are, in seconds."""

    frame: Frame
    topology: Topology
    step: float
    alarms: tuple[Watched, ...] = ()
    peers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def of_store(store: Storage, fleet: Fleet, at: float, step: float) -> Evidence:
    """Return what the samples say up to `at`, one row a step (seconds), as far back as an inquiry looks."""
    span = ROWS * step
    block = store.select((), round((at - span) * 1000), round(at * 1000))
    alarms = watched(block, fleet, at, step, LOOKBACK * step)
    topology = topology_of(block.series, fleet)
    return Evidence(live_frame(block, fleet, at, step, ROWS), topology, step, alarms, peers_of(fleet))


def of_files(recording: Path, edges: Path | None) -> Evidence:
    """Return what files say. Raises RecordingError."""
    read = read_recording(recording)
    signals = tuple(Signal.of_column(column) for column in read.columns)
    topology = Topology(read_edges(edges) if edges is not None else ())
    gaps = read.times[1:] - read.times[:-1]
    ahead = gaps[gaps > 0]
    step = float(sorted(ahead)[len(ahead) // 2]) if len(ahead) else 0.0
    return Evidence(Frame(read.times, read.values, signals), topology, step)
