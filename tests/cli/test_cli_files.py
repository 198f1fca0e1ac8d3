"""init, lint and doctor: from an empty folder to a project, and what is wrong with one."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.model.labels import Batch, Labels
from engine.samples.store import SampleStore
from tests.cli.cli_project import RUNBOOK, Project

PIECES = [
    "mendbook.yml",
    ".gitignore",
    "inventory/hosts.yml",
    "mendbook.service",
    "playbooks/busy_list.yml",
    "runbooks/load-high.yml",
]


def checks(project: Project) -> dict[str, dict[str, str]]:
    return {each["name"]: each for each in json.loads(project.run("doctor", "-o", "json").out)}


def codes(project: Project, *arguments: str) -> list[str]:
    return [each["code"] for each in json.loads(project.run("lint", "-o", "json", *arguments).out)]


def test_a_new_project_has_nothing_that_lint_complains_of(empty: Project) -> None:
    made = empty.run("init")
    assert (made.code, made.out.split()) == (0, PIECES)
    assert "mendbook audit" in made.err
    linted = empty.run("lint", "--strict")
    assert (linted.code, linted.out) == (0, "")


def test_a_new_project_begins_in_shadow(empty: Project) -> None:
    empty.run("init")
    assert checks(empty)["runbooks"]["sentence"].endswith("(shadow)")


def test_what_exists_is_never_overwritten(empty: Project) -> None:
    mine = empty.write("inventory/hosts.yml", "all: {hosts: {mine: {}}}\n")
    refused = empty.run("init")
    assert refused.code == 1
    assert "inventory/hosts.yml" in refused.err
    assert not (empty.root / "mendbook.yml").exists()
    added = empty.run("init", "--missing")
    assert added.out.split() == [piece for piece in PIECES if piece != "inventory/hosts.yml"]
    assert mine.read_text() == "all: {hosts: {mine: {}}}\n"
    assert empty.run("init", "--missing").out == ""


def test_a_project_is_laid_out_in_the_folder_that_was_named(empty: Project) -> None:
    made = empty.run("init", "deep/er")
    assert made.out.split() == [f"deep/er/{piece}" for piece in PIECES]
    assert empty.run("-C", "deep/er", "lint").code == 0


def test_a_folder_that_cannot_be_written_is_said(empty: Project) -> None:
    empty.write("file", "")
    assert empty.run("init", "file/below").code == 1


@pytest.mark.e2e
def test_a_new_project_is_linted_audited_and_examined_without_a_fault(empty: Project) -> None:
    mendbook = Path(sys.executable).parent / "mendbook"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_ENV")}
    clean["PATH"] = "/usr/bin:/bin"  # nobody has activated anything
    for command in (["init"], ["lint", "--strict", "--syntax-check"], ["audit"], ["doctor"], ["lint"]):
        done = subprocess.run([mendbook, *command], env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_problem_is_shown_with_its_caret(project: Project) -> None:
    project.write("mendbook.yml", "sources: {host: false}\nmodes: {memory-shrt: auto}\nintervall: 5s\n")
    project.write("runbooks/broken.yml", RUNBOOK.replace("memory-short", "broken").replace("remedies", "remedys"))
    project.write("runbooks/promql.yml", RUNBOOK.replace("memory-short", "promql").replace("_bytes <", "_bytes < <"))
    project.write("runbooks/away.yml", RUNBOOK.replace("memory-short", "away").replace("restart.yml", "restrat.yml"))
    project.golden("lint-problems", project.run("lint"))


def test_a_clean_project_passes_and_a_warning_fails_only_when_told_to(project: Project) -> None:
    assert project.run("lint").code == 0
    project.write("runbooks/two.yml", RUNBOOK.replace("memory-short", "two").replace("vars:", "hosts: gone, vars:"))
    assert codes(project) == ["no-host"]
    assert project.run("lint").code == 0
    assert project.run("lint", "--strict").code == 3


def test_one_file_is_checked_as_the_settings_fill_it_in(project: Project) -> None:
    project.write("runbooks/broken.yml", RUNBOOK.replace("memory-short", "broken").replace("verify", "verfy"))
    project.write("mendbook.yml", "params: {memory-short: {all: {least: '< 5'}}}\n")
    assert codes(project, "runbooks/broken.yml") == ["unknown-key"]
    assert set(codes(project, "runbooks/memory-short.yml")) == {"bad-promql"}
    new = project.write("elsewhere/new.yml", RUNBOOK.replace("memory-short", "new").replace("< {{", "< < {{"))
    assert codes(project, str(new)) == ["bad-promql"]
    assert project.run("lint", "missing.yml").code == 64


def test_a_metric_that_was_never_collected_is_pointed_at(project: Project) -> None:
    assert codes(project) == []
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        store.append(Batch(time.time(), (Labels({"__name__": "memory_free_byte", "instance": "web-1"}),), (1.0,)))
    project.golden("lint-no-series", project.run("lint"))


def test_a_recorded_series_counts_as_one_that_exists(project: Project) -> None:
    project.write("mendbook.yml", "rules: [{record: memory_free_bytes, expr: up}]\n")
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        store.append(Batch(time.time(), (Labels({"__name__": "up", "instance": "web-1"}),), (1.0,)))
    assert codes(project) == []


def test_an_inventory_that_ansible_cannot_read_is_one_problem(project: Project) -> None:
    project.write("inventory/hosts.yml", "all: [")
    assert "bad-inventory" in codes(project)
    assert project.run("lint").code == 3


def test_what_ansible_refuses_in_an_inventory_is_shown_at_its_line(project: Project) -> None:
    project.write("inventory/hosts.yml", "all:\n  hosts:\n    web-1: {}\n   web-2: {}\n")
    (wrong,) = json.loads(project.run("lint", "inventory", "-o", "json").out)
    assert (wrong["place"]["file"], wrong["place"]["line"]) == ("inventory/hosts.yml", 4)
    assert wrong["message"].startswith("YAML parsing failed")
    assert "plugin" not in wrong["message"]
    assert "web-2: {}" in wrong["source_line"]


def test_a_runbook_that_cannot_be_read_is_not_missing_too(project: Project) -> None:
    (project.root / "runbooks" / "memory-short.yml").unlink()
    own = RUNBOOK.replace("memory-short", "queue-short")  # a name that no shipped runbook has
    project.write("runbooks/queue-short.yml", own)
    project.write("mendbook.yml", "modes: {queue-short: auto}\nparams: {queue-short: {all: {least: 5}}}\n")
    assert codes(project) == []
    project.write("runbooks/queue-short.yml", own.replace("  expr:", "\texpr:"))
    assert codes(project) == ["bad-yaml"]
    (project.root / "runbooks" / "queue-short.yml").unlink()
    assert codes(project) == ["unknown-name", "unknown-name"]


def test_without_settings_it_is_said_that_defaults_hold(empty: Project) -> None:
    shown = empty.run("incidents", "-o", "json")
    assert (shown.code, shown.out) == (0, "[]\n")
    assert "no mendbook.yml" in shown.err
    assert str(empty.root / ".mendbook") in shown.err
    empty.run("init")
    assert "mendbook.yml" not in empty.run("incidents").err


@pytest.mark.e2e
def test_ansible_itself_is_asked_about_playbooks(project: Project) -> None:
    project.write("playbooks/restart.yml", "- hosts: all\n  tasks:\n    - ansible.builtin.debuug: {}\n")
    found = project.run("lint", "--syntax-check")
    assert found.code == 3
    assert "[ERROR] bad-playbook: couldn't resolve module/action 'ansible.builtin.debuug'" in found.out
    assert "Origin: playbooks/restart.yml:3:" in found.out


def test_a_project_that_was_never_watched_is_well(project: Project) -> None:
    found = checks(project)
    assert {each["level"] for each in found.values()} == {"ok"}
    assert found["inventory"]["sentence"] == "3 hosts"
    assert not (project.root / ".mendbook" / "record.sqlite3").exists()


def test_each_check_that_fails_says_what_helps(project: Project) -> None:
    project.run("pause", "--reason", "a look")
    with sqlite3.connect(project.root / ".mendbook" / "record.sqlite3") as database:
        database.execute("UPDATE entries SET sentence = 'nothing happened'")
    project.write("runbooks/broken.yml", "runbook: broken\n")
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        store.append(Batch(time.time() + 7200, (Labels({"__name__": "up", "instance": "web-1"}),), (1.0,)))
    project.write(".mendbook/samples/000000000009.segment.broken", "")
    found = checks(project)
    assert {name: each["level"] for name, each in found.items() if each["level"] != "ok"} == {
        "runbooks": "fail", "record": "fail", "pause": "warn", "clock": "fail", "segments": "warn",
    }  # fmt: skip
    assert all(each["fix"] for each in found.values() if each["level"] != "ok")
    assert "entry 1 was changed" in found["record"]["sentence"]
    shown = project.run("doctor")
    assert shown.code == 1
    assert "✗ record" in shown.out


def test_endpoints_that_are_down_are_named_while_an_engine_runs(project: Project) -> None:
    from engine.app import App

    series = tuple(Labels({"__name__": "up", "job": "node", "instance": name}) for name in ("web-1", "web-2"))
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        store.append(Batch(time.time(), series, (1.0, 0.0)))
    with App.open(project.root) as app:
        app.lead()
        found = checks(project)
    assert found["endpoints"]["sentence"] == "1 of 2 do not answer: node of web-2"
    assert found["endpoints"]["level"] == "warn"
    assert "process" in found["engine"]["sentence"]


def test_a_runbook_that_is_wrong_does_not_keep_why_and_pause_from_working(project: Project) -> None:
    project.write("runbooks/broken.yml", "runbook: broken\n")
    told = project.run("why", "web-1")
    assert (told.code, "errors in runbooks" in told.err, "memory-short" in told.out) == (0, True, True)
    assert project.run("pause", "--runbook", "broken", "--reason", "x").code == 0


def test_settings_and_inventory_that_cannot_be_read_fail(project: Project) -> None:
    project.write("mendbook.yml", "intervall: 5s\n")
    project.write("inventory/hosts.yml", "all: [")
    found = checks(project)
    assert (found["settings"]["level"], found["inventory"]["level"]) == ("fail", "fail")
    assert found["settings"]["sentence"].startswith("mendbook.yml:1:1: ")


@pytest.mark.parametrize(
    ("notify", "level", "words"),
    [
        (
            "notify: 'json://127.0.0.1:1/hush'",
            "ok",
            "1 address, told of: approval, escalated, paused, reminder, resolved",
        ),
        ("notify: {urls: [json://a, 'nosuch://hush'], of: [escalated]}", "fail", "address 2: Apprise does not know"),
        ("notify: {urls_file: told}", "warn", "names no address"),
    ],
)
def test_the_doctor_says_whether_people_can_be_told(project: Project, notify: str, level: str, words: str) -> None:
    project.write("told", "# nobody yet\n")
    project.write("mendbook.yml", f"sources: {{host: false}}\n{notify}\n")
    check = checks(project)["notify"]
    assert check["level"] == level
    assert words in check["sentence"]
    assert "hush" not in check["sentence"]
