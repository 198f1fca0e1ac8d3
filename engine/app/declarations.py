"""What people declared, kept up with their files while the engine runs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from engine.config.errors import ConfigError
from engine.config.inventory import PLUGIN_AGE, Inventory, InventoryError, fingerprint, load_inventory
from engine.config.runbooks import Loaded, load_runbooks, playbooks_of
from engine.config.settings import Settings, load_settings
from engine.config.variants import approvals
from engine.controller import Declared
from engine.executor.digest import digest
from engine.model.decision import Preparation
from engine.model.execution import PlannedStep
from engine.model.incident import Alert, Incident
from engine.model.runbook import Catalog, Remedy, Runbook, Step
from engine.model.veil import without_secrets
from engine.templates import TemplateError, render_text, render_tree

Mark = tuple[str, str]
AT_ONCE = ("approvals", "modes", "params", "protected", "canaries", "recording")
"""What settings say of how far automation may go, and of what it judges by: beside the limits, all that counts at once."""


@dataclass(frozen=True, slots=True)
class Read:
    """What was read at one time, and fits together; `playbooks` are digests by what they cover."""

    mark: Mark
    settings: Settings
    inventory: Inventory
    loaded: Loaded
    playbooks: Mapping[tuple[Path, ...], str]


class Declarations:
    """What people declared, read again when a file of it changes; a mistake made meanwhile leaves the old in force."""

    def __init__(self, settings: Settings, trouble: Callable[[str], None]) -> None:
        self.settings = settings
        self.trouble = trouble
        self._later = ""
        self._mark = self.mark()
        self._read = self.read(self._mark, settings)
        self._same: dict[tuple[Mark, str], bool] = {}
        self._resolved: dict[str, tuple[str, ...]] = {}
        self._reading: threading.Thread | None = None
        self._fresh: Read | None = None

    @property
    def inventory(self) -> Inventory:
        """All hosts."""
        return self._read.inventory

    @property
    def loaded(self) -> Loaded:
        """All runbooks."""
        return self._read.loaded

    @staticmethod
    def read(mark: Mark, settings: Settings) -> Read:
        """Return what stands in the files now. Raises ConfigError, InventoryError or OSError when anything of it is wrong."""
        inventory = load_inventory(settings.inventory, settings.state / "inventory.json")
        playbooks: dict[tuple[Path, ...], str] = {}

        def noted(paths: Sequence[Path]) -> str:
            playbooks[tuple(paths)] = digest(paths)
            return playbooks[tuple(paths)]

        loaded = load_runbooks(settings.runbooks, fleet=inventory.fleet, settings=settings, digest=noted)
        loaded.checked()
        return Read(mark, settings, inventory, loaded, playbooks)

    def read_settings(self) -> Settings:
        """Return the settings with what their file says anew, as far as that can count while the engine runs.

        How far automation may go counts from now on; where things are, what is collected and who is told from the next start on.
        """
        old = self.settings
        if old.file is None:
            return old
        new = load_settings(old.file, old.root)
        limits = replace(new.limits, interval=old.limits.interval)
        now = replace(old, limits=limits, **{name: getattr(new, name) for name in AT_ONCE})
        later = [
            each.name
            for each in fields(Settings)
            if each.compare and getattr(now, each.name) != getattr(new, each.name)
        ]
        said = ", ".join("interval" if name == "limits" else name for name in later)
        if said and said != self._later:
            self.trouble(f"{old.file} changed: what it says of {said} counts from the next start")
        self._later = said
        return now

    def mark(self) -> Mark:
        """Return what changes when a file of the inventory does, and when one of a runbook or a playbook does.

        What a plugin or a script answers may change by itself: there the first part changes from time to time, too.
        """
        try:
            inventory, plain = fingerprint(self.settings.inventory)
            file = () if self.settings.file is None else (self.settings.file,)
            rest, _ = fingerprint((*self.settings.runbooks, *self.settings.playbooks, *self.settings.rules, *file))
        except OSError as error:  # a file that vanished as we looked, or that we may not read
            return str(error), str(error)
        return inventory if plain else f"{inventory} {time.monotonic() // PLUGIN_AGE:.0f}", rest

    def current(self) -> Declared:
        """Return what is declared; what changed is read beside the loop and counts from a later tick on."""
        if self._fresh is not None:
            self._read, self.settings = self._fresh, self._fresh.settings
            self._fresh, self._resolved, self._same = None, {}, {}
        if self._reading is None or not self._reading.is_alive():
            mark = self.mark()
            if mark != self._mark:
                self._mark = mark
                self._reading = threading.Thread(target=self._read_anew, args=(mark,), daemon=True)
                self._reading.start()
        return Declared(self.catalog, self.inventory.fleet, self.prepare)

    def _read_anew(self, mark: Mark) -> None:
        try:
            self._fresh = self.read(mark, self.read_settings())
        except (InventoryError, ConfigError, OSError) as error:
            self.trouble(f"what changed cannot be used, the old stays in force: {error}")

    @property
    def catalog(self) -> Catalog:
        """Return everything that is declared, except the hosts."""
        settings = self.settings
        return Catalog(
            runbooks=self.loaded.runbooks,
            recording=settings.recording,
            limits=settings.limits,
            canaries=settings.canaries,
            protected=settings.protected | own_names(),
            approvals=approvals(settings.approvals, self.inventory.fleet),
        )

    def prepare(self, runbook: Runbook, remedy: Remedy, incident: Incident, alert: Alert | None) -> Preparation:
        """Resolve the hosts of every step and render its variables; what cannot be is a refusal that says why."""
        mark = self.mark()
        if mark[0] != self._read.mark[0]:
            return Preparation(refusal="the inventory changed and is not read yet: hosts may have come or gone")
        if mark[1] != self._read.mark[1] and not self.as_read(runbook, mark):
            changed = f"playbooks of {runbook.name} changed and are not read yet: they are not what was decided on"
            return Preparation(refusal=changed)
        values = self.values(runbook, incident, alert)
        names = self.names(values)
        try:
            first = tuple(self.step(step, incident.target, values, names, always=False) for step in remedy.steps)
            last = tuple(self.step(step, incident.target, values, names, always=True) for step in remedy.finally_)
        except (TemplateError, InventoryError, LookupError) as error:
            return Preparation(refusal=str(error))
        return Preparation((*first, *last))

    def as_read(self, runbook: Runbook, mark: Mark) -> bool:
        """Return whether a runbook's playbooks are still what was read: their files are what would be run, whatever was decided on."""
        key = (mark, runbook.variant)
        if key not in self._same:
            paths = playbooks_of(runbook, self.settings.playbooks)
            try:
                self._same[key] = self._read.playbooks.get(tuple(paths)) == digest(paths)
            except OSError:
                self._same[key] = False
        return self._same[key]

    def values(self, runbook: Runbook, incident: Incident, alert: Alert | None) -> dict[str, object]:
        """Return what the templates of a remedy may speak of."""
        suspect = incident.fault.suspect if incident.fault is not None else None
        return {
            **runbook.params,
            "target": incident.target,
            "fault": {
                "node": incident.target,
                "resource": incident.resource,
                "culprit": incident.culprit,
                "score": suspect.score if suspect is not None else None,
            },
            "alert": {
                "name": runbook.trigger.alert,
                "labels": dict(alert.labels) if alert is not None else {},
                "value": alert.value if alert is not None else None,
            },
            "host": without_secrets(self.inventory.hosts.get(incident.target, {})),  # for what it gives is recorded
        }

    def names(self, values: Mapping[str, Any]) -> dict[str, object]:
        """Return the values that a pattern of hosts may be made of: of what metrics say, the exact names of hosts alone.

        A label that says `all`, or `~.*`, would otherwise choose the hosts.
        """
        fault, alert, known = values["fault"], values["alert"], self.inventory.fleet.targets
        labels = {name: label for name, label in alert["labels"].items() if label in known}
        named = {name: value for name, value in fault.items() if name != "culprit" or value in known}
        return {**values, "fault": named, "alert": {**alert, "labels": labels}}

    def step(
        self, step: Step, target: str, values: Mapping[str, object], names: Mapping[str, object], *, always: bool
    ) -> PlannedStep:
        """Return one step; raises LookupError for a pattern that matches no host: that never means all."""
        hosts = (target,) if step.hosts is None else self.hosts(step.hosts, step.playbook, names)
        variables = render_tree(dict(step.vars), values)
        known = variables.items() if isinstance(variables, Mapping) else ()
        given = {name: value for name, value in known if value is not None}  # the role then says what it needs
        return PlannedStep(step.playbook, hosts, given, step.timeout, always=always)

    def hosts(self, template: str, playbook: str, names: Mapping[str, object]) -> tuple[str, ...]:
        """Return the hosts of a pattern, asking Ansible but once; raises LookupError when there is none."""
        try:
            pattern = render_text(template, names)
        except TemplateError as error:
            message = (
                f"hosts {template!r} of {playbook}: {error} (what a metric says counts only as a host's exact name)"
            )
            raise LookupError(message) from error
        if pattern not in self._resolved:
            self._resolved[pattern] = self.inventory.resolve(pattern)
        if not self._resolved[pattern]:
            raise LookupError(f"the pattern {pattern!r} of {playbook} matches no host")
        return self._resolved[pattern]


def own_names() -> frozenset[str]:
    """Return the names by which an inventory may call this machine."""
    name = socket.gethostname()
    return frozenset({"localhost", "127.0.0.1", name, name.partition(".")[0]})
