"""Probes services from outside: does a port greet, does a page answer, and how quickly."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Final

import aiohttp
from yarl import URL

from engine.model.labels import METRIC_NAME, Batch, Labels
from engine.sources.assembly import Assembly, Part
from engine.sources.side_by_side import Job, Outcome, Refused, SideBySide

BODY: Final = 1 << 20
"""Bytes of an answer that are read, and looked through for `contains`."""
PHASES: Final = ("resolve", "connect", "processing", "transfer")
COMMON: Final = ("probe_success", "probe_duration_seconds", "probe_failed_due_to_regex")


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A port must accept a connection and, with `prefix`, greet with these bytes: a connection alone proves little."""

    host: str
    port: int
    instance: str
    job: str
    prefix: bytes = b""
    labels: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """An address must answer with one of `statuses` (any 2xx when empty) and, with `contains`, that text in its body.

    Redirects are answers, and not followed.
    """

    url: str
    instance: str
    job: str
    statuses: frozenset[int] = frozenset()
    contains: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    timeout: float | None = None


Probe = TcpProbe | HttpProbe


@dataclass(slots=True)
class Course:
    """How far a probe came, filled in as it goes, so that a failure tells that too."""

    status: int = 0
    unmatched: bool = False
    phases: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))


class ProbeSource:
    """Probes all services at once, each within its own timeout, under blackbox_exporter's names.

    Each probe gives `probe_success`, `probe_duration_seconds` and `probe_failed_due_to_regex` (what came is not what was
    expected); an HTTP one also `probe_http_status_code` (0 without an answer) and `probe_http_duration_seconds{phase}`, of
    which `connect` includes TLS. Every probe opens a connection of its own, directly. Thread-safe.
    """

    def __init__(self, probes: Sequence[Probe] = (), *, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._mutex = threading.Lock()
        self._probes: dict[Probe, tuple[Labels, ...]] = {}
        self._errors: Mapping[str, str] = MappingProxyType({})
        self._assembly = Assembly()
        self._prober: Prober | None = None
        self.set_probes(probes)

    @property
    def errors(self) -> Mapping[str, str]:
        """Why the probes that failed at the last collection did, by instance."""
        return self._errors

    def set_probes(self, probes: Sequence[Probe]) -> None:
        """Make these probes from now on; the series of those left out end."""
        have = self._probes  # swapped whole, so that nobody waits for a collection that is under way
        self._probes = {one: have.get(one) or series(one) for one in probes}

    def collect(self, at: float) -> Batch:
        """Return what every probe found, all as of `at`, within the longest timeout of a probe and a little more."""
        with self._mutex:
            probes = self._probes
            if probes and self._prober is None:
                self._prober = Prober()
            errors: dict[str, str] = {}
            parts: dict[Probe, Part] = {}
            if self._prober is not None:
                courses = {one: Course() for one in probes}
                jobs = {one: self._job(self._prober, one, course) for one, course in courses.items()}
                for probe, outcome in self._prober.side_by_side.round(jobs):
                    parts[probe] = Part(probes[probe], figures(probe, outcome, courses[probe]))
                    if outcome.error is not None:
                        errors[probe.instance] = outcome.error
            self._errors = MappingProxyType(errors)
            return self._assembly.batch(at, [parts[one] for one in probes])

    def _job(self, prober: Prober, probe: Probe, course: Course) -> Job[None]:
        return Job(partial(prober.probe, probe, course), self._timeout if probe.timeout is None else probe.timeout)

    def close(self) -> None:
        """End the thread that waits for answers."""
        with self._mutex:
            if self._prober is not None:
                self._prober.close()
                self._prober = None


def series(probe: Probe) -> tuple[Labels, ...]:
    """Return the series of a probe, in the order of its figures."""
    labels = {**dict(probe.labels), "instance": probe.instance, "job": probe.job}
    found = [Labels({METRIC_NAME: name, **labels}) for name in COMMON]
    if isinstance(probe, HttpProbe):
        found.append(Labels({METRIC_NAME: "probe_http_status_code", **labels}))
        found += [Labels({METRIC_NAME: "probe_http_duration_seconds", **labels, "phase": phase}) for phase in PHASES]
    return tuple(found)


def figures(probe: Probe, outcome: Outcome[None], course: Course) -> tuple[float, ...]:
    """Return the values of a probe's series."""
    common = (float(outcome.error is None), outcome.seconds, float(course.unmatched))
    if isinstance(probe, HttpProbe):
        return (*common, float(course.status), *course.phases.values())
    return common


class Prober:
    """Makes probes side by side."""

    def __init__(self) -> None:
        self.side_by_side = SideBySide("probe")
        self._session = self.side_by_side.call(self._open())

    async def _open(self) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_dns_resolvehost_start.append(dns_started)
        trace.on_dns_resolvehost_end.append(dns_ended)
        trace.on_connection_create_start.append(connection_started)
        trace.on_connection_create_end.append(connection_ended)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, force_close=True, use_dns_cache=False, resolver=aiohttp.ThreadedResolver()
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "mendbook", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None),  # each job has its own
            trace_configs=[trace],
            auto_decompress=False,
            trust_env=False,
        )

    def close(self) -> None:
        """End the connections."""
        self.side_by_side.call(self._session.close())
        self.side_by_side.close()

    async def probe(self, probe: Probe, course: Course) -> None:
        """Return when the service is as expected; raise what it is instead."""
        match probe:
            case TcpProbe():
                await self._tcp(probe, course)
            case HttpProbe():
                await self._http(probe, course)

    async def _tcp(self, probe: TcpProbe, course: Course) -> None:
        reader, writer = await asyncio.open_connection(probe.host, probe.port)
        try:
            if probe.prefix:
                greeting = b""
                while len(greeting) < len(probe.prefix) and (more := await reader.read(len(probe.prefix))):
                    greeting += more
                if not greeting.startswith(probe.prefix):
                    course.unmatched = True
                    raise Refused(f"greets with {greeting[:40]!r}, not {probe.prefix!r}")
        finally:
            writer.transport.abort()

    async def _http(self, probe: HttpProbe, course: Course) -> None:
        url = URL(probe.url)
        if url.scheme not in ("http", "https") or not url.host:
            raise Refused(f"not an http:// or https:// address: {probe.url!r}")
        watch = Watch(course)
        async with self._session.get(url, allow_redirects=False, trace_request_ctx=watch) as response:
            answered = time.monotonic()
            course.phases["processing"] = answered - watch.connected
            course.status = response.status
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) >= BODY:
                    break
            course.phases["transfer"] = time.monotonic() - answered
        if not (response.status in probe.statuses if probe.statuses else 200 <= response.status < 300):  # noqa: PLR2004
            expected = ", ".join(map(str, sorted(probe.statuses))) or "2xx"
            raise Refused(f"HTTP status {response.status}, not {expected}")
        if probe.contains.encode() not in body:
            course.unmatched = True
            raise Refused(f"the answer does not contain {probe.contains!r}")


class Watch:
    """Takes the time of a request's phases."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.resolving = self.connecting = self.connected = time.monotonic()


async def dns_started(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    """Take note that a name is being looked up."""
    watch: Watch = context.trace_request_ctx
    watch.resolving = time.monotonic()


async def dns_ended(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    """Take note of how long the look-up took."""
    watch: Watch = context.trace_request_ctx
    watch.course.phases["resolve"] = time.monotonic() - watch.resolving


async def connection_started(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    """Take note that a connection is being made."""
    watch: Watch = context.trace_request_ctx
    watch.connecting = time.monotonic()


async def connection_ended(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
    """Take note of how long the connection took, its name looked up."""
    watch: Watch = context.trace_request_ctx
    watch.connected = time.monotonic()
    watch.course.phases["connect"] = watch.connected - watch.connecting - watch.course.phases["resolve"]
