from __future__ import annotations

from pathlib import Path

import pytest

from engine.executor.check import syntax_check

pytestmark = pytest.mark.e2e


def test_ansible_says_what_it_cannot_read_and_where(tmp_path: Path) -> None:
    playbook = tmp_path / "p.yml"
    playbook.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: {msg: hello}\n")
    assert syntax_check(playbook) is None
    playbook.write_text("- hosts: all\n  tasks:\n    - debugg: {msg: hello}\n")
    said = syntax_check(playbook)
    assert said is not None
    assert "debugg" in said
    assert f"{playbook}:3:7" in said
