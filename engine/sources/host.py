"""Collects from this machine, under the names of node_exporter and process-exporter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import psutil

from engine.model.labels import METRIC_NAME, Batch, Labels
from engine.sources import machine
from engine.sources.assembly import Assembly, Part
from engine.sources.machine import Figure
from engine.sources.processes import ProcessGroups
from engine.sources.units import SystemdUnits

FAILURES = (OSError, ValueError, RuntimeError, psutil.Error)
"""What reading a kernel's files or asking a program may end in; NotImplementedError is a RuntimeError."""


class HostSource:
    """Collects this machine's figures; what cannot be read is missing, and the rest is there.

    `instance` and `job` label every series. Each kind of figures has `node_scrape_collector_success` and
    `node_scrape_collector_duration_seconds`; the whole has `up` (always 1), `scrape_duration_seconds` and
    `scrape_samples_scraped`. A series that was there at the last collection and is not at this one ends with a stale
    marker. Thread-safe.
    """

    def __init__(self, instance: str, job: str = "node", *, units: SystemdUnits | None = None) -> None:
        self._labels = {"instance": instance, "job": job}
        self._collectors: dict[str, Callable[[], Iterable[Figure]]] = {
            "cpu": machine.cpu,
            "meminfo": machine.memory,
            "filesystem": machine.filesystems,
            "diskstats": machine.disks,
            "netdev": machine.network,
            "time": machine.clock,
            "filefd": machine.files,
            "pressure": machine.pressure,
            "processes": ProcessGroups().read,
            "systemd": (units or SystemdUnits()).read,
        }
        self._mutex = threading.Lock()
        self._assembly = Assembly()
        self._known: dict[tuple[str, tuple[tuple[str, str], ...]], Labels] = {}
        self._keys: list[tuple[str, tuple[tuple[str, str], ...]]] = []
        self._series: tuple[Labels, ...] = ()
        self._errors: Mapping[str, str] = MappingProxyType({})

    @property
    def errors(self) -> Mapping[str, str]:
        """Why the kinds of figures that could not be read at the last collection were not, by kind."""
        return self._errors

    def collect(self, at: float) -> Batch:
        """Return what there is to see now, all as of `at`."""
        with self._mutex:
            begun = time.perf_counter()
            errors: dict[str, str] = {}
            figures: list[Figure] = []
            for name, collector in self._collectors.items():
                started = time.perf_counter()
                try:
                    figures += collector()
                except FAILURES as error:
                    errors[name] = f"{type(error).__name__}: {error}"
                label = (("collector", name),)
                figures.append(("node_scrape_collector_success", label, float(name not in errors)))
                figures.append(("node_scrape_collector_duration_seconds", label, time.perf_counter() - started))
            self._errors = MappingProxyType(errors)
            samples = float(len(figures))
            figures.append(("up", (), 1.0))
            figures.append(("scrape_duration_seconds", (), time.perf_counter() - begun))
            figures.append(("scrape_samples_scraped", (), samples))
            return self._assembly.batch(at, [Part(self._named(figures), [figure[2] for figure in figures])])

    def close(self) -> None:
        """Do nothing: a source has this."""

    def _named(self, figures: list[Figure]) -> tuple[Labels, ...]:
        """Return the series of figures; the identical tuple while they are the same."""
        keys = [(name, pairs) for name, pairs, _ in figures]
        if keys != self._keys:
            known = self._known
            self._known = {key: known.get(key) or self._build(*key) for key in keys}
            self._keys = keys
            self._series = tuple(self._known[key] for key in keys)
        return self._series

    def _build(self, name: str, pairs: tuple[tuple[str, str], ...]) -> Labels:
        # A mount point or a device may have a name that is not UTF-8.
        clean = ((label, value.encode("utf-8", "replace").decode()) for label, value in pairs)
        return Labels({METRIC_NAME: name, **dict(clean), **self._labels})
