"""A store's data: a file of records in checksummed blocks, and snapshots of it that prove themselves.

`data.bin` holds BLOCKS blocks of BLOCK bytes, each of RECORDS_PER_BLOCK records; `data.sums` holds the SHA-256 of each
block, a line each. A snapshot is a folder named by its UTC time with both files and a `SHA256SUMS` for `sha256sum -c`.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

BLOCK = 4096
BLOCKS = 64
RECORD = 256
RECORDS_PER_BLOCK = BLOCK // RECORD
RECORDS = BLOCKS * RECORDS_PER_BLOCK
KEPT = 4
_STAMP = "%Y%m%dT%H%M%SZ"
_DATA, _SUMS, _PROOF = "data.bin", "data.sums", "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot's folder, when it was taken (seconds since the epoch), and whether it passes its own checksums."""

    path: Path
    taken: float
    valid: bool


def create(directory: Path, seed: int) -> None:
    """Write the data that a seed stands for, with its checksums."""
    records = [
        f"item {key} {hashlib.sha256(f'{seed} {key}'.encode()).hexdigest()}".encode().ljust(RECORD, b".")
        for key in range(RECORDS)
    ]
    content = b"".join(records)
    (directory / _DATA).write_bytes(content)
    (directory / _SUMS).write_text("".join(f"{_digest(content, block)}\n" for block in range(BLOCKS)))


def failing(directory: Path, blocks: range = range(BLOCKS)) -> set[int]:
    """Return those of the given blocks that do not match their checksum; missing files fail everywhere."""
    try:
        sums = (directory / _SUMS).read_text(encoding="ascii", errors="replace").split("\n")
        with (directory / _DATA).open("rb") as file:
            file.seek(blocks.start * BLOCK)
            content = file.read(len(blocks) * BLOCK)
    except OSError:
        return set(blocks)
    found = ((block, _digest(content, block - blocks.start)) for block in blocks)
    return {block for block, digest in found if block >= len(sums) or sums[block] != digest}


def read(directory: Path, key: int) -> bytes | None:
    """Return a record; None when its block does not match its checksum. Raises IndexError beyond the last record."""
    if not 0 <= key < RECORDS:
        raise IndexError(key)
    block, place = divmod(key, RECORDS_PER_BLOCK)
    if failing(directory, range(block, block + 1)):
        return None
    with (directory / _DATA).open("rb") as file:
        file.seek(block * BLOCK + place * RECORD)
        return file.read(RECORD)


def take(directory: Path, now: float) -> Path | None:
    """Take a snapshot and drop the oldest; return its folder, or None when the data fails its checksums.

    A snapshot appears whole or not at all.
    """
    data, sums = (directory / _DATA).read_bytes(), (directory / _SUMS).read_bytes()
    lines = sums.decode("ascii", "replace").split("\n")
    if [_digest(data, block) for block in range(BLOCKS)] != lines[:BLOCKS]:
        return None
    path = _folder(directory) / datetime.fromtimestamp(now, UTC).strftime(_STAMP)
    unfinished = path.with_name(f".{path.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    proof = ""
    for name, content in ((_DATA, data), (_SUMS, sums)):
        (unfinished / name).write_bytes(content)
        proof += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
    (unfinished / _PROOF).write_text(proof)
    if path.exists():  # two in one second: the first one stands
        shutil.rmtree(unfinished)
        return path
    unfinished.rename(path)
    prune(directory)
    return path


def prune(directory: Path) -> None:
    """Keep the newest KEPT snapshots that are valid, and of the broken ones as many: they must not push out good ones."""
    found = snapshots(directory)
    for valid in (True, False):
        for old in [snapshot for snapshot in found if snapshot.valid is valid][KEPT:]:
            shutil.rmtree(old.path, ignore_errors=True)


def snapshots(directory: Path) -> list[Snapshot]:
    """Return the snapshots, newest first, each checked now; foreign folders are left out."""
    found = []
    for path in sorted(_folder(directory).glob("*Z"), reverse=True):
        try:
            taken = datetime.strptime(path.name, _STAMP).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
        found.append(Snapshot(path, taken, _proves(path)))
    return found


def restore(directory: Path) -> Path | None:
    """Put the newest valid snapshot in the data's place; return its folder, or None when there is none."""
    for snapshot in snapshots(directory):
        if snapshot.valid:
            for name in (_DATA, _SUMS):
                fresh = directory / f".{name}"
                shutil.copyfile(snapshot.path / name, fresh)
                fresh.replace(directory / name)
            return snapshot.path
    return None


def _folder(directory: Path) -> Path:
    return directory / "snapshots"


def _digest(content: bytes, block: int) -> str:
    return hashlib.sha256(content[block * BLOCK : (block + 1) * BLOCK]).hexdigest()


def _proves(path: Path) -> bool:
    """Return whether a snapshot's two files match its SHA256SUMS and the blocks match theirs."""
    try:
        lines = (path / _PROOF).read_text(encoding="ascii").splitlines()
        wanted = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        right = all(
            hashlib.sha256((path / name).read_bytes()).hexdigest() == wanted.get(name) for name in (_DATA, _SUMS)
        )
    except (OSError, ValueError):
        return False
    return right and (path / _DATA).stat().st_size == BLOCKS * BLOCK and not failing(path)
