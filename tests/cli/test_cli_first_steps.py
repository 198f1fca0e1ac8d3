"""What somebody meets who has just begun: hints where a thing that is missing would otherwise go unsaid."""

from __future__ import annotations

import io
import socket
import time
from pathlib import Path

import pytest
from rich.console import Console

from engine.app import App
from engine.cli.lab import USUAL, place_of
from engine.cli.output import Column, print_beneath
from engine.cli.run import of_faults
from engine.cli.watch import picture
from engine.controller import Tick
from tests.cli.cli_project import RUNBOOK, Project

TOLD = RUNBOOK.replace("vars: {service: app}", 'vars: {service: "{{ fault.culprit }}", wait: 5}')


def test_an_endpoint_that_does_not_answer_is_named_by_audit(project: Project) -> None:
    with socket.socket() as nobody:  # bound, and never listening: a connection is refused
        nobody.bind(("127.0.0.1", 0))
        page = f"http://127.0.0.1:{nobody.getsockname()[1]}/metrics"
        project.write(
            "mendbook.yml", f"sources: {{host: false, exposition: [{{job: app, hosts: web, url: '{page}'}}]}}\n"
        )
        looked = project.run("audit", "--wait", "0")
    assert looked.code == 0
    assert "endpoints: 2 of 2 do not answer: app of web-1, app of web-2" in looked.err


def test_one_rule_and_one_host_are_not_rules_and_hosts(project: Project) -> None:
    project.write("inventory/hosts.yml", "all: {hosts: {web-1: {}}}\n")
    looked = project.run("audit", "--wait", "0")
    assert "1 rule could not be judged:" in looked.out
    assert "1 runbook, 1 host: 0 true" in looked.err


def test_a_run_by_hand_tells_which_variable_only_a_fault_would_give(project: Project) -> None:
    project.write("runbooks/memory-short.yml", TOLD)
    with App.open(project.root) as app:
        assert of_faults(app, "memory-short", ("web-1", "store-1"), check=False) == {"service"}


def test_the_culprit_of_an_open_incident_serves_its_run_and_no_check(past: Project, tmp_path: Path) -> None:
    runbook = tmp_path / "memory-short.yml"
    runbook.write_text(TOLD)
    (tmp_path / "mendbook.yml").write_text(
        f"runbooks: {runbook}\ninventory: {past.root}/inventory\nplaybooks: {past.root}/playbooks\n"
        f"state: {past.root}/.mendbook\n"
    )
    with App.open(tmp_path) as app:
        assert of_faults(app, "memory-short", ("web-1",), check=False) == set()
        assert of_faults(app, "memory-short", ("web-1",), check=True) == {"service"}
        assert of_faults(app, "memory-short", ("web-2",), check=False) == {"service"}


def test_a_variable_of_the_host_serves_a_run_as_well(project: Project) -> None:
    project.write("runbooks/memory-short.yml", TOLD)
    project.write("inventory/hosts.yml", "all: {hosts: {web-1: {service: app.service}, web-2: {}}}\n")
    with App.open(project.root) as app:
        assert of_faults(app, "memory-short", ("web-1",), check=True) == set()
        assert of_faults(app, "memory-short", ("web-1", "web-2"), check=True) == {"service"}


def test_the_demo_is_found_from_within_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / USUAL / "nodes"
    inside.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert place_of(USUAL) == tmp_path / USUAL
    monkeypatch.chdir(inside)
    assert place_of(USUAL) == tmp_path / USUAL
    assert place_of(Path("other")) == inside / "other"


def test_a_long_line_of_the_live_table_goes_on_below_its_text(past: Project) -> None:
    screen = Console(width=60, file=io.StringIO(), force_terminal=False)
    with App.open(past.root) as app:
        alerts = app.record.standing(now := time.time()).alerts
        screen.print(picture(app, Tick(now, alerts, ())))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]  # it is the buffer above
    lines = [line for line in shown.splitlines() if line.strip()]
    (first,) = [number for number, line in enumerate(lines) if "cooldown of 12000s" in line]
    assert lines[first + 1].startswith(" " * lines[first].index("Hold:"))
    assert "3 hosts" in lines[0]


def test_where_a_table_is_too_wide_its_long_texts_stand_below_their_rows() -> None:
    screen = Console(width=40, file=io.StringIO(), force_terminal=True, color_system=None)
    columns = (
        Column("ID", lambda row: row[0], whole=True),
        Column("NAME", lambda row: row[1]),
        Column("WHY", lambda row: row[2], beneath=True),
    )
    rows = (
        ("one", "a name that is broken into two lines", "first\nreason"),
        ("two", "short", "-"),
        ("six", "x", "last"),
    )
    print_beneath(screen, rows, columns)
    lines = [line.rstrip() for line in screen.file.getvalue().splitlines()]  # type: ignore[attr-defined]  # a buffer
    assert lines[0] == "ID   NAME"
    one, two, six = (
        next(place for place, line in enumerate(lines) if line.startswith(each)) for each in ("one", "two", "six")
    )
    assert lines[two - 1] == "    first reason"
    assert two - one == 3
    assert lines[six:] == ["six  x", "    last"]
