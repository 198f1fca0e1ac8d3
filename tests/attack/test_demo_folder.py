"""The demo clears its folder away first: never anybody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.lab.cluster import ClusterError
from engine.lab.demo import PROJECT, prepare
from engine.records.leader import Leadership


def content(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def project(folder: Path, settings: str) -> dict[str, bytes]:
    """Lay out a project with a record; return its files."""
    (folder / ".mendbook").mkdir()
    (folder / ".mendbook" / "record.sqlite3").write_bytes(b"months of incidents")
    (folder / "mendbook.yml").write_text(settings)
    (folder / "inventory.yml").write_text("all: {hosts: {web-1: {}}}\n")
    return content(folder)


def test_somebody_elses_project_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    before = project(tmp_path, "inventory: inventory.yml\n")
    with pytest.raises(ClusterError, match="not made by a demo"):
        prepare(tmp_path)
    assert content(tmp_path) == before


def test_a_folder_with_other_things_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ClusterError, match="not made by a demo"):
        prepare(tmp_path)


def test_the_record_of_an_engine_that_runs_is_left_as_it_is(tmp_path: Path) -> None:
    before = project(tmp_path, PROJECT)
    with Leadership(tmp_path / ".mendbook" / "record.sqlite3") as leadership:
        assert leadership.acquire()
        with pytest.raises(ClusterError, match="an engine works on"):
            prepare(tmp_path)
        assert before.items() <= content(tmp_path).items()


def test_what_an_earlier_demo_left_is_cleared_away(tmp_path: Path) -> None:
    project(tmp_path, PROJECT)
    prepare(tmp_path)
    assert content(tmp_path)["mendbook.yml"].decode() == PROJECT
    assert not (tmp_path / ".mendbook").exists()
