"""Which series are watched: they come and go, counters become rates, and a restart forgets nothing."""

from __future__ import annotations

import numpy as np
import pytest

from engine.core.watching.roster import FORGOTTEN, Anomaly, Kind, Roster
from engine.core.watching.watch import Sight
from engine.model.labels import Labels
from engine.promql import STALE

START = 1_700_438_400.0


def named(name: str, host: str = "a") -> Labels:
    return Labels({"__name__": name, "instance": host})


def shown(roster: Roster, at: float, samples: dict[Labels, float]) -> Sight:
    times = np.full(len(samples), round(at * 1000), np.int64)
    return roster.see(tuple(samples), times, np.array(list(samples.values())), at)


def told(roster: Roster, sight: Sight, at: float) -> tuple[Anomaly, ...]:
    return roster.anomalies(sight, at, 1000)


QUEUE, CALLS, BUILD = named("queue_items"), named("calls_total"), named("app_build_info")


def run(roster: Roster, ticks: int, start: float = START, seed: int = 0) -> float:
    """Show a quiet queue and a counter that grows by 150 a tick; return the time of the next tick."""
    rng = np.random.default_rng(seed)
    for tick in range(ticks):
        number = (start - START) / 15 + tick
        shown(roster, start + 15 * tick, {QUEUE: 50 + rng.normal(), CALLS: 150 * number + rng.normal(), BUILD: 1.0})
    return start + 15 * ticks


def test_what_there_is_nothing_to_watch_of_is_passed_over() -> None:
    roster = Roster()
    run(roster, 3)
    assert roster.series == [QUEUE, CALLS]


def test_an_alarm_is_told_with_its_labels_and_how_unusual_it_is() -> None:
    roster = Roster()
    at = run(roster, 200)
    for tick in range(3):
        sight = shown(roster, at + 15 * tick, {QUEUE: 500.0})
    (anomaly,) = told(roster, sight, at + 30)
    assert (anomaly.labels, anomaly.kind) == (QUEUE, Kind.LEVEL)
    assert anomaly.score > 50


def test_a_counter_is_watched_by_its_rate_and_may_begin_anew() -> None:
    roster = Roster()
    at = run(roster, 200)
    count = 150 * 200.0
    for tick in range(5):  # began anew, and goes on as before
        sight = shown(roster, at + 15 * tick, {CALLS: 150.0 * tick})
        assert told(roster, sight, at + 15 * tick) == ()
    for tick in range(5, 8):
        count += 15_000
        sight = shown(roster, at + 15 * tick, {CALLS: count})
    assert [each.labels for each in told(roster, sight, at + 105)] == [CALLS]


def test_a_sample_that_was_seen_is_no_new_one() -> None:
    roster = Roster()
    at = run(roster, 200)
    old = np.array([round((at - 15) * 1000)], np.int64)
    count = int(roster.watch.state.count[0])
    for tick in range(4):
        roster.see((QUEUE,), old, np.array([900.0]), at + tick)
    assert int(roster.watch.state.count[0]) == count


def test_a_series_that_ended_is_not_told_of_any_more_and_forgotten_later() -> None:
    roster = Roster()
    at = run(roster, 200)
    for tick in range(3):
        shown(roster, at + 15 * tick, {QUEUE: 500.0})
    later = at + 1000
    assert told(roster, shown(roster, later, {CALLS: 1.0}), later) == ()
    assert roster.forget(later) == 0
    assert roster.forget(at + FORGOTTEN + 100) == 1
    assert roster.series == [CALLS]
    sight = shown(roster, at + FORGOTTEN + 200, {QUEUE: 1.0, CALLS: 2.0})
    assert sight.score.size == 2


def test_of_many_alarms_the_most_unusual_are_told() -> None:
    roster = Roster()
    hosts = [named("queue_items", f"h{number}") for number in range(50)]
    rng = np.random.default_rng(0)
    for tick in range(100):
        shown(roster, START + 15 * tick, {host: 50 + rng.normal() for host in hosts})
    for tick in range(100, 103):
        sight = shown(roster, START + 15 * tick, {host: 100.0 + 10 * number for number, host in enumerate(hosts)})
    found = roster.anomalies(sight, START + 15 * 103, 10)
    assert len(found) == 10
    assert found[0].score == max(each.score for each in found)
    assert len(told(roster, sight, START + 15 * 103)) == 50


def test_a_restart_changes_nothing() -> None:
    one = Roster()
    at = run(one, 400)
    other = Roster.restored(one.arrays())
    for tick in range(30):
        samples = {QUEUE: 50.0 + (300 if tick > 10 else 0), CALLS: 150.0 * (400 + tick)}
        first, second = (shown(roster, at + 15 * tick, samples) for roster in (one, other))
        assert np.array_equal(first.score, second.score)
        assert told(one, first, at + 15 * tick) == told(other, second, at + 15 * tick)


def test_what_another_version_wrote_is_refused() -> None:
    roster = Roster()
    run(roster, 10)
    with pytest.raises(ValueError, match="another version"):
        Roster.restored({**roster.arrays(), "format": np.array(0)})
    with pytest.raises(KeyError):
        Roster.restored({"format": roster.arrays()["format"]})


def disk(name: str, mountpoint: str) -> Labels:
    return Labels({"__name__": name, "instance": "a", "mountpoint": mountpoint})


@pytest.mark.parametrize(
    ("used", "limit", "calm", "full"),
    [
        ("node_filesystem_avail_bytes", "node_filesystem_size_bytes", 60e9, 15e9),
        ("node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes", 60e9, 15e9),
        ("process_open_fds", "process_max_fds", 40e9, 85e9),
        ("haproxy_frontend_current_sessions", "haproxy_frontend_limit_sessions", 40e9, 85e9),
        ("node_nf_conntrack_entries", "node_nf_conntrack_entries_limit", 40e9, 85e9),
    ],
)
def test_what_there_is_in_all_is_a_limit_that_names_tell(used: str, limit: str, calm: float, full: float) -> None:
    roster = Roster()
    rng = np.random.default_rng(0)
    for tick in range(200):
        at = START + 15 * tick
        share = calm if tick < 190 else full
        samples = {disk(used, "/"): share * (1 + 0.01 * rng.normal()), disk(limit, "/"): 100e9}
        other = {
            disk(used, "/srv"): share * (1 + 0.01 * rng.normal()),
            disk(limit, "/srv"): 1e15 if calm < full else 1e9,
        }
        sight = shown(roster, at, {**samples, **other})
    found = [(each.labels["mountpoint"], each.kind) for each in told(roster, sight, at)]
    assert ("/", Kind.FULL) in found
    assert ("/srv", Kind.FULL) not in found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("limit", [STALE, np.inf, -np.inf, -1.0, 1e300])
def test_a_limit_that_is_none_or_has_ended_limits_nothing(limit: float) -> None:
    roster = Roster()
    descriptors, most = named("process_open_fds"), named("process_max_fds")
    shown(roster, START, {descriptors: 5.0, most: 5.0})
    for tick in range(1, 30):
        sight = shown(roster, START + 15 * tick, {descriptors: 5.0, most: limit})
    assert told(roster, sight, START + 15 * 29) == ()


def test_a_machine_without_swap_has_not_used_it_up() -> None:
    roster = Roster()
    left, whole = named("node_memory_SwapFree_bytes"), named("node_memory_SwapTotal_bytes")
    for tick in range(6):
        sight = shown(roster, START + 15 * tick, {left: 0.0, whole: 0.0})
        assert told(roster, sight, START + 15 * tick) == ()


def test_a_processor_that_rests_alarms_nobody() -> None:
    roster, rng = Roster(), np.random.default_rng(5)
    idle, user = (
        Labels({"__name__": "node_cpu_seconds_total", "instance": "a", "mode": mode}) for mode in ("idle", "user")
    )
    rested = worked = 0.0
    for tick in range(200):
        share = 0.05 if tick >= 190 else 0.6 + rng.normal() / 100
        rested, worked = rested + 15 * (1 - share), worked + 15 * share
        sight = shown(roster, START + 15 * tick, {idle: rested, user: worked})
    assert told(roster, sight, START + 15 * 199) == ()
