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


@pytest.mark.parametrize("name", ["../../../../etc", "../../../../../../..", "/", "..", "."])
def test_a_role_path_that_leads_elsewhere_does_not_have_the_tree_there_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "playbooks"
    (folder / "roles").mkdir(parents=True)
    playbook = folder / "x.yml"
    playbook.write_text(f"- hosts: all\n  roles: [{name}]\n")
    (tmp_path / "secret").write_text("one")
    (folder / "roles" / "aside").write_text("one")
    before = digest([playbook])
    (tmp_path / "secret").write_text("two")
    (folder / "roles" / "aside").write_text("two")
    assert digest([playbook]) == before


def test_a_role_beside_the_folder_still_counts(tmp_path: Path) -> None:
    tasks = tmp_path / "shared" / "web" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text("[]\n")
    (tmp_path / "playbooks").mkdir()
    playbook = tmp_path / "playbooks" / "x.yml"
    playbook.write_text("- hosts: all\n  roles: [../../shared/web]\n")
    (tmp_path / "playbooks" / "roles").mkdir()
    before = digest([playbook])
    (tasks / "main.yml").write_text("- ansible.builtin.debug:\n")
    assert digest([playbook]) != before


def test_a_file_that_is_endless_or_closed_to_us_does_not_stop_a_digest(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yml"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    playbook = tmp_path / "x.yml"
    playbook.write_text("- hosts: all\n  vars_files: [huge.yml, loop, /dev/zero, /proc/kmsg]\n")
    before = digest([playbook])
    with huge.open("ab") as file:
        file.write(b"more")
    assert digest([playbook]) != before
