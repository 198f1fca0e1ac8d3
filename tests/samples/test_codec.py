"""Packing samples loses no bit of them, and makes what is measured small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.promql.block import STALE
from engine.samples.codec import pack, pack_ints, pack_words, unpack, unpack_ints, unpack_words

decimals = st.builds(lambda whole, places: whole / 10**places, st.integers(-(10**9), 10**9), st.integers(0, 7))
values = st.one_of(decimals, decimals, decimals, st.floats(allow_nan=True), st.just(STALE), st.just(-0.0))
rows = st.lists(st.lists(st.tuples(st.integers(-(2**53), 2**53), values), max_size=20), max_size=8)


@settings(deadline=None, max_examples=150)
@given(rows, st.booleans())
@example([[(1, STALE), (2, float("inf")), (3, -0.0), (4, 1e308)]], True)
def test_what_is_unpacked_is_what_was_packed_to_the_bit(given_rows, together):
    if together:  # as one source collects: every series at the same times
        width = min(map(len, given_rows), default=0)
        moments = [time for time, _ in given_rows[0][:width]] if given_rows else []
        given_rows = [[(time, value) for time, (_, value) in zip(moments, row, strict=False)] for row in given_rows]
    counts = np.array([len(row) for row in given_rows], np.int64)
    times = np.array([time for row in given_rows for time, _ in row], np.int64)
    numbers = np.array([value for row in given_rows for _, value in row], np.float64)
    found = unpack(pack(counts, times, numbers))
    assert found[0].tolist() == counts.tolist()
    assert found[1].tolist() == times.tolist()
    assert found[2].tobytes() == numbers.tobytes()


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(-(2**63), 2**63 - 1)), st.binary(max_size=5))
def test_columns_stand_one_behind_the_other(words, numbers, rest):
    data = pack_words(np.array(words, np.uint64)) + pack_ints(np.array(numbers, np.int64)) + rest
    found, left = unpack_words(memoryview(data), len(words))
    assert found.tolist() == words
    again, left = unpack_ints(left, len(numbers))
    assert again.tolist() == numbers
    assert bytes(left) == rest


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("constant", 0.1),
        ("counter", 1.1),
        ("gauge with three places", 2.1),
        ("gauge with stale ends", 2.2),
        ("noise", 8.0),
    ],
)
def test_what_is_measured_takes_few_bytes_a_sample(kind, most):
    dice = np.random.default_rng(3)
    shape = 64, 256
    gauge = np.round(dice.uniform(20, 70, (64, 1)) + dice.uniform(-5, 5, shape), 3)
    ended = gauge.copy()
    ended[::4, -1] = STALE
    made = {
        "constant": np.repeat(dice.integers(0, 9, (64, 1)), 256, axis=1) * 1.0,
        "counter": np.cumsum(dice.integers(0, 100, shape), axis=1) * 1.0,
        "gauge with three places": gauge,
        "gauge with stale ends": ended,
        "noise": dice.normal(size=shape),
    }
    times = np.tile(1_700_000_000_000 + np.arange(256) * 15_000 + dice.integers(0, 9, 256), 64)
    data = pack(np.full(64, 256, np.int64), times, made[kind].reshape(-1))
    assert len(data) / times.size < most
