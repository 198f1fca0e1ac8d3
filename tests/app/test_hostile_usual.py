"""The file of what is usual: torn, turned bits, another's, with a pickle inside, on a full disk, and written by a clock that was wrong."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.app.anomalies import Anomalies
from engine.model.labels import Batch, Labels
from engine.samples.store import SampleStore

START = 1_700_438_400.0
QUEUE = Labels({"__name__": "queue_items", "instance": "web-1"})
YEARS = 5 * 365 * 86_400.0


class Evil:
    """What would make a folder where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def watched(store: SampleStore, watch: Anomalies, values: list[float], start: float) -> float:
    """Collect one value a tick and let the watch look; return the time of the next tick."""
    for number, value in enumerate(values):
        at = start + 15 * number
        store.append(Batch(at, (QUEUE,), (value,)))
        watch.collect(at + 1)
    return start + 15 * len(values)


def saved(folder: Path) -> bytes:
    """What a watch of one series saves."""
    with SampleStore(folder / "seen") as store:
        watch = Anomalies(store, folder / "usual.npz", interval=15, most=10)
        watched(store, watch, [50.0 + number % 3 for number in range(30)], START)
        watch.save()
    return (folder / "usual.npz").read_bytes()


def known(folder: Path, content: bytes) -> int:
    """How many series are known by a file of this content."""
    (folder / "usual.npz").write_bytes(content)
    with SampleStore(folder / "none") as store:
        return len(Anomalies(store, folder / "usual.npz", interval=15, most=10).roster.series)


def with_array(content: bytes, name: str, array: np.ndarray) -> bytes:
    """The same file with one array replaced."""
    with np.load(io.BytesIO(content)) as arrays:
        all_of_them = {**arrays, name: array}
    out = io.BytesIO()
    np.savez(out, **all_of_them)
    return out.getvalue()


def test_a_pickle_is_never_unpickled(tmp_path: Path) -> None:
    whole, evil = saved(tmp_path), Evil(tmp_path / "ran")
    member = io.BytesIO()
    np.save(member, np.array([evil], dtype=object), allow_pickle=True)

    assert known(tmp_path, with_array(whole, "value", np.array([evil], dtype=object))) == 0
    assert known(tmp_path, pickle.dumps(evil)) == 0
    assert known(tmp_path, member.getvalue()) == 0
    assert not (tmp_path / "ran").exists()


def test_whatever_byte_of_its_directory_is_wrong_it_is_learned_again(tmp_path: Path) -> None:
    whole = saved(tmp_path)
    directory = whole.index(b"PK\x01\x02")
    with SampleStore(tmp_path / "none") as store:
        for place in (*range(48), *range(directory, directory + 60), *range(len(whole) - 22, len(whole))):
            for mask in (0x01, 0x40, 0xFF):
                turned = whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :]
                (tmp_path / "usual.npz").write_bytes(turned)
                found = Anomalies(store, tmp_path / "usual.npz", interval=15, most=10)
                assert len(found.roster.series) in {0, 1}


@pytest.mark.parametrize("said", [5, None, {"a": 1}, [1], [[1]], [[["a"]]], [[["a", "b", "c"]]], [None]])
def test_names_that_are_none_are_learned_again(tmp_path: Path, said: object) -> None:
    names = np.frombuffer(json.dumps(said).encode(), np.uint8)

    assert known(tmp_path, with_array(saved(tmp_path), "series", names)) == 0


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\xff\xfe", b"[[" + b"9" * 10_000 + b"]]"])
def test_names_that_are_no_json_are_learned_again(tmp_path: Path, content: bytes) -> None:
    assert known(tmp_path, with_array(saved(tmp_path), "series", np.frombuffer(content, np.uint8))) == 0


@pytest.mark.parametrize("array", [np.zeros(3), np.full(1, 1j), np.array(["x"]), np.array(3.0), np.zeros(1, "M8[s]")])
@pytest.mark.parametrize("name", ["format", "value", "time", "state level", "state last", "hours _low"])
def test_an_array_of_another_kind_or_size_is_not_bent_into_place(tmp_path: Path, name: str, array: np.ndarray) -> None:
    assert known(tmp_path, with_array(saved(tmp_path), name, array)) == 0


def test_a_plain_array_in_its_place_is_learned_again(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.arange(5))

    assert known(tmp_path, out.getvalue()) == 0


def test_a_full_disk_keeps_what_was_saved_before_and_leaves_no_half(tmp_path: Path) -> None:
    before = saved(tmp_path)
    with SampleStore(tmp_path / "none") as store:
        watch = Anomalies(store, tmp_path / "usual.npz", interval=15, most=10)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # as a disk would be that is full within the file
        try:
            watch.save()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (tmp_path / "usual.npz").read_bytes() == before
    assert zipfile.is_zipfile(tmp_path / "usual.npz")
    assert not (tmp_path / "usual.new").exists()


def test_a_clock_that_was_years_ahead_blinds_nobody_for_years(tmp_path: Path) -> None:
    with SampleStore(tmp_path / "ahead") as store:
        first = Anomalies(store, tmp_path / "usual.npz", interval=15, most=10)
        watched(store, first, [50.0 + number % 3 for number in range(60)], START + YEARS)
        first.save()
    with SampleStore(tmp_path / "right") as store:
        second = Anomalies(store, tmp_path / "usual.npz", interval=15, most=10)
        before = int(second.roster.watch.state.count[0])
        at = watched(store, second, [50.0 + number % 3 for number in range(60)], START)

        assert int(second.roster.watch.state.count[0]) == before + 60
        watched(store, second, [400.0] * 3, at)
        assert second.alarms == 1


def test_a_clock_that_is_set_back_does_not_keep_it_from_being_saved(tmp_path: Path) -> None:
    with SampleStore(tmp_path / "ahead") as store:
        watch = Anomalies(store, tmp_path / "usual.npz", interval=15, most=10)
        watched(store, watch, [50.0, 51.0], START + YEARS)
    with SampleStore(tmp_path / "right") as store:
        watch.store = store
        watched(store, watch, [50.0], START)

    assert (tmp_path / "usual.npz").exists()
