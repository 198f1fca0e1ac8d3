"""Every file in `cases` is a mistake; beside it stands, word for word, what people are told.

To add one: write `cases/NAME.yml`, run with MENDBOOK_GOLDEN=write, and read what `cases/NAME.txt` says.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.config.runbooks import load_runbooks
from engine.config.settings import Settings, shipped
from engine.model.target import Fleet

CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.glob("*.yml"))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)


def told(path: Path) -> str:
    settings = Settings(root=CASES, playbooks=(shipped("playbooks"),))
    loaded = load_runbooks([path], fleet=Fleet(), settings=settings)
    text = "\n\n".join(map(str, loaded.problems)) + "\n"
    return text.replace(str(shipped("playbooks")), "playbooks")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_mistake_is_told_with_its_place_and_its_fix(path: Path) -> None:
    golden = path.with_suffix(".txt")
    text = told(path)
    if os.environ.get("MENDBOOK_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_mistake_is_found_on_the_line_that_has_it(path: Path) -> None:
    settings = Settings(root=CASES, playbooks=(shipped("playbooks"),))
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    for problem in load_runbooks([path], fleet=Fleet(), settings=settings).problems:
        assert problem.place is not None
        assert problem.place.file == path.name
        assert problem.source_line == (lines[problem.place.line - 1] if lines else "")
        assert problem.place.column <= len(problem.source_line) + 1
