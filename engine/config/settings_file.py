"""The keys of `mendbook.yml`: one class per mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from engine.config.errors import quoted
from engine.config.fields import (
    AnyText,
    ApprovalChoice,
    Count,
    Duration,
    Flag,
    LabelName,
    ModeChoice,
    OrText,
    Param,
    PlainExpr,
    Section,
    Share,
    Size,
    Text,
    Time,
    kind,
    wrong,
)
from engine.config.project import shorn
from engine.model.notice import NoticeKind
from engine.promql.literals import LEGAL_METRIC
from engine.templates import TemplateError, names


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _template(value: str) -> str:
    try:
        names(value)
    except TemplateError as error:
        raise wrong("bad-template", error.message) from None
    return value


def _metric(value: str) -> str:
    if not LEGAL_METRIC.fullmatch(value):
        raise wrong("wrong-value", f"{quoted(value)} is no metric name: letters, digits, _ and : make one")
    return value


def _server(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  # is worked out, and may be no number, only now
    except ValueError as error:
        raise wrong("wrong-value", f"{quoted(shorn(value))} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fix = f"did you mean 'http://{value}'?" if "://" not in value and "@" not in value else None
        raise wrong("wrong-value", "a server's address begins with http:// or https://", fix)
    if parts.query or parts.fragment:
        raise wrong("wrong-value", "a server's address has neither '?' nor '#'")
    return value


def _for_all(value: object) -> object:
    return {"all": value} if isinstance(value, str) else value


def _file(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


def _url(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


def _urls(value: object) -> object:
    return {"urls": value} if isinstance(value, str) else value


def _web(value: str) -> str:
    """Return an address of the web; it may be a secret, so no message repeats it."""
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  is worked out, and may be no number, only now
    except ValueError:
        raise wrong("wrong-value", "this is no address of the web") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise wrong("wrong-value", "an address of the web begins with http:// or https://")
    return value


def _notice(value: object) -> object:
    known = [str(each) for each in NoticeKind]
    if value not in known:
        raise wrong("wrong-value", f"expected one of {', '.join(known)}, not {kind(value)}")
    return NoticeKind(str(value))


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:  # noqa: PLR2004  there are no more ports
        raise wrong("wrong-value", f"{quoted(value)} is not host:port", "did you mean '127.0.0.1:9464'?")
    return value


_NOTICE = {"enum": [str(each) for each in NoticeKind]}
NoticeChoice = Annotated[NoticeKind, BeforeValidator(_notice), WithJsonSchema(_NOTICE)]
Listen = Annotated[Text, AfterValidator(_listen)]
_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Texts = Annotated[tuple[Text, ...], BeforeValidator(_listed), WithJsonSchema(_TEXTS)]
Server = Annotated[Text, AfterValidator(_server)]
Address = Annotated[Text, AfterValidator(_template)]


class ExpositionSection(Section):
    """Metric pages that are scraped."""

    job: Text = Field(description="The label job of all their series.")
    hosts: Text = Field("all", description="An Ansible pattern.")
    url: Address = Field(description="A template over host variables: http://{{ mendbook_address }}/metrics")
    timeout: Time | None = Field(
        None, description="How long a page may take: 10 seconds, yet not into the next interval, when it is not said."
    )
    interval: Time | None = Field(None, description="How often, when not as often as everything else.")


class ProbeSection(Section):
    """A question asked of hosts from outside."""

    job: Text = Field(description="The label job of its series.")
    hosts: Text = Field("all", description="An Ansible pattern.")
    http: Address | None = Field(None, description="A URL, as a template over host variables.")
    tcp: Address | None = Field(None, description="host:port, as a template over host variables.")
    banner: Text | None = Field(None, description="What the service must greet with, over TCP.")
    status: Annotated[
        tuple[Count, ...], Field(description="HTTP statuses that are well; without any, 200 to 299.")
    ] = ()
    timeout: Time = Field(5.0, description="How long an answer may take.")
    interval: Time | None = Field(None, description="How often, when not as often as everything else.")

    @model_validator(mode="after")
    def asks_one_way(self) -> ProbeSection:
        """A probe asks over HTTP or over TCP, and knows answers of that kind alone."""
        if (self.http is None) == (self.tcp is None):
            raise wrong("missing-key", "a probe needs 'http' or 'tcp', one of them")
        if self.banner is not None and self.tcp is None:
            raise wrong("wrong-value", "'banner' is for tcp")
        if self.status and self.http is None:
            raise wrong("wrong-value", "'status' is for http")
        return self


class SourcesSection(Section):
    """Where samples come from."""

    host: Flag = Field(True, description="This machine's own figures.")
    exposition: tuple[ExpositionSection, ...] = Field((), description="Metric pages.")
    probe: tuple[ProbeSection, ...] = Field((), description="Probes over TCP and HTTP.")

    LATER: ClassVar[Mapping[str, str]] = {"consul": "services and their health from Consul"}
    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "prometheus": "a server that is asked is 'evaluator: {prometheus: URL}', at the top"
    }


class EvaluatorSection(Section):
    """A Prometheus-compatible server that is asked instead of the samples collected here."""

    prometheus: Server = Field(description="Its address, such as http://127.0.0.1:9090")
    interval: Time = Field(
        60.0, description="How often it collects: for three of these a sample says what is the case."
    )
    timeout: Time = Field(10.0, description="How long an answer may take.")
    token_file: Text | None = Field(None, description="A file with a bearer token, read anew for each round.")
    headers: Mapping[Text, AnyText] = Field({}, description="What else is sent, such as X-Scope-OrgID.")
    environment_proxy: Flag = Field(False, description="Whether to go through the proxy that the environment names.")

    @model_validator(mode="after")
    def shows_one_identity(self) -> EvaluatorSection:
        """There is one Authorization header."""
        known = urlsplit(self.prometheus).username is not None
        if known and self.token_file is not None:
            raise wrong("wrong-value", "a user in the address and a token are two identities", "leave one of them out")
        return self


def _database(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  # is worked out, and may be no number, only now
    except ValueError as error:
        raise wrong("wrong-value", f"{quoted(shorn(value))} is no address: {error}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        fix = "without a url the record is a file in the folder `state`"
        raise wrong("wrong-value", "a record's address begins with postgresql://", fix)
    return value


class RecordSection(Section):
    """Where the record is, and for how long what is kept; incidents, decisions and acts are kept for ever."""

    url: Annotated[Text, AfterValidator(_database)] | None = Field(
        None, description="A PostgreSQL database, such as postgresql://mendbook@db/mendbook; without one it is a file."
    )
    keep_events: Time = Field(30 * 86_400.0, description="For how long the output of tasks is kept.")
    keep_alerts: Time = Field(180 * 86_400.0, description="For how long is kept when alerts came and went.")


class SamplesSection(Section):
    """How many samples are kept, whatever their age."""

    max_bytes: Size = Field(
        2 << 30,
        description="How much disk samples take at most; beyond it the oldest go, before `retention` has passed.",
    )


class AnomaliesSection(Section):
    """The default watch: every series collected here by its own past; alarms become series `mendbook_anomaly_score`."""

    enabled: Flag = Field(
        True, description="Watch every series; costs about 1 KiB of memory a series, and 5 ms of 100,000."
    )
    most: Count = Field(1000, description="So many alarms are told of at most, the most unusual first.")


class LimitsSection(Section):
    """What holds for the whole engine."""

    storm: Count = Field(5, description="More targets in trouble at once are one storm, for a human.")
    max_concurrent: Count = Field(4, description="Executions at the same time.")
    max_targets: Share = Field(0.5, description="The share of the inventory that one execution may touch.")
    shrink: Share = Field(0.5, description="The share of the inventory that may vanish before everything is held.")
    reopen: Time = Field(300.0, description="For how long after recovery a new alert reopens the incident.")
    grace: Duration = Field(
        120.0, description="After a run: new troubles of its hosts are its side effects for so long."
    )
    remind: Time = Field(14_400.0, description="How often is told again of an escalated incident nobody acknowledged.")

    ELSEWHERE: ClassVar[Mapping[str, str]] = {"heartbeat": "'heartbeat' stands at the top"}


class ModesSection(Section):
    """How far a runbook may go: everywhere, in groups, on single hosts."""

    all: ModeChoice | None = None
    groups: Mapping[Text, ModeChoice] = Field({})
    hosts: Mapping[Text, ModeChoice] = Field({})


class ApprovalSection(Section):
    """Which remedies a person must approve: everywhere, in groups, on single hosts; and for how long that counts."""

    expires: Time = Field(3600.0, description="For how long may be approved, and what was approved may start.")
    all: ApprovalChoice | None = None
    groups: Mapping[Text, ApprovalChoice] = Field({})
    hosts: Mapping[Text, ApprovalChoice] = Field({})

    HINT: ClassVar[str | None] = "there are expires, all, groups and hosts"


class ParamsSection(Section):
    """Values of a runbook's params: everywhere, in groups, on single hosts."""

    all: Mapping[Text, Param] = Field({})
    groups: Mapping[Text, Mapping[Text, Param]] = Field({})
    hosts: Mapping[Text, Mapping[Text, Param]] = Field({})

    HINT: ClassVar[str | None] = "values for all hosts stand below 'all'"


class RuleSection(Section):
    """A recording rule, or a file of them in Prometheus's format."""

    file: Text | None = None
    record: Annotated[Text, AfterValidator(_metric)] | None = None
    expr: PlainExpr | None = None
    labels: Mapping[LabelName, AnyText] = Field({})

    @model_validator(mode="after")
    def is_whole(self) -> RuleSection:
        """A rule is a file of rules, or has a name and an expression."""
        if self.file is None and (self.record is None or self.expr is None):
            raise wrong("missing-key", "a recording rule has 'record' and 'expr'")
        return self


class RuleGroupSection(Section):
    """A group of rules, as Prometheus writes them."""

    name: Text
    rules: tuple[RuleSection, ...] = ()

    LATER: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("interval", "limit", "query_offset", "labels"), "a group's own settings"
    )


class RulesFile(Section):
    """A file of recording rules, as Prometheus writes them."""

    groups: tuple[RuleGroupSection, ...] = ()


class HeartbeatSection(Section):
    """An address that is called while the engine is well: a dead man's switch."""

    url: Annotated[Text, AfterValidator(_web)] = Field(description="Called after a tick that succeeded.")
    every: Time = Field(60.0, description="Not more often than this.")
    timeout: Time = Field(10.0, description="How long an answer may take.")
    post: Flag = Field(False, description="POST instead of GET.")


class NotifySection(Section):
    """Whom to tell, by addresses as Apprise writes them (mailtos://, slack://, ntfys://, json://, …)."""

    urls: Texts = Field((), description="Addresses; better kept in a file of their own, since they hold secrets.")
    urls_file: Text | None = Field(None, description="A file with an address a line.")
    of: tuple[NoticeChoice, ...] = Field(tuple(NoticeKind), description="What is told; without it, everything.")

    @model_validator(mode="after")
    def tells_someone(self) -> NotifySection:
        """There is someone to tell."""
        if not self.urls and self.urls_file is None:
            raise wrong("missing-key", "notify needs 'urls' or 'urls_file'")
        return self


class ExecutorSection(Section):
    """How playbooks are run."""

    warm: Flag = Field(True, description="Keep Ansible imported while watching, so that playbooks begin at once.")
    keep: Time = Field(30 * 86_400.0, description="For how long the output of what ran is kept.")
    max_bytes: Size = Field(1 << 30, description="How much of it is kept at most; the oldest goes first.")


class ForecastSection(Section):
    """Forecasts of what will run out, as series `mendbook_forecast_…`."""

    enabled: Flag = Field(True, description="Forecast disks, inodes, memory, connections and certificates.")
    every: Time = Field(300.0, description="How often; it is looked as often which hosts have data.")


Heartbeat = Annotated[HeartbeatSection, BeforeValidator(_url), OrText()]
Notify = Annotated[NotifySection, BeforeValidator(_urls), OrText()]
Modes = Annotated[ModesSection, BeforeValidator(_for_all), OrText()]
Approvals = Annotated[ApprovalSection, BeforeValidator(_for_all), OrText()]
Rule = Annotated[RuleSection, BeforeValidator(_file), OrText()]


class SettingsFile(Section):
    """The settings of a project."""

    inventory: Texts = Field((), description="Ansible inventories; the folder `inventory` when it is not said.")
    runbooks: Texts = Field((), description="Folders and files; the folder `runbooks`, or else those shipped.")
    playbooks: Texts = Field((), description="Folders that playbooks are looked for in, before those shipped.")
    rules: Annotated[tuple[Rule, ...], BeforeValidator(_listed)] = Field((), description="Recording rules, or files.")
    state: Text = Field(".mendbook", description="The folder of the record, the samples and the executions.")
    interval: Time = Field(15.0, description="How often is collected and judged.")
    retention: Time = Field(15 * 86_400.0, description="For how long samples are kept.")
    samples: SamplesSection = Field(SamplesSection.model_construct(), description="The samples: how many are kept.")
    anomalies: AnomaliesSection = Field(AnomaliesSection.model_construct(), description="What is unusual by itself.")
    record: RecordSection = Field(RecordSection.model_construct(), description="The record: where, and how long.")
    environment: AnyText = Field("", description="A name that stands in the record, such as production.")
    evaluator: EvaluatorSection | None = Field(None, description="A server that evaluates all expressions.")
    sources: SourcesSection = Field(SourcesSection.model_construct(), description="Where samples come from.")
    limits: LimitsSection = Field(LimitsSection.model_construct(), description="What holds for the whole engine.")
    approval: Approvals = Field(
        ApprovalSection.model_construct(), description="always, destructive or never; for all, groups and hosts."
    )
    modes: Mapping[Text, Modes] = Field({}, description="How far a runbook may go, by its name.")
    params: Mapping[Text, ParamsSection] = Field({}, description="Values of runbooks' params, by their names.")
    protected: Texts = Field((), description="Hosts that automation never touches.")
    canaries: tuple[PlainExpr, ...] = Field((), description="PromQL about the engine's own health; all must hold.")
    heartbeat: Heartbeat | None = Field(None, description="An address that is called while the engine is well.")
    notify: Notify | None = Field(None, description="Whom to tell when a human is wanted.")
    executor: ExecutorSection = Field(ExecutorSection.model_construct(), description="How playbooks are run.")
    forecast: ForecastSection = Field(ForecastSection.model_construct(), description="What will run out, as series.")
    listen: Listen | None = Field(None, description="host:port of the engine's own /metrics and /-/healthy.")
