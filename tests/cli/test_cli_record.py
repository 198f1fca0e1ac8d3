"""Commands about the record itself: its chain, its backup, and the way back."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest

from engine.records.audit import Head
from engine.records.history import History
from tests.cli.cli_project import Project, remember


@pytest.fixture
def kept(project: Project) -> Project:
    """A project with a past that may be changed."""
    with project.record as record:
        remember(record, time.time())
    return project


def change(project: Project, statement: str) -> None:
    with sqlite3.connect(project.root / ".mendbook" / "record.sqlite3") as connection:
        connection.execute(statement)
    connection.close()


def test_a_chain_that_holds_prints_its_head_alone_on_stdout(kept: Project) -> None:
    told = kept.run("audit-log", "verify")
    assert told.code == 0
    with kept.record as record:
        assert Head.parse(told.out) == History(record).head()
    assert "the chain holds: " in told.err
    assert kept.run("audit-log", "verify", "--expect", told.out.strip()).code == 0


def test_a_chain_that_was_tampered_with_has_its_own_exit_code_and_names_the_entry(kept: Project) -> None:
    change(kept, "UPDATE entries SET sentence = 'nothing happened' WHERE number = 2")
    told = kept.run("audit-log", "verify")
    assert (told.code, told.out) == (3, "")
    assert told.err.startswith("mendbook: the chain is broken: entry 2 was changed (what it says hashes to ")
    found = json.loads(kept.run("audit-log", "verify", "-o", "json").out)
    assert (found["whole"], found["found"]["number"]) == (False, 2)


def test_a_head_that_the_chain_does_not_contain_is_told(kept: Project) -> None:
    told = kept.run("audit-log", "verify", "--expect", f"{'ab' * 32}@1")
    assert told.code == 3
    assert "entry 1 is not the one that was noted: the chain was written anew" in told.err
    assert kept.run("audit-log", "verify", "--expect", "1").code == 64


def test_what_is_exported_is_verified_where_there_is_no_record(kept: Project, tmp_path: Path) -> None:
    told = kept.run("audit-log", "export", "-o", str(tmp_path / "audit.jsonl"))
    assert (told.code, told.out) == (0, "")
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600
    assert kept.run("audit-log", "export").out == (tmp_path / "audit.jsonl").read_text()
    verified = kept.run("audit-log", "verify", "--file", str(tmp_path / "audit.jsonl"))
    assert (verified.code, verified.out) == (0, kept.run("audit-log", "verify").out)
    (tmp_path / "audit.jsonl").write_text((tmp_path / "audit.jsonl").read_text().replace("web-1", "web-2", 1))
    assert kept.run("audit-log", "verify", "--file", str(tmp_path / "audit.jsonl")).code == 3


@pytest.mark.parametrize("file", ["nothing", "mendbook.yml"])
def test_a_file_that_is_no_export_is_named(kept: Project, file: str) -> None:
    told = kept.run("audit-log", "verify", "--file", file)
    assert told.code == 1
    assert told.err.startswith(f"mendbook: {file}: ")


def test_the_newest_entries_are_listed(kept: Project) -> None:
    rows = json.loads(kept.run("audit-log", "--limit", "2", "-o", "json").out)
    assert len(rows) == 2
    assert rows[0]["number"] + 1 == rows[1]["number"]
    assert {
        row["entry"]["target"] for row in json.loads(kept.run("audit-log", "--host", "web-1", "-o", "json").out)
    } == {"web-1"}


def test_a_backup_goes_there_and_back_and_automation_is_paused(kept: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    made = kept.run("backup", str(copy))
    assert made.code == 0
    assert made.out == kept.run("audit-log", "verify").out
    again = kept.run("backup", str(copy))
    assert again.code == 1
    assert "something is there already; name another file, or say --replace" in again.err
    assert kept.run("backup", "--replace", str(copy)).code == 0
    assert kept.run("pause", "--host", "web-1", "--reason", "later").code == 0
    told = kept.run("restore", str(copy))
    assert told.code == 0
    assert "what was there is kept as " in told.err
    assert "paused: the record was copied or restored" in told.err
    pauses = json.loads(kept.run("status", "-o", "json").out)["pauses"]
    assert [pause["scope"] for pause in pauses] == ["all"]
    assert kept.run("audit-log", "verify", "--expect", made.out.strip()).code == 0


def test_what_is_no_backup_is_not_restored(kept: Project) -> None:
    before = kept.run("audit-log", "verify").out
    told = kept.run("restore", "mendbook.yml")
    assert told.code == 1
    assert "damaged" in told.err
    assert kept.run("audit-log", "verify").out == before
