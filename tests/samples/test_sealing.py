"""What is sealed reads as what is in memory does, whatever happens meanwhile."""

from __future__ import annotations

import gc
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import END, START, batch, equal, everything, named, rows
from structlog.testing import capture_logs

from engine.model.labels import Batch, Labels
from engine.promql.block import STALE, Matcher, MatchOperator
from engine.samples import archive, journal, sealed
from engine.samples.segment import Record
from engine.samples.store import SampleStore

FORMAT_1 = Path(__file__).parent / "format1"
HOSTS = tuple(named(name, instance=instance) for name in ("cpu", "memory") for instance in "abc")
SPAN = 1 / 16
"""A segment's share of retention."""


@contextmanager
def small_tiles() -> Iterator[None]:
    """Several bands and slices in a file, although there is little in it."""
    with patch.object(sealed, "TILE", 8), patch.object(sealed, "DEEP", 4), patch.object(archive, "CACHED", 40):
        yield


def filled(folder: Path, count: int = 400, *, retention: float = 640.0) -> SampleStore:
    """A store most of whose samples are sealed: six series, and some that live for a while."""
    store = SampleStore(folder, retention=retention)
    for number in range(count):
        passing = named("passing", pod=str(number // 60))
        store.append(batch(number, {**{host: number / 4 + place for place, host in enumerate(HOSTS)}, passing: 1.0}))
    return store


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"*{suffix}"))


def asked(store: SampleStore, names: str, start: int, end: int) -> list[tuple[Labels, list[tuple[int, bytes]]]]:
    return rows(store.select([Matcher("__name__", MatchOperator.REGEX, names)], start, end))


steps = st.lists(
    st.tuples(
        st.sampled_from([1, 1, 1, 1, 3, 60]),  # seconds on
        st.sampled_from([0, 0, 0, 0, -1, -2, -7]),  # late, or a duplicate
        st.lists(st.sampled_from([*range(6), 7, 8, 9]), min_size=1, max_size=8),
        st.sampled_from([1.0, 2.5, 1e300, 0.1 + 0.2, STALE, float("nan")]),
        st.sampled_from(["", "", "", "", "read", "reopen", "beside"]),
    ),
    min_size=20,
    max_size=120,
)
windows = st.lists(st.tuples(st.integers(-5, 500), st.integers(0, 400)), min_size=1, max_size=4)


def series_of(place: int, now: int) -> Labels:
    """One of the hosts' series, or one that is another one from time to time."""
    return HOSTS[place] if place < len(HOSTS) else named("passing", pod=f"{place}-{now // 25}")


@settings(deadline=None, max_examples=40)
@given(steps, windows, st.sampled_from([80.0, 400.0, 1e6]), st.sampled_from([8 << 10, 64 << 10, 1 << 30]))
def test_a_store_is_a_plain_mapping_of_series_to_samples(given_steps, given_windows, retention, limit):
    """Late, double, stale and passing samples, retention, sealing, readers beside it and reopening: all against plain lists."""
    with tempfile.TemporaryDirectory() as name, small_tiles():
        folder, model, now = Path(name), dict[Labels, list[tuple[int, bytes]]](), 0
        store = SampleStore(folder, retention=retention, size_limit=limit)
        for ahead, shift, places, value, then in given_steps:
            now += ahead
            time = max(now + shift, 0)
            series = tuple(series_of(place, now) for place in places)
            store.append(Batch(time, series, (value,) * len(series)))
            for labels in dict.fromkeys(series):
                samples = model.setdefault(labels, [])
                if not samples or samples[-1][0] < time * 1000:
                    samples.append((time * 1000, np.float64(value).tobytes()))
            held = dict(everything(store))
            newest = max(samples[-1][0] for samples in model.values())
            for labels, samples in tuple(model.items()):
                kept = held.pop(labels, [])
                assert samples[len(samples) - len(kept) :] == kept
                dropped = samples[: len(samples) - len(kept)]
                if limit == 1 << 30:
                    assert all(moment <= newest - retention * 1000 for moment, _ in dropped)
                model[labels] = kept
                if not kept:
                    assert labels not in store.series()
                    del model[labels]
            assert not held
            if then == "reopen":
                store.close()
                store = SampleStore(folder, retention=retention, size_limit=limit)
            elif then == "beside":
                with SampleStore(folder, retention=retention, size_limit=limit, read_only=True) as beside:
                    assert everything(beside) == everything(store)
            for low, length in given_windows if then else ():
                start, end = low * 1000, (low + length) * 1000
                expected = [
                    (labels, [one for one in model[labels] if start < one[0] <= end])
                    for labels in store.series()
                    if labels["__name__"] in ("cpu", "passing")
                ]
                assert asked(store, "cpu|passing", start, end) == [row for row in expected if row[1]]
        assert store.stats().samples == sum(map(len, model.values()))
        assert store.stats().set_aside == 0
        store.close()


@settings(deadline=None, max_examples=20)
@given(steps, st.randoms(use_true_random=False))
def test_reopening_and_the_order_of_series_change_nothing(given_steps, dice):
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, small_tiles():
        steady, moved, now = SampleStore(Path(one), retention=300), SampleStore(Path(other), retention=300), 0
        for ahead, shift, places, value, then in given_steps:
            now += ahead
            series = list({series_of(place, now): None for place in places})
            found = {labels: value + place for place, labels in enumerate(series)}
            dice.shuffle(series)
            steady.append(batch(max(now + shift, 0), found))
            moved.append(batch(max(now + shift, 0), {labels: found[labels] for labels in series}))
            if then:
                moved.close()
                moved = SampleStore(Path(other), retention=300)
        assert dict(everything(moved)) == dict(everything(steady))
        assert moved.newest() == steady.newest()
        steady.close()
        moved.close()


def test_old_samples_leave_the_memory_and_stay_readable(tmp_path):
    series = tuple(named("cpu", instance=str(number)) for number in range(200))
    with SampleStore(tmp_path, retention=1e7, size_limit=8 << 20) as store:
        peak = 0
        for number in range(4000):
            store.append(Batch(number * 15, series, tuple(float(number + place) for place in range(200))))
            peak = max(peak, store.stats().memory_bytes)
        assert store.stats().samples == 800_000  # 6.4 MB of values
        assert peak < 3 << 20
        assert store.stats().disk_bytes < 3 << 20
        block = store.select((equal("instance", "7"),), START, END)
        assert block.values.tolist() == [float(number + 7) for number in range(4000)]
        assert store.stats().memory_bytes < 6 << 20


def test_a_narrow_window_reads_no_more_than_its_part_of_a_file(tmp_path):
    with small_tiles(), filled(tmp_path) as store:
        read: list[tuple[int, int]] = []
        whole = sealed.Sealed.tile

        def noted(file: sealed.Sealed, number: int) -> sealed.Piece:
            read.append((file.number, number))
            return whole(file, number)

        with patch.object(sealed.Sealed, "tile", noted):
            found = store.select((equal("__name__", "cpu"), equal("instance", "b")), 99_000, 102_000)
            assert found.values.tolist() == [26.0, 26.25, 26.5]
            assert 1 <= len(read) <= 2
            read.clear()
            store.select((equal("instance", "b"),), 390_000, 400_000)
            assert not read  # what is new is in memory


def test_a_store_of_the_first_format_opens_and_is_brought_up_to_date(tmp_path):
    folder = tmp_path / "samples"
    shutil.copytree(FORMAT_1, folder)
    odd = named("cpu", instance='ü\n"\udcff')
    expected = [
        (named("cpu", instance="a"), [(n * 1000, np.float64(n / 4).tobytes()) for n in range(240)]),
        (odd, [(n * 1000, np.float64(STALE if n % 50 == 49 else n * 1e9).tobytes()) for n in range(240)]),
        *(
            (
                named("passing", pod=str(pod)),
                [(n * 1000, np.float64(n).tobytes()) for n in range(40 * pod, 40 * pod + 40)],
            )
            for pod in range(6)
        ),
    ]
    with SampleStore(folder, retention=640.0, read_only=True) as reader:
        assert rows(reader.select((), START, END)) == expected
    assert len(files(folder, ".segment")) == 6
    with SampleStore(folder, retention=640.0) as store:
        assert rows(store.select((), START, END)) == expected
        assert len(files(folder, ".segment")) == 3
        assert len(files(folder, ".sealed")) == 3
        store.append(batch(240, {odd: 1.0}))
    with SampleStore(folder, retention=640.0) as store:
        assert dict(everything(store))[odd][-1] == (240_000, np.float64(1.0).tobytes())
        assert store.stats().set_aside == 0


def test_sealing_that_an_opening_began_and_left_is_ended_at_once(tmp_path):
    folder = tmp_path / "samples"
    shutil.copytree(FORMAT_1, folder)
    begun = []

    def watched(*given):
        begun.append(sealed.seal(*given))
        return begun[-1]

    gc.disable()
    try:
        with patch("engine.samples.sealer.seal", watched), SampleStore(folder, retention=640.0):
            assert len(begun) > 1
            assert [each for each in begun[:-1] if each.gi_frame is not None] == []
    finally:
        gc.enable()


def test_a_crash_between_sealing_and_removing_the_segment_leaves_every_sample_once(tmp_path):
    store = filled(tmp_path / "whole")
    before = everything(store)
    store.close()
    made = files(tmp_path / "whole", ".sealed")
    assert len(made) > 5
    # The same segments as they were before any was sealed: the file that came last exists in both forms.
    with patch("engine.samples.sealer.HOT", 10**6):
        plain = filled(tmp_path / "plain")
        plain.close()
    for keep in (1, 4, len(made)):
        folder = tmp_path / str(keep)
        shutil.copytree(tmp_path / "plain", folder)
        for path in made[:keep]:
            shutil.copy(path, folder)
        for path in made[: keep - 1]:
            (folder / path.name).with_suffix(".segment").unlink()
        (folder / "000000000099.sealing").write_bytes(b"half")
        with SampleStore(folder, retention=640.0) as again:
            assert everything(again) == before
            assert again.stats().samples == sum(len(samples) for _, samples in before)
        assert not files(folder, ".sealing")
        assert not {path.stem for path in files(folder, ".sealed")} & {path.stem for path in files(folder, ".segment")}


@pytest.mark.parametrize("damage", ["empty", "short", "magic", "footer", "index", "labels"])
def test_a_damaged_sealed_file_is_set_aside_and_costs_only_itself(tmp_path, damage):
    with filled(tmp_path) as store:
        before = dict(everything(store))
    second = files(tmp_path, ".sealed")[1]
    data = bytearray(second.read_bytes())
    index_at = sealed.FOOTER.unpack(data[-sealed.FOOTER.size :])[0]
    places = {"magic": 3, "footer": -9, "labels": -sealed.FOOTER.size - 3, "index": index_at + 9}
    place = places.get(damage)
    if place is not None:
        data[place] ^= 0x20
    second.write_bytes({"empty": b"", "short": data[: len(data) // 2]}.get(damage, data))
    if damage == "labels":  # they are read where they are news
        files(tmp_path, ".sealed")[0].unlink()
    with SampleStore(tmp_path, retention=640.0) as store:
        assert store.stats().set_aside == 1
        after = dict(everything(store))
        for labels, samples in after.items():
            assert set(samples) < set(before[labels]) or samples == before[labels]
        assert after[HOSTS[0]][-1] == before[HOSTS[0]][-1]
        assert 300 < len(after[HOSTS[0]]) < 400
    assert len(files(tmp_path, ".sealed.broken")) == 1
    with SampleStore(tmp_path, retention=640.0) as store:
        assert store.stats().set_aside == 0
        assert dict(everything(store)) == after


def test_a_flipped_bit_in_old_samples_leaves_out_its_tile_and_is_reported(tmp_path):
    with filled(tmp_path) as store:
        before = dict(everything(store))
    first = files(tmp_path, ".sealed")[0]
    data = bytearray(first.read_bytes())
    data[len(sealed.MAGIC) + 60] ^= 1
    first.write_bytes(data)
    with SampleStore(tmp_path, retention=640.0) as store:
        for _ in range(2):
            after = dict(everything(store))
            assert store.stats().set_aside == 1
        for labels, samples in after.items():
            assert samples == before[labels][-len(samples) :]
        assert len(after[HOSTS[0]]) == len(before[HOSTS[0]]) - 41


def test_samples_that_cannot_be_sealed_stay_in_memory_until_they_can(tmp_path):
    (tmp_path / "000000000001.sealing").mkdir(parents=True)
    with SampleStore(tmp_path, retention=640.0) as store:
        for number in range(200):
            store.append(batch(number, {HOSTS[0]: number}))
        assert not files(tmp_path, ".sealed")
        assert len(store.select((), START, END).values) == 200
        (tmp_path / "000000000001.sealing").rmdir()
        for number in range(200, 300):
            store.append(batch(number, {HOSTS[0]: number}))
        assert len(files(tmp_path, ".sealed")) == 6
        assert store.select((), START, END).values.tolist() == list(range(300))


def test_readers_beside_the_writing_process_see_whole_pictures_while_segments_are_sealed(tmp_path):
    done, wrong, seen = threading.Event(), [], []

    def read() -> None:
        while not done.is_set():
            with SampleStore(tmp_path, retention=1e6, size_limit=1 << 20, read_only=True) as beside:
                for _, samples in everything(beside):
                    seen.append(len(samples))
                    if [time for time, _ in samples] != [1000 * number for number in range(len(samples))]:
                        wrong.append(samples)

    with SampleStore(tmp_path, retention=1e6, size_limit=1 << 20) as store:
        readers = [threading.Thread(target=read) for _ in range(2)]
        for thread in readers:
            thread.start()
        series = tuple(named("cpu", instance=str(number)) for number in range(100))
        for number in range(800):
            store.append(Batch(number, series, (float(number),) * 100))
        done.set()
        for thread in readers:
            thread.join()
        assert len(files(tmp_path, ".sealed")) > 5
    assert not wrong
    assert seen


def test_a_segment_that_is_sealed_while_a_reader_opens_is_not_missed(tmp_path):
    """The writer seals between the reader's look for sealed files and its look for segments."""
    with SampleStore(tmp_path, retention=640.0) as store:
        for number in range(100):
            store.append(batch(number, {HOSTS[0]: number}))
        load, behind = journal.Journal.load, iter([100, 141, 0])

        def late(one: journal.Journal, known: Collection[int] = ()) -> Iterator[tuple[journal.Segment, Record]]:
            before = len(files(tmp_path, ".sealed"))
            if first := next(behind):
                for number in range(first, first + 41):
                    store.append(batch(number, {HOSTS[0]: number}))
                assert len(files(tmp_path, ".sealed")) == before + 1
            return load(one, known)

        with (
            patch.object(journal.Journal, "load", late),
            SampleStore(tmp_path, retention=640.0, read_only=True) as beside,
        ):
            assert beside.select((), START, END).values.tolist() == list(range(182))


def test_a_series_is_forgotten_when_the_last_file_that_has_it_is_dropped(tmp_path):
    with SampleStore(tmp_path, retention=640.0) as store:
        store.append(batch(0, {HOSTS[1]: 1.0}))
        for number in range(1, 1500):
            store.append(batch(number, {HOSTS[0]: number}))
            kept = HOSTS[1] in store.series()
            assert kept or number >= 640
            if number > 640 * (1 + 2 * SPAN):
                assert not kept
        assert len(store.series()) == 1
        assert len(files(tmp_path, ".sealed")) < 20


def test_a_sealed_series_takes_no_sample_older_than_its_newest(tmp_path):
    with SampleStore(tmp_path, retention=640.0) as store:
        store.append(batch(10, {HOSTS[1]: 1.0}))
        for number in range(11, 300):
            store.append(batch(number, {HOSTS[0]: number}))
    for _ in range(2):
        with SampleStore(tmp_path, retention=640.0) as store:
            store.append(batch(9, {HOSTS[1]: 2.0}))
            store.append(batch(10, {HOSTS[1]: 2.0}))
            assert (store.stats().out_of_order, store.stats().duplicates) == (1, 1)
            assert store.latest((equal("__name__", "cpu"), equal("instance", "b")), 0, 300_000).values.tolist() == [1.0]


@pytest.mark.parametrize("number", ["000000000000", "000000000005", "999"])
def test_a_copy_of_a_sealed_file_is_set_aside_and_no_sample_is_there_twice(tmp_path: Path, number: str) -> None:
    filled(tmp_path).close()
    one = files(tmp_path, ".sealed")[2]
    shutil.copy(one, tmp_path / f"{number}.sealed")
    with SampleStore(tmp_path, retention=640.0) as store:
        for labels, samples in everything(store):
            times = [time for time, _ in samples]
            assert times == sorted(set(times)), labels
        assert store.stats().set_aside > 0
        before = everything(store)
    assert files(tmp_path, ".broken")
    with SampleStore(tmp_path, retention=640.0) as again:
        assert everything(again) == before
        assert again.stats().set_aside == 0


def test_that_size_ends_samples_before_their_age_is_said_once(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    with capture_logs() as logs, SampleStore(tmp_path, retention=1e6, size_limit=100_000) as store:
        for number in range(3000):
            store.append(batch(number, dict(zip(HOSTS, noise.random(len(HOSTS)).tolist(), strict=True))))
        assert store.stats().disk_bytes < 110_000
    said = [log for log in logs if log["event"].startswith("samples dropped before their time")]
    assert len(said) == 1
    assert said[0]["limit_bytes"] == 100_000
    assert said[0]["days_kept"] < said[0]["days_wanted"]


def test_series_that_come_and_go_take_no_more_memory_than_the_limit_whatever_the_retention(tmp_path: Path) -> None:
    with SampleStore(tmp_path, retention=1e9, size_limit=1 << 20) as store:
        most = 0
        for number in range(200):
            pods = (named("pod", pod=f"{number}-{place}") for place in range(50))
            store.append(batch(number, dict.fromkeys(pods, 1.0)))
            most = max(most, store.stats().series)
        assert 500 < most < 2500
        assert len(asked(store, "pod", 198_000, 199_000)) == 50
