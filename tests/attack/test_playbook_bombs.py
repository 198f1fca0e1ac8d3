"""Playbooks that are made to take forever to be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.executor.digest import digest

LAUGHS = "- a: &a [x]\n" + "".join(
    f"  {one}: &{one} [{','.join(['*' + before] * 10)}]\n"
    for before, one in zip("abcdefghijkl", "bcdefghijklm", strict=True)
)


@pytest.mark.parametrize(
    "text",
    ["- &a [*a]\n", "- &a {tasks: [*a], roles: [web]}\n", LAUGHS, "[" * 3000 + "]" * 3000],
    ids=["inside itself", "role", "laughs", "deep"],
)
def test_a_playbook_that_repeats_itself_without_end_is_digested_at_once(text: str, tmp_path: Path) -> None:
    playbook = tmp_path / "x.yml"
    playbook.write_text(text)
    assert len(digest([playbook])) == 64
