from __future__ import annotations

import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time as clock
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored import END, START, batch, equal, everything, named, rows

from engine.model.labels import Batch, Labels
from engine.promql.block import STALE, Matcher, MatchOperator, is_stale
from engine.promql.patterns import PatternError
from engine.samples.index import Index
from engine.samples.store import SamplesLocked, SampleStore

CPU, MEMORY = named("cpu", instance="a"), named("memory", instance="a")
LABELS = [named(name, instance=instance) for name in ("cpu", "memory") for instance in ("a", "b", 'ü\n"\udcff')]

values = st.floats(allow_nan=True) | st.just(STALE)
batches = st.lists(
    st.builds(
        lambda time, pairs: Batch(time / 1000, tuple(one for one, _ in pairs), tuple(value for _, value in pairs)),
        st.integers(-50, 400) | st.integers(0, 2**42),
        st.lists(st.tuples(st.sampled_from(LABELS), values), max_size=7),
    ),
    max_size=40,
)


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def expected(given_batches: list[Batch]) -> tuple[dict[Labels, list[tuple[int, bytes]]], int, int]:
    """What a store must hold, said slowly: samples by series, then how many were out of order and how many duplicates."""
    held: dict[Labels, list[tuple[int, bytes]]] = {}
    out_of_order = duplicates = 0
    for one in given_batches:
        time, seen = round(one.time * 1000), set()
        for labels, value in zip(one.series, one.values, strict=True):
            samples = held.setdefault(labels, [])
            repeated = labels in seen
            seen.add(labels)
            if repeated or (samples and samples[-1][0] == time):
                duplicates += 1
            elif samples and samples[-1][0] > time:
                out_of_order += 1
            else:
                samples.append((time, bits(value)))
    return held, out_of_order, duplicates


@settings(deadline=None, max_examples=60)
@given(batches, st.integers(0, 40), st.integers(-60, 500), st.integers(0, 600))
def test_a_store_holds_what_a_plain_list_would_and_reopening_changes_nothing(given_batches, reopen_at, start, length):
    with tempfile.TemporaryDirectory() as folder:
        store = SampleStore(Path(folder), retention=1e12)
        for number, one in enumerate(given_batches):
            if number == reopen_at:
                store.close()
                store = SampleStore(Path(folder), retention=1e12)
            store.append(one)
        held, out_of_order, duplicates = expected(given_batches)
        before, newest = everything(store), store.newest()
        assert before == list(held.items())
        window = [(labels, [one for one in samples if start < one[0] <= start + length]) for labels, samples in before]
        assert rows(store.select((), start, start + length)) == [row for row in window if row[1]]
        assert newest == max((samples[-1][0] / 1000 for samples in held.values()), default=None)
        if reopen_at >= len(given_batches):
            assert store.stats().out_of_order == out_of_order
            assert store.stats().duplicates == duplicates
        store.close()
        with SampleStore(Path(folder), retention=1e12) as again:
            assert everything(again) == before
            assert again.newest() == newest
            assert again.stats().samples == sum(len(samples) for samples in held.values())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 90), st.sets(st.sampled_from(LABELS), min_size=1)), min_size=1, max_size=120))
def test_reopening_after_retention_gives_the_same_samples_in_the_same_order(steps):
    with tempfile.TemporaryDirectory() as folder:
        store, now = SampleStore(Path(folder), retention=300.0), 0.0
        for step, series in steps:
            now += step
            store.append(batch(now, dict.fromkeys(sorted(series, key=str), now)))
        before = everything(store)
        for labels, samples in before:
            assert labels in store.series()
            assert samples[-1][0] > (now - 300 - 300 / 8 - 90) * 1000
        recent = [labels for labels in store.series() if rows(store.select((), round((now - 300) * 1000), END))]
        assert recent
        store.close()
        with SampleStore(Path(folder), retention=300.0) as again:
            assert everything(again) == before
            # Series known again or new take part as if nothing had been closed.
            again.append(batch(now + 1, dict.fromkeys(LABELS, 1.0)))
            assert {labels for labels, _ in everything(again)} == set(LABELS)


def test_every_torn_tail_is_cut_off_and_only_the_record_in_flight_is_lost(tmp_path):
    store, sizes, states = SampleStore(tmp_path / "whole"), [], []
    for number in range(4):
        store.append(batch(number, {CPU: number, LABELS[number]: number}))
        sizes.append(store.stats().disk_bytes)
        states.append(everything(store))
    store.close()
    (segment,) = (tmp_path / "whole").glob("*.segment")
    data = segment.read_bytes()
    assert len(data) == sizes[-1]
    for length in range(len(data)):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / segment.name).write_bytes(data[:length])
        with SampleStore(folder) as torn:
            whole = [state for size, state in zip(sizes, states, strict=True) if size <= length]
            assert everything(torn) == (whole[-1] if whole else [])
            assert torn.stats().set_aside == 0
            assert (torn.stats().cut_off_bytes > 0) == (length not in (0, 19, *sizes))
            torn.append(batch(100, {CPU: 1.0}))
            kept = everything(torn)
        with SampleStore(folder) as again:
            assert everything(again) == kept
            assert again.stats().cut_off_bytes == 0


@pytest.mark.parametrize("place", [0, 5, 19, 23, 30, 60, 150, -300, -40, -1])
def test_a_flipped_byte_sets_the_segment_aside_and_keeps_what_stands_before_it(tmp_path, place):
    with SampleStore(tmp_path) as store:
        for number in range(20):
            store.append(batch(number, {CPU: number, MEMORY: number}))
    (segment,) = tmp_path.glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[place] ^= 0x40
    segment.write_bytes(data)
    with SampleStore(tmp_path) as store:
        assert store.stats().set_aside == 1
        held = dict(everything(store))
        assert held.get(CPU, []) == [(number * 1000, bits(number)) for number in range(len(held.get(CPU, [])))]
        assert len(held.get(CPU, [])) < 20
        store.append(batch(50, {CPU: 1.0}))
    assert [path.read_bytes() for path in tmp_path.glob("*.broken")] == [bytes(data)]
    with SampleStore(tmp_path) as store:
        assert store.stats().set_aside == 0
        assert everything(store)[0][1][-1] == (50000, bits(1.0))


def test_a_broken_segment_in_the_middle_costs_only_itself(tmp_path):
    with SampleStore(tmp_path, retention=320.0) as store:
        for number in range(200):
            store.append(batch(number, {CPU: number}))
    first, second, third, *_ = sorted(path for path in tmp_path.iterdir() if path.suffix in {".sealed", ".segment"})
    second.write_bytes(b"\0" * 4096)
    third.unlink()
    third.mkdir()
    third.rmdir()
    with SampleStore(tmp_path, retention=320.0) as store:
        times = [time // 1000 for time, _ in everything(store)[0][1]]
        assert times[0] == 0
        assert times[-1] == 199
        assert 150 < len(times) < 200
    assert first.exists()


@pytest.mark.parametrize("garbage", [b"", b"mendb", b"mendbook samples 1\n", b"something else", b"\0" * 100])
def test_a_last_segment_without_a_record_leaves_the_one_before_it_writable(tmp_path, garbage):
    with SampleStore(tmp_path) as store:
        store.append(batch(1, {CPU: 1.0, MEMORY: 2.0}))
    (tmp_path / "000000000002.segment").write_bytes(garbage)
    with SampleStore(tmp_path) as store:
        store.append(batch(2, {LABELS[1]: 3.0, MEMORY: 4.0}))
        before = everything(store)
        assert [labels for labels, _ in before] == [CPU, MEMORY, LABELS[1]]
    with SampleStore(tmp_path) as store:
        assert everything(store) == before
        assert store.stats().set_aside == 0


def test_a_duplicate_keeps_the_first_and_an_older_sample_is_dropped(tmp_path):
    with SampleStore(tmp_path) as store:
        store.append(batch(10, {CPU: 1.0}))
        store.append(Batch(10, (CPU, MEMORY, MEMORY), (2.0, 3.0, 4.0)))
        store.append(batch(9, {CPU: 5.0}))
        assert everything(store) == [(CPU, [(10000, bits(1.0))]), (MEMORY, [(10000, bits(3.0))])]
        assert (store.stats().duplicates, store.stats().out_of_order) == (2, 1)


def test_stale_markers_keep_their_bits(tmp_path):
    with SampleStore(tmp_path) as store:
        store.append(batch(1, {CPU: STALE, MEMORY: float("nan")}))
    with SampleStore(tmp_path) as store:
        assert is_stale(store.select((), START, END).values).tolist() == [True, False]


def test_a_window_is_open_on_the_left_and_closed_on_the_right(tmp_path):
    with SampleStore(tmp_path) as store:
        for number in range(200):
            store.append(batch(number, {CPU: number}))
        for low, high in [(0, 0), (0, 1), (62, 65), (63, 64), (63, 128), (10, 190), (-5, 500), (199, 300)]:
            block = store.select((equal("__name__", "cpu"),), low * 1000, high * 1000)
            assert block.values.tolist() == [float(n) for n in range(200) if low < n <= high]


def test_matchers_mean_what_they_mean_in_prometheus(tmp_path):
    with SampleStore(tmp_path) as store:
        a, b, none = named("cpu", host="a"), named("cpu", host="b\nc"), named("cpu")
        store.append(batch(1, {a: 1.0, b: 2.0, none: 3.0, named("memory", host="a"): 4.0}))

        def found(operator: MatchOperator, value: str) -> list[Labels]:
            return list(store.series((equal("__name__", "cpu"), Matcher("host", operator, value))))

        assert found(MatchOperator.EQUAL, "a") == [a]
        assert found(MatchOperator.EQUAL, "") == [none]
        assert found(MatchOperator.NOT_EQUAL, "a") == [b, none]
        assert found(MatchOperator.NOT_EQUAL, "") == [a, b]
        assert found(MatchOperator.REGEX, "a|x") == [a]
        assert found(MatchOperator.REGEX, "b") == []
        assert found(MatchOperator.REGEX, "b.c") == [b]
        assert found(MatchOperator.REGEX, "a|") == [a, none]
        assert found(MatchOperator.NOT_REGEX, "a.*") == [b, none]
        assert found(MatchOperator.NOT_REGEX, ".+") == [none]
        assert store.series((equal("host", "nobody"),)) == ()
        with pytest.raises(PatternError, match="missing"):
            found(MatchOperator.REGEX, "(")


def test_a_steady_set_of_series_gives_the_identical_tuple_until_it_changes(tmp_path):
    with SampleStore(tmp_path) as store:
        store.append(batch(1, {CPU: 1.0, MEMORY: 1.0}))
        first = store.select((), 0, END).series
        store.append(batch(2, {CPU: 1.0, MEMORY: 1.0}))
        assert store.select((), 0, END).series is first
        store.append(batch(3, {LABELS[1]: 1.0}))
        assert store.select((), 0, END).series == (*first, LABELS[1])


def test_what_comes_and_goes_elsewhere_leaves_the_tuple_of_a_selection_as_it_is(tmp_path):
    with SampleStore(tmp_path, retention=64.0) as store:
        cpu, passing = (equal("__name__", "cpu"),), (equal("__name__", "passing"),)
        store.append(batch(0, {CPU: 1.0, named("passing", n="0"): 1.0}))
        steady, seen = store.series(cpu), set()
        for number in range(1, 200):
            store.append(batch(number, {CPU: 1.0, named("passing", n=str(number)): 1.0}))
            assert store.series(cpu) is steady
            seen.add(store.series(passing))
        assert len(seen) == 199  # although numbers of series that are gone are used again


def test_a_steady_source_costs_eight_bytes_a_sample_on_disk(tmp_path):
    series = tuple(named("cpu", instance=str(number)) for number in range(1000))
    with SampleStore(tmp_path) as store:
        store.append(Batch(0, series, (0.0,) * 1000))
        before = store.stats().disk_bytes
        for number in range(1, 11):
            store.append(Batch(number, series if number % 2 else (*series,), (1.0,) * 1000))
        assert store.stats().disk_bytes - before < 10 * 1000 * 8.1


def test_churn_of_series_does_not_grow_the_store(tmp_path):
    with SampleStore(tmp_path, retention=64.0) as store:
        peaks = []
        for number in range(600):
            store.append(batch(number, {named("pid", pid=str(number // 4), spare=str(n)): 1.0 for n in range(10)}))
            stats = store.stats()
            peaks.append((stats.series, stats.memory_bytes, stats.disk_bytes, stats.samples))
        early = [max(peak[part] for peak in peaks[100:200]) for part in range(4)]
        late = [max(peak[part] for peak in peaks[500:]) for part in range(4)]
        assert all(after <= before * 1.1 for before, after in zip(early, late, strict=True))
        assert len(store.series((equal("pid", "0"),))) == 0
        assert len(store.series((equal("pid", "149"),))) == 10
        assert len(store._index.births) < 400


def test_the_limit_of_size_drops_the_oldest(tmp_path):
    limit = 256 << 10
    with SampleStore(tmp_path, size_limit=limit) as store:
        series = tuple(named("cpu", instance=str(number)) for number in range(50))
        for number in range(3000):
            store.append(Batch(number, series, (float(number),) * 50))
        stats = store.stats()
        assert stats.disk_bytes < limit * 1.2
        assert stats.memory_bytes < limit * 1.2
        files = [path for path in tmp_path.iterdir() if path.suffix in {".sealed", ".segment"}]
        assert sum(path.stat().st_size for path in files) == stats.disk_bytes
        assert store.newest() == 2999
        times = store.select((equal("instance", "7"),), START, END).times
        assert times[-1] == 2999000
        assert (np.diff(times) == 1000).all()
        assert len(times) > 150


def test_a_sample_from_the_future_does_not_empty_the_store(tmp_path):
    now = round(clock.time())
    with SampleStore(tmp_path, retention=3600.0) as store:
        for number in range(2000):
            store.append(batch(now - 2600 + number, {CPU: number}))
        store.append(batch(now + 9e9, {MEMORY: 1.0}))
        for number in range(2000, 2500):
            store.append(batch(now - 2600 + number, {CPU: number}))
        assert store.select((equal("__name__", "cpu"),), START, END).values.tolist() == list(range(2500))


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_a_time_that_is_none_is_refused(tmp_path, time):
    with SampleStore(tmp_path) as store:
        with pytest.raises(ValueError, match="not a time"):
            store.append(batch(time, {CPU: 1.0}))
        assert everything(store) == []


def test_only_one_writes_and_readers_see_the_moment_they_opened(tmp_path):
    with SampleStore(tmp_path) as store:
        store.append(batch(1, {CPU: 1.0}))
        with pytest.raises(SamplesLocked):
            SampleStore(tmp_path)
        with SampleStore(tmp_path, read_only=True) as reader:
            store.append(batch(2, {CPU: 2.0}))
            assert len(reader.select((), START, END).values) == 1
            with pytest.raises(ValueError, match="reading only"):
                reader.append(batch(3, {CPU: 3.0}))
        assert len(store.select((), START, END).values) == 2
    SampleStore(tmp_path).close()


def test_reading_only_changes_no_file_even_a_torn_one(tmp_path):
    with SampleStore(tmp_path) as store:
        store.append(batch(1, {CPU: 1.0}))
        store.append(batch(2, {CPU: 2.0}))
    (segment,) = tmp_path.glob("*.segment")
    torn = segment.read_bytes()[:-3]
    segment.write_bytes(torn)
    with SampleStore(tmp_path, read_only=True) as reader:
        assert len(reader.select((), START, END).values) == 1
    assert segment.read_bytes() == torn
    with SampleStore(tmp_path / "nowhere", read_only=True) as reader:
        assert reader.newest() is None
    assert not (tmp_path / "nowhere").exists()


def test_a_closed_store_refuses_to_write_but_still_reads(tmp_path):
    store = SampleStore(tmp_path)
    store.append(batch(1, {CPU: 1.0}))
    store.close()
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.append(batch(2, {CPU: 1.0}))
    assert store.newest() == 1


def test_readers_and_writers_do_not_disturb_each_other(tmp_path):
    store, done, wrong = SampleStore(tmp_path, retention=300.0), threading.Event(), []

    def read() -> None:
        while not done.is_set():
            for _, samples in everything(store):
                times = [time for time, _ in samples]
                wrong.extend([] if times == sorted(set(times)) else [times])

    def write(name: str) -> None:
        for number in range(400):
            store.append(batch(number, {named(name, part=str(number // 50 + n)): number for n in range(5)}))

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for thread in readers + writers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert not wrong
    last = {int(labels["part"]): samples[-1][0] for labels, samples in everything(store) if labels["__name__"] == "a"}
    assert last[11] == 399000
    store.close()


FULL = """
import resource, sys
from pathlib import Path
from engine.model.labels import Batch, Labels
from engine.promql.patterns import PatternError
from engine.samples.index import Index
from engine.samples.store import SampleStore, SamplesFull
import re
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = SampleStore(Path(sys.argv[1]))
series = tuple(Labels({"__name__": "cpu", "n": str(n)}) for n in range(100))
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
kept = refused = 0
for time in range(20):
    try:
        store.append(Batch(float(time), series, (float(time),) * 100))
        kept += 1
    except SamplesFull:
        refused += 1
before = [len(store.series()), store.stats().samples, store.stats().disk_bytes]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.append(Batch(50.0, (*series, Labels({"__name__": "new"})), (50.0,) * 101))
print(kept, refused, *before)
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)


def test_a_full_disk_refuses_the_batch_and_leaves_the_store_whole(tmp_path):
    """A limit on the file's size makes write(2) fail half-way, as a full disk does; space that comes back is used."""
    kept, refused, series, samples, size = map(int, run(FULL, str(tmp_path)).stdout.split())
    assert kept + refused == 20
    assert kept > 2
    assert refused > 2
    assert (series, samples) == (100, kept * 100)
    assert size <= 10_000
    with SampleStore(tmp_path) as store:
        assert (store.stats().set_aside, store.stats().cut_off_bytes) == (0, 0)
        assert store.stats().samples == kept * 100 + 101
        assert store.newest() == 50


def test_a_batch_refused_at_the_very_start_leaves_no_series_behind(tmp_path):
    script = FULL.replace("(10_000,", "(100,")
    kept, refused, series, samples, _ = map(int, run(script, str(tmp_path)).stdout.split())
    assert (kept, refused, series, samples) == (0, 20, 0, 0)
    with SampleStore(tmp_path) as store:
        assert store.stats().samples == 101


WRITER = """
import sys
from pathlib import Path
from engine.model.labels import Batch, Labels
from engine.promql.patterns import PatternError
from engine.samples.index import Index
from engine.samples.store import SampleStore
store = SampleStore(Path(sys.argv[1]), size_limit=4 << 20)
series = tuple(Labels({"__name__": "cpu", "n": str(n)}) for n in range(500))
newest = store.newest()
time = 0 if newest is None else round(newest)
while True:
    time += 1
    store.append(Batch(float(time), (*series, Labels({"__name__": "churn", "n": str(time)})), (float(time),) * 501))
    sys.stdout.write(f"{time}\\n")
    sys.stdout.flush()
"""


@pytest.mark.e2e
def test_a_process_killed_at_any_moment_loses_nothing_acknowledged(tmp_path):
    acknowledged = 0
    for round_number in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(20 + 37 * round_number):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().splitlines(keepends=True)
            acknowledged = max([acknowledged, *(int(line) for line in rest if line.endswith("\n"))])
        with SampleStore(tmp_path, size_limit=4 << 20) as store:
            block = store.select((equal("n", "7"), equal("__name__", "cpu")), START, END)
            assert block.times[-1] >= acknowledged * 1000
            assert (np.diff(block.times) == 1000).all()
            assert (block.values * 1000 == block.times).all()
            assert store.stats().set_aside == 0


texts = st.sampled_from(["", "a", "b", "ab", "a.*", ".*b", ".+", ".*", "a|b", "[^a]*", "(?i)A"])
matchers = st.builds(Matcher, st.sampled_from(["__name__", "x", "y"]), st.sampled_from(MatchOperator), texts)
identities = st.dictionaries(st.sampled_from(["__name__", "x", "y"]), st.sampled_from(["a", "b", "ab"])).map(Labels)


def admits(matcher: Matcher, labels: Labels) -> bool:
    value = labels.get(matcher.name, "")
    match matcher.operator:
        case MatchOperator.EQUAL:
            return value == matcher.value
        case MatchOperator.NOT_EQUAL:
            return value != matcher.value
        case MatchOperator.REGEX:
            return re.fullmatch(matcher.value, value) is not None
        case MatchOperator.NOT_REGEX:
            return re.fullmatch(matcher.value, value) is None


@settings(deadline=None, max_examples=150)
@given(st.lists(identities, unique=True, max_size=12), st.lists(st.lists(matchers, max_size=3), max_size=6))
def test_the_index_finds_what_looking_at_each_series_finds(series, questions):
    index = Index()
    numbers = [index.add(labels) for labels in series]
    for number in numbers[1::3]:
        index.remove(number)
    left = [labels for place, labels in enumerate(series) if place % 3 != 1]
    for question in questions + questions:
        expected = tuple(labels for labels in left if all(admits(matcher, labels) for matcher in question))
        assert index.find(question).series == expected
    assert len(index) == len(left)


def test_the_numbers_of_forgotten_series_are_used_again_and_the_order_stays_that_of_first_appearance():
    index = Index()
    first, second = index.add(CPU), index.add(MEMORY)
    index.remove(first)
    assert index.add(LABELS[1]) == first
    assert index.find(()).series == (MEMORY, LABELS[1])
    assert index.labels(second) == MEMORY
