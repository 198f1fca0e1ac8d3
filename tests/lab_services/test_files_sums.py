"""Checksums of a folder, and when it must not be backed up."""

from __future__ import annotations

from pathlib import Path

from files_backup import read_sums, refusal, sums_of, write


def test_sums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a b.txt").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("/etc/passwd")
    found = sums_of(tmp_path)
    assert found == {"deep/a b.txt": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    write(tmp_path / "SUMS", "".join(f"{digest}  {name}\n" for name, digest in found.items()))
    assert read_sums(tmp_path / "SUMS") == found


def test_a_folder_that_is_gone_has_no_files_and_no_sums(tmp_path: Path) -> None:
    assert sums_of(tmp_path / "gone") == {}
    assert read_sums(tmp_path / "gone") == {}


def test_a_folder_that_lost_half_of_its_files_is_not_backed_up() -> None:
    before = dict.fromkeys("abcd", "0")
    assert refusal(before, dict.fromkeys("ab", "1")) == ""
    assert refusal(before, dict.fromkeys("abcdef", "0")) == ""
    assert "lost 3 of 4" in refusal(before, {"a": "0", "new": "0"})
    assert refusal(before, {}) == "holds no files"
    assert refusal({}, {}) == "holds no files"
    assert refusal({}, {"a": "0"}) == ""
