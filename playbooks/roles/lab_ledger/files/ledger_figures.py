"""What the ledger tells of itself, in Prometheus' text format."""

from __future__ import annotations

import bisect
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FRESH = 30.0  # seconds for which a scan's figures are shown; scans come far more often, unless the thread that makes them has died
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class Figures:
    """What /metrics tells; every method may be called by any thread."""

    started: float = field(default_factory=time.time)
    lock: threading.Lock = field(default_factory=threading.Lock)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    buckets: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    reading: tuple[int, int, int] | None = None
    scans: Counter[str] = field(default_factory=Counter)
    failure: str = ""
    scanned: float = 0.0
    fresh_until: float = 0.0

    def answered(self, handler: str, status: int, seconds: float) -> None:
        """Count a request."""
        with self.lock:
            self.requests[handler, status] += 1
            self.buckets[handler, bisect.bisect_left(BUCKETS, seconds)] += 1
            self.seconds[handler] = self.seconds.get(handler, 0.0) + seconds

    def read(self, reading: tuple[int, int, int]) -> None:
        """Take in what a scan found."""
        with self.lock:
            self.reading, self.failure, self.scanned = reading, "", time.time()
            self.fresh_until = time.monotonic() + FRESH
            self.scans["ok"] += 1

    def unread(self, sqlstate: str) -> None:
        """Take in that a scan failed: old figures are not shown as if they were new."""
        with self.lock:
            self.reading, self.failure = None, sqlstate
            self.scans[sqlstate] += 1

    def page(self) -> str:
        """Return the page in Prometheus' text format."""
        with self.lock:
            return "\n".join([*self.request_lines(), *self.scan_lines(), *process_lines(self.started)]) + "\n"

    def request_lines(self) -> Iterator[str]:
        yield "# TYPE ledger_requests_total counter"
        for (handler, status), count in sorted(self.requests.items()):
            yield f'ledger_requests_total{{handler="{handler}",code="{status}"}} {count}'
        yield "# TYPE ledger_request_duration_seconds histogram"
        for handler, seconds in sorted(self.seconds.items()):
            count = 0
            for place, edge in enumerate([*map(str, BUCKETS), "+Inf"]):
                count += self.buckets[handler, place]
                yield f'ledger_request_duration_seconds_bucket{{handler="{handler}",le="{edge}"}} {count}'
            yield f'ledger_request_duration_seconds_sum{{handler="{handler}"}} {seconds:.6f}'
            yield f'ledger_request_duration_seconds_count{{handler="{handler}"}} {count}'

    def scan_lines(self) -> Iterator[str]:
        reading = self.reading if time.monotonic() < self.fresh_until else None
        yield "# HELP ledger_scan_success Whether the newest full scan of the tables worked. Without it there are no figures."
        yield "# TYPE ledger_scan_success gauge"
        if self.scans:
            yield f"ledger_scan_success {int(reading is not None)}"
        yield "# TYPE ledger_scans_total counter"
        for result, count in sorted(self.scans.items()):
            yield f'ledger_scans_total{{result="{result}"}} {count}'
        if self.failure:
            yield "# HELP ledger_scan_error The newest scan's SQLSTATE: XX001 is a damaged page, 42P01 a missing table."
            yield "# TYPE ledger_scan_error gauge"
            yield f'ledger_scan_error{{sqlstate="{self.failure}"}} 1'
        if self.scanned:
            yield "# TYPE ledger_scan_timestamp_seconds gauge"
            yield f"ledger_scan_timestamp_seconds {self.scanned:.3f}"
        if reading is not None:
            for name, value in zip(("total", "accounts", "transfers"), reading, strict=True):
                yield f"# TYPE ledger_{name} gauge"
                yield f"ledger_{name} {value}"


def process_lines(started: float) -> Iterator[str]:
    """Yield the figures of this process under the names that client libraries use."""
    pages = [int(number) * os.sysconf("SC_PAGE_SIZE") for number in Path("/proc/self/statm").read_text().split()[:2]]
    limits = next(
        line for line in Path("/proc/self/limits").read_text().splitlines() if line.startswith("Max open files")
    )
    used = os.times()
    for kind, name, value in (
        ("gauge", "process_virtual_memory_bytes", pages[0]),
        ("gauge", "process_resident_memory_bytes", pages[1]),
        ("counter", "process_cpu_seconds_total", round(used.user + used.system, 2)),
        ("gauge", "process_open_fds", len(os.listdir("/proc/self/fd")) - 1),
        ("gauge", "process_max_fds", limits.split()[3]),
        ("gauge", "process_threads", threading.active_count()),
        ("gauge", "process_start_time_seconds", round(started, 3)),
    ):
        yield f"# TYPE {name} {kind}"
        yield f"{name} {value}"
