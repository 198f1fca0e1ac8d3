"""Projects to run commands in."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.records.store import Record
from tests.cli.cli_project import Project, collect, lay_out, remember


@pytest.fixture(scope="session")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a past, that tests look at and do not change."""
    root = tmp_path_factory.mktemp("project")
    now = time.time()
    lay_out(root)
    collect(root, now)
    with Record(root / ".mendbook" / "record.sqlite3") as record:
        remember(record, now)
    return root


@pytest.fixture
def past(remembered: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project with a past: not to be changed."""
    return Project(remembered, capsys, monkeypatch)


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project without a past, that may be changed."""
    root = tmp_path / "project"
    root.mkdir()
    lay_out(root)
    return Project(root, capsys, monkeypatch)


@pytest.fixture
def empty(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A folder with nothing in it."""
    root = tmp_path / "empty"
    root.mkdir()
    return Project(root, capsys, monkeypatch)
