"""A state directory that takes nothing: a sentence with the path, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.main import run
from engine.config.inventory import load_inventory


def lay_out(root: Path) -> None:
    """Write a project whose state directory is no directory: a mistake that stops a superuser, too."""
    (root / "mendbook.yml").write_text("sources: {host: false}\ninventory: hosts.yml\n")
    (root / "hosts.yml").write_text("all: {hosts: {one: {}}}\n")
    (root / ".mendbook").write_text("in the way")


def test_an_inventory_that_cannot_be_kept_is_read_all_the_same(tmp_path: Path) -> None:
    lay_out(tmp_path)
    inventory = load_inventory([tmp_path / "hosts.yml"], tmp_path / ".mendbook" / "inventory.json")
    assert list(inventory.fleet.targets) == ["one"]


@pytest.mark.parametrize("command", ["audit --wait 0", "plan --wait 0", "status", "pause --reason x"])
def test_a_state_directory_that_cannot_be_used_is_named(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = run(command.split())
    said = capfd.readouterr().err
    assert code == 1
    assert str(tmp_path / ".mendbook") in said
    assert "Traceback" not in said


def test_samples_that_are_no_file_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mendbook.yml").write_text("sources: {host: false}\n")
    (tmp_path / ".mendbook" / "samples" / "000000000001.segment").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert run(["audit", "--wait", "0"]) == 1
    assert "000000000001.segment: Is a directory" in capfd.readouterr().err
