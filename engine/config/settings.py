"""What `mendbook.yml` says, with a sensible default for everything that it does not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.config.checking import check
from engine.config.document import Document, read_document
from engine.config.errors import ConfigError, Problem, Severity, errors, in_order
from engine.config.expressions import Expressions
from engine.config.project import FILE_NAME, Exposition, Heartbeat, Layers, Notify, Overrides, Probe, Server, Settings
from engine.config.rules import read_rules
from engine.config.settings_file import (
    EvaluatorSection,
    HeartbeatSection,
    ModesSection,
    NotifySection,
    ProbeSection,
    SettingsFile,
)
from engine.config.tree import KeyPath
from engine.model.runbook import Condition, Limits, Mode, RecordingRule, Scope

__all__ = [
    "Exposition",
    "Heartbeat",
    "Layers",
    "Notify",
    "Overrides",
    "Probe",
    "Server",
    "Settings",
    "find_settings",
    "load_settings",
    "read_settings",
    "shipped",
]


DATABASE_VARIABLE = "MENDBOOK_DATABASE_URL"
"""The environment's word on where the record is counts before the file's: there it may hold a password."""


def find_settings(start: Path) -> Path | None:
    """Return the `mendbook.yml` of the project that `start` lies in: there, or in the nearest folder above."""
    for folder in (start.absolute(), *start.absolute().parents):
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
    return None


def load_settings(path: Path | None, start: Path) -> Settings:
    """Return what the file says, or the defaults of a project in `start` without one. Raises ConfigError."""
    settings, problems = read_settings(path, start)
    if errors(problems):
        raise ConfigError(problems)
    return settings


def read_settings(path: Path | None, start: Path) -> tuple[Settings, tuple[Problem, ...]]:
    """Return what the file says (the defaults, where it cannot be read) and everything that is wrong with it."""
    if path is None:
        return _Reading(start.absolute(), Document(FILE_NAME)).settings(SettingsFile.model_validate({})), ()
    document = read_document(path)
    reading = _Reading(path.absolute().parent, document)
    content: SettingsFile | None = None
    if document.root is not None:
        content, found = check(SettingsFile, document.data, document)
        reading.problems += found
    elif [problem.code for problem in document.problems] == ["empty"]:
        document = Document(document.file, document.text)  # an empty file says nothing, which is no mistake
    reading.problems += reading.missing()
    settings = reading.settings(content or SettingsFile.model_validate({}), path)
    return settings, in_order([*document.problems, *reading.problems])


def shipped(kind: str) -> Path:
    """Return the folder of what comes with the product: `runbooks`, `playbooks` or `inventory`."""
    package = Path(__file__).parent.parent
    carried = package / "shipped" / kind
    return carried if carried.is_dir() else package.parent / kind


@dataclass(slots=True)
class _Reading:
    """Turns a file's content into settings, paths being told from the file's folder."""

    root: Path
    document: Document
    problems: list[Problem] = field(default_factory=list)

    def settings(self, content: SettingsFile, file: Path | None = None) -> Settings:
        """Return the settings."""
        own = Expressions(self.document, {})
        for number, expr in enumerate(content.canaries):
            own.condition(expr, ("canaries", number), Scope.FLEET)
        rules = tuple(self.rules(content))
        self.problems += own.problems
        sources, limits = content.sources, content.limits
        return Settings(
            root=self.root,
            file=file.absolute() if file is not None else None,
            inventory=self.paths("inventory", content.inventory, Path(__file__).parent / "localhost.yml"),
            runbooks=self.paths("runbooks", content.runbooks, shipped("runbooks")),
            playbooks=self.playbooks(content),
            rules=tuple(self.rule_files(content)),
            state=self.root / Path(content.state).expanduser(),
            retention=content.retention,
            samples_bytes=content.samples.max_bytes,
            anomalies=content.anomalies.enabled,
            most_anomalies=content.anomalies.most,
            database=os.environ.get(DATABASE_VARIABLE) or content.record.url,
            keep_events=content.record.keep_events,
            keep_alerts=content.record.keep_alerts,
            evaluator=self.server(content.evaluator, rules) if content.evaluator is not None else None,
            host=sources.host,
            expositions=tuple(
                Exposition(
                    each.job, each.hosts, each.url, each.timeout, each.interval, ("sources", "exposition", number)
                )
                for number, each in enumerate(sources.exposition)
            ),
            probes=tuple(self.probe(each, number) for number, each in enumerate(sources.probe)),
            limits=Limits(
                content.interval,
                limits.storm,
                limits.max_concurrent,
                limits.max_targets,
                limits.shrink,
                limits.reopen,
                limits.grace,
                content.approval.expires,
                limits.remind,
            ),
            approvals=Layers(content.approval.all, dict(content.approval.groups), dict(content.approval.hosts)),
            modes={name: _modes(layers) for name, layers in content.modes.items()},
            params={
                name: Layers(layers.all, dict(layers.groups), dict(layers.hosts))
                for name, layers in content.params.items()
            },
            protected=frozenset(content.protected),
            canaries=tuple(Condition(expr, Scope.FLEET) for expr in content.canaries),
            environment=content.environment,
            recording=rules,
            heartbeat=self.heartbeat(content.heartbeat) if content.heartbeat is not None else None,
            notify=self.notify(content.notify) if content.notify is not None else None,
            listen=content.listen,
            warm=content.executor.warm,
            keep_output=content.executor.keep,
            most_output=content.executor.max_bytes,
            forecast=content.forecast.enabled,
            forecast_every=content.forecast.every,
            document=self.document,
        )

    def heartbeat(self, section: HeartbeatSection) -> Heartbeat:
        """Return the address that is called while the engine is well."""
        return Heartbeat(section.url, section.every, section.timeout, section.post)

    def notify(self, section: NotifySection) -> Notify:
        """Return whom to tell; a file of addresses that is not there is a problem."""
        file = None if section.urls_file is None else self.root / Path(section.urls_file).expanduser()
        if file is not None and not file.exists():
            message = "there is no such file"
            self.problems.append(self.document.problem("unreadable", message, ("notify", "urls_file")))
        return Notify(section.urls, file, frozenset(section.of))

    def paths(self, kind: str, written: Iterable[str], otherwise: Path) -> tuple[Path, ...]:
        """Return the paths that are written, or the folder of that name, or what comes with the product."""
        found = tuple(self.path(kind, text) for text in written)
        own = self.root / kind
        return found or ((own,) if own.is_dir() and any(own.iterdir()) else (otherwise,))

    def path(self, kind: str, text: str) -> Path:
        """Return one path; `shipped` leads to what comes with the product."""
        first, *rest = Path(text).parts or (".",)
        if first == "shipped" and not (self.root / "shipped").exists():
            return shipped(kind).joinpath(*rest)
        return self.root / Path(text).expanduser()

    def missing(self) -> Iterator[Problem]:
        """Yield a problem for each path that leads nowhere, whatever else is wrong with the file."""
        for kind in ("inventory", "runbooks", "playbooks", "rules"):
            written = self.document.data.get(kind)
            for number, text in enumerate(written if isinstance(written, tuple) else (written,)):
                if isinstance(text, str) and not self.path(kind, text).exists():
                    path: KeyPath = (kind, number) if isinstance(written, tuple) else (kind,)
                    yield self.document.problem("unreadable", "there is no such file or folder", path)

    def playbooks(self, content: SettingsFile) -> tuple[Path, ...]:
        """Return the project's own playbook folders and, behind them, those that come with the product."""
        return tuple(
            dict.fromkeys((*self.paths("playbooks", content.playbooks, shipped("playbooks")), shipped("playbooks")))
        )

    def server(self, section: EvaluatorSection, rules: Sequence[RecordingRule]) -> Server:
        """Return the server that evaluates; it does not see what recording rules of ours record."""
        if rules:
            message = f"the recording rules of this project ({rules[0].record}, …) do not reach the server"
            fix = "name their files in the server's own rule_files, and leave them out here"
            self.problems.append(
                self.document.problem(
                    "unseen-rules", message, ("evaluator",), at_key=True, fix=fix, severity=Severity.WARNING
                )
            )
        return Server(
            section.prometheus,
            section.interval,
            section.timeout,
            None if section.token_file is None else self.root / Path(section.token_file).expanduser(),
            dict(section.headers),
            section.environment_proxy,
        )

    def probe(self, section: ProbeSection, number: int) -> Probe:
        """Return one probe, which asks over HTTP or over TCP."""
        return Probe(
            section.job,
            section.hosts,
            "http" if section.http is not None else "tcp",
            section.http or section.tcp or "",
            section.timeout,
            section.interval,
            section.status,
            section.banner,
            ("sources", "probe", number),
        )

    def rule_files(self, content: SettingsFile) -> Iterator[Path]:
        """Yield the files of recording rules that are named, or those in the folder `rules`."""
        for text in [rule.file for rule in content.rules if rule.file is not None]:
            path = self.path("rules", text)
            yield from sorted(path.glob("*.yml")) if path.is_dir() else [path]
        if not content.rules and (self.root / "rules").is_dir():
            yield from sorted((self.root / "rules").glob("*.yml"))

    def rules(self, content: SettingsFile) -> Iterator[RecordingRule]:
        """Yield the recording rules that stand in the settings, then those of files."""
        for rule in content.rules:
            if rule.file is None:
                yield RecordingRule(rule.record or "", rule.expr or "", dict(rule.labels))
        for path in self.rule_files(content):
            if path.exists():
                found, problems = read_rules(path)
                self.problems += problems
                yield from found


def _modes(section: ModesSection) -> Layers[Mode]:
    return Layers(section.all, dict(section.groups), dict(section.hosts))
