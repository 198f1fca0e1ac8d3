from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.model.labels import Labels
from engine.promql.block import STALE
from engine.sources.assembly import Assembly, Merger, Part

LISTS = [tuple(Labels({"part": part, "n": str(n)}) for n in range(size)) for part in "abc" for size in (0, 1, 3)]


@given(st.lists(st.lists(st.sampled_from(range(9)), unique_by=lambda one: one // 3, max_size=3), max_size=8))
def test_a_batch_has_all_parts_and_ends_exactly_what_was_there_and_is_no_more(rounds):
    assembly, before = Assembly(), set()
    for number, chosen in enumerate(rounds):
        batch = assembly.batch(number, [Part(LISTS[one], (float(number),) * len(LISTS[one])) for one in chosen])
        live = [labels for one in chosen for labels in LISTS[one]]
        assert list(batch.series[: len(live)]) == live
        assert set(batch.values[: len(live)]) <= {float(number)}
        assert set(batch.series[len(live) :]) == before - set(live)
        assert all(value is STALE for value in batch.values[len(live) :])
        before = set(live)


def test_parts_that_stay_give_the_identical_tuple():
    assembly = Assembly()
    parts = [Part(LISTS[2], (1.0,) * 3), Part(LISTS[5], (2.0,) * 3)]
    assert assembly.batch(0, parts).series is assembly.batch(1, parts).series
    assert assembly.batch(2, parts[:1]).series != assembly.batch(3, parts[:1]).series


def test_pages_put_together_name_their_series_once_while_they_stay_the_same():
    merger = Merger()
    parts = [Part(LISTS[2], (1.0,) * 3), Part(LISTS[5], [2.0] * 3)]
    first, second = merger.batch(0, parts), merger.batch(1, parts)
    assert first.series == LISTS[2] + LISTS[5]
    assert first.values == (1.0,) * 3 + (2.0,) * 3
    assert second.series is first.series
    assert merger.batch(2, parts[:1]).series == LISTS[2]
