"""With which settings playbooks run: ours are the weakest, and what people have settled stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.executor.worker import pipelined


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_modules_travel_over_the_connection_that_runs_them(home: Path) -> None:
    assert pipelined({"HOME": str(home)}) == {"ANSIBLE_PIPELINING": "True"}


@pytest.mark.parametrize("name", ["ANSIBLE_PIPELINING", "ANSIBLE_SSH_PIPELINING"])
def test_a_variable_that_settles_pipelining_stands(home: Path, name: str) -> None:
    assert pipelined({"HOME": str(home), name: "False"}) == {}


@pytest.mark.parametrize("section", ["connection", "ssh_connection"])
def test_a_file_that_settles_pipelining_stands(home: Path, section: str) -> None:
    (home / ".ansible.cfg").write_text(f"[{section}]\npipelining = False\n")
    assert pipelined({}) == {}


def test_the_file_that_the_environment_names_is_the_one_that_counts(home: Path) -> None:
    (home / ".ansible.cfg").write_text("[connection]\npipelining = False\n")
    (home / "other.cfg").write_text("[defaults]\nforks = 3\n")
    assert pipelined({"ANSIBLE_CONFIG": str(home / "other.cfg")}) == {"ANSIBLE_PIPELINING": "True"}
