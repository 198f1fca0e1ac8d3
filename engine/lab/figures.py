"""A page of measured figures in Prometheus's text format, and the figures that every node measures of itself."""

from __future__ import annotations

import bisect
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.lab import process
from engine.lab.settings import NodeSettings
from engine.model.labels import quote

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)


class Page:
    """A page of metric families, each written once and in one piece, as the format demands."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: str, samples: Iterable[tuple[str, Mapping[str, str], float]]) -> None:
        """Add a family; a sample is the suffix of its name, its labels and its value."""
        self._lines.append(f"# TYPE {name} {kind}")
        for suffix, labels, value in samples:
            written = ",".join(f"{label}={quote(text)}" for label, text in labels.items())
            self._lines.append(
                f"{name}{suffix}{{{written}}} {value:.17g}" if written else f"{name}{suffix} {value:.17g}"
            )

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Add a family of one gauge."""
        self.family(name, "gauge", [("", labels, value)])

    def counter(self, name: str, value: float, **labels: str) -> None:
        """Add a family of one counter."""
        self.family(name, "counter", [("", labels, value)])

    def text(self) -> str:
        """Return the page as it goes over the wire."""
        return "\n".join(self._lines) + "\n"


class Requests:
    """Counts, durations and the number in flight of the requests that a node serves for others."""

    def __init__(self) -> None:
        # The usual codes stand there from the start: a counter that appears at 1 hides its first increase.
        self.codes: Counter[int] = Counter({200: 0, 500: 0, 503: 0})
        self.in_flight = 0
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0

    def done(self, code: int, seconds: float) -> None:
        """Count one answered request."""
        self.codes[code] += 1
        self._buckets[bisect.bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds

    def write(self, page: Page) -> None:
        """Add the request figures to a page."""
        codes = [("", {"code": str(code)}, float(count)) for code, count in sorted(self.codes.items())]
        page.family("http_requests_total", "counter", codes)
        samples: list[tuple[str, Mapping[str, str], float]] = []
        total = 0
        for bound, count in zip((*_BOUNDS, float("inf")), self._buckets, strict=True):
            total += count
            samples.append(("_bucket", {"le": "+Inf" if bound == float("inf") else f"{bound:g}"}, total))
        samples += [("_sum", {}, self._sum), ("_count", {}, total)]
        page.family("http_request_duration_seconds", "histogram", samples)
        page.gauge("http_requests_in_flight", self.in_flight)


def bytes_below(directory: Path) -> int:
    """Return the size of all files below a directory, without following links; what vanishes meanwhile counts 0."""
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        total += bytes_below(Path(entry.path))
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue
    except OSError:
        return total
    return total


def sizes(directory: Path) -> tuple[int, dict[str, int]]:
    """Return the bytes used below a directory, in all and for each sub-directory of its first level."""
    folders: dict[str, int] = {}
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    folders[entry.name] = bytes_below(Path(entry.path))
                    total += folders[entry.name]
                else:
                    total += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
    return total, folders


def write_own(page: Page, settings: NodeSettings) -> None:
    """Add what a node measures of its own process and directory, under node_exporter's names."""
    user, system = process.used_cpu()
    start = process.started_at(os.getpid())
    idle = max(0.0, time.time() - start - user - system)
    modes = [
        ("", {"cpu": "0", "mode": mode}, used) for mode, used in (("user", user), ("system", system), ("idle", idle))
    ]
    page.family("node_cpu_seconds_total", "counter", modes)
    resident = process.resident_bytes(os.getpid())
    page.gauge("node_memory_MemTotal_bytes", settings.memory_limit)
    page.gauge("node_memory_MemAvailable_bytes", max(0, settings.memory_limit - resident))
    used, folders = sizes(settings.directory)
    where = {"device": settings.name, "fstype": "directory", "mountpoint": str(settings.directory)}
    page.gauge("node_filesystem_size_bytes", settings.directory_limit, **where)
    page.gauge("node_filesystem_avail_bytes", max(0, settings.directory_limit - used), **where)
    page.family(
        "mendbook_directory_bytes", "gauge", [("", {"path": name}, size) for name, size in sorted(folders.items())]
    )
    page.gauge("node_boot_time_seconds", start)
    page.gauge("process_resident_memory_bytes", resident)
    page.counter("process_cpu_seconds_total", user + system)
    page.gauge("process_start_time_seconds", start)
