"""Files that are edited under an engine, well or badly: what was read fits together, and nothing runs that was not decided on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.app import App
from engine.app.declarations import Declarations
from engine.model.decision import Preparation
from engine.model.incident import Incident, IncidentState
from engine.model.runbook import Mode
from tests.cli.cli_project import wait

HOSTS = "all: {vars: {ansible_connection: local}, hosts: {web-1: {}, web-2: {}, web-3: {}}}\n"
SETTINGS = (
    "sources: {host: false}\ninventory: hosts.yml\nrunbooks: runbooks\nplaybooks: playbooks\nmodes: {any: auto}\n"
)
RUNBOOK = """\
runbook: any
summary: Any.
trigger: {alert: Any, expr: any > 0}
localize: {resource: disk}
remedies: [{name: Any, playbook: any.yml}]
verify: {expr: any == 0}
"""
PLAYBOOK = "- {name: Any, hosts: all, tasks: []}\n"


class Edited:
    """A project that is edited, what is declared of it, and what its people were told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        for name, text in {
            "mendbook.yml": SETTINGS,
            "hosts.yml": HOSTS,
            "runbooks/any.yml": RUNBOOK,
            "playbooks/any.yml": PLAYBOOK,
        }.items():
            self.write(name, text)
        self.declared = Declarations(App.open(root).settings, self.said.append)

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(exist_ok=True)
        (self.root / name).write_text(text)

    def until(self, holds: Callable[[], object], what: str) -> None:
        wait(lambda: self.declared.current() and holds(), what)

    @property
    def mode(self) -> Mode:
        return self.declared.catalog.runbooks[0].mode

    def prepared(self) -> Preparation:
        runbook = self.declared.catalog.runbooks[0]
        incident = Incident("inc", "web-1", "disk", IncidentState.OPEN, 0.0)
        return self.declared.prepare(runbook, runbook.remedies[0], incident, None)


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    return Edited(tmp_path)


def test_a_mode_that_is_lowered_counts_while_the_engine_runs(edited: Edited) -> None:
    assert edited.mode is Mode.AUTO
    edited.write("mendbook.yml", SETTINGS.replace("auto", "shadow") + "limits: {storm: 9}\nprotected: [web-2]\n")
    edited.until(lambda: edited.mode is Mode.SHADOW, "the mode")
    catalog = edited.declared.catalog
    assert (catalog.limits.storm, "web-2" in catalog.protected) == (9, True)
    assert not edited.said


@pytest.mark.parametrize("bad", ["modes: {any: boldly}\n", "modes: [\n", "runbooks: gone\n", "\x00"])
def test_settings_that_became_wrong_leave_the_old_in_force_and_that_is_said(edited: Edited, bad: str) -> None:
    edited.write("mendbook.yml", SETTINGS.replace("modes: {any: auto}\n", "").replace("runbooks: runbooks\n", "") + bad)
    edited.until(lambda: edited.said, "a word about it")
    assert "the old stays in force" in edited.said[0]
    assert edited.mode is Mode.AUTO
    assert edited.prepared().refusal is None, "what it acts by is whole"
    edited.write("mendbook.yml", SETTINGS.replace("auto", "approve"))
    edited.until(lambda: edited.mode is Mode.APPROVE, "the mode")


def test_settings_that_are_gone_leave_the_old_in_force(edited: Edited) -> None:
    (edited.root / "mendbook.yml").unlink()
    edited.until(lambda: edited.said, "a word about it")
    assert edited.mode is Mode.AUTO


def test_what_counts_from_the_next_start_is_said_once(edited: Edited) -> None:
    edited.write("mendbook.yml", SETTINGS.replace("auto", "shadow") + "interval: 9s\nstate: elsewhere\n")
    edited.until(lambda: edited.mode is Mode.SHADOW, "the mode")
    edited.write("runbooks/any.yml", RUNBOOK.replace("Any.", "Some."))
    edited.until(lambda: edited.declared.catalog.runbooks[0].summary == "Some.", "the runbook")
    assert [said.partition(" changed: ")[2] for said in edited.said] == [
        "what it says of state, interval counts from the next start"
    ]
    assert edited.declared.catalog.limits.interval == 15.0


def test_a_playbook_that_changed_is_not_run_as_the_one_that_was_decided_on(edited: Edited) -> None:
    before = edited.declared.catalog.runbooks[0].digest
    assert edited.prepared().refusal is None
    edited.write("playbooks/any.yml", PLAYBOOK.replace("Any", "Something else"))
    assert "playbooks of any changed" in (edited.prepared().refusal or "")
    edited.until(lambda: edited.declared.catalog.runbooks[0].digest != before, "the new one")
    assert edited.prepared().refusal is None


def test_a_playbook_that_changed_beside_a_runbook_that_became_wrong_is_not_run(edited: Edited) -> None:
    edited.write("runbooks/any.yml", "runbook: [")
    edited.until(lambda: edited.said, "a word about it")
    assert edited.prepared().refusal is None, "the old stays in force"
    edited.write("playbooks/any.yml", PLAYBOOK.replace("Any", "Something else"))
    edited.until(lambda: len(edited.said) > 1, "another word")
    assert "playbooks of any changed" in (edited.prepared().refusal or "")
    edited.write("playbooks/any.yml", PLAYBOOK)
    assert edited.prepared().refusal is None
