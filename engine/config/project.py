"""A project: where its things are, what is watched, and how far automation may go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from engine.config.document import Document
from engine.model.notice import NoticeKind
from engine.model.runbook import Approval, Condition, Limits, Mode, RecordingRule, Scalar
from engine.model.secrecy import looks_secret

FILE_NAME = "mendbook.yml"
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Exposition:
    """Pages of metrics to be scraped: `url` is a template over the variables of each host that `hosts` matches."""

    job: str
    hosts: str
    url: str
    timeout: float | None = None
    interval: float | None = None
    key: tuple[str | int, ...] = ()
    """Where in the settings' file it stands."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question asked of each host from outside: `address` is a template of a URL (http) or of host:port (tcp)."""

    job: str
    hosts: str
    kind: str
    """http or tcp"""
    address: str
    timeout: float = 5.0
    interval: float | None = None
    status: tuple[int, ...] = ()
    """The HTTP statuses that are well; without any, 200 to 299."""
    banner: str | None = None
    """What the first line over TCP must contain."""
    key: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """A Prometheus-compatible server that evaluates; `interval` is how often it collects."""

    url: str = field(repr=False)
    """With user and password, where it has any."""
    interval: float = 60.0
    timeout: float = 10.0
    token_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    environment_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An address that is called while the engine is well, at most once in `every` seconds; silence there raises the alarm."""

    url: str = field(repr=False)
    """Often a secret in itself."""
    every: float = 60.0
    timeout: float = 10.0
    post: bool = False


@dataclass(frozen=True, slots=True)
class Notify:
    """Whom to tell of what: addresses as Apprise writes them, in the settings or one a line in a file."""

    urls: tuple[str, ...] = field(default=(), repr=False)
    file: Path | None = None
    of: frozenset[NoticeKind] = frozenset(NoticeKind)


@dataclass(frozen=True, slots=True)
class Layers(Generic[V]):
    """A value for all hosts, for groups, and for single hosts; the narrower counts."""

    all: V | None = None
    groups: Mapping[str, V] = field(default_factory=dict)
    hosts: Mapping[str, V] = field(default_factory=dict)


def shorn(address: str) -> str:
    """Return an address without user and password, wherever in it they stand."""
    scheme, mark, rest = address.rpartition("://")
    place, question, query = rest.rpartition("@")[2].partition("?")
    told = "&".join(each for each in query.split("&") if not looks_secret(each.partition("=")[0]))
    return f"{scheme}{mark}{place}{question if told else ''}{told}"


Overrides = Layers[Mapping[str, Scalar]]
"""Values of a runbook's params."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A project: where its things are, what is watched, and how far automation may go. Times in seconds."""

    root: Path
    file: Path | None = None
    inventory: tuple[Path, ...] = ()
    runbooks: tuple[Path, ...] = ()
    playbooks: tuple[Path, ...] = ()
    rules: tuple[Path, ...] = ()
    state: Path = Path(".mendbook")
    retention: float = 15 * 86_400.0
    samples_bytes: int = 2 << 30
    """So much disk do samples take at most: then the oldest go before `retention` has passed."""
    anomalies: bool = True
    """Whether every series that is collected here is watched by its own past."""
    most_anomalies: int = 1000
    """Of so many alarms at once it is told at most."""
    database: str | None = field(default=None, repr=False)
    """The database of the record, with user and password where it has any; None: a file."""
    keep_events: float = 30 * 86_400.0
    keep_alerts: float = 180 * 86_400.0
    evaluator: Server | None = None
    host: bool = True
    expositions: tuple[Exposition, ...] = ()
    probes: tuple[Probe, ...] = ()
    limits: Limits = field(default_factory=Limits)
    approvals: Layers[Approval] = field(default_factory=Layers)
    modes: Mapping[str, Layers[Mode]] = field(default_factory=dict)
    params: Mapping[str, Overrides] = field(default_factory=dict)
    protected: frozenset[str] = frozenset()
    canaries: tuple[Condition, ...] = ()
    environment: str = ""
    recording: tuple[RecordingRule, ...] = ()
    heartbeat: Heartbeat | None = None
    notify: Notify | None = None
    listen: str | None = None
    """host:port of the engine's own metrics page."""
    warm: bool = True
    """Whether Ansible is kept imported, so that playbooks begin at once."""
    keep_output: float = 30 * 86_400.0
    """For how long the folders of executions are kept."""
    most_output: int = 1 << 30
    """How many bytes they may take up together."""
    forecast: bool = True
    """Whether is forecast what will run out."""
    forecast_every: float = 300.0
    document: Document = field(default_factory=lambda: Document(FILE_NAME), repr=False, compare=False)

    @property
    def interval(self) -> float:
        """How often is collected and judged, in seconds."""
        return self.limits.interval

    @property
    def record(self) -> Path:
        """The file of the record; where it is in a database, the name of what is kept beside it here."""
        return self.state / "record.sqlite3"

    @property
    def record_place(self) -> str:
        """Where the record is, as people are told: without user and password."""
        return str(self.record) if self.database is None else shorn(self.database)

    @property
    def samples(self) -> Path:
        """The folder of the samples."""
        return self.state / "samples"

    @property
    def executions(self) -> Path:
        """The folder of the executions."""
        return self.state / "executions"

    @property
    def coverage(self) -> Path:
        """The file that says for how long each host was looked at."""
        return self.state / "coverage.json"
