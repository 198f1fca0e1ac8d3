"""The module that brings files, folders and units of a node to a state, on a folder of this machine and on real nodes."""

from __future__ import annotations

import getpass
import grp
import os
from pathlib import Path
from typing import Any

from tests.playbooks.playbook_run import run_module

OWNERSHIP = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}


def deploy(*, check: bool = False, **arguments: Any) -> dict[str, Any]:
    for kind in ("files", "folders"):
        arguments[kind] = [OWNERSHIP | one for one in arguments.get(kind, [])]
    return run_module("node_deployed", check=check, diff=True, **arguments)


def test_files_and_folders_are_written_once(tmp_path: Path) -> None:
    folder, file = str(tmp_path / "a" / "b"), str(tmp_path / "a" / "b" / "c.conf")
    wanted = {
        "folders": [{"path": folder, "mode": "0700"}],
        "files": [{"path": file, "content": "x\n", "mode": "0600"}],
    }
    assert deploy(**wanted)["written"] == [folder, file]
    assert (Path(file).read_text(), Path(file).stat().st_mode & 0o777, Path(folder).stat().st_mode & 0o777) == (
        "x\n",
        0o600,
        0o700,
    )
    again = deploy(**wanted)
    assert (again["changed"], again["written"]) == (False, [])


def test_check_mode_tells_and_touches_nothing(tmp_path: Path) -> None:
    told = deploy(
        check=True, folders=[{"path": str(tmp_path / "a")}], files=[{"path": str(tmp_path / "b"), "content": "x"}]
    )
    assert told["written"] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert list(tmp_path.iterdir()) == []


def test_a_mode_that_others_changed_is_put_right_without_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "a"
    deploy(files=[{"path": str(file), "content": "x"}])
    number = file.stat().st_ino
    file.chmod(0o666)
    assert deploy(files=[{"path": str(file), "content": "x"}])["written"] == [str(file)]
    assert (file.stat().st_ino, file.stat().st_mode & 0o777) == (number, 0o644)


def test_a_kept_file_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("theirs")
    (tmp_path / "a").chmod(0o644)
    assert deploy(files=[{"path": str(tmp_path / "a"), "content": "ours", "keep": True}])["changed"] is False
    assert (tmp_path / "a").read_text() == "theirs"


def test_a_file_that_its_command_refuses_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("good\n")
    failed = deploy(files=[{"path": str(file), "content": "bad\n", "validate": ["grep", "-q", "good", "%s"]}])
    assert failed["failed"] is True
    assert file.read_text() == "good\n"
    assert list(tmp_path.iterdir()) == [file]


def test_a_secret_is_in_no_diff(tmp_path: Path) -> None:
    told = deploy(
        files=[
            {"path": str(tmp_path / name), "content": name, "mode": mode}
            for name, mode in (("open", "0644"), ("secret", "0640"))
        ]
    )
    assert [one["after_header"] for one in told["diff"]] == [str(tmp_path / "open")]


def test_what_must_not_be_there_goes(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/nowhere")
    assert deploy(absent=[str(tmp_path / "link"), str(tmp_path / "other")])["written"] == [str(tmp_path / "link")]
    assert list(tmp_path.iterdir()) == []


def test_a_user_that_does_not_exist_is_refused_before_the_file_is_there(tmp_path: Path) -> None:
    failed = deploy(files=[{"path": str(tmp_path / "a"), "content": "x", "owner": "nobody-of-that-name"}])
    assert failed["failed"] is True
    assert list(tmp_path.iterdir()) == []
