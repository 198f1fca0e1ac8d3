from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.sources.fetcher import Endpoint
from engine.sources.spread import CROWD, MOST_SLOTS, SHORTEST_SLOT, Rhythm, slots_for, spread

COUNTS = st.sampled_from([1, 2, 4, 8, 16])


def fleet(size: int) -> list[Endpoint]:
    return [
        Endpoint(f"http://10.0.{number // 256}.{number % 256}:9100/metrics", f"host{number}", "node")
        for number in range(size)
    ]


@given(st.integers(0, 100_000), st.floats(0.1, 3600))
def test_slots_are_few_and_no_shorter_than_they_may_be(endpoints, interval):
    slots = slots_for(endpoints, interval)
    assert slots in {1, 2, 4, 8, 16}
    assert slots <= MOST_SLOTS
    assert slots == 1 or interval / slots >= SHORTEST_SLOT


def test_a_small_fleet_is_looked_at_together_and_a_large_one_is_not():
    assert slots_for(CROWD, 15.0) == 1
    assert slots_for(CROWD + 1, 15.0) == 2
    assert slots_for(1000, 15.0) == MOST_SLOTS
    assert slots_for(1000, 1.0) == 4


def test_an_endpoint_keeps_its_place_whatever_others_come_and_go():
    endpoints = fleet(1000)
    places = {one: slot for slot, group in enumerate(spread(endpoints, 16)) for one in group}
    assert len(places) == 1000
    for slot, group in enumerate(spread(reversed(endpoints[::3]), 16)):
        assert all(places[one] == slot for one in group)


def test_slots_hold_about_as_many_each():
    sizes = [len(group) for group in spread(fleet(1600), 16)]
    assert min(sizes) > 50
    assert max(sizes) < 150


def test_twice_as_many_slots_leave_everyone_about_where_it_was():
    endpoints = fleet(300)
    before = {one: slot for slot, group in enumerate(spread(endpoints, 4)) for one in group}
    for slot, group in enumerate(spread(endpoints, 8)):
        assert all(before[one] == slot // 2 for one in group)


@given(COUNTS, st.lists(st.floats(0.0, 5.0), max_size=60))
def test_each_slot_is_due_once_an_interval_and_what_is_missed_is_not_made_up_for(slots, pauses):
    rhythm, now = Rhythm(100.0, 10.0, slots), 100.0
    begun: dict[int, list[float]] = {slot: [] for slot in range(slots)}
    for pause in pauses:
        now += pause
        due = list(rhythm.due(now))
        assert len(due) == len(set(due))
        assert rhythm.next() >= now - 1e-6
        for slot in due:
            begun[slot].append(now)
    for slot, moments in begun.items():
        place = 100.0 + slot * 10.0 / slots
        beats = [int((moment - place + 1e-6) // 10.0) for moment in moments]
        assert beats == sorted(set(beats))
        assert all(beat >= 0 for beat in beats)


@given(COUNTS, COUNTS, st.floats(0.0, 40.0))
def test_dividing_anew_begins_nothing_before_its_time(slots, others, pause):
    rhythm = Rhythm(0.0, 10.0, slots)
    assert list(rhythm.due(0.0)) == [0]
    list(rhythm.due(pause))
    rhythm.divide(others, pause)
    assert pause - 1e-6 <= rhythm.next() <= pause + 10.0 / others + 1e-6


def test_a_rhythm_divided_before_its_first_beat_begins_with_the_first_slot():
    rhythm = Rhythm(50.0, 10.0)
    rhythm.divide(16, 50.0)
    assert list(rhythm.due(50.0)) == [0]
