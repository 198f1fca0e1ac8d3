"""The module that restores data: which snapshot it takes, what it leaves alone, and what a failure leaves behind."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from playbook_run import run_module

GOOD = {"data.bin": b"records\n" * 500, "data.sums": b"sums\n"}


def snapshot(home: Path, name: str, files: dict[str, bytes] | None = None) -> Path:
    folder = home / "snapshots" / name
    folder.mkdir(parents=True)
    content = files or GOOD
    for file, text in content.items():
        (folder / file).write_bytes(text)
    proof = "".join(f"{hashlib.sha256(text).hexdigest()}  {file}\n" for file, text in content.items())
    (folder / "SHA256SUMS").write_text(proof)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A service's folder whose data differs from its one good snapshot."""
    (tmp_path / "data.bin").write_bytes(b"broken\n")
    (tmp_path / "data.sums").write_bytes(GOOD["data.sums"])
    snapshot(tmp_path, "20260101T000000Z")
    return tmp_path


def restore(home: Path, **arguments: object) -> dict[str, object]:
    wanted: dict[str, object] = {
        "directory": str(home),
        "files": ["data.bin", "data.sums"],
        "snapshots": str(home / "snapshots"),
    }
    check, diff = bool(arguments.pop("check", False)), bool(arguments.pop("diff", False))
    return run_module("snapshot_restore", check=check, diff=diff, **{**wanted, **arguments})


def test_the_data_is_restored_and_the_old_files_are_kept(home: Path) -> None:
    result = restore(home, attempt="attempt-1")
    assert result["changed"] is True
    assert {name: (home / name).read_bytes() for name in GOOD} == GOOD
    assert result["aside"] == str(home / "aside" / "attempt-1")
    assert (home / "aside" / "attempt-1" / "data.bin").read_bytes() == b"broken\n"
    assert not list(home.glob(".restoring-*"))


def test_a_second_run_finds_nothing_to_do(home: Path) -> None:
    restore(home)
    before = sorted(home.rglob("*"))
    result = restore(home)
    assert (result["changed"], result["due"]) == (False, False)
    assert sorted(home.rglob("*")) == before


def test_an_attempt_restores_once_even_when_the_data_breaks_again(home: Path) -> None:
    restore(home, attempt="attempt-1")
    (home / "data.bin").write_bytes(b"written since\n")
    assert restore(home, attempt="attempt-1")["changed"] is False
    assert (home / "data.bin").read_bytes() == b"written since\n"
    assert restore(home, attempt="attempt-2")["changed"] is True


def test_check_mode_shows_the_difference_and_touches_nothing(home: Path) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    result = restore(home, check=True, diff=True, attempt="attempt-1")
    assert result["changed"] is True
    assert hashlib.sha256(GOOD["data.bin"]).hexdigest() in result["diff"]["after"]  # type: ignore[index]
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_broken_snapshots_are_passed_over_and_named(home: Path) -> None:
    (snapshot(home, "20260104T000000Z") / "data.bin").write_bytes(b"flipped")
    (snapshot(home, "20260103T000000Z") / "SHA256SUMS").unlink()
    (snapshot(home, "20260102T000000Z") / "data.sums").unlink()
    result = restore(home)
    assert result["snapshot"] == str(home / "snapshots" / "20260101T000000Z")
    assert [str(told).split(":")[0] for told in result["passed_over"]] == [  # type: ignore[attr-defined]
        "20260104T000000Z",
        "20260103T000000Z",
        "20260102T000000Z",
    ]
    assert "data.bin does not match its checksum" in result["passed_over"][0]  # type: ignore[index]


def test_a_snapshot_may_not_point_out_of_its_folder(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_bytes(GOOD["data.bin"])
    link = snapshot(home, "20260105T000000Z") / "data.bin"
    link.unlink()
    link.symlink_to(secret)
    (home / "snapshots" / "20260106T000000Z").symlink_to(home / "snapshots" / "20260105T000000Z")
    assert restore(home)["snapshot"] == str(home / "snapshots" / "20260101T000000Z")


def test_without_a_valid_snapshot_nothing_is_touched(home: Path) -> None:
    (home / "snapshots" / "20260101T000000Z" / "data.bin").write_bytes(b"flipped")
    result = restore(home)
    assert result["failed"] is True
    assert "nothing was touched" in str(result["msg"])
    assert (home / "data.bin").read_bytes() == b"broken\n"
    assert not (home / "aside").exists()


def test_a_snapshot_that_breaks_before_the_copy_leaves_the_data_as_it_was(home: Path) -> None:
    planned = restore(home, state="planned")
    (home / "snapshots" / "20260101T000000Z" / "data.bin").write_bytes(b"flipped meanwhile")
    result = restore(home, snapshot=planned["snapshot"])
    assert result["failed"] is True
    assert (home / "data.bin").read_bytes() == b"broken\n"
    assert sorted(path.name for path in home.iterdir()) == ["data.bin", "data.sums", "snapshots"]


def test_a_failure_half_way_is_taken_back(home: Path) -> None:
    # A folder in the marker's place lets every move succeed and the very last step fail.
    (home / "aside" / "attempt-1" / ".restored" / "in the way").mkdir(parents=True)
    (home / "aside" / "attempt-1" / ".restored").rename(home / "aside" / "kept")
    (home / "aside" / "attempt-1").rmdir()
    (home / "aside" / "attempt-1").write_text("a file where a folder must be")
    result = restore(home, attempt="attempt-1")
    assert result["failed"] is True
    assert "as it was" in str(result["msg"])
    assert (home / "data.bin").read_bytes() == b"broken\n"
    assert not list(home.glob(".restoring-*"))


def test_what_lies_aside_is_never_overwritten(home: Path) -> None:
    aside = home / "aside" / "attempt-1"
    aside.mkdir(parents=True)
    (aside / "data.bin").write_bytes(b"from a run that died")
    restore(home, attempt="attempt-1")
    assert (aside / "data.bin").read_bytes() == b"from a run that died"
    assert (aside / "data.bin.1").read_bytes() == b"broken\n"


def test_missing_data_is_restored(home: Path) -> None:
    (home / "data.bin").unlink()
    assert restore(home)["changed"] is True
    assert (home / "data.bin").read_bytes() == GOOD["data.bin"]


def test_data_that_passes_its_own_checksums_is_left_alone(home: Path) -> None:
    live = b"newer than every snapshot\n"
    (home / "data.bin").write_bytes(live)
    (home / "live.sums").write_text(f"{hashlib.sha256(live).hexdigest()}  data.bin\n")
    result = restore(home, files=["data.bin"], sums="live.sums")
    assert (result["changed"], result["reason"]) == (False, "the data passes live.sums")


def test_the_restored_files_keep_the_mode_of_the_old_ones(home: Path) -> None:
    (home / "data.bin").chmod(0o640)
    restore(home)
    assert (home / "data.bin").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["../data.bin", "/etc/passwd", "..", "", "aside", "SHA256SUMS", "a\nb", "a/b"])
def test_what_is_not_a_plain_file_name_is_refused(home: Path, name: str) -> None:
    result = restore(home, files=[name])
    assert result["failed"] is True
    assert "is not the name of a data file" in str(result["msg"])


@pytest.mark.parametrize("attempt", ["../../out", "/abs", "a b; touch pwned", "{{ 7*7 }}", "..", "x" * 300, "\n--flag"])
def test_an_attempt_names_a_folder_below_aside_whatever_it_is(home: Path, attempt: str) -> None:
    result = restore(home, attempt=attempt)
    assert result["changed"] is True
    aside = Path(str(result["aside"]))
    assert aside.parent == home / "aside"
    assert list((home / "aside").iterdir()) == [aside]
