"""What the archive decides about segments and backups, on plain files: no server is needed for it."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "playbooks/roles/lab_archive/files/postgres_archive.py"
SEGMENT = 16 << 20


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with an archive of its own that is empty."""
    for folder in ("wal", "backups", "figures"):
        (tmp_path / folder).mkdir()
    settings = {
        "root": str(tmp_path),
        "bin": "/nowhere",
        "keep": 2,
        "figures": str(tmp_path / "figures"),
        "primary": "",
        "checks": {},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    monkeypatch.setenv("POSTGRES_ARCHIVE", str(tmp_path / "settings.json"))
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    specification = importlib.util.spec_from_file_location("postgres_archive", SOURCE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def segment(timeline: int, number: int, more: str = "") -> str:
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}{more}"


def lsn(number: int, offset: int = 0) -> str:
    place = number * SEGMENT + offset
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"


def make_backup(root: Path, name: str, timeline: int, first: int, *, valid: bool = True, done: float = 1.0) -> Path:
    backup = root / "backups" / name
    backup.mkdir()
    ranges = [{"Timeline": timeline, "Start-LSN": lsn(first, 40), "End-LSN": lsn(first, 400)}]
    (backup / "backup_manifest").write_text(json.dumps({"WAL-Ranges": ranges}))
    (root / "backups" / f"{name}.json").write_text(json.dumps({"valid": valid, "taken": done, "done": done}))
    return backup


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / "wal" / name).write_bytes(b"")


def test_a_place_is_read_from_a_segments_name_across_the_end_of_four_gigabytes(archive: ModuleType) -> None:
    assert archive.place("00000002000000010000000A") == (2, 266)
    assert archive.place("0000000100000000000000FF.partial") == (1, 255)


def test_after_a_promotion_nothing_is_moved_that_leads_to_the_new_primary(archive: ModuleType) -> None:
    names = [segment(1, 5), segment(1, 6), segment(1, 7, ".partial")]
    assert archive.superfluous(names, 2, {1: 7 * SEGMENT + 100}) == []


def test_what_was_written_beyond_the_point_where_the_history_was_left_is_moved_away(archive: ModuleType) -> None:
    names = [segment(1, 5), segment(1, 6), segment(1, 7), segment(1, 8, ".partial")]
    assert archive.superfluous(names, 2, {1: 6 * SEGMENT + 100}) == names[1:]


def test_segments_of_a_timeline_that_leads_nowhere_are_moved_away(archive: ModuleType) -> None:
    names = [segment(1, 5), segment(2, 6), segment(2, 7, ".partial")]
    assert archive.superfluous(names, 3, {1: 6 * SEGMENT}) == names[1:]
    assert archive.superfluous([*names, segment(3, 6)], 3, {1: 6 * SEGMENT}) == names[1:]


def test_what_is_moved_away_is_kept(archive: ModuleType, tmp_path: Path) -> None:
    fill(tmp_path, segment(2, 6))
    archive.leave([segment(2, 6)])
    assert [path.name for path in (tmp_path / "left").rglob("0*")] == [segment(2, 6)]
    assert archive.segments() == []


def test_a_backup_beyond_the_point_where_its_history_was_left_is_unfit(archive: ModuleType, tmp_path: Path) -> None:
    fill(tmp_path, segment(1, 4), segment(2, 5), segment(2, 6, ".partial"))
    (tmp_path / "wal" / "00000002.history").write_text(f"1\t{lsn(5, 50)}\tno recovery target specified\n")
    before = make_backup(tmp_path, "20260101T000000Z", 1, 4)
    beyond = make_backup(tmp_path, "20260101T010000Z", 1, 5)
    after = make_backup(tmp_path, "20260101T020000Z", 2, 5)
    assert archive.unfit(before, None) == ""
    assert "a history that was left" in archive.unfit(beyond, None)
    assert archive.unfit(after, None) == ""


def test_a_backup_with_a_gap_in_the_log_behind_it_is_unfit(archive: ModuleType, tmp_path: Path) -> None:
    fill(tmp_path, segment(1, 4), segment(1, 6), segment(1, 7, ".partial"))
    assert "gap" in archive.unfit(make_backup(tmp_path, "20260101T000000Z", 1, 4), None)
    assert archive.unfit(make_backup(tmp_path, "20260101T010000Z", 1, 6), None) == ""


def test_a_backup_taken_after_the_moment_that_is_wanted_is_unfit(archive: ModuleType, tmp_path: Path) -> None:
    fill(tmp_path, segment(1, 4))
    backup = make_backup(tmp_path, "20260101T000000Z", 1, 4, done=50.0)
    assert archive.unfit(backup, 60.0) == ""
    assert "after the moment" in archive.unfit(backup, 50.0)


def test_only_backups_that_verify_count_as_kept_and_the_log_is_kept_from_the_oldest_of_them(
    archive: ModuleType, tmp_path: Path
) -> None:
    fill(tmp_path, *(segment(1, number) for number in range(2, 10)))
    make_backup(tmp_path, "20260101T000000Z", 1, 2)
    make_backup(tmp_path, "20260101T010000Z", 1, 4)
    make_backup(tmp_path, "20260101T020000Z", 1, 6, valid=False)
    make_backup(tmp_path, "20260101T030000Z", 1, 8)
    archive.forget()
    assert [path.name for path in archive.backups()] == ["20260101T030000Z", "20260101T020000Z", "20260101T010000Z"]
    assert archive.segments() == [segment(1, number) for number in range(4, 10)]


def test_with_too_few_that_verify_nothing_is_forgotten(archive: ModuleType, tmp_path: Path) -> None:
    fill(tmp_path, segment(1, 2))
    make_backup(tmp_path, "20260101T000000Z", 1, 2, valid=False)
    make_backup(tmp_path, "20260101T010000Z", 1, 4)
    archive.forget()
    assert len(archive.backups()) == 2
    assert archive.segments() == [segment(1, 2)]


def test_a_broken_backup_is_passed_over_with_its_reason(archive: ModuleType, tmp_path: Path) -> None:
    """The program that verifies is a stand-in here, which finds the newest backup broken."""
    fill(tmp_path, segment(1, 4), segment(1, 5, ".partial"))
    make_backup(tmp_path, "20260101T000000Z", 1, 4)
    make_backup(tmp_path, "20260101T010000Z", 1, 4)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in {
        "pg_verifybackup": 'case "$2" in *T01*) echo "checksum mismatch for file x" >&2; exit 1;; esac',
        "pg_waldump": (
            f'echo "rmgr: Heap  len (rec/tot):     54/    54, tx:        735, lsn: {lsn(5, 40)}, prev {lsn(5)}, desc: INSERT"\n'
            f'echo "error in WAL record at {lsn(5, 40)}: invalid record length at {lsn(5, 96)}: wanted 24, got 0" >&2; exit 1'
        ),
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    archive.SETTINGS["bin"] = str(programs)
    chosen = archive.choose(None)
    assert chosen["backup"] == "20260101T000000Z"
    assert chosen["passed_over"] == ["20260101T010000Z: pg_verifybackup: checksum mismatch for file x"]
    assert chosen["end"] == lsn(5, 94)
    assert chosen["log"] == [segment(1, 4), segment(1, 5, ".partial")]


def test_without_a_backup_that_can_be_restored_it_says_why(archive: ModuleType) -> None:
    with pytest.raises(archive.Trouble, match="there is none"):
        archive.choose(None)


def test_the_figures_are_a_page_that_prometheus_reads(archive: ModuleType, tmp_path: Path) -> None:
    make_backup(tmp_path, "20260101T000000Z", 1, 4, done=77.0)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "psql").write_text("#!/bin/sh\nprintf '1\\t42\\tdb1\\n'\n")
    (programs / "psql").chmod(0o755)
    archive.SETTINGS["bin"] = str(programs)
    archive.LAST = tmp_path / "last"
    lines = archive.page().splitlines()
    assert 'mendbook_backup_taken_timestamp_seconds{kind="postgres"} 77.0' in lines
    assert "mendbook_postgres_archive_streaming 1" in lines
    assert "mendbook_postgres_archive_lag_bytes 42" in lines
    assert 'mendbook_postgres_archive_primary_seen{member="db1"} 1' in lines
    assert os.environ["PGPASSFILE"] == "/nowhere"
    assert sys.modules.get("postgres_archive") is None
