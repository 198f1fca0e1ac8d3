"""Series as exporters publish them, made comparable: one row a step, counters as rates, sums and counts as means, the host as node.

A node is a host as the inventory names it, or what `instance` says where it names none. Processes, mounts, devices and tables of it are culprits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from engine.core.rca.signals import Frame, Kind, Signal
from engine.core.watching.nature import counted_by_kernel
from engine.model.labels import METRIC_NAME, Labels
from engine.model.target import Fleet
from engine.promql import Block

COUNTERS = ("_total", "_count", "_sum")
CULPRITS = (
    "groupname", "process", "service", "unit", "mountpoint", "path", "device", "interface", "datname", "relname", "table", "queue", "proxy",
    "backend", "server", "name",
)  # fmt: skip
"""Labels that name what of a node a series is about, the first one that is there."""
OF_PROCESSES = "process_"
CPU_SECONDS = "node_cpu_seconds_total"
IDLE = frozenset({"idle", "iowait", "steal"})
TOLD = frozenset({"node_memory_MemAvailable_bytes", "node_memory_SwapFree_bytes"})
"""Of what a machine says of its memory, this says how much there is to have; the rest is how the kernel deals it out."""
LEFT_OUT = ("_bucket", "_info", "_created", "_timestamp_seconds", "_time_seconds", "_max_bytes", "_size_bytes")
UNTOLD = frozenset({METRIC_NAME, "instance", "job", "fstype", "nodename", "cpu"})
CONCLUDED = ("mendbook_anomal", "mendbook_forecast")
"""What the engine itself concluded from the series is no evidence beside them."""
OURS = "mendbook"
"""The job of the engine's own series: how it is, not how the fleet is."""
FLOORS = (
    ("cpu", 0.05),
    ("ratio", 0.01),
    ("bytes", float(1 << 20)),
    ("milliseconds", 5.0),
    ("seconds", 0.005),
    ("percent", 1.0),
)
"""Words of a name that say its unit, and what in that unit is nothing special: a twentieth of a processor, a mebibyte, five milliseconds."""
FAILED = ("5", "err")
"""A label `code` that begins so counts what failed."""


def live_frame(block: Block, fleet: Fleet, end: float, step: float, rows: int) -> Frame:
    """Return the samples of the last `rows` steps (seconds) up to `end`, from the first step with one; a step without a sample of a series is NaN.

    Of several samples in a step the last one counts. Series that never were anything but one value, and say nothing of more or less, stay:
    what is usual for them is that value.
    """
    times = end - step * np.arange(rows - 1, -1, -1)
    values = gridded(block, end, step, rows)
    signals: list[Signal] = []
    columns: list[np.ndarray] = []
    for signal, column in told(block.series, values, fleet, step):
        if np.isfinite(column).any():
            signals.append(signal)
            columns.append(column)
    table = np.column_stack(columns) if columns else np.empty((rows, 0))
    seen = np.flatnonzero(np.isfinite(table).any(axis=1))
    return Frame(times, table, tuple(signals)).from_row(int(seen[0]) if len(seen) else rows)


def gridded(block: Block, end: float, step: float, rows: int) -> np.ndarray:
    """Return the samples as (rows, S): row i has the last sample of its step, NaN where there is none."""
    values = np.full((rows, len(block.series)), np.nan)
    if not len(block.times):
        return values
    back = np.floor((end - block.times / 1000) / step + 1e-9).astype(np.int64)
    row = rows - 1 - back
    column = np.repeat(np.arange(len(block.series)), np.diff(block.offsets))
    inside = (row >= 0) & (row < rows)
    values[row[inside], column[inside]] = block.values[inside]  # times ascend: the last one of a step stays
    values[np.isnan(values)] = np.nan  # a stale marker is a NaN that complains when it is reckoned with
    return values


def told(
    series: Sequence[Labels], values: np.ndarray, fleet: Fleet, step: float
) -> Iterator[tuple[Signal, np.ndarray]]:
    """Yield what the series say, each with its values."""
    owners = Owners(fleet)
    sums: dict[Labels, int] = {}
    counts: dict[Labels, int] = {}
    busy: dict[str, list[tuple[bool, np.ndarray]]] = {}
    for column, labels in enumerate(series):
        name = labels.get(METRIC_NAME, "")
        if not said(name) or labels.get("job") == OURS:
            continue
        node = owners.of(labels)
        if node is None:
            continue
        if name == CPU_SECONDS:
            busy.setdefault(node, []).append((labels.get("mode") in IDLE, rate(values[:, column], step)))
            continue
        if name.endswith("_sum"):
            sums[labels.with_({METRIC_NAME: name.removesuffix("_sum")})] = column
            continue  # it counts with its count, as a mean
        if name.endswith("_count"):
            counts[labels.with_({METRIC_NAME: name.removesuffix("_count")})] = column
            calls = Signal(node, titled(labels), Kind.TRAFFIC, culprit=culprit_of(labels))
            yield calls, rate(values[:, column], step)
            continue
        course = rate(values[:, column], step) if grows(name) else values[:, column]
        yield about(node, labels), course
    for node, parts in busy.items():
        yield replace(Signal(node, "cpu busy share", Kind.CPU), floor=floor_of("cpu")), share_busy(parts)
    for labels in sums.keys() & counts.keys():
        total, count = rate(values[:, sums[labels]], step), rate(values[:, counts[labels]], step)
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        node = owners.of(labels)
        if node is not None:
            yield about(node, labels, "mean "), mean


def about(node: str, labels: Labels, prefix: str = "") -> Signal:
    """Return what a series with these labels says of a node."""
    signal = Signal.named(node, prefix + titled(labels), culprit=culprit_of(labels))
    name = labels.get(METRIC_NAME, "")
    counts = signal.kind is Kind.ERRORS and signal.sign > 0 and "ratio" not in name
    return replace(signal, floor=floor_of(name), counted=counts)


@lru_cache(maxsize=1 << 12)
def grows(name: str) -> bool:
    """Return whether a series counts from when what it is about started: then by how much it grew says how it is."""
    return name.endswith(COUNTERS) or counted_by_kernel(name)


@lru_cache(maxsize=1 << 12)
def floor_of(name: str) -> float:
    """Return what is nothing special in the unit that a name says; 0 where it says none."""
    words = name.split("_")
    return next((floor for word, floor in FLOORS if word in words), 0.0)


def said(name: str) -> bool:
    """Return whether the name is one of a series that can say what is wrong with a node."""
    told_already = name.startswith(CONCLUDED) or name.endswith(LEFT_OUT)
    return bool(name) and not told_already and (not name.startswith("node_memory_") or name in TOLD)


def titled(labels: Labels) -> str:
    """Return how a series is called: its metric, and what tells it from others of its node."""
    name = labels.get(METRIC_NAME, "")
    if labels.get("code", "").startswith(FAILED):
        name = f"errors of {name}"
    rest = ",".join(value for key, value in labels.items() if key not in UNTOLD)
    return f"{name} ({rest})" if rest else name


def culprit_of(labels: Labels) -> str | None:
    """Return what of its node a series is about; None where it is about the whole of it."""
    found = next((labels[key] for key in CULPRITS if key in labels), None)
    if found is None and labels.get(METRIC_NAME, "").startswith(OF_PROCESSES):
        return labels.get("job")
    return found


def rate(course: np.ndarray, step: float) -> np.ndarray:
    """Return by how much a counter grew a second, row by row; where it fell, it began anew from nothing."""
    grown = np.full_like(course, np.nan)
    if len(course) > 1:
        grew = np.diff(course)
        grown[1:] = np.where(grew < 0, course[1:], grew) / step
    return grown


def share_busy(parts: Sequence[tuple[bool, np.ndarray]]) -> np.ndarray:
    """Return which share of a machine's seconds was not idle."""
    idle = sum((course for still, course in parts if still), np.zeros_like(parts[0][1]))
    whole = sum((course for _, course in parts), np.zeros_like(parts[0][1]))
    busy: np.ndarray = 1 - np.divide(idle, whole, out=np.full_like(whole, np.nan), where=whole > 0)
    return busy


class Owners:
    """Whose each series is; worked out once for each value of `instance`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: dict[str, str] = {}

    def of(self, labels: Mapping[str, str]) -> str | None:
        """Return the node that a series is about; None where it says of no instance."""
        instance = labels.get("instance")
        return None if not instance else self.named(instance)

    def named(self, instance: str) -> str:
        """Return the host of an instance, of its name or of its address; the instance itself where none, or several, are meant."""
        if instance not in self._known:
            target = self._fleet.get(instance)
            found = (target,) if target is not None else self._fleet.of_instance(instance)
            self._known[instance] = found[0].name if len(found) == 1 else instance
        return self._known[instance]
