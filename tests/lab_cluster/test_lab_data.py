"""The store's data file and its snapshots, without a cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine.lab import data

NOW = 1_800_000_000.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    data.create(tmp_path, seed=3)
    return tmp_path


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_the_same_seed_gives_the_same_data(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    data.create(other, seed=3)
    assert (other / "data.bin").read_bytes() == (directory / "data.bin").read_bytes()


def test_every_record_is_there_and_none_beyond(directory: Path) -> None:
    assert data.read(directory, 0).startswith(b"item 0 ")
    assert data.read(directory, data.RECORDS - 1).startswith(f"item {data.RECORDS - 1} ".encode())
    for key in (-1, data.RECORDS):
        with pytest.raises(IndexError):
            data.read(directory, key)


@pytest.mark.parametrize("place", [0, data.BLOCK - 1, data.BLOCK, data.BLOCKS * data.BLOCK - 1])
def test_one_flipped_bit_fails_its_block_alone(directory: Path, place: int) -> None:
    flip(directory / "data.bin", place)
    block = place // data.BLOCK
    assert data.failing(directory) == {block}
    assert data.read(directory, block * data.RECORDS_PER_BLOCK) is None
    assert data.read(directory, (block + 1) % data.BLOCKS * data.RECORDS_PER_BLOCK) is not None


def test_lost_truncated_and_garbled_files_fail(directory: Path) -> None:
    whole = (directory / "data.bin").read_bytes()
    (directory / "data.bin").write_bytes(whole[: 10 * data.BLOCK])
    assert data.failing(directory) == set(range(10, data.BLOCKS))
    (directory / "data.bin").write_bytes(whole)
    (directory / "data.sums").write_bytes(b"\xff\x00 nothing of the kind")
    assert data.failing(directory) == set(range(data.BLOCKS))
    (directory / "data.sums").unlink()
    assert data.failing(directory) == set(range(data.BLOCKS))


def test_a_snapshot_proves_itself_to_sha256sum(directory: Path) -> None:
    path = data.take(directory, NOW)
    assert path == directory / "snapshots" / "20270115T080000Z"
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0
    assert checked.stdout.split() == ["data.bin:", "OK", "data.sums:", "OK"]


def test_bad_data_is_never_snapshotted(directory: Path) -> None:
    flip(directory / "data.bin", 5)
    assert data.take(directory, NOW) is None
    assert data.snapshots(directory) == []


def test_only_the_newest_are_kept_and_a_broken_one_pushes_no_good_one_out(directory: Path) -> None:
    for number in range(data.KEPT):
        data.take(directory, NOW + number)
    newest = data.take(directory, NOW + 10)
    flip(newest / "data.bin", 0)
    data.take(directory, NOW + 20)
    found = data.snapshots(directory)
    assert [snapshot.valid for snapshot in found] == [True, False, True, True, True]
    assert [snapshot.taken - NOW for snapshot in found] == [20, 10, 3, 2, 1]


def test_a_restore_takes_the_newest_snapshot_that_is_not_broken(directory: Path) -> None:
    right = (directory / "data.bin").read_bytes()
    good = data.take(directory, NOW)
    broken = data.take(directory, NOW + 1)
    flip(broken / "data.sums", 0)
    (directory / "snapshots" / "notatimeZ").mkdir()
    flip(directory / "data.bin", 0)
    assert data.restore(directory) == good
    assert (directory / "data.bin").read_bytes() == right
    assert data.failing(directory) == set()


def test_without_a_valid_snapshot_nothing_is_restored(directory: Path) -> None:
    flip(directory / "data.bin", 0)
    before = (directory / "data.bin").read_bytes()
    assert data.restore(directory) is None
    assert (directory / "data.bin").read_bytes() == before
