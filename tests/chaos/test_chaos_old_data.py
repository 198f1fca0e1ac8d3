"""What remedies set aside in a drill goes with its undo, and nothing else does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILES = Path(__file__).resolve().parents[2] / "engine" / "chaos" / "playbooks" / "files" / "files.py"


@pytest.fixture
def files() -> ModuleType:
    """The program that breaks files on nodes and puts them back."""
    spec = importlib.util.spec_from_file_location("chaos_files", FILES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data folder, what an earlier remedy set aside, and a place for the undo's note."""
    for name in ("keep", "main", "aside/earlier"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "main" / "PG_VERSION").write_text("15\n")
    return tmp_path


def names(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "aside").iterdir())


def test_what_a_remedy_set_aside_since_is_removed_and_what_was_there_before_stays(
    files: ModuleType, home: Path
) -> None:
    where = (str(home / "keep"), str(home / "main"), str(home / "aside"))
    files.INJECT["old-data"](*where)
    (home / "aside" / "since" / "base").mkdir(parents=True)
    files.UNDO["old-data"](*where)
    assert names(home) == ["earlier"]


def test_old_data_stays_while_none_has_taken_its_place(files: ModuleType, home: Path) -> None:
    where = (str(home / "keep"), str(home / "main"), str(home / "aside"))
    files.INJECT["old-data"](*where)
    (home / "main").rename(home / "aside" / "since")
    files.UNDO["old-data"](*where)
    assert names(home) == ["earlier", "since"]
