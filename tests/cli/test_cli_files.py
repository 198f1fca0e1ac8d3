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


@pytest.mark.parametrize(
    ("settings", "expr", "words"),
    [
        ("anomalies: {enabled: false}", "mendbook_anomalies > {{ least }}", "`anomalies.enabled` is false"),
        (
            "evaluator: {prometheus: http://127.0.0.1:1}",
            "mendbook_anomalies > {{ least }}",
            "the samples are with a server",
        ),
        ("forecast: {enabled: false}", "mendbook_forecast_used_up_in_seconds < {{ least }}", "`forecast.enabled`"),
        ("interval: 5m", "mendbook_anomaly_score > {{ least }}", "only while an alarm is on"),
    ],
)
def test_a_runbook_that_asks_for_what_nobody_concludes_is_pointed_at(
    project: Project, settings: str, expr: str, words: str
) -> None:
    project.write("mendbook.yml", f"sources: {{host: false}}\n{settings}\n")
    project.write("runbooks/memory-short.yml", RUNBOOK.replace("memory_free_bytes < {{ least }}", expr))
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        store.append(Batch(time.time(), (Labels({"__name__": "memory_free_bytes", "instance": "web-1"}),), (1.0,)))
    (problem,) = json.loads(project.run("lint", "-o", "json").out)
    assert problem["code"] == "not-concluded"
    assert words in problem["message"]
    project.write("runbooks/memory-short.yml", RUNBOOK.replace("memory_free_bytes <", "mendbook_anomalies <"))
    project.write("mendbook.yml", "sources: {host: false}\n")
    assert codes(project) == []


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


def keep(project: Project, samples: dict[str, float]) -> None:
    """Keep figures of the engine's own, as it would while it watches: a name, and what tells it from others of the name."""
    own = {"job": "mendbook", "instance": "here"}
    parts = {name: name.partition(" ") for name in samples}
    series = tuple(Labels({"__name__": name, "state": state, **own}) for name, _, state in parts.values())
    with SampleStore(project.root / ".mendbook" / "samples") as store:
        store.append(Batch(time.time(), series, tuple(samples.values())))


def test_the_doctor_says_what_is_watched_and_what_it_costs(project: Project) -> None:
    assert checks(project)["watch"]["sentence"] == "on; it has seen no series yet"
    figures = {
        "mendbook_watched_series": 12_345.0,
        "mendbook_watched_bytes": 7.0 * (1 << 20),
        "mendbook_watched_history_seconds": 5 * 3600.0,
        "mendbook_anomalies_told": 1.0,
        "mendbook_anomalies_duration_seconds": 0.004,
    }
    keep(project, figures)
    check = checks(project)["watch"]
    assert (check["level"], check["sentence"]) == (
        "ok", "12345 series, known for 5h (median), 1 alarm, 7.0 MiB, 4 ms a look",
    )  # fmt: skip
    keep(project, {**figures, "mendbook_anomalies_duration_seconds": 100.0})
    assert (checks(project)["watch"]["level"], "raise `interval`" in checks(project)["watch"]["fix"]) == ("warn", True)


def test_the_doctor_says_what_is_forecast_and_how_wrong_that_was(project: Project) -> None:
    assert checks(project)["forecasts"]["sentence"] == "on; there is nothing to forecast yet"
    keep(
        project,
        {
            "mendbook_forecasts told": 3.0,
            "mendbook_forecasts wrong": 2.0,
            "mendbook_forecasts short": 1.0,
            "mendbook_forecasts left_out": 0.0,
            "mendbook_forecast_error_ratio a": 0.1,
            "mendbook_forecast_error_ratio b": 0.3,
            "mendbook_forecast_error_ratio c": 4.0,
        },
    )
    assert checks(project)["forecasts"]["sentence"] == (
        "3 told, 2 not told since they were wrong before, 1 with too short a history; "
        "backtest error 0.30 (median, 0 is never wrong)"
    )


def test_the_doctor_says_that_watch_and_forecasts_are_off(project: Project) -> None:
    project.write("mendbook.yml", "sources: {host: false}\nanomalies: {enabled: false}\nforecast: {enabled: false}\n")
    found = checks(project)
    assert found["watch"]["sentence"].startswith("off, by `anomalies.enabled`")
    assert found["forecasts"]["sentence"] == "off, by `forecast.enabled`"
