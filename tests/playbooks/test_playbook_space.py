"""The modules that free disk space: what goes, and above all what stays."""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path
from typing import Any

import pytest
from playbook_run import run_module


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node's folder: data, and a cache with 64 KiB of junk."""
    cache = tmp_path / "cache"
    (cache / "deep").mkdir(parents=True)
    for name in ("junk-0", "junk-1", "deep/junk-2", "keep.db"):
        (cache / name).write_bytes(os.urandom(16384))
    (tmp_path / "data.bin").write_bytes(b"precious")
    return tmp_path


def clear(*paths: Path | str, check: bool = False, **arguments: object) -> dict[str, Any]:
    wanted: dict[str, object] = {"paths": [str(path) for path in paths], "patterns": ["*"]}
    return run_module("space_cleared", check=check, diff=True, **{**wanted, **arguments})


def test_only_files_below_the_listed_folders_go(node: Path) -> None:
    result = clear(node / "cache", keep=["*.db"])
    assert result["changed"] is True
    assert (result["removed"], result["freed_bytes"]) == (3, 3 * 16384)
    assert sorted(path.name for path in node.rglob("*")) == ["cache", "data.bin", "deep", "keep.db"]


def test_a_second_run_changes_nothing(node: Path) -> None:
    clear(node / "cache")
    assert clear(node / "cache")["changed"] is False


def test_check_mode_counts_and_lists_but_removes_nothing(node: Path) -> None:
    result = clear(node / "cache", check=True)
    assert (result["changed"], result["removed"], result["freed_bytes"]) == (True, 4, 4 * 16384)
    assert "junk-2" in result["diff"]["before"]
    assert len(list((node / "cache").rglob("*"))) == 5


def test_young_files_stay(node: Path) -> None:
    an_hour_ago = time.time() - 3600
    os.utime(node / "cache" / "junk-0", (an_hour_ago, an_hour_ago))
    clear(node / "cache", min_age="30m")
    assert sorted(path.name for path in (node / "cache").iterdir()) == ["deep", "junk-1", "keep.db"]


def test_links_are_neither_followed_nor_removed(node: Path) -> None:
    (node / "cache" / "out").symlink_to(node / "data.bin")
    (node / "cache" / "outside").symlink_to(node, target_is_directory=True)
    clear(node / "cache")
    assert (node / "data.bin").read_bytes() == b"precious"
    assert sorted(path.name for path in (node / "cache").iterdir()) == ["deep", "out", "outside"]


def test_a_listed_folder_that_is_a_link_is_refused(node: Path) -> None:
    (node / "alias").symlink_to(node / "cache", target_is_directory=True)
    result = clear(node / "alias")
    assert result["failed"] is True
    assert (node / "cache" / "junk-0").exists()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/.",
        "/tmp",
        "/etc/apt",
        "/usr/share",
        "/proc/1",
        "/home/alice",
        "/var/lib/app",
        "relative",
        "/tmp/../etc/x",
    ],
)
def test_what_is_too_wide_or_not_ours_is_refused(path: str) -> None:
    result = clear(path, check=True)
    assert result["failed"] is True
    assert "nothing was removed" in result["msg"]


def test_one_refused_folder_spares_the_others_too(node: Path) -> None:
    assert clear(node / "cache", "/")["failed"] is True
    assert (node / "cache" / "junk-0").exists()


@pytest.mark.parametrize("listed", ["", "data", "data/deep"])
def test_a_folder_that_is_or_holds_or_lies_in_protected_data_is_refused(node: Path, listed: str) -> None:
    (node / "data" / "deep").mkdir(parents=True)
    result = clear(node / listed, protected=[str(node / "data")])
    assert result["failed"] is True
    assert "holds data" in result["msg"]


def test_a_folder_that_does_not_exist_is_passed_over(node: Path) -> None:
    assert clear(node / "no such folder")["changed"] is False


@pytest.mark.parametrize("name", ["-rf", "a\nb", "$(touch pwned)", "{{ 7*7 }}", "'; touch pwned; '", "é\udcff"])
def test_hostile_file_names_are_only_names(node: Path, name: str) -> None:
    (node / "cache" / name).write_bytes(b"x")
    assert clear(node / "cache", keep=["*.db"])["removed"] == 4
    assert not list(node.rglob("*pwned*"))


@pytest.mark.parametrize("text", ["soon", "-1", "1 day", ""])
def test_an_age_that_is_none_is_refused(node: Path, text: str) -> None:
    assert clear(node / "cache", min_age=text)["failed"] is True
    assert (node / "cache" / "junk-0").exists()


def rotate(folder: Path, *, check: bool = False, **arguments: object) -> dict[str, Any]:
    return run_module("log_rotated", check=check, paths=[str(folder)], **{"max_size": "1K", **arguments})


def test_a_log_that_has_grown_is_compressed_and_emptied_in_place(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"line\n" * 1000)
    inode = log.stat().st_ino
    assert rotate(tmp_path)["rotated"] == [str(log)]
    assert (log.stat().st_ino, log.stat().st_size) == (inode, 0)
    assert gzip.decompress((tmp_path / "app.log.1.gz").read_bytes()) == b"line\n" * 1000
    assert rotate(tmp_path)["changed"] is False


def test_old_logs_move_on_and_the_oldest_goes(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    for number in range(4):
        log.write_bytes(f"{number}".encode() * 2000)
        rotate(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.log", "app.log.1.gz", "app.log.2.gz"]
    assert gzip.decompress((tmp_path / "app.log.1.gz").read_bytes())[:1] == b"3"
    assert gzip.decompress((tmp_path / "app.log.2.gz").read_bytes())[:1] == b"2"


def test_check_mode_names_the_logs_and_rotates_none(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b"x" * 2000)
    assert rotate(tmp_path, check=True)["changed"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["app.log"]


def test_small_logs_links_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "small.log").write_bytes(b"x")
    (tmp_path / "data.bin").write_bytes(b"x" * 5000)
    (tmp_path / "link.log").symlink_to(tmp_path / "data.bin")
    assert rotate(tmp_path)["changed"] is False
