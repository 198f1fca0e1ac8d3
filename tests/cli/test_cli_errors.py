"""What is typed wrong, and what may go wrong: a clear message on stderr, nothing on stdout, and the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from engine.cli.project import forgiven
from engine.records.leader import Leadership
from engine.records.store import Record
from engine.samples.store import SampleStore
from tests.cli.cli_project import Project

MISTAKES = {
    "no-command": ("statsu",),
    "no-subcommand": ("incidents", "shw", "x"),
    "no-host": ("why", "web-3"),
    "no-host-to-pause": ("pause", "--host", "wbe-1", "--reason", "x"),
    "no-runbook-to-pause": ("pause", "--runbook", "memory-shrt", "--reason", "x"),
    "two-scopes": ("pause", "--host", "web-1", "--runbook", "memory-short", "--reason", "x"),
    "no-reason": ("pause",),
    "no-unit": ("pause", "--reason", "x", "--for", "5"),
    "no-duration": ("pause", "--reason", "x", "--for", "soon"),
    "not-paused": ("resume", "--reason", "x"),
    "inventory-alone": ("resume", "--reason", "x", "--inventory", "--host", "web-1"),
    "no-time": ("why", "web-1", "--at", "yesterday"),
    "no-incident": ("incidents", "show", "inc-heald"),
    "ambiguous": ("incidents", "show", "inc-"),
    "no-execution": ("runs", "logs", "run-x"),
    "ended-already": ("runs", "cancel", "run-healed", "--reason", "x"),
    "not-locked": ("locks", "break", "web-2", "--reason", "x"),
    "secret-variable": ("run", "memory-short", "--limit", "web-1", "-e", "db_password=hunter2"),
    "no-promql": ("metrics", "query", "rate(up[5m]"),
    "no-promql-in-line-2": ("why", "web-1", "--expr", "up ==\n  rate(up)"),
    "no-result": ("metrics", "query", "up / on () up"),
    "step-without-range": ("metrics", "query", "up", "--step", "5s"),
    "no-selector": ("metrics", "list", "up + up"),
    "no-metric": ("metrics", "list", "memry_free_bytes"),
    "no-lab": ("lab", "status", "--dir", "nowhere"),
    "no-lab-to-end": ("lab", "down", "--dir", "nowhere"),
    "no-runbook-to-replay": ("backtest", "memory-shrt"),
    "no-draft": ("backtest", "./memory-short.yml"),
    "no-param": ("backtest", "memory-short", "--set", "lest=200"),
    "no-samples-then": ("backtest", "memory-short", "--since", "2001-01-01", "--until", "2001-01-02"),
    "nothing-to-compare": ("backtest", "memory-short", "--compare"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_a_clear_message(past: Project, name: str) -> None:
    made = past.run(*MISTAKES[name])
    assert made.out == ""
    past.golden(f"error-{name}", made)


def test_settings_that_are_wrong_stop_what_acts_or_judges_by_them_alike(project: Project) -> None:
    project.write("mendbook.yml", "intervall: 5s\n")
    for command in (("audit",), ("plan",), ("why", "web-1"), ("metrics",), ("resume", "--reason", "x")):
        project.golden("error-settings", project.run(*command))


@pytest.mark.parametrize(
    "command",
    [("status",), ("locks",), ("runs",), ("incidents",), ("silence",), ("audit-log",), ("audit-log", "verify")],
)
def test_settings_that_are_wrong_keep_nobody_from_looking_at_the_record(
    project: Project, command: tuple[str, ...]
) -> None:
    project.write("mendbook.yml", "intervall: 5s\nstate: elsewhere\n")
    with Record(project.root / "elsewhere" / "record.sqlite3"):
        pass
    looked = project.run(*command)
    assert looked.code == 0, looked.err
    assert f"the record is {project.root}/elsewhere/record.sqlite3" in looked.err
    assert not (project.root / ".mendbook").exists()


def test_settings_that_are_wrong_still_say_which_database_has_the_record(project: Project) -> None:
    project.write("mendbook.yml", 'intervall: 5s\nrecord: {url: "postgresql://127.0.0.1:1/mendbook"}\n')
    assert forgiven(project.root).database == "postgresql://127.0.0.1:1/mendbook"


def test_where_nothing_can_be_read_of_the_settings_no_other_record_is_begun(project: Project) -> None:
    project.write("mendbook.yml", "state: [\n")
    for command in ("status", "stop"):
        refused = project.run(command)
        assert (refused.code, "[ERROR]" in refused.err) == (1, True)
    assert not (project.root / ".mendbook").exists()


def test_a_file_that_is_no_record_is_left_alone(project: Project) -> None:
    record = project.write(".mendbook/record.sqlite3", "not a database at all, but long enough to look like a page\n")
    refused = project.run("status")
    assert (refused.code, refused.out) == (1, "")
    assert str(record) in refused.err
    assert record.read_text().startswith("not a database")


def test_samples_that_another_process_writes_are_unavailable(project: Project) -> None:
    with SampleStore(project.root / ".mendbook" / "samples"):
        refused = project.run("resume", "--inventory", "--reason", "x")
    assert refused.code == 75
    assert "another process writes these samples" in refused.err
    assert Leadership(project.root / ".mendbook" / "record.sqlite3").holder() is None


def test_a_working_directory_that_is_gone_is_said(project: Project) -> None:
    gone = project.root / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    for command in ("status", "lint", "doctor", "lab"):
        told = project.run(command)
        assert (told.code, told.out) == (1, "")
        assert "the working directory is gone" in told.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: run the tests as another user")
def test_a_file_that_may_not_be_read_is_named(project: Project) -> None:
    (project.root / "mendbook.yml").chmod(0)
    told = project.run("status")
    assert told.code == 1
    assert "mendbook.yml" in told.err


HELPS = (
    ("init",), ("doctor",), ("status",), ("why",), ("lint",), ("pause",), ("resume",),
    ("incidents",), ("incidents", "list"), ("incidents", "show"), ("incidents", "ack"), ("incidents", "close"),
    ("incidents", "hand-back"), ("runs",), ("runs", "list"), ("runs", "show"), ("runs", "logs"), ("runs", "cancel"),
    ("stop",), ("trust",), ("report",), ("locks",), ("locks", "list"), ("locks", "break"), ("metrics",), ("metrics", "query"), ("metrics", "list"),
    ("lab",), ("lab", "up"), ("lab", "prepare"), ("lab", "needs"), ("lab", "status"), ("lab", "ssh"), ("lab", "power"), ("lab", "down"),
    ("drill",), ("drill", "list"), ("drill", "run"), ("drill", "report"), ("drill", "quiet"), ("drill", "undo"),
    ("plan",), ("run",), ("approve",), ("deny",), ("silence",), ("silence", "list"), ("silence", "add"), ("silence", "expire"),
    ("audit-log",), ("audit-log", "list"), ("audit-log", "verify"), ("audit-log", "export"), ("backup",), ("restore",),
    ("backtest",),
)  # fmt: skip


@pytest.mark.parametrize("command", HELPS, ids="-".join)
def test_help_says_what_a_command_does(empty: Project, command: tuple[str, ...]) -> None:
    empty.golden(f"help-{'-'.join(command)}", empty.run(*command, "--help"))


def test_help_imports_nothing_heavy() -> None:
    commands = [command for command in HELPS if len(command) == 1]
    script = (
        "import sys; from engine.cli.main import run\n"
        f"for command in {commands!r}: run([*command, '--help'])\n"
        "heavy = {'numpy', 'sqlalchemy', 'pydantic', 'rich', 'ansible', 'yaml', 'aiohttp', 'structlog'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
