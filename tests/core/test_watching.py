"""The default watch: what it calls unusual, what it does not, and when it forgets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.watching.nature import Nature, Natures, Worse, nature_of
from engine.core.watching.tuning import Tuning
from engine.core.watching.watch import Sight, Watch

Series = npt.NDArray[np.float64]
QUIET = 300


def watch_over(*natures: Nature) -> Watch:
    return Watch(Natures.of(natures))


def noise(count: int = QUIET, level: float = 50.0, spread: float = 2.0, seed: int = 0) -> Series:
    return np.random.default_rng(seed).normal(level, spread, count)


def looked(watch: Watch, values: Series) -> list[Sight]:
    return [watch.see(np.atleast_1d(value)) for value in values]


def first(sights: list[Sight], what: Callable[[Sight], bool]) -> int | None:
    return next((number for number, sight in enumerate(sights) if what(sight)), None)


def alarmed(sight: Sight) -> bool:
    return bool(sight.alarm.any())


def test_noise_alone_alarms_nobody() -> None:
    for seed in range(20):
        assert first(looked(watch_over(Nature()), noise(seed=seed)), alarmed) is None


def test_a_jump_is_an_alarm_by_its_second_sample() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    assert first(looked(watch, noise(5, level=100)), alarmed) == 1


def test_one_outlier_is_none() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    assert first(looked(watch, np.array([500.0, 50, 51, 49, 50])), alarmed) is None


def test_two_of_three_samples_are_one() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    assert first(looked(watch, np.array([100.0, 50, 100])), alarmed) == 2


def test_an_alarm_ends_after_three_samples_that_are_well() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    looked(watch, noise(10, level=100))
    assert [alarmed(sight) for sight in looked(watch, noise(4))] == [True, True, False, False]


def test_what_is_learned_stands_still_during_an_alarm() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    looked(watch, noise(2, level=100))
    before = (float(watch.state.level[0]), float(watch.state.spread[0]))
    looked(watch, noise(30, level=100))
    assert (float(watch.state.level[0]), float(watch.state.spread[0])) == before


def test_a_lasting_new_level_is_adopted() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    sights = looked(watch, noise(Tuning().adopt + 10, level=100))
    assert not alarmed(sights[-1])
    assert abs(float(watch.state.level[0]) - 100) < 5
    assert first(looked(watch, noise(5)), alarmed) == 1, "and leaving it again is an alarm"


def test_the_side_that_worries_nobody_alarms_nobody_and_is_adopted_soon() -> None:
    watch = watch_over(Nature(Worse.UP))
    looked(watch, noise())
    assert first(looked(watch, noise(Tuning().relax + 5, level=10)), alarmed) is None
    assert abs(float(watch.state.level[0]) - 10) < 5


def test_missing_samples_neither_begin_nor_end_an_alarm() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    assert first(looked(watch, np.full(50, np.nan)), alarmed) is None
    looked(watch, noise(3, level=100))
    assert all(alarmed(sight) for sight in looked(watch, np.full(50, np.nan)))


def test_a_change_below_the_floor_of_the_unit_is_nothing_however_still_the_series_was() -> None:
    seconds = nature_of("http_request_duration_seconds")
    assert seconds is not None
    watch = watch_over(seconds)
    looked(watch, np.full(QUIET, 0.001))
    assert first(looked(watch, np.full(100, 0.005)), alarmed) is None
    assert first(looked(watch, np.full(20, 0.2)), alarmed) == 1


def test_a_constant_that_changes_is_noticed() -> None:
    watch = watch_over(Nature())
    looked(watch, np.full(QUIET, 3.0))
    assert first(looked(watch, np.full(5, 9.0)), alarmed) == 1


def test_a_slow_drift_is_found_though_no_sample_is_unusual() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    ramp = noise(400, seed=1) + 0.15 * np.arange(400)
    sights = looked(watch, ramp)
    assert first(sights, lambda sight: bool(sight.drift[0])) is not None
    assert first(sights, lambda sight: bool(sight.level[0])) is None


def test_saturation_is_an_alarm_before_anything_is_learned() -> None:
    cpu = nature_of("cpu_usage_ratio")
    assert cpu is not None
    assert first(looked(watch_over(cpu), np.array([0.99, 1.0, 0.98])), lambda sight: bool(sight.full[0])) == 1


def test_what_is_always_near_its_limit_is_meant_to_be() -> None:
    watch = watch_over(Nature(Worse.UP, 0.01, 1.0))
    sights = looked(watch, noise(QUIET, level=0.9, spread=0.03))
    assert not any(alarmed(sight) for sight in sights[Tuning().kept + 20 :])


def test_early_jumps_count_for_less_than_late_ones() -> None:
    early, late = watch_over(Nature()), watch_over(Nature())
    looked(early, noise(4))
    looked(late, noise())
    assert float(early.see(np.array([80.0])).score[0]) < float(late.see(np.array([80.0])).score[0])


def test_series_can_be_added_at_any_time() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    watch.add(Natures.of([Nature()]))
    for value in noise():
        sight = watch.see(np.array([value, 2 * value]))
    assert watch.size == 2
    assert not sight.alarm.any()
    assert [bool(on) for on in looked(watch, np.array([[50.0, 900], [50, 900]]))[-1].alarm] == [False, True]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e12, 1e12) | st.just(float("nan")) | st.just(float("inf")), min_size=1, max_size=80),
    worse=st.sampled_from(list(Worse)),
)
def test_no_samples_break_it(values: list[float], worse: Worse) -> None:
    watch = watch_over(Nature(worse, 0.01, 1.0))
    for sight in looked(watch, np.array(values)):
        assert np.isfinite(sight.score).all()
        assert (sight.score >= 0).all()
    assert np.isfinite(watch.state.level).all()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_series_do_not_influence_each_other(data: st.DataObject) -> None:
    shape = (40, 5)
    values = np.array(
        data.draw(st.lists(st.floats(-100, 100), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    ).reshape(shape)
    together = [sight.score for sight in looked(watch_over(*[Nature()] * 5), values)]
    alone = [sight.score for sight in looked(watch_over(Nature()), values[:, 2])]
    assert np.array_equal([row[2] for row in together], [row[0] for row in alone])


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.01, 1e6), offset=st.floats(0, 10), seed=st.integers(0, 100))
def test_the_unit_of_measurement_does_not_matter_where_no_floor_is_known(
    scale: float, offset: float, seed: int
) -> None:
    values = noise(60, seed=seed) + offset
    plain = [float(sight.score[0]) for sight in looked(watch_over(Nature()), values)]
    scaled = [float(sight.score[0]) for sight in looked(watch_over(Nature()), values * scale)]
    assert np.allclose(plain, scaled, rtol=0.05, atol=0.05)


def test_who_cries_wolf_again_and_again_is_heard_less() -> None:
    watch = watch_over(Nature())
    looked(watch, noise())
    alarms = 0
    for night in range(12):
        looked(watch, noise(60, seed=night))
        alarms += first(looked(watch, noise(3, level=80)), alarmed) is not None
    assert 2 <= alarms <= 8
    looked(watch, noise(20))
    assert first(looked(watch, noise(3, level=1000)), alarmed) == 1, "but what is far worse than ever is heard"


def daily(days: int, start: float, at_night: float = 90.0) -> list[tuple[float, float]]:
    """Return times and values, with a backup from two to three at night."""
    rng = np.random.default_rng(5)
    moments = [start + 300.0 * number for number in range(days * 288)]
    return [(at, (at_night if int(at % 86400) // 3600 == 2 else 50.0) + rng.normal()) for at in moments]


def test_what_comes_every_night_is_no_trouble_once_that_is_known() -> None:
    monday = 1_700_438_400.0
    watch = watch_over(Nature())
    alarms = [at for at, value in daily(5, start=monday) if watch.see(np.array([value]), at).level.any()]
    days = {int((at - monday) // 86400) for at in alarms}
    assert 0 in days
    assert 4 not in days


def test_the_same_at_another_hour_is_trouble() -> None:
    monday = 1_700_438_400.0
    watch = watch_over(Nature())
    for at, value in daily(4, start=monday):
        watch.see(np.array([value]), at)
    noon = monday + 4 * 86400
    hours = [noon + 300.0 * number for number in range(150)]
    sights = [watch.see(np.array([90.0 if at >= noon + 12 * 3600 else 50.0]), at) for at in hours]
    assert first(sights, alarmed) is not None


def test_novelty_is_rare_and_comes_with_what_never_was() -> None:
    watch = watch_over(Nature())
    calm = [float(sight.novelty[0]) for sight in looked(watch, noise(4000, seed=3))]
    assert sum(each > Tuning().novel for each in calm) <= 6
    assert max(float(sight.novelty[0]) for sight in looked(watch, noise(30, level=90))) > Tuning().novel
